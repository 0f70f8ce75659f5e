package host

import (
	"testing"
	"time"

	"github.com/rookery-im/rookery/actors/user"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// parkingWorld has the real core, and bob2's device 1, who polls.
func parkingWorld(t *testing.T) *world {
	w := newWorld(t)
	w.load = func(id string, rows user.Rows, att []user.Attachment) (Core, error) {
		s, err := user.Load(id, rows, att)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	w.lead(1)
	for _, a := range []*nodepb.Ask{
		{Body: &nodepb.Ask_Register{Register: &nodepb.Register{Password: "x"}}},
		{Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Password: "x"}}},
	} {
		a.User = "bob2"
		w.tell("bob2", a)
		w.settle()
	}
	w.trace.Reset()
	return w
}

const parked = 1 << 40 // conns of parked requests, in these tests

func (w *world) park(n, after uint64) {
	w.tell("bob2", &nodepb.Ask{User: "bob2", Asker: "bob2", Device: 1, Request: n, Body: &nodepb.Ask_List{List: &nodepb.List{
		After: after, Limit: 10, Park: &nodepb.Park{Conn: parked + n},
	}}})
}

func (w *world) write(id byte) {
	w.tell("bob2", &nodepb.Send{
		Origin: &nodepb.Origin{User: "alice", Conn: 9, Device: 1, Session: 1<<32 | 1}, To: "bob2", Tag: uint32(id), Number: uint64(id), Previous: uint64(id - 1),
		Id: append(make([]byte, 15), id), Kind: 1,
	})
}

// What is parked costs its actor's row one attachment, and is woken from there
// once the entry has committed. Nothing is proposed or read for it meanwhile.
func TestParkedWhileHibernated(t *testing.T) {
	w := parkingWorld(t)
	w.park(1, 0)
	w.park(2, 0)
	w.after(2 * time.Minute)
	s := w.shards[2]
	if len(s.lives)-1 != len(s.vacant) || s.rows.usedAtt != 2 {
		t.Errorf("%s, want 2 attachments and nobody live", s.counts())
	}
	w.expect("")
	w.tell("bob2", &nodepb.Unpark{Origin: &nodepb.Origin{Conn: parked + 2, User: "bob2", Device: 1}})
	w.write(1)
	w.expect("")
	w.settle()
	w.expect(`
		-- shard 2: committed accept bob2/1
		9 < sent 1 order 1
		1099511627777 < *nodepb.Woken
	`)
	w.after(2 * time.Minute)
	if s.rows.usedAtt != 0 || s.rows.used != 0 {
		t.Errorf("%s, want nothing kept", s.counts())
	}
}

// A batch that is dropped takes the word with it that it would have given:
// whoever is parked is told that it is not any more. Where the user is watched
// that is no news: a poll is not a session.
func TestParkedWhenTheBatchIsDropped(t *testing.T) {
	for name, between := range map[string]func(w *world){
		"parked before": func(*world) {},
		// The park of another is what the actor's attachments were last noted for.
		"another parked since": func(w *world) { w.park(3, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			w := parkingWorld(t)
			w.tell("bob2", &nodepb.Watch{Origin: &nodepb.Origin{Conn: 7, User: "carol"}})
			w.settle()
			w.trace.Reset()
			w.park(1, 0)
			w.write(1)
			between(w)
			w.shards[2].drop()
			got := w.trace.String()
			w.trace.Reset()
			want := map[string]string{
				"parked before": "-- shard 2: dropped\n9 < refused 1 unavailable\n1099511627777 lost bob2\n",
				"another parked since": "-- shard 2: dropped\n9 < refused 1 unavailable\n" +
					"1099511627779 lost bob2\n1099511627777 lost bob2\n",
			}[name]
			if got != want {
				t.Errorf("trace:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// Taking back what is parked is never refused: nobody repeats it.
func TestUnparkOfABusyShard(t *testing.T) {
	w := parkingWorld(t)
	w.park(1, 0)
	w.write(1) // in flight
	watch := &nodepb.Watch{Origin: &nodepb.Origin{Conn: 7, User: "carol"}}
	for w.shards[2].Tell("bob2", watch) == nil {
	}
	if err := w.shards[2].Tell("bob2", &nodepb.Unpark{Origin: &nodepb.Origin{Conn: parked + 1, User: "bob2", Device: 1}}); err != nil {
		t.Error(err)
	}
}

// With the term everything parked is gone.
func TestParkedWhenTheTermEnds(t *testing.T) {
	w := parkingWorld(t)
	w.park(1, 0)
	w.shards[2].lose()
	w.expect(`
		-- shard 2: leads no longer
		all left shard 2
	`)
	w.park(2, 0)
	w.expect("bob2: " + ErrNotLeading.Error())
}

// An actor that breaks is loaded anew without what was parked with it.
func TestParkedWhenTheActorBreaks(t *testing.T) {
	w := parkingWorld(t)
	w.park(1, 0)
	w.tell("bob2", "not an input")
	w.settle()
	w.expect("1099511627777 lost bob2")
	w.park(2, 0)
	w.write(1)
	w.settle()
	w.expect(`
		-- shard 2: committed accept bob2/1
		9 < sent 1 order 1
		1099511627778 < *nodepb.Woken
	`)
}
