package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// An overlay in buckets must be in the same order as a sorted map, wherever a
// scan begins, and must know its size.
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
				o, model := newOverlay(split), make(map[string]row)
				key := rapid.StringMatching(`[abc]{2}[abc]{0,3}`)
				for range rapid.IntRange(0, 60).Draw(r, "changes") {
					k := key.Draw(r, "key")
					if rapid.IntRange(0, 3).Draw(r, "what") == 0 {
						o.remove(k)
						delete(model, k)
						continue
					}
					v := row{value: make([]byte, rapid.IntRange(0, 9).Draw(r, "size"))}
					o.set(k, v)
					model[k] = v
				}
				prefix := rapid.StringMatching(`[abc]{0,3}`).Draw(r, "prefix")
				from := max(prefix, rapid.StringMatching(`[abcd]{0,4}`).Draw(r, "from"))
				compareOverlay(r, o, model, prefix, from)
			})
		})
	}
}

func compareOverlay(r *rapid.T, o *overlay, model map[string]row, prefix, from string) {
	var got, want []string
	var c cursor
	for c.seek(o, prefix, from); c.ok; c.next() {
		got = append(got, c.key)
	}
	size := len(o.buckets) * bucketOverhead
	for _, k := range slices.Sorted(maps.Keys(model)) {
		size += cost(k, model[k])
		if strings.HasPrefix(k, prefix) && k >= from {
			want = append(want, k)
		}
	}
	if !slices.Equal(got, want) {
		r.Fatalf("prefix %q from %q: %v, want %v", prefix, from, got, want)
	}
	if o.bytes != size || o.rows != len(model) {
		r.Fatalf("%d bytes in %d rows, want %d in %d", o.bytes, o.rows, size, len(model))
	}
}

// What becomes of a row when a failed generation goes back below the live one.
func TestLay(t *testing.T) {
	const absent = state(9)
	for _, c := range []struct{ below, above, want state }{
		{absent, kept, kept}, {absent, fresh, fresh}, {absent, dead, dead},
		{kept, kept, kept}, {kept, fresh, kept}, {kept, dead, dead},
		{fresh, kept, fresh}, {fresh, fresh, fresh}, {fresh, dead, absent},
		{dead, kept, kept}, {dead, fresh, kept}, {dead, dead, dead},
	} {
		for _, extra := range []string{"below", "above"} { // whichever is larger is kept
			older, newer := newOverlay(func([]byte) int { return 0 }), newOverlay(func([]byte) int { return 0 })
			if c.below != absent {
				older.set("k", row{[]byte("old"), c.below})
			}
			newer.set("k", row{[]byte("new"), c.above})
			for i := range 3 {
				map[string]*overlay{"below": older, "above": newer}[extra].set(fmt.Sprint("x", i), row{})
			}
			got, ok := older.join(newer).get("k")
			if ok != (c.want != absent) || ok && (got.state != c.want || string(got.value) != "new") {
				t.Errorf("%d below, %d above, more %s: %v %q %v, want %d", c.below, c.above, extra, got.state, got.value, ok, c.want)
			}
		}
	}
}
