//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Nothing is lost and nothing comes twice for a client that goes on from the
// last event that it has whole, wherever in an event its connection is cut, and
// whenever the server is killed.
func TestStreamAcrossCutsAndCrashes(t *testing.T) {
	seed := envSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	s := startServer(t)
	tokens := s.people(1, "alice", "bob")
	const rounds, each = 24, 20
	var want, got []string
	last, cuts := "", 0
	for round := range rounds {
		alice := s.client(tokens["alice/1"])
		for i := range each {
			text := fmt.Sprintf("%d.%d %s", round, i, strings.Repeat("z", rng.IntN(200)))
			alice.send(t, "bob", text)
			want = append(want, text)
		}
		if round%4 == 3 {
			s.kill()
			s.restart()
		}
		for round == rounds-1 && len(got) < len(want) || round < rounds-1 && rng.IntN(3) > 0 {
			room := int64(700 + rng.IntN(4000))
			if round == rounds-1 {
				room = 1 << 20
			}
			texts, id := s.cutAfter(t, tokens["bob/1"], last, room, len(want)-len(got))
			got, last = append(got, texts...), id
			cuts++
			if round < rounds-1 && rng.IntN(4) == 0 && last != "" {
				seq, _ := strconv.ParseUint(last, 10, 64)
				if err := s.client(tokens["bob/1"]).ack(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("of %d, %d came, or not in their order", len(want), len(got))
	}
	t.Logf("%d messages over %d streams, cut, and %d kills", len(want), cuts, rounds/4)
}

// cutAfter reads so many bytes of a stream, however few an event has, and cuts
// the connection; or until most texts have come. It gives the texts of the
// events that were whole, and the id of the last.
func (s *server) cutAfter(t *testing.T, token, last string, room int64, most int) (texts []string, id string) {
	t.Helper()
	id = last
	c := s.client(token)
	var headers []string
	if last != "" {
		headers = []string{"Last-Event-ID: " + last}
	}
	response, err := c.request(t.Context(), "GET", "/v1/events", "", headers...)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		t.Fatalf("%s %s", response.Status, text)
	}
	enough := errors.New("enough")
	err = readEvents(io.LimitReader(response.Body, room), func(e event) error {
		f, err := e.frame()
		if err != nil {
			return err
		}
		if e.id != "" {
			id = e.id
		}
		if f.Deliver != nil {
			texts = append(texts, string(f.Deliver.Payload))
		}
		if len(texts) == most || f.Drained != nil {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return texts, id
}

// A reader that does not read costs the server a bounded piece of memory, and
// is cut; the mailbox keeps everything, and a slow reader gets all of it.
func TestStreamOfASlowReader(t *testing.T) {
	s := startServer(t, "--rate-sends", "100000/100000", "--rate-requests", "100000/100000")
	senders := []string{"s1", "s2", "s3", "s4"}
	tokens := s.people(1, append(senders, "bob")...)
	const each, size = 4990, 1000 // close to 20,000 entries, the most of a mailbox
	var running sync.WaitGroup
	for _, sender := range senders {
		running.Go(func() { s.pipeline(t, tokens[sender+"/1"], "bob", each, size) })
	}
	running.Wait()
	before := s.live()
	request := "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + tokens["bob/1"] + "\r\n\r\n"
	stuck, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	if err := stuck.(*net.TCPConn).SetReadBuffer(16 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stuck, request); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream is open", func() error { return s.metric("rookery_events_streams", 1) })
	most := 0
	eventually(t, "the stream is cut", func() error {
		most = max(most, s.live()-before)
		return s.metric("rookery_events_streams", 0)
	})
	t.Logf("one that does not read: %d bytes more on the heap at most", most)
	if most > 12<<20 { // 20,000 entries of an actor's index, a page or two, what waits for the stream
		t.Errorf("that is not bounded")
	}
	// What had been written by then is read, and cut off in the middle; now one
	// that reads slowly goes on from there, and from wherever it is cut itself.
	seen, last := 0, ""
	eventually(t, "everything came", func() error {
		c := s.client(tokens["bob/1"])
		err := c.events(t.Context(), last, func(e event) error {
			if e.name == "close" {
				return errors.New(e.data)
			}
			if e.id != "" {
				last = e.id
			}
			if e.name == "deliver" {
				seen++
			}
			if seen%1000 == 999 {
				<-time.After(20 * time.Millisecond)
			}
			if e.name == "drained" {
				return context.Canceled
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
	if seen != each*len(senders) || last != strconv.Itoa(seen) {
		t.Errorf("%d messages came, the last event is %s; %d were sent", seen, last, each*len(senders))
	}
}

// pipeline sends by WebSocket, a window at a time.
func (s *server) pipeline(t *testing.T, token, to string, count, size int) {
	conn, _, err := websocket.Dial(t.Context(), s.ws(), nil)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(4 << 20)
	write := func(text string) bool {
		err := conn.Write(t.Context(), websocket.MessageText, []byte(text))
		if err != nil {
			t.Error(err)
		}
		return err == nil
	}
	if !write(helloText(token, 0)) {
		return
	}
	open, sent := 0, 0
	for sent < count {
		var lines []string
		for open+len(lines) < 32 && sent+open+len(lines) < count {
			lines = append(lines, sendText(1, newID(), to, strings.Repeat("m", size)))
		}
		if open += len(lines); len(lines) > 0 && !write(strings.Join(lines, "\n")) {
			return
		}
		_, data, err := conn.Read(t.Context())
		if err != nil {
			t.Error(err)
			return
		}
		frames, err := parseFrames(string(data))
		if err != nil {
			t.Error(err)
			return
		}
		for _, f := range frames {
			switch {
			case f.Sent != nil:
				open--
				sent++
			case f.Error != nil:
				t.Errorf("%+v", f.Error)
				return
			}
		}
	}
}

// Of one device there is one session, whichever way it listens; who is
// displaced is told so in a way that a browser repeats, and stays away.
func TestOneStreamOfADevice(t *testing.T) {
	s := startServer(t)
	tokens := s.people(1, "alice", "bob")
	token := tokens["bob/1"]
	first := s.stream(token, "").begun()
	second := s.stream(token, "").begun()
	if e := first.closed(4102); e.id != "displaced" {
		t.Errorf("the last event is %+v", e)
	}
	c := s.client(token)
	response, err := c.request(t.Context(), "GET", "/v1/events", "", "Last-Event-ID: displaced")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		t.Errorf("a browser that comes back: %s", response.Status)
	}
	s.client(tokens["alice/1"]).send(t, "bob", "one")
	if got := second.text(); got != "one" {
		t.Errorf("got %q", got)
	}

	// A WebSocket takes the stream's place, and a stream a WebSocket's.
	conn, _, err := websocket.Dial(t.Context(), s.ws(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(helloText(token, 0))); err != nil {
		t.Fatal(err)
	}
	second.closed(4102)
	third := s.stream(token, "1").begun()
	for err == nil {
		_, _, err = conn.Read(t.Context())
	}
	if websocket.CloseStatus(err) != 4102 {
		t.Errorf("the WebSocket: %v", err)
	}
	third.stop()
}

// Acks of REST count for the stream: the sender hears of it, and a later
// stream begins there. Where a client says that it has more than it acked, it
// goes on there, and nothing is acked by that.
func TestStreamAndAcks(t *testing.T) {
	s := startServer(t)
	tokens := s.people(1, "alice", "bob")
	alice, bob := s.client(tokens["alice/1"]), s.client(tokens["bob/1"])
	st := s.stream(tokens["bob/1"], "").begun()
	for i := range 5 {
		alice.send(t, "bob", fmt.Sprint(i))
		if got := st.text(); got != fmt.Sprint(i) {
			t.Fatalf("got %q", got)
		}
	}
	if err := bob.ack(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	receipt := func(after uint64, want uint64) uint64 {
		t.Helper()
		p, err := alice.poll(t.Context(), after, "10s")
		frames, bad := p.frames()
		if err != nil || bad != nil || len(frames) != 1 || frames[0].Receipt == nil || frames[0].Receipt.DeliveredUpTo != want {
			t.Fatalf("%+v, %v, %v; want delivered up to %d", p, err, bad, want)
		}
		return p.Next
	}
	next := receipt(0, 2)
	alice.send(t, "bob", "5") // the stream goes on
	if got := st.text(); got != "5" {
		t.Errorf("got %q", got)
	}
	st.stop()
	for after, from := range map[string]int{"": 2, "1": 2, "2": 2, "4": 4} {
		st := s.stream(tokens["bob/1"], after)
		st.next("welcome")
		for i := from; i < 6; i++ {
			if got := st.text(); got != fmt.Sprint(i) {
				t.Errorf("after %q: got %q, want %d", after, got, i)
			}
		}
		if e := st.next("drained"); e.id != "6" {
			t.Errorf("%+v", e)
		}
		st.stop()
	}
	p, err := alice.poll(t.Context(), next, "200ms")
	if err != nil || len(p.Messages) > 0 {
		t.Errorf("what the streams said was taken for an ack: %+v, %v", p, err)
	}
	if err := bob.ack(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	receipt(next, 6)
	for after, detail := range map[string]string{"7": "Last-Event-ID: it is beyond", "six": "Last-Event-ID: must be"} {
		var p problem
		if err := bob.events(t.Context(), after, func(event) error { return nil }); !errors.As(err, &p) || p.status != 400 || !strings.HasPrefix(p.Detail, detail) {
			t.Errorf("after %s: %v", after, err)
		}
	}
	if _, err := bob.poll(t.Context(), 7, "10s"); problemCode(err) != "invalid_argument" {
		t.Errorf("a poll from the future: %v", err)
	}
}
