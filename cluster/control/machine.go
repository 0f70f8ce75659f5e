package control

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// Apply writes the rows of a committed batch. A batch that was made in another
// term than its entry's was decided on a state that may never have been, and
// has no effect, on any replica.
func (c *Control) Apply(index, term uint64, data []byte) error {
	batch := &storepb.Batch{}
	if err := proto.Unmarshal(data, batch); err != nil {
		return fmt.Errorf("control: batch: %w", err)
	}
	if batch.GetTerm() != term {
		c.config.Logger.Warn("batch refused", "index", index, "made", batch.GetTerm(), "term", term)
		return nil
	}
	seen := false
	for _, m := range batch.GetMutations() {
		row := m.GetRow()
		if m.GetUser() != "" || len(row.GetKey()) == 0 {
			return fmt.Errorf("control: mutation that is no row of group 0: %T", m.GetOp())
		}
		key := append(slices.Clone(c.prefix), row.GetKey()...)
		if row.Value == nil {
			c.config.Store.Delete(key)
		} else {
			c.config.Store.Put(key, row.GetValue())
		}
		if row.GetKey()[0] == kindInvite {
			continue // nobody sees them
		}
		if err := c.applied.take(row.GetKey(), row.GetValue()); err != nil {
			return fmt.Errorf("control: row of a batch: %w", err)
		}
		seen = true
	}
	if !seen {
		return nil
	}
	return c.publish()
}

// Lead reads the state, and creates what a new cluster lacks.
func (c *Control) Lead(term uint64) {
	c.term = term
	c.reload()
	if c.state == nil {
		return
	}
	c.enter()
}

// open says that group 0 can be used, this term.
func (c *Control) open(err error) {
	if err != nil {
		// Tick tries again, unless leadership is lost.
		c.config.Logger.Warn("group 0 could not be entered", "error", err)
		return
	}
	if k := c.View(); k.Shards != c.config.Shards {
		c.fail(fmt.Errorf("control: the cluster has %d shards, and this node runs %d", k.Shards, c.config.Shards))
		return
	}
	c.entered = true
	c.ready.Store(true)
}

// Follow gives up everything in flight: its outcome is unknown.
func (c *Control) Follow() {
	c.term, c.state, c.entered = 0, nil, false
	c.ready.Store(false)
	c.abandon(ErrUnknown)
}

// Committed answers what the batch was for.
func (c *Control) Committed(token uint64) { c.finish(token) }

// Confirmed answers what needed no rows.
func (c *Control) Confirmed(token uint64) { c.finish(token) }

// Dropped says that the batch is not in the log.
func (c *Control) Dropped(token uint64) {
	if token == c.token && len(c.flying) > 0 {
		c.abandon(ErrUnavailable)
	}
}

func (c *Control) finish(token uint64) {
	if token != c.token || len(c.flying) == 0 {
		return
	}
	flying := c.flying
	c.flying = nil
	for _, op := range flying {
		op.done(op.err)
	}
	c.flush()
}
