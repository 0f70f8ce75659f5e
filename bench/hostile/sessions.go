package hostile

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"

	"github.com/google/uuid"

	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/transport/ws"
)

func sendText(to string, payload []byte) string {
	return fmt.Sprintf(`{"send":{"id":%q,"to":{"user":%q},"payload":%q}}`, uuid.NewString(), to, base64.StdEncoding.EncodeToString(payload))
}

// flood has n devices write what next makes, as fast as it is taken, and read
// what comes.
func flood(n int, next func(f *Field, i, round int) string) func(context.Context, *Field, *Score) error {
	return func(ctx context.Context, f *Field, s *Score) error {
		return f.hold(ctx, n, s, func(ctx context.Context, i int) error {
			return f.open(ctx, i, s, device(f, i), func(p *peer) error {
				return beside(ctx, p, func(ctx context.Context) error {
					for round := 0; ctx.Err() == nil; round++ {
						if err := p.text(next(f, i, round)); err != nil {
							return err
						}
					}
					return nil
				}, p.drain)
			})
		})
	}
}

// lines repeats a frame until a message has so many of them.
func lines(n int, frame func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(frame(i))
		b.WriteByte('\n')
	}
	return b.String()
}

func stranger() string { return "nobody-" + number(rand.IntN(1<<30)) } //nolint:gosec // no secret

// neverReads connects devices that take nothing from their sockets, while
// others of theirs send them messages, typing and signals.
func neverReads(ctx context.Context, f *Field, s *Score) error {
	deaf := max(len(f.Attackers)/2, 1)
	payload := make([]byte, 4<<10)
	signal := base64.StdEncoding.EncodeToString(make([]byte, limits.Signal))
	done := make(chan error, 1)
	go func() {
		done <- f.hold(ctx, deaf, s, func(ctx context.Context, i int) error {
			return f.open(ctx, i, s, f.Attackers[i].Tokens[0], func(p *peer) error {
				if c, ok := p.Conn.(*net.TCPConn); ok {
					if err := c.SetReadBuffer(4 << 10); err != nil {
						return err
					}
				}
				<-ctx.Done()
				return nil
			})
		})
	}()
	loud := *f
	loud.Attackers = f.Attackers[deaf:]
	err := flood(min(len(loud.Attackers), 8), func(_ *Field, i, round int) string {
		to := f.Attackers[(i+round)%deaf].Name
		return sendText(to, payload) +
			fmt.Sprintf("\n{\"signalTo\":{\"to\":{\"user\":%q},\"bytes\":%q}}\n{\"typing\":{\"conversation\":{\"user\":%q},\"on\":true}}", to, signal, to)
	})(ctx, &loud, s)
	if e := <-done; err == nil {
		err = e
	}
	return err
}

// badJSON sends what decodes badly, one kind after the other, as large as a
// message may be.
func badJSON(f *Field, i, round int) string {
	const most = limits.Message - 64
	kinds := []func() string{
		func() string { return `{"hello":{"token":"` + strings.Repeat("x", most) + `"}}` },
		func() string { return `{"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}` },
		func() string { return strings.Repeat(`{"send":`, most/8) },
		func() string { return strings.Repeat("[", most) },
		func() string { return `{"ack":{"seq":1e400}}` },
		func() string { return `{"ack":{"seq":` + strings.Repeat("9", most) + `}}` },
		func() string {
			return `{` + strings.TrimSuffix(lines(most/16, func(i int) string { return fmt.Sprintf(`"k%d":1,`, i) }), ",\n") + `}`
		},
		func() string { return `{"ref":1` + strings.Repeat(`,"ref":1`, most/8) + `}` },
		func() string {
			return `{"send":{"payloads":[` + strings.Repeat(`{"user":"a","device":1},`, most/24-8) + `{"nope":1}]}}`
		},
		func() string { return `{"watch":{"users":[` + strings.Repeat(`"a",`, most/4-8) + `"a"]}}` },
		func() string { return `{"send":{"id":"x","payload":"` + strings.Repeat("A", most) + `"}}` },
		func() string { return lines(most/13, func(int) string { return `{"pong":{}}` }) },
		func() string { return strings.Repeat("\n", most) },
		func() string { return `{"hello":{"token":"` + strings.Repeat(`\ud83d\ude00`, most/12) + `"}}` },
	}
	return kinds[(i+round)%len(kinds)]()
}

// badProtobuf sends what decodes badly in the other encoding.
func badProtobuf(ctx context.Context, f *Field, s *Score) error {
	const most = limits.Message - 16
	varint := func(n int) []byte {
		var b []byte
		for ; n > 0x7f; n >>= 7 {
			b = append(b, byte(n)|0x80)
		}
		return append(b, byte(n))
	}
	framed := func(b []byte) []byte { return append(varint(len(b)), b...) }
	repeat := func(s string, n int) []byte { return []byte(strings.Repeat(s, n)) }
	kinds := [][]byte{
		framed(repeat("\x0b", most)),                       // groups that do not end
		framed(repeat("\x0b\x0c", most/2)),                 // groups that do
		framed(repeat("\xa2\x06\x00", most/3)),             // unknown fields
		framed(repeat("\x08\xff\xff\xff\xff\x0f", most/6)), // the same field, again and again
		framed(repeat("\x1a\x00", most/2)),                 // bodies that replace each other
		repeat("\x00", 400),                                // frames of nothing
		repeat("\x80", most),                               // a varint without an end
		append([]byte{0xff, 0xff, 0xff, 0xff, 0x7f}, 8, 1), // a length past the end
		framed(append([]byte{0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f}, 1)),
		framed(append(append([]byte{0x3a}, varint(most-8)...), repeat("\x0a\x01a", (most-8)/3)...)),
	}
	return f.hold(ctx, 16, s, func(ctx context.Context, i int) error {
		return f.raw(ctx, i, s, func(c net.Conn) error {
			p, err := upgrade(c, s, "Sec-WebSocket-Protocol: "+ws.NameProtobuf+"\r\nAuthorization: Bearer "+device(f, i)+"\r\n")
			if err != nil {
				return err
			}
			hello := []byte{0x02, 0x12, 0x00}
			return beside(ctx, p, func(ctx context.Context) error {
				err := p.message(ws.Binary, hello)
				for round := i; err == nil && ctx.Err() == nil; round++ {
					err = p.message(ws.Binary, kinds[round%len(kinds)])
				}
				return err
			}, p.drain)
		})
	})
}

// brokenHello sends broken frames instead of a hello, before anybody knows who
// it is.
func brokenHello(ctx context.Context, f *Field, s *Score) error {
	small := lines(limits.FrameCount, func(int) string { return `{"hello":{"tokn":1}}` })
	giant := `{"hello":{"token":"` + strings.Repeat("x", limits.Message-64) + `","x":1}}`
	return f.hold(ctx, 32, s, func(ctx context.Context, i int) error {
		return f.open(ctx, i, s, "", func(p *peer) error {
			return beside(ctx, p, func(ctx context.Context) error {
				for ctx.Err() == nil {
					if err := p.text([]string{small, giant}[i%2]); err != nil {
						return err
					}
				}
				return nil
			}, p.drain)
		})
	})
}

// frameFlood is as many of the cheapest frames as fit into a message.
func frameFlood(_ *Field, _, _ int) string {
	return lines(limits.FrameCount, func(int) string { return `{"ping":{}}` })
}

func signalFlood(f *Field, _, _ int) string {
	signal := base64.StdEncoding.EncodeToString(make([]byte, limits.Signal))
	return lines(32, func(int) string {
		return fmt.Sprintf(`{"signalTo":{"to":{"user":%q},"bytes":%q}}`, f.Victim, signal)
	})
}

func typingFlood(f *Field, i, _ int) string {
	return lines(256, func(n int) string {
		return fmt.Sprintf(`{"typing":{"conversation":{"user":%q},"on":%v}}`, f.Victim, n%2 == 0)
	})
}

// watchFlood watches as many users as it may, others each time, among whom the
// victim is.
func watchFlood(f *Field, _, _ int) string {
	return `{"watch":{"users":["` + f.Victim + `"` + strings.ReplaceAll(lines(limits.Watched-1, func(int) string { return `,"` + stranger() + `"` }), "\n", "") + `]}}`
}

// manyConversations sends to somebody else each time, most of whom do not exist.
func manyConversations(_ *Field, _, _ int) string {
	return lines(64, func(int) string { return sendText(stranger(), []byte("x")) })
}

// sendFlood sends to the victim past what may be in flight.
func sendFlood(f *Field, _, _ int) string {
	return lines(128, func(int) string { return sendText(f.Victim, []byte("buy")) })
}

// beyond acks and reads what was never delivered, in conversations of others.
func beyond(f *Field, _, round int) string {
	return lines(128, func(i int) string {
		return fmt.Sprintf("{\"ack\":{\"seq\":\"%d\"}}\n{\"read\":{\"conversation\":{\"user\":%q},\"order\":\"%d\"}}", uint64(1)<<(i%64), f.Victim, round+1)
	})
}

// helloAgain says hello a second time.
func helloAgain(f *Field, i, _ int) string {
	return fmt.Sprintf(`{"hello":{"token":%q}}`, device(f, i))
}

// takeover connects with the same token again and again.
func takeover(ctx context.Context, f *Field, s *Score) error {
	return f.hold(ctx, 16, s, func(ctx context.Context, i int) error {
		for ctx.Err() == nil {
			_ = f.open(ctx, i, s, f.Attackers[0].Tokens[0], func(*peer) error { s.Frames.Add(1); return nil })
		}
		return nil
	})
}

// foreignTokens says hello with tokens that are not good.
func foreignTokens(ctx context.Context, f *Field, s *Score) error {
	return f.hold(ctx, 16, s, func(ctx context.Context, i int) error {
		for n := 0; ctx.Err() == nil; n++ {
			good := device(f, i)
			token := []string{"x", good[:len(good)-4] + "AAAA", good[:len(good)/2], strings.Repeat("A.", 1000), "eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ."}[n%5]
			_ = f.open(ctx, i, s, "", func(p *peer) error {
				if err := p.text(fmt.Sprintf(`{"hello":{"token":%q}}`, token)); err != nil {
					return err
				}
				return p.drain()
			})
		}
		return nil
	})
}
