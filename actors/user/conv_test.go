package user

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rookery-im/rookery/internal/limits"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// spans makes ranges of pairs of first and last.
func spans(pairs ...uint64) []*storepb.Range {
	var r []*storepb.Range
	for i := 0; i < len(pairs); i += 2 {
		r = append(r, &storepb.Range{First: pairs[i], Last: pairs[i+1]})
	}
	return r
}

func TestLose(t *testing.T) {
	for _, c := range []struct {
		before []*storepb.Range
		order  uint64
		want   string
	}{
		{nil, 1, " undelivered 1"},
		{spans(1, 1), 1, " undelivered 1"},
		{spans(1, 1), 2, " undelivered 1-2"},
		{spans(2, 2), 1, " undelivered 1-2"},
		{spans(1, 1), 3, " undelivered 1,3"},
		{spans(3, 3), 1, " undelivered 1,3"},
		{spans(1, 1, 3, 3), 2, " undelivered 1-3"},
		{spans(1, 4), 3, " undelivered 1-4"},
		{spans(1, 4), 5, " undelivered 1-5"},
		{spans(1, 2, 9, 9), 5, " undelivered 1-2,5,9"},
		{spans(1, 2, 6, 9, 12, 12), 10, " undelivered 1-2,6-10,12"},
		{spans(1, 2, 6, 9, 11, 12), 10, " undelivered 1-2,6-12"},
	} {
		before := ranges(c.before)
		v := conv{undelivered: c.before}
		v.lose(c.order)
		if got := ranges(v.undelivered); got != c.want {
			t.Errorf("%s and %d: %s, want %s", before, c.order, got, c.want)
		}
		if ranges(c.before) != before {
			t.Errorf("%s and %d: the ranges before became %s, and a row may hold them", before, c.order, ranges(c.before))
		}
	}
}

// Past the bound the two closest ranges merge: everything lost stays named,
// and of what is between as little as possible.
func TestLoseIsBounded(t *testing.T) {
	var v conv
	var lost []uint64
	for i := range uint64(3 * limits.UndeliveredRanges) {
		order := 1 + i*10
		if i%7 == 0 {
			order -= 7 // three from the one before
		}
		lost = append(lost, max(1, order))
		v.lose(max(1, order))
		if len(v.undelivered) > limits.UndeliveredRanges {
			t.Fatalf("%d ranges", len(v.undelivered))
		}
	}
	for _, order := range lost {
		if _, ok := position(v.undelivered, order); !ok {
			t.Errorf("order %d is not named any more in %s", order, ranges(v.undelivered))
		}
	}
	v = conv{}
	for i := range uint64(limits.UndeliveredRanges) {
		v.lose(1 + i*10)
	}
	v.lose(34)
	if got := ranges(v.undelivered); len(v.undelivered) != limits.UndeliveredRanges || !strings.HasPrefix(got, " undelivered 1,11,21,31-34,41") {
		t.Errorf("the closest two did not merge: %s", got)
	}
}

func TestMergeAt(t *testing.T) {
	for _, c := range []struct {
		r    []*storepb.Range
		i    int
		gap  uint64
		want string
	}{
		{spans(1, 1, 2, 2), 0, 1, " undelivered 1-2"},
		{spans(1, 1, 3, 3), 0, 1, " undelivered 1,3"},
		{spans(1, 1, 3, 3), 0, 2, " undelivered 1-3"},
		{spans(1, 1, 3, 3), 1, 9, " undelivered 1,3"},
		{spans(1, 1, 3, 3), -1, 9, " undelivered 1,3"},
		{spans(1, 5, 6, 9, 20, 30), 1, ^uint64(0), " undelivered 1-5,6-30"},
		{nil, 0, 1, ""},
	} {
		before := ranges(c.r)
		if got := ranges(mergeAt(c.r, c.i, c.gap)); got != c.want {
			t.Errorf("%s at %d with gap %d: %s, want %s", before, c.i, c.gap, got, c.want)
		}
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		r         []*storepb.Range
		delivered uint64
		want      string
	}{
		{nil, 5, ""},
		{spans(1, 3), 0, ""},
		{spans(1, 3), 2, " undelivered 1-2"},
		{spans(1, 3), 3, " undelivered 1-3"},
		{spans(1, 3, 5, 9), 4, " undelivered 1-3"},
		{spans(1, 3, 5, 9), 5, " undelivered 1-3,5"},
	} {
		before := ranges(c.r)
		if got := ranges(below(c.r, c.delivered)); got != c.want {
			t.Errorf("%s below %d: %s, want %s", before, c.delivered, got, c.want)
		}
		if ranges(c.r) != before {
			t.Errorf("%s below %d changed its argument", before, c.delivered)
		}
	}
}

func TestAdvance(t *testing.T) {
	for _, c := range []struct {
		conv  conv
		moved bool
		want  uint64
		acked string
	}{
		{conv{}, false, 0, ""},
		{conv{lastOrder: 3}, true, 3, ""},
		{conv{lastOrder: 3, open: []uint64{1, 3}}, false, 0, ""},
		{conv{lastOrder: 3, open: []uint64{3}}, true, 2, ""},
		{conv{lastOrder: 3, open: []uint64{3}, delivered: 2}, false, 2, ""},
		{conv{lastOrder: 9, open: []uint64{8}, delivered: 2, acked: spans(3, 5, 9, 9)}, true, 7, " undelivered 9"},
	} {
		before := fmt.Sprint(c.conv.lastOrder, c.conv.open, c.conv.delivered)
		if moved := c.conv.advance(); moved != c.moved || c.conv.delivered != c.want || ranges(c.conv.acked) != c.acked {
			t.Errorf("%s: moved=%t to %d acked%s, want %t %d%s", before, moved, c.conv.delivered, ranges(c.conv.acked), c.moved, c.want, c.acked)
		}
	}
}

func TestSettle(t *testing.T) {
	c := conv{open: []uint64{1, 4, 5}}
	for _, order := range []uint64{4, 2, 4} {
		c.settle(order)
	}
	if !slices.Equal(c.open, []uint64{1, 5}) {
		t.Errorf("open orders %v", c.open)
	}
}

// Whatever an old watermark says when it comes late, a receipt goes up only.
func TestReceiptNeverDecreases(t *testing.T) {
	w := lived(t)
	for _, m := range []*storepb.Watermark{
		{Peer: "alice", Delivered: 5, Read: 3},
		{Peer: "alice", Delivered: 4, Read: 1},
		{Peer: "alice", Delivered: 4, Read: 4},
		{Peer: "alice", Delivered: 6, Read: 2},
	} {
		w.step("bob", &storepb.Step{To: "bob", Body: &storepb.Step_Watermark{Watermark: m}})
		w.done()
	}
	r := w.state("bob").convs["alice"].receipt("alice").GetReceipt()
	if r.GetDelivered() != 6 || r.GetRead() != 4 {
		t.Errorf("receipt %v", r)
	}
}
