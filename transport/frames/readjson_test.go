package frames

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// readJSONAgrees: what is read by hand the library reads as well, and as the
// same.
func readJSONAgrees(t *testing.T, d *Decoder, line []byte) (taken bool) {
	t.Helper()
	lent := bytes.Clone(line)
	got, taken := d.readJSON(lent)
	clear(lent)
	if !taken {
		return false
	}
	want := new(clientpb.ClientFrame)
	if err := protojson.Unmarshal(line, want); err != nil {
		t.Fatalf("%q is taken for %v: %v", line, got, err)
	}
	if !proto.Equal(got, want) {
		t.Fatalf("%q\n got  %v\n want %v", line, got, want)
	}
	return true
}

// The library puts in spaces at random. Every fragment here can stand where
// another does, in a frame that is good or is not.
func TestReadJSONAgrees(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	d := NewDecoder()
	pieces := []string{
		`{`, `}`, `"`, `:`, `,`, ` `, `"ref":`, `"send":{`, `"ack":{`, `"seq":`, `"id":`, `"to":{"user":"bob"}`, `"to":{}`, `null`, `0`, `1`, `"7"`, `01`, `-1`, `1.0`, `1e2`,
		`18446744073709551615`, `"9999999999999999999"`, `4294967296`, `"kind":"TEXT"`, `"kind":1`, `"payload":"aGk="`, `"payload":"aGk"`, `"payload":"_-8="`, `"reply_to":`, `\u0061`, `true`, `false`, "\t", "\x7f", `é`, `"group":"g_1"`,
	}
	taken, frames := 0, 0
	for range 50_000 {
		line, err := protojson.Marshal(frameOf(rng))
		if err != nil {
			continue // a duration that JSON cannot write
		}
		frames++
		if readJSONAgrees(t, d, line) {
			taken++
		}
		for range rng.IntN(3) {
			at := rng.IntN(len(line))
			end := min(at+rng.IntN(8), len(line))
			line = append(append(bytes.Clone(line[:at]), pieces[rng.IntN(len(pieces))]...), line[end:]...)
			readJSONAgrees(t, d, line)
		}
	}
	if taken < frames/10 {
		t.Errorf("%d of %d frames are read by hand: too few to compare much", taken, frames)
	}
}

// What programs write is read by hand.
func TestReadJSONTakesWhatIsPlain(t *testing.T) {
	d := NewDecoder()
	for _, line := range []string{
		`{"ref":2,"send":{"id":"` + idText + `","to":{"user":"bob"},"kind":"TEXT","payload":"aGVsbG8=","replyTo":"` + idText + `"}}`,
		` { "send" : { "to" : { "user" : "bob" } } , "ref" : "3" } `,
		`{"ack":{"seq":"5"}}`, `{"ack":{"seq":5}}`,
		`{"read":{"conversation":{"user":"bob"},"order":"1"}}`,
		`{"typing":{"conversation":{"user":"bob"},"on":true}}`, `{"typing":{"on":false}}`,
	} {
		if !readJSONAgrees(t, d, []byte(line)) {
			t.Errorf("%s is left to the library", line)
		}
	}
}

// Whatever may not be taken is left to the library, which says why.
func TestReadJSONLeavesWhatIsOdd(t *testing.T) {
	d := NewDecoder()
	for _, line := range []string{
		`{"ref":1,"ref":1,"ack":{}}`, `{"ack":{},"ack":{}}`, `{"send":{},"ack":{}}`,
		`{"ack":{"seq":1,"seq":1}}`, `{"send":{"id":"a","id":"a"}}`, `{"send":{"to":{},"to":{}}}`, `{"send":{"kind":"TEXT","kind":"TEXT"}}`,
		`{"send":{"payload":"","payload":""}}`, `{"send":{"replyTo":"","replyTo":""}}`, `{"send":{"to":{"user":"a","user":"a"}}}`,
		`{"send":{"to":{"user":"a","group":"g_a"}}}`, `{"read":{"order":1,"order":1}}`, `{"read":{"conversation":{},"conversation":{}}}`,
		`{"typing":{"on":true,"on":true}}`, `{"typing":{"conversation":{},"conversation":{}}}`,
		`{"ack":{"seq":1},}`, `{"ack":{,"seq":1}}`, `{"ack":{"seq":1}}}`, `{"ack":{"seq":1}`, `{"ack":{"seq":1,}}`, `{"ack" {}}`, `{"ack":{} "ref":1}`,
		`{"typing":{"on":true1}}`, `{}`, `{"ref":1}`, ``, `[]`, `{"ack":{"seq":"1 "}}`,
	} {
		if readJSONAgrees(t, d, []byte(line)) {
			t.Errorf("%s is taken", line)
		}
	}
}

func FuzzReadJSONAgrees(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		if line, err := protojson.Marshal(frameOf(rng)); err == nil {
			f.Add(line)
		}
	}
	d := NewDecoder()
	f.Fuzz(func(t *testing.T, line []byte) { readJSONAgrees(t, d, line) })
}
