package user

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/persistence/mailbox"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// conv is what this user keeps of one peer: the direction from the peer to
// here, and the receipts in this user's mailbox.
type conv struct {
	lastOrder   uint64
	senders     []*sender
	delivered   uint64
	read        uint64
	undelivered []*storepb.Range
	acked       []*storepb.Range // above delivered, by devices that are gone
	receipts    []*storepb.ReceiptRow

	// Derived from the index.
	open    []uint64 // orders that no device has acked, ascending
	entries int      // stored messages from the peer, and their bytes
	bytes   int
}

// sender is a sending device of the peer.
type sender struct {
	device uint32
	row    *storepb.Sender
	slots  []result // by slot; shorter than the window while it fills
}

type result struct {
	id    [16]byte
	order uint64
	time  uint64
}

// Has says whether the rows of the peer are in memory.
func (s *State) Has(peer string) bool {
	_, ok := s.convs[peer]
	return ok
}

// Adopt reads the rows of one peer.
func (s *State) Adopt(peer string, rows Rows) error {
	c := &conv{}
	l := loader{rows: rows}
	l.each(mailbox.Sender, mailbox.Peer(peer), func(k, v []byte) error { return c.loadSender(k[1+len(peer):], v) })
	l.each(mailbox.Result, mailbox.Peer(peer), func(k, v []byte) error { return c.loadResult(k[1+len(peer):], v) })
	l.each(mailbox.Receipt, mailbox.Peer(peer), func(_, v []byte) error {
		r := &storepb.ReceiptRow{}
		c.receipts = append(c.receipts, r)
		return r.UnmarshalVT(v)
	})
	l.each(mailbox.Watermark, mailbox.Peer(peer), func(_, v []byte) error {
		var w storepb.Watermark
		err := w.UnmarshalVT(v)
		c.delivered, c.read, c.undelivered, c.acked = w.GetDelivered(), w.GetRead(), w.GetUndelivered(), w.GetAcked()
		return err
	})
	if l.err != nil {
		return fmt.Errorf("user: adopt peer: %w", l.err)
	}
	var last uint64
	for i := range s.index {
		it := &s.index[i]
		if it.kind != itemInbound || it.peer != peer {
			continue
		}
		if it.order <= last {
			return fmt.Errorf("user: adopt peer: %w", damagedIf(true, "order %d after %d", it.order, last))
		}
		last = it.order
		if _, gone := position(c.acked, it.order); gone || it.order <= c.delivered {
			it.acked = true
		}
		c.entries++
		c.bytes += int(it.size)
		if !it.acked {
			c.open = append(c.open, it.order)
		}
	}
	if last > c.lastOrder {
		return fmt.Errorf("user: adopt peer: %w", damagedIf(true, "order %d stored, %d given", last, c.lastOrder))
	}
	s.convs[peer] = c
	return nil
}

func (c *conv) loadSender(suffix, v []byte) error {
	row := &storepb.Sender{}
	if err := row.UnmarshalVT(v); err != nil {
		return err
	}
	n, err := number32(suffix)
	if err != nil {
		return err
	}
	c.sender(n).row = &storepb.Sender{ // without fields of another version
		Session: row.GetSession(), Number: row.GetNumber(), Accepted: row.GetAccepted(), Order: row.GetOrder(),
	}
	c.lastOrder = max(c.lastOrder, row.GetOrder())
	return nil
}

func (c *conv) loadResult(suffix, v []byte) error {
	var r storepb.Result
	if err := r.UnmarshalVT(v); err != nil {
		return err
	}
	if len(suffix) != 5 || suffix[4] >= limits.IdempotencyWindow || len(r.GetId()) != 16 {
		return damagedIf(true, "result under a suffix of %d bytes with an id of %d bytes", len(suffix), len(r.GetId()))
	}
	c.sender(binary.BigEndian.Uint32(suffix)).keep(suffix[4], result{[16]byte(r.GetId()), r.GetOrder(), r.GetTime()})
	return nil
}

// sender finds the row of a sending device, or begins one.
func (c *conv) sender(device uint32) *sender {
	for _, snd := range c.senders {
		if snd.device == device {
			return snd
		}
	}
	snd := &sender{device: device, row: &storepb.Sender{}}
	c.senders = append(c.senders, snd)
	return snd
}

func (snd *sender) keep(slot byte, r result) {
	for len(snd.slots) <= int(slot) {
		snd.slots = append(snd.slots, result{})
	}
	snd.slots[slot] = r
}

// find a result kept for the id. Order 0 was never given.
func (snd *sender) find(id [16]byte) (result, bool) {
	for i := range snd.slots {
		if snd.slots[i].id == id && snd.slots[i].order != 0 {
			return snd.slots[i], true
		}
	}
	return result{}, false
}

func (c *conv) receipt(by string) *storepb.ReceiptRow {
	for _, r := range c.receipts {
		if r.GetReceipt().GetBy() == by {
			return r
		}
	}
	return nil
}

// setReceipt replaces the receipt of whom the row is by.
func (c *conv) setReceipt(row *storepb.ReceiptRow) {
	for i, r := range c.receipts {
		if r.GetReceipt().GetBy() == row.GetReceipt().GetBy() {
			c.receipts[i] = row
			return
		}
	}
	c.receipts = append(c.receipts, row)
}

// settle takes an order out of those that wait for an ack.
func (c *conv) settle(order uint64) {
	if i, ok := slices.BinarySearch(c.open, order); ok {
		c.open = slices.Delete(c.open, i, i+1)
	}
}

// advance moves the delivered watermark up to the first open order. It says
// whether it moved.
func (c *conv) advance() bool {
	to := c.lastOrder
	if len(c.open) > 0 {
		to = c.open[0] - 1
	}
	if to <= c.delivered {
		return false
	}
	c.delivered = to
	c.acked = slices.DeleteFunc(slices.Clone(c.acked), func(r *storepb.Range) bool { return r.GetLast() <= to })
	return true
}

// remember that an order was acked by a device that is gone.
func (c *conv) remember(order uint64) { c.acked = insert(c.acked, order) }

// lose names an order as undelivered. Past the bound the two closest ranges
// become one: what lies between them is then called undelivered too, which
// errs on the side of not claiming a delivery.
func (c *conv) lose(order uint64) {
	c.undelivered = bounded(insert(c.undelivered, order))
}

func bounded(r []*storepb.Range) []*storepb.Range {
	for len(r) > limits.UndeliveredRanges {
		r = mergeAt(r, closest(r), ^uint64(0))
	}
	return r
}

// union of ranges, which stay as they were: rows may hold them.
func union(a, b []*storepb.Range) []*storepb.Range {
	if len(b) == 0 {
		return a
	}
	if len(a) == 0 {
		return b
	}
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(x, y *storepb.Range) int { return cmp.Compare(x.GetFirst(), y.GetFirst()) })
	out := all[:1]
	for _, r := range all[1:] {
		last := out[len(out)-1]
		switch {
		case r.GetFirst() > last.GetLast()+1:
			out = append(out, r)
		case r.GetLast() > last.GetLast():
			out[len(out)-1] = &storepb.Range{First: last.GetFirst(), Last: r.GetLast()}
		}
	}
	return bounded(out)
}

// position of the range that holds the order, or where one would stand.
func position(r []*storepb.Range, order uint64) (int, bool) {
	return slices.BinarySearchFunc(r, order, func(r *storepb.Range, o uint64) int {
		switch {
		case r.GetLast() < o:
			return -1
		case r.GetFirst() > o:
			return 1
		}
		return 0
	})
}

// insert an order into ranges, which stay as they were: rows may hold them.
func insert(r []*storepb.Range, order uint64) []*storepb.Range {
	i, found := position(r, order)
	if found {
		return r
	}
	r = slices.Insert(slices.Clone(r), i, &storepb.Range{First: order, Last: order})
	return mergeAt(mergeAt(r, i, 1), i-1, 1)
}

// mergeAt makes ranges i and i+1 one where they are at most gap apart.
func mergeAt(r []*storepb.Range, i int, gap uint64) []*storepb.Range {
	if i < 0 || i+1 >= len(r) || r[i+1].GetFirst()-r[i].GetLast() > gap {
		return r
	}
	r[i] = &storepb.Range{First: r[i].GetFirst(), Last: r[i+1].GetLast()}
	return slices.Delete(r, i+1, i+2)
}

func closest(r []*storepb.Range) int {
	best := 0
	for i := 1; i+1 < len(r); i++ {
		if r[i+1].GetFirst()-r[i].GetLast() < r[best+1].GetFirst()-r[best].GetLast() {
			best = i
		}
	}
	return best
}

// below are the ranges at or under the watermark, cut there.
func below(r []*storepb.Range, delivered uint64) []*storepb.Range {
	var out []*storepb.Range
	for _, x := range r {
		if x.GetFirst() > delivered {
			break
		}
		out = append(out, &storepb.Range{First: x.GetFirst(), Last: min(x.GetLast(), delivered)})
	}
	return out
}
