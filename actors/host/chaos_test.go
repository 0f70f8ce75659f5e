package host

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// chaos drives two shards through commits, drops, lost terms, crashes, panics,
// lost mail and time, and checks after every step what may never happen:
//
//   - an entry's key is written twice (a seq given twice);
//   - a send has two outcomes;
//   - a session gets an entry that does not follow the one before;
//   - when all is quiet: a send without an outcome, one that was sent and is
//     not in the mailbox once, one that was refused and is, or a copy that is
//     not in the other user's mailbox, exactly once and in order.
type chaos struct {
	*world
	sends    uint32
	outcome  map[uint32]string
	said     map[uint32]string
	sessions map[uint64]*chaosSession
	next     uint64
	terms    uint64
	fault    string
}

type chaosSession struct {
	pushed uint64
	lost   bool // what was under way for it may still come, a gateway drops it
}

var chaosUsers = []string{"alice", "bob", "bob2", "eve2"}

func TestChaos(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		c := &chaos{world: w, outcome: map[uint32]string{}, said: map[uint32]string{}, sessions: map[uint64]*chaosSession{}, terms: 1}
		for _, r := range w.each() {
			r.cfg.Gateway = c
			r.store.strict = func(key []byte) { c.fault = fmt.Sprintf("written twice: %q", key) }
		}
		w.lead(1)
		shard := func(t *rapid.T) *rig { return w.shards[rapid.Uint32Range(1, 2).Draw(t, "shard")] }
		rt.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				from := rapid.SampledFrom(chaosUsers).Draw(t, "to")
				text := rapid.SampledFrom([]string{"x", "x", "panic", "copy", "copy"}).Draw(t, "what")
				c.send(from, text, rapid.SampledFrom(chaosUsers).Draw(t, "copy to"))
			},
			"attach": func(t *rapid.T) {
				c.next++
				id := rapid.SampledFrom(chaosUsers).Draw(t, "user")
				c.tell(id, attachTo(id, 1<<32+c.next))
			},
			"commit": func(t *rapid.T) { shard(t).commit() },
			"drop": func(t *rapid.T) {
				if s := shard(t); s.busy {
					s.drop()
				}
			},
			"lose": func(t *rapid.T) {
				s := shard(t)
				c.end(s, rapid.Bool().Draw(t, "committed after all"))
			},
			"crash": func(t *rapid.T) {
				s := shard(t)
				c.end(s, rapid.Bool().Draw(t, "committed after all"))
				c.terms++
				s.crash(c.terms)
				s.cfg.Gateway = c
			},
			"refuse":    func(t *rapid.T) { s := shard(t); s.refuses = !s.refuses },
			"lose mail": func(t *rapid.T) { w.mail = nil },
			"mail": func(t *rapid.T) {
				mail := w.mail
				w.mail = nil
				for _, f := range mail {
					f()
				}
			},
			"time": func(t *rapid.T) {
				w.now += rapid.Uint64Range(1, 90_000).Draw(t, "ms")
				for _, s := range w.each() {
					s.Tick()
					s.Flush()
				}
			},
			"": func(t *rapid.T) {
				if c.fault != "" {
					t.Fatalf("%s\n%s", c.fault, w.trace.String())
				}
			},
		})
		c.quiet(rt)
	})
}

func (c *chaos) send(to, text, copyTo string) {
	c.sends++
	switch text {
	case "copy":
		text = fmt.Sprintf("copy %s copy %d from %s", copyTo, c.sends, to)
	case "x":
		text = fmt.Sprintf("x %d", c.sends)
	}
	c.said[c.sends] = to + ": " + text
	if err := c.shards[shardOf(to)].Tell(to, sendTo(uint64(c.sends), c.sends, text)); err != nil {
		c.outcome[c.sends] = "not taken"
	}
	c.shards[shardOf(to)].Flush()
}

// end the term of a shard and begin the next.
func (c *chaos) end(s *rig, applied bool) {
	busy, data := s.busy, s.data
	s.lose()
	if busy && data != nil && applied {
		s.apply()
	}
	c.terms++
	s.term = c.terms
	s.Lead(c.terms)
}

func (c *chaos) quiet(t *rapid.T) {
	for _, s := range c.each() {
		s.refuses = false
	}
	for range 12 {
		c.now += 1100
		for _, s := range c.each() {
			s.Tick()
		}
		c.settle()
	}
	stored := map[string]int{}
	for _, id := range chaosUsers {
		for _, text := range c.texts(id) {
			stored[id+": "+text]++
		}
	}
	for n := uint32(1); n <= c.sends; n++ {
		what, times := c.outcome[n], stored[c.said[n]]
		switch {
		case what == "unknown" && times <= 1, what == "sent" && times == 1:
		case (what == "refused" || what == "not taken") && times == 0:
		default:
			c.fault = fmt.Sprintf("send %d (%s): outcome %q, stored %d times", n, c.said[n], what, times)
		}
	}
	// Whatever is in a source's mailbox as "copy X ..." is in X's, once, and per
	// pair of users in the same order.
	for _, to := range chaosUsers {
		for _, from := range chaosUsers {
			var sent []string
			for _, text := range c.texts(from) {
				if rest, ok := strings.CutPrefix(text, "copy "+to+" "); ok {
					sent = append(sent, rest)
				}
			}
			var got []string
			for _, text := range c.texts(to) {
				if strings.HasSuffix(text, " from "+from) && strings.HasPrefix(text, "copy ") && !strings.HasPrefix(text, "copy "+to+" copy") && len(strings.Fields(text)) == 4 {
					got = append(got, text)
				}
			}
			if !slices.Equal(sent, got) {
				c.fault = fmt.Sprintf("copies from %s to %s: %q sent, %q arrived", from, to, sent, got)
			}
		}
	}
	if c.fault != "" {
		t.Fatalf("%s\n%s", c.fault, c.trace.String())
	}
}

// texts in a user's mailbox, in order.
func (c *chaos) texts(id string) (list []string) {
	s := c.shards[shardOf(id)]
	prefix := string(s.cfg.Space.Key(id, mailbox.Entry))
	for _, k := range slices.Sorted(maps.Keys(s.store.rows)) {
		var e storepb.Entry
		if strings.HasPrefix(k, prefix) && proto.Unmarshal(s.store.rows[k], &e) == nil {
			list = append(list, string(e.GetMessage().GetPayload()))
		}
	}
	return list
}

func (c *chaos) decide(tag uint32, what string) {
	if c.outcome[tag] != "" {
		c.fault = fmt.Sprintf("send %d: %s, after %s", tag, what, c.outcome[tag])
	}
	c.outcome[tag] = what
}

// Deliver implements Gateway.
func (c *chaos) Deliver(conn uint64, msg proto.Message) {
	c.world.Deliver(conn, msg)
	switch m := msg.(type) {
	case *nodepb.Sent:
		c.decide(m.GetTag(), "sent")
	case *nodepb.Refused:
		c.decide(m.GetTag(), "refused")
	case *nodepb.Attached:
		if m.GetError() == nil && c.sessions[conn] == nil {
			c.sessions[conn] = &chaosSession{pushed: m.GetLastSeq()}
		}
	case *nodepb.Push:
		s := c.sessions[conn]
		switch {
		case s != nil && s.lost:
		case s == nil:
			c.fault = fmt.Sprintf("push to %d, which is not attached", conn)
		case s.pushed != m.GetPrevious():
			c.fault = fmt.Sprintf("push to %d after %d, it had %d", conn, m.GetPrevious(), s.pushed)
		default:
			s.pushed = m.GetEntry().GetSeq()
		}
	}
}

// Lost implements Gateway.
func (c *chaos) Lost(conn uint64, user string) {
	c.world.Lost(conn, user)
	c.sessions[conn] = &chaosSession{lost: true}
}

// Unknown implements Gateway. Each send has a connection of its own.
func (c *chaos) Unknown(conn uint64) {
	c.world.Unknown(conn)
	c.decide(uint32(conn), "unknown")
}
