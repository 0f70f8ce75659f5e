package ws

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	gobwas "github.com/gobwas/ws"
)

// Whatever the bytes and wherever they are cut in two, the events are those of
// the whole.
func FuzzSplit(f *testing.F) {
	f.Add(wire(part(Text, "\xce"), ping("p"), last("\xba!")))
	f.Add(wire(part(Binary, ""), part(Continuation, ""), pong("q"), last("")))
	f.Add([]byte{0x82, 0xfe, 0x00, 0x7e, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 400 {
			return
		}
		const limit = 150
		whole := lines(feed(t, limit, b))
		for i := range b {
			if got := lines(feed(t, limit, b[:i], b[i:])); got != whole {
				t.Fatalf("cut at %d:\n%s\nwhole:\n%s", i, got, whole)
			}
		}
	})
}

// FuzzOracle compares the parser with the reader of github.com/gobwas/ws, of
// which it uses nothing but the mask.
func FuzzOracle(f *testing.F) {
	for _, c := range autobahnCases() {
		if b := wire(c.send...); len(b) < 300 {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 300
		got := feed(t, limit, b)
		o := &oracle{in: bytes.NewReader(b), limit: limit}
		for o.frame() {
		}
		// Of a header that is not complete the parser may already know better.
		if o.header && len(got) == len(o.trace)+1 && strings.HasPrefix(got[len(got)-1], "fault ") {
			got = got[:len(got)-1]
		}
		if lines(got) != lines(o.trace) {
			t.Errorf("parser:\n%s\noracle:\n%s", lines(got), lines(o.trace))
		}
	})
}

// oracle reads frames one after the other, each as a whole.
type oracle struct {
	in      *bytes.Reader
	limit   int
	op      gobwas.OpCode // of the message under way
	message []byte
	within  bool
	header  bool // the input ended inside a header
	trace   []string
}

func (o *oracle) say(format string, args ...any) {
	o.trace = append(o.trace, fmt.Sprintf(format, args...))
}

func (o *oracle) fault(code uint16) bool {
	o.say("fault %d", code)
	return false
}

// frame says whether to go on.
func (o *oracle) frame() bool {
	before := o.in.Len()
	h, err := gobwas.ReadHeader(o.in)
	switch {
	case errors.Is(err, gobwas.ErrHeaderLengthMSB):
		return o.fault(CloseProtocol)
	case err != nil:
		o.header = before > 0
		return false
	}
	state := gobwas.StateServerSide
	if o.within {
		state = state.Set(gobwas.StateFragmented)
	}
	switch {
	case gobwas.CheckHeader(h, state) != nil, int(before)-o.in.Len() != gobwas.HeaderSize(h): // not minimal
		return o.fault(CloseProtocol)
	case !h.OpCode.IsControl() && h.Length > int64(o.limit-len(o.message)):
		return o.fault(CloseTooBig)
	}
	payload := make([]byte, h.Length)
	n, err := io.ReadFull(o.in, payload)
	gobwas.Cipher(payload, h.Mask, 0)
	if err != nil {
		return o.torn(h, payload[:n])
	}
	if h.OpCode.IsControl() {
		return o.control(h.OpCode, payload)
	}
	return o.data(h, payload)
}

// torn is a frame that the input ends in: only text can be wrong by then.
func (o *oracle) torn(h gobwas.Header, payload []byte) bool {
	op := o.op
	if h.OpCode != gobwas.OpContinuation {
		op = h.OpCode
	}
	if op == gobwas.OpText && !h.OpCode.IsControl() && !begins(append(o.message, payload...)) {
		o.fault(CloseInvalidData)
	}
	return false
}

func (o *oracle) data(h gobwas.Header, payload []byte) bool {
	if h.OpCode != gobwas.OpContinuation {
		o.op = h.OpCode
	}
	o.message = append(o.message, payload...)
	o.within = !h.Fin
	text := o.op == gobwas.OpText
	switch {
	case text && !h.Fin && !begins(o.message), text && h.Fin && !utf8.Valid(o.message):
		return o.fault(CloseInvalidData)
	case h.Fin:
		o.say("%v %s", Opcode(o.op), brief(o.message))
		o.message = nil
	}
	return true
}

func (o *oracle) control(op gobwas.OpCode, payload []byte) bool {
	if op != gobwas.OpClose {
		o.say("%v %s", Opcode(op), brief(payload))
		return true
	}
	if len(payload) == 0 {
		o.say("close %d %s", CloseNoCode, brief(nil))
		return false
	}
	if len(payload) == 1 {
		return o.fault(CloseProtocol)
	}
	code, reason := binary.BigEndian.Uint16(payload), payload[2:]
	switch {
	case !ValidCode(code):
		return o.fault(CloseProtocol)
	case !utf8.Valid(reason):
		return o.fault(CloseInvalidData)
	}
	o.say("close %d %s", code, brief(reason))
	return false
}

// begins says whether b is UTF-8 that may go on.
func begins(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return !utf8.FullRune(b)
		}
		b = b[n:]
	}
	return true
}

// hijacked is a ResponseWriter whose connection keeps what is written to it.
type hijacked struct {
	*httptest.ResponseRecorder
	in  *bufio.Reader
	out *wires
}

type wires struct {
	net.Conn // nil: nothing else may be called
	written  bytes.Buffer
	closed   bool
}

func (w *wires) Write(b []byte) (int, error)      { return w.written.Write(b) }
func (w *wires) Close() error                     { w.closed = true; return nil }
func (w *wires) SetDeadline(time.Time) error      { return nil }
func (w *wires) SetWriteDeadline(time.Time) error { return nil }

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.out, bufio.NewReadWriter(h.in, bufio.NewWriter(h.out)), nil
}

// FuzzHandshake: whatever the request, it is upgraded as RFC 6455 has it, with
// every byte behind it kept, or refused with a status that says so.
func FuzzHandshake(f *testing.F) {
	f.Add("GET /v1/ws HTTP/1.1\r\nHost: here\r\n" + wanted + "Sec-WebSocket-Protocol: mqtt, rookery.v1.protobuf\r\nAuthorization: Bearer t\r\n\r\n\x82\x80\x00\x00\x00\x00")
	f.Add("GET / HTTP/1.1\r\nHost: here\r\n" + wanted + "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x; a=\"b\r\n\r\n")
	f.Add("GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: close\r\nSec-WebSocket-Key: \r\n\r\n")
	f.Add("GET / HTTP/1.0\r\n\r\n")
	f.Fuzz(func(t *testing.T, request string) {
		in := bufio.NewReader(strings.NewReader(request))
		r, err := http.ReadRequest(in)
		if err != nil || r.ContentLength != 0 {
			return // net/http answers, or the body is the handler's
		}
		behind, err := in.Peek(in.Buffered())
		if err != nil {
			t.Fatal(err)
		}
		behind = bytes.Clone(behind)
		w := &hijacked{httptest.NewRecorder(), in, &wires{}}
		hs, err := Upgrade(w, r, time.Minute)
		if err != nil {
			refusedHandshake(t, w)
			return
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(w.out.written.Bytes())), r)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, %q", err, w.out.written.Bytes())
		}
		name := res.Header.Get("Sec-WebSocket-Protocol")
		switch {
		case !bytes.Equal(hs.Leftover, behind):
			t.Errorf("%q is left of %q", hs.Leftover, behind)
		case name != "" && (name != hs.Subprotocol.String() || !strings.Contains(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), name)):
			t.Errorf("%v agreed, %q said", hs.Subprotocol, name)
		case res.Header.Get("Sec-WebSocket-Extensions") != "":
			t.Errorf("an extension is agreed: %v", res.Header)
		case w.out.closed:
			t.Error("upgraded and closed")
		case strings.ContainsAny(hs.Token, "\r\n"):
			t.Errorf("token %q", hs.Token)
		}
	})
}

func refusedHandshake(t *testing.T, w *hijacked) {
	status := w.Code
	if b := w.out.written.Bytes(); len(b) > 0 {
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
		if err != nil || !w.out.closed {
			t.Fatalf("refused with %q, closed %v: %v", b, w.out.closed, err)
		}
		status = res.StatusCode
	}
	if status < 400 || status >= 500 && status != http.StatusHTTPVersionNotSupported {
		t.Errorf("refused with %d", status)
	}
}
