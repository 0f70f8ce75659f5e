package hostile

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/rookery-im/rookery/transport/ws"
)

// peer is a WebSocket connection that speaks JSON and may lie.
type peer struct {
	net.Conn
	in    *bufio.Reader
	score *Score

	writing sync.Mutex // guards out, and keeps messages whole
	out     []byte
}

var mask = [4]byte{0x5a, 0xa5, 0x3c, 0xc3}

// upgrade opens a WebSocket on a bare connection.
func upgrade(c net.Conn, s *Score, more string) (*peer, error) {
	request := "GET /v1/ws HTTP/1.1\r\nHost: rookery\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + more + "\r\n"
	if _, err := io.WriteString(c, request); err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(c, 4<<10)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		s.Refused.Add(1)
		s.Code("http %d", res.StatusCode)
		return nil, errors.Join(fmt.Errorf("upgrade: %s", res.Status), res.Body.Close())
	}
	return &peer{Conn: c, in: in, score: s}, nil
}

// open runs use with a WebSocket from the i-th address; the token, where there
// is one, is said in hello first.
func (f *Field) open(ctx context.Context, i int, s *Score, token string, use func(p *peer) error) error {
	return f.raw(ctx, i, s, func(c net.Conn) error {
		p, err := upgrade(c, s, "")
		if err != nil {
			return err
		}
		if token != "" {
			if err := p.hello(token); err != nil {
				return err
			}
		}
		return use(p)
	})
}

// hello says hello and waits for welcome.
func (p *peer) hello(token string) error {
	if err := p.text(fmt.Sprintf(`{"ref":1,"hello":{"token":%q,"client":"hostile/1"}}`, token)); err != nil {
		return err
	}
	op, b, err := p.frame()
	switch {
	case err != nil:
		return err
	case op != ws.Text || !strings.Contains(string(b), `"welcome"`):
		return fmt.Errorf("hello is answered by %v %.200q", op, b)
	}
	return nil
}

// write queues nothing: it blocks until the kernel has it.
func (p *peer) write(b []byte) error {
	n, err := p.Write(b)
	p.score.Sent.Add(int64(n))
	return err
}

func (p *peer) message(op ws.Opcode, payload []byte) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	p.out = ws.AppendMasked(p.out[:0], op, payload, mask)
	p.score.Frames.Add(1)
	return p.write(p.out)
}

func (p *peer) text(s string) error { return p.message(ws.Text, []byte(s)) }

// fragment is a frame that may be one of many, and one that claims a length.
func fragment(dst []byte, op ws.Opcode, final bool, payload []byte) []byte {
	at := len(dst)
	dst = ws.AppendMasked(dst, op, payload, mask)
	if !final {
		dst[at] &^= 0x80
	}
	return dst
}

// claim is the header of a binary frame of n bytes.
func claim(n int) []byte {
	b := append([]byte{0x82, 0xff}, binary.BigEndian.AppendUint64(nil, uint64(n))...)
	return append(b, mask[:]...)
}

// frame reads one frame of the node's.
func (p *peer) frame() (ws.Opcode, []byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return 0, nil, err
	}
	n := uint64(head[1])
	switch n {
	case 126:
		var b [2]byte
		if _, err := io.ReadFull(p.in, b[:]); err != nil {
			return 0, nil, err
		}
		n = uint64(binary.BigEndian.Uint16(b[:]))
	case 127:
		var b [8]byte
		if _, err := io.ReadFull(p.in, b[:]); err != nil {
			return 0, nil, err
		}
		n = binary.BigEndian.Uint64(b[:])
	}
	if n > 64<<20 {
		return 0, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(p.in, b)
	return ws.Opcode(head[0] & 0xf), b, err
}

// closed is how the node ended the connection.
type closed struct {
	code   uint16
	reason string
}

func (c *closed) Error() string { return fmt.Sprintf("closed with %d %s", c.code, c.reason) }

// drain reads what comes, answers pings and counts errors, until the end.
func (p *peer) drain() error {
	for {
		op, b, err := p.frame()
		if err != nil {
			return err
		}
		switch op {
		case ws.Ping:
			if err := p.message(ws.Pong, b); err != nil {
				return err
			}
		case ws.Close:
			c := &closed{code: ws.CloseNoCode}
			if len(b) >= 2 {
				c.code, c.reason = binary.BigEndian.Uint16(b), string(b[2:])
			}
			p.score.Code("close %d", c.code)
			return c
		case ws.Text:
			p.count(b)
		}
	}
}

// count the error frames of a message.
func (p *peer) count(b []byte) {
	for line := range strings.SplitSeq(string(b), "\n") {
		if !strings.Contains(line, `"error":{`) {
			continue
		}
		var f struct{ Error struct{ Code, Reason string } }
		if json.Unmarshal([]byte(line), &f) == nil {
			p.score.Errors.Add(1)
			p.score.Code("%s", strings.TrimSpace(f.Error.Code+" "+f.Error.Reason))
		}
	}
}

// beside runs work while read reads; when read ends, so does the connection,
// and then work. A write that fails leaves read to say why.
func beside(ctx context.Context, c net.Conn, work func(context.Context) error, read func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	worked := make(chan error, 1)
	go func() { worked <- work(ctx) }()
	err := read()
	cancel()
	_ = c.Close()
	return errors.Join(err, <-worked)
}
