package host

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// cost counts what goes into a group's log and a shard's rows.
type cost struct {
	*rig
	Store
	entries, bytes, mutations, puts, deletes int
}

func (c *cost) Propose(token uint64, data []byte) error {
	var b storepb.Batch
	if err := proto.Unmarshal(data, &b); err != nil {
		return err
	}
	c.entries++
	c.bytes += len(data)
	c.mutations += len(b.GetMutations())
	return c.rig.Propose(token, data)
}

func (c *cost) Put(k, v []byte) {
	c.puts++
	c.Store.Put(k, v)
}

func (c *cost) PutNew(k, v []byte) {
	c.puts++
	c.Store.PutNew(k, v)
}

func (c *cost) Delete(k []byte) {
	c.deletes++
	c.Store.Delete(k)
}

// What one message costs where each waits for the one before: 100 messages of
// Alice's, each acked by Bob, each receipt acked by Alice, one every 200 ms.
// docs/performance.md has these figures; one that grows is to be explained there.
func TestCostOfOneMessage(t *testing.T) {
	w := newTalk(t)
	var costs []*cost
	for _, r := range w.each() {
		c := &cost{rig: r, Store: r.store}
		r.Bind(c)
		r.cfg.Store = c
		costs = append(costs, c)
	}
	const messages = 100
	for range messages {
		w.send()
		w.after(50 * time.Millisecond)
		w.ack(w.bob, w.numbers)
		w.after(100 * time.Millisecond)
		w.ack(w.alice, w.numbers)
		w.after(50 * time.Millisecond)
	}
	w.after(2 * time.Second)
	total := cost{}
	for _, c := range costs {
		total.entries += c.entries
		total.bytes += c.bytes
		total.mutations += c.mutations
		total.puts += c.puts
		total.deletes += c.deletes
	}
	for _, x := range []struct {
		what      string
		got, most int
	}{
		{"entries", total.entries, 310}, {"mutations", total.mutations, 330}, {"bytes", total.bytes, 28_000},
		{"rows put", total.puts, 1050}, {"rows deleted", total.deletes, 200},
	} {
		t.Logf("%.2f %s a message", float64(x.got)/messages, x.what)
		if x.got > x.most {
			t.Errorf("%d %s for %d messages, at most %d", x.got, x.what, messages, x.most)
		}
	}
}
