package ws

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"unsafe"
)

// A million of them stand in a slab: growth must be noticed.
func TestParserSize(t *testing.T) {
	if got := unsafe.Sizeof(Parser{}); got > 28 {
		t.Errorf("a parser takes %d bytes", got)
	}
}

// Text that cannot become valid is refused before the rest of its frame comes
// (Autobahn calls this strict in 6.4.3 and 6.4.4).
func TestTextFailsInsideAFrame(t *testing.T) {
	whole := wire(text("\xce\xba\xf4\x90\x80\x80edited"))
	const header = 6
	for cut, want := range map[int]string{header + 3: "", header + 4: "fault 1007"} {
		if got := lines(feed(t, 1000, whole[:cut])); got != want {
			t.Errorf("after %d bytes of payload: %q, want %q", cut-header, got, want)
		}
	}
}

// Reserved bits and opcodes are refused at the first byte, the rest of the
// header's faults at the second.
func TestHeaderFailsAtItsFirstWrongByte(t *testing.T) {
	for name, c := range map[string]struct {
		bytes []byte
		want  string
	}{
		"reserved bit":          {[]byte{0xc1}, "fault 1002"},
		"reserved opcode":       {[]byte{0x83}, "fault 1002"},
		"fragmented ping":       {[]byte{0x09}, "fault 1002"},
		"not masked":            {[]byte{0x81, 0x05}, "fault 1002"},
		"long ping":             {[]byte{0x89, 0x80 | 126}, "fault 1002"},
		"too big":               {[]byte{0x82, 0x80 | 126, 0xff, 0xff, 0, 0, 0, 0}, "fault 1009"},
		"far too big":           {[]byte{0x82, 0x80 | 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, "fault 1009"},
		"sign bit of a length":  {[]byte{0x82, 0x80 | 127, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, "fault 1002"},
		"length not minimal":    {[]byte{0x82, 0x80 | 126, 0, 125, 0, 0, 0, 0}, "fault 1002"},
		"length not minimal, 8": {[]byte{0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0}, "fault 1002"},
		"half a header":         {[]byte{0x82, 0x80 | 126, 0xff}, ""},
	} {
		if got := lines(feed(t, 1000, c.bytes)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if got := lines(feed(t, 1000, chop(c.bytes, 1)...)); got != c.want {
			t.Errorf("%s, in octets: %q, want %q", name, got, c.want)
		}
	}
}

// The limit holds for all fragments together, and a control frame in between
// does not count.
func TestMessageLimit(t *testing.T) {
	half := strings.Repeat("x", 500)
	fits := wire(part(Text, half), ping("p"), last(half))
	if got := lines(feed(t, 1000, chop(fits, 7)...)); got != "ping \"p\"\ntext 1000 bytes of \"xxxx\"" {
		t.Errorf("exactly the limit: %s", got)
	}
	over := wire(part(Text, half), ping("p"), last(half+"x"))
	if got := lines(feed(t, 1000, chop(over, 7)...)); got != "ping \"p\"\nfault 1009" {
		t.Errorf("one byte over: %s", got)
	}
	if got := lines(feed(t, 1000, wire(text(half + half + "x"))[:8])); got != "fault 1009" {
		t.Errorf("one frame over, by its header: %q", got)
	}
}

// A claimed length pins nothing: memory follows the bytes that came.
func TestClaimedLengthPinsNothing(t *testing.T) {
	var p Parser
	asked := 0
	asm := Assembly{Grow: func(b []byte, n int) []byte {
		asked = max(asked, n)
		return append(make([]byte, 0, len(b)+n), b...)
	}}
	frame := wire(binary_(strings.Repeat("x", 100_000)))
	if ev, n := p.Next(frame[:20], &asm, 1<<20); ev.Kind != None || n != 20 || asked != 6 || p.Idle() {
		t.Errorf("event %v, took %d, grew by %d, idle %v", ev, n, asked, p.Idle())
	}
}

func TestWholeMessagesAreNotCopied(t *testing.T) {
	sent := wire(text("first"), ping("p"), binary_("second"))
	buf := make([]byte, len(sent))
	var p Parser
	asm := Assembly{Grow: func([]byte, int) []byte { t.Error("a whole frame was copied"); return nil }}
	run := func() {
		copy(buf, sent)
		rest := buf
		for {
			ev, n := p.Next(rest, &asm, 1000)
			if ev.Kind == None {
				return
			}
			rest = rest[n:]
		}
	}
	if got := testing.AllocsPerRun(100, run); got != 0 {
		t.Errorf("%v allocations", got)
	}
	if !p.Idle() {
		t.Error("something is left over")
	}
}

func TestAppendClose(t *testing.T) {
	for _, c := range []struct {
		code   uint16
		reason string
		want   string
	}{
		{1000, "bye", "\x88\x05\x03\xe8bye"},
		{CloseNoCode, "ignored", "\x88\x00"},
		{4001, strings.Repeat("é", 100), "\x88\x7c\x0f\xa1" + strings.Repeat("é", 61)},
	} {
		if got := AppendClose(nil, c.code, c.reason); string(got) != c.want {
			t.Errorf("%d %q: %q", c.code, c.reason, got)
		}
	}
}

func TestAppendHeader(t *testing.T) {
	for n, want := range map[int]string{
		0: "\x81\x00", 125: "\x81\x7d", 126: "\x81\x7e\x00\x7e", 65535: "\x81\x7e\xff\xff", 65536: "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
	} {
		if got := AppendHeader(nil, Text, n); string(got) != want || len(got) > HeaderMax {
			t.Errorf("%d: %q", n, got)
		}
	}
}

// Whatever the bytes and however they are cut: no panic, the same events, and
// no message over the limit.
func FuzzParser(f *testing.F) {
	for _, c := range autobahnCases() {
		if b := wire(c.send...); len(b) < 300 {
			f.Add(b, uint16(3))
		}
	}
	f.Add([]byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5}, uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		const limit = 300
		whole := feed(t, limit, b)
		if pieces := feed(t, limit, chop(b, 1+int(cut)%40)...); lines(whole) != lines(pieces) {
			t.Errorf("whole:\n%s\nin pieces:\n%s", lines(whole), lines(pieces))
		}
		if octets := feed(t, limit, chop(b, 1)...); lines(whole) != lines(octets) {
			t.Errorf("whole:\n%s\nin octets:\n%s", lines(whole), lines(octets))
		}
	})
}

func BenchmarkParser(b *testing.B) {
	for name, payload := range map[string]int{"100B": 100, "4KiB": 4 << 10} {
		b.Run(name, func(b *testing.B) {
			var sent []byte
			count := 0
			for ; len(sent) < 60<<10; count++ {
				sent = AppendMasked(sent, Binary, bytes.Repeat([]byte{7}, payload), [4]byte(binary.BigEndian.AppendUint32(nil, uint32(count)*2654435761)))
			}
			buf := make([]byte, len(sent))
			var p Parser
			var asm Assembly
			b.SetBytes(int64(len(sent)))
			b.ReportAllocs()
			for b.Loop() {
				copy(buf, sent)
				for rest := buf; ; {
					ev, n := p.Next(rest, &asm, 1<<20)
					if ev.Kind == None {
						break
					}
					rest = rest[n:]
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count), "ns/message")
		})
	}
}
