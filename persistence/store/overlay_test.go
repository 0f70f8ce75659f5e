package store

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// held is a row of the model.
type held struct {
	value string
	state state
}

// An overlay in buckets must be in the same order as a sorted map, wherever a
// scan begins, must hold what was put last, and must know its size: in one leaf
// as in many.
func TestOverlayIsAnOrderedMap(t *testing.T) {
	splits := map[string]func([]byte) int{
		"one bucket": func([]byte) int { return 0 },
		"buckets": func(key []byte) int {
			if len(key) < 2 {
				return 0
			}
			return 2
		},
	}
	for name, split := range splits {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				o, model := newOverlay(split), make(map[string]held)
				many := rapid.SampledFrom([]int{0, 0, leafRows - 1, leafRows, 3 * leafRows}).Draw(r, "many")
				step := rapid.SampledFrom([]int{1, 7, 1023}).Draw(r, "step") // ascending, or all over the place
				for i := range many {
					change(o, model, fmt.Sprintf("bb%04d", i*step%1024), "v", fresh)
				}
				key := rapid.OneOf(rapid.StringMatching(`[abc]{2}[abc]{0,3}`), rapid.StringMatching(`bb0[0-9]{3}`), rapid.StringMatching(`[abc]{2}longer-than-a-head-[abc]`))
				for range rapid.IntRange(0, 60).Draw(r, "changes") {
					value := strings.Repeat("x", rapid.SampledFrom([]int{0, 1, 9, 300}).Draw(r, "size"))
					as := state(rapid.IntRange(0, 4).Draw(r, "what"))
					change(o, model, key.Draw(r, "key"), value, as)
				}
				for range rapid.SampledFrom([]int{0, 2 * many / 3, many}).Draw(r, "fewer") {
					many--
					change(o, model, fmt.Sprintf("bb%04d", many*step%1024), "", 3)
				}
				prefix := rapid.OneOf(rapid.StringMatching(`[abc]{0,3}`), rapid.StringMatching(`bb0[0-9]?`)).Draw(r, "prefix")
				from := max(prefix, rapid.OneOf(rapid.StringMatching(`[abcd]{0,4}`), rapid.StringMatching(`bb0[0-9]{0,3}`)).Draw(r, "from"))
				compareOverlay(r, o, model, prefix, from)
			})
		})
	}
}

// change the overlay and the model; what stands for a state, and above them for
// a delete, first one of a row that is nowhere below.
func change(o *overlay, model map[string]held, key, value string, what state) {
	old, ok := model[key]
	if what <= fresh {
		if ok && old.state != what {
			what = map[state]state{kept: kept, fresh: fresh, dead: kept}[old.state]
		}
		scratch := []byte(key + value)
		o.put(scratch[:len(key)], scratch[len(key):], what)
		clear(scratch) // it was the caller's
		model[key] = held{value, what}
		return
	}
	absent := bury
	if what == 3 {
		absent = forget
	}
	o.delete([]byte(key), absent)
	switch {
	case ok && old.state == fresh, !ok && absent == forget:
		delete(model, key)
	default:
		model[key] = held{"", dead}
	}
}

func compareOverlay(r *rapid.T, o *overlay, model map[string]held, prefix, from string) {
	var got, want []string
	var c cursor
	for c.seek(o, []byte(prefix), []byte(from)); c.ok; c.next() {
		got = append(got, fmt.Sprintf("%s=%s %v", c.key, c.row.value(), c.row.state))
	}
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if strings.HasPrefix(k, prefix) && k >= from {
			want = append(want, fmt.Sprintf("%s=%s %v", k, model[k].value, model[k].state))
		}
		if row := o.get([]byte(k)); row == nil || string(row.value()) != model[k].value || row.state != model[k].state {
			r.Fatalf("%s is %+v, want %v", k, row, model[k])
		}
	}
	if !slices.Equal(got, want) {
		r.Fatalf("prefix %q from %q: %v, want %v", prefix, from, got, want)
	}
	size, rows := len(o.buckets)*bucketOverhead, 0
	o.each(func(_ []byte, row *row) bool {
		size += cap(row.data) + rowOverhead
		rows++
		if cap(row.data) > 2*len(row.data)+rowOverhead {
			r.Fatalf("a row of %d bytes has %d", len(row.data), cap(row.data))
		}
		return true
	})
	if o.bytes != size || o.rows != len(model) || rows != len(model) {
		r.Fatalf("%d bytes in %d rows, want %d in %d; there are %d", o.bytes, o.rows, size, len(model), rows)
	}
}

// What becomes of a row when a failed generation goes back below the live one.
func TestLay(t *testing.T) {
	const absent = state(9)
	for _, c := range []struct{ below, above, want state }{
		{absent, kept, kept}, {absent, fresh, fresh}, {absent, dead, dead},
		{kept, absent, kept}, {fresh, absent, fresh}, {dead, absent, dead},
		{kept, kept, kept}, {kept, fresh, kept}, {kept, dead, dead},
		{fresh, kept, fresh}, {fresh, fresh, fresh}, {fresh, dead, absent},
		{dead, kept, kept}, {dead, fresh, kept}, {dead, dead, dead},
	} {
		for _, extra := range []string{"below", "above"} { // whichever is larger is kept
			older, newer := newOverlay(func([]byte) int { return 0 }), newOverlay(func([]byte) int { return 0 })
			row := func(o *overlay, value string, as state) {
				if as == dead {
					value = ""
				}
				o.insert(o.begin(nil), newRow([]byte("k"), []byte(value), as))
			}
			if c.below != absent {
				row(older, "old", c.below)
			}
			want := "old"
			if c.above != absent {
				row(newer, "new", c.above)
				want = "new"
			}
			if c.want == dead {
				want = ""
			}
			for i := range 3 {
				map[string]*overlay{"below": older, "above": newer}[extra].put(fmt.Append(nil, "x", i), nil, kept)
			}
			got := older.join(newer)
			r := got.get([]byte("k"))
			if (r != nil) != (c.want != absent) || r != nil && (r.state != c.want || string(r.value()) != want) {
				t.Errorf("%d below, %d above, more %s: %+v, want %d with %q", c.below, c.above, extra, r, c.want, want)
			}
		}
	}
}

// Suffixes of equal tags are told apart, and a bucket does not depend on tags
// being different at all.
func TestLeafOfEqualTags(t *testing.T) {
	var l leaf
	for i := range 100 {
		s := fmt.Appendf(nil, "peer-of-some-length-%03d", i)
		l.insert(l.from(s), newRow(s, nil, kept), 7)
	}
	for i := range 100 {
		s := fmt.Appendf(nil, "peer-of-some-length-%03d", i)
		if at, ok := l.find(s, 7); !ok || at != i {
			t.Errorf("%s is at %d, %v", s, at, ok)
		}
	}
	if _, ok := l.find([]byte("peer"), 7); ok {
		t.Error("what is not there is found")
	}
	if !slices.IsSortedFunc(l.rows, func(a, b row) int { return bytes.Compare(a.suffix(), b.suffix()) }) {
		t.Error("out of order")
	}
}
