package hostile

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/transport/ws"
)

const slowly = time.Second // between two bytes of a slow-loris

// slowHTTP drips requests that never end, each connection from an address of
// its own: the request line, the headers, or the body.
func slowHTTP(begin, rest string) func(context.Context, *Field, *Score) error {
	return func(ctx context.Context, f *Field, s *Score) error {
		return f.hold(ctx, f.Conns, s, func(ctx context.Context, i int) error {
			return f.raw(ctx, i, s, func(c net.Conn) error {
				if _, err := io.WriteString(c, begin); err != nil {
					return err
				}
				return beside(ctx, c, func(ctx context.Context) error { return drip(ctx, c, s, []byte(rest), slowly) }, func() error { return untilEnd(c) })
			})
		})
	}
}

// halfOpen connects and says nothing, from many addresses or one.
func halfOpen(address func(i int) int) func(context.Context, *Field, *Score) error {
	return func(ctx context.Context, f *Field, s *Score) error {
		return f.hold(ctx, f.Conns, s, func(ctx context.Context, i int) error {
			return f.raw(ctx, address(i), s, untilEnd)
		})
	}
}

func manyAddresses(i int) int { return i }
func oneAddress(int) int      { return 0 }

// keepAlive asks for something small, and stays.
func keepAlive(ctx context.Context, f *Field, s *Score) error {
	return f.hold(ctx, f.Conns, s, func(ctx context.Context, i int) error {
		return f.raw(ctx, i, s, func(c net.Conn) error {
			if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: rookery\r\n\r\n"); err != nil {
				return err
			}
			return untilEnd(c)
		})
	})
}

// noHello opens WebSockets and does not say who it is.
func noHello(ctx context.Context, f *Field, s *Score) error {
	return f.hold(ctx, f.Conns, s, func(ctx context.Context, i int) error {
		return f.open(ctx, i/64, s, "", (*peer).drain)
	})
}

// slowFrame drips the header of a frame, again and again.
func slowFrame(ctx context.Context, f *Field, s *Score) error {
	return f.hold(ctx, f.Conns, s, func(ctx context.Context, i int) error {
		return f.open(ctx, i/64, s, "", func(p *peer) error {
			return beside(ctx, p, func(ctx context.Context) error {
				return drip(ctx, p, s, append(claim(limits.Message), make([]byte, 1<<10)...), slowly)
			}, p.drain)
		})
	})
}

// slowPayload sends all but the end of a message of the largest size, and the
// end byte by byte: what the node has of it is pinned. With accounts it stays
// for limits.PartialTimeout.
func slowPayload(token func(f *Field, i int) string) func(context.Context, *Field, *Score) error {
	return func(ctx context.Context, f *Field, s *Score) error {
		body := make([]byte, limits.Message-1<<10)
		return f.hold(ctx, f.Conns, s, func(ctx context.Context, i int) error {
			return f.open(ctx, i/64, s, token(f, i), func(p *peer) error {
				return beside(ctx, p, func(ctx context.Context) error {
					if err := p.write(claim(limits.Message)); err != nil {
						return err
					}
					if err := p.write(body); err != nil {
						return err
					}
					return drip(ctx, p, s, body[:1<<10], slowly)
				}, p.drain)
			})
		})
	}
}

func nobody(*Field, int) string { return "" }

// device is the i-th of all the attackers' devices.
func device(f *Field, i int) string {
	u := f.Attackers[i%len(f.Attackers)]
	return u.Tokens[i/len(f.Attackers)%len(u.Tokens)]
}

// tinyFragments sends one message of a million fragments of a byte or none,
// with pings between them.
func tinyFragments(ctx context.Context, f *Field, s *Score) error {
	const fragments = 1_000_000
	return f.hold(ctx, 8, s, func(ctx context.Context, i int) error {
		return f.open(ctx, i, s, device(f, i), func(p *peer) error {
			return beside(ctx, p, func(ctx context.Context) error {
				b := fragment(nil, ws.Binary, false, nil)
				for n := 0; n < fragments && ctx.Err() == nil; n++ {
					b = fragment(b, ws.Continuation, false, []byte("xxxx"[:n&1]))
					if n%16 == 0 {
						b = fragment(b, ws.Ping, true, []byte("still there?"))
					}
					if len(b) > 32<<10 {
						s.Frames.Add(int64(n))
						if err := p.write(b); err != nil {
							return err
						}
						b = b[:0]
					}
				}
				return p.write(fragment(b, ws.Continuation, true, nil))
			}, p.drain)
		})
	})
}

// endless sends fragments of a message that never ends.
func endless(ctx context.Context, f *Field, s *Score) error {
	piece := make([]byte, 16<<10)
	return f.hold(ctx, 16, s, func(ctx context.Context, i int) error {
		return f.open(ctx, i, s, device(f, i), func(p *peer) error {
			return beside(ctx, p, func(ctx context.Context) error {
				err := p.write(fragment(nil, ws.Binary, false, piece))
				for err == nil && ctx.Err() == nil {
					s.Frames.Add(1)
					err = p.write(fragment(nil, ws.Continuation, false, piece))
				}
				return err
			}, p.drain)
		})
	})
}

// pingFlood sends pings and reads no pong.
func pingFlood(ctx context.Context, f *Field, s *Score) error {
	var b []byte
	payload := make([]byte, ws.ControlMax)
	for range 256 {
		b = fragment(b, ws.Ping, true, payload)
	}
	return f.hold(ctx, 16, s, func(ctx context.Context, i int) error {
		return f.open(ctx, i, s, device(f, i), func(p *peer) error {
			for {
				s.Frames.Add(256)
				if err := p.write(b); err != nil {
					return err
				}
			}
		})
	})
}

// violations connects, breaks the protocol in one of many ways, and connects anew.
func violations(ctx context.Context, f *Field, s *Score) error {
	long := make([]byte, ws.ControlMax+1)
	ways := [][]byte{
		fragment(nil, ws.Ping, true, long), fragment(nil, ws.Ping, false, nil), fragment(nil, ws.Close, true, []byte{3}),
		fragment(nil, ws.Close, true, []byte{0x03, 0xed}), fragment(nil, ws.Close, true, []byte("\x03\xe8\xff\xfe")),
		fragment(nil, ws.Continuation, true, nil), {0x81, 0x05, 'a', 'b', 'c', 'd', 'e'}, {0xff}, {0x83, 0x80}, claim(1 << 40), claim(-1),
		fragment(nil, ws.Text, true, []byte("\xff")), fragment(fragment(nil, ws.Text, false, nil), ws.Text, true, nil),
		fragment(nil, ws.Text, true, []byte("not json")), fragment(nil, ws.Binary, true, []byte("binary")), fragment(nil, ws.Text, true, []byte(`{"ping":{}}`)),
		fragment(nil, ws.Text, true, []byte(`{"hello":{"token":"x"}}`)),
	}
	return f.hold(ctx, 16, s, func(ctx context.Context, i int) error {
		for n := 0; ctx.Err() == nil; n++ {
			_ = f.open(ctx, i, s, "", func(p *peer) error {
				s.Frames.Add(1)
				if err := p.write(ways[(n+i)%len(ways)]); err != nil {
					return err
				}
				return p.drain()
			})
		}
		return nil
	})
}

// churn connects and goes, politely or not, at once.
func churn(ctx context.Context, f *Field, s *Score) error {
	return f.hold(ctx, 16, s, func(ctx context.Context, i int) error {
		for n := 0; ctx.Err() == nil; n++ {
			token := ""
			if n%3 == 0 {
				token = device(f, i)
			}
			_ = f.open(ctx, i, s, token, func(p *peer) error {
				s.Frames.Add(1)
				if n%2 == 0 {
					return nil
				}
				if err := p.message(ws.Close, []byte{0x03, 0xe8}); err != nil {
					return err
				}
				return p.drain()
			})
		}
		return nil
	})
}

// offers sends handshakes with as many headers and extensions as fit.
func offers(ctx context.Context, f *Field, s *Score) error {
	more := "Sec-WebSocket-Protocol: "
	for range 200 {
		more += "mqtt, "
	}
	more += ws.NameJSON + "\r\n"
	for i := range 100 {
		more += "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=" + number(i) + "; x=\"\\\"\\\\\"\r\n"
	}
	return f.hold(ctx, 16, s, func(ctx context.Context, i int) error {
		for ctx.Err() == nil {
			_ = f.raw(ctx, i, s, func(c net.Conn) error {
				s.Frames.Add(1)
				_, err := upgrade(c, s, more)
				return err
			})
		}
		return nil
	})
}
