package route

import (
	"slices"
	"testing"
	"time"
)

// What the directory is told, and what it says of shard 1 then.
func TestDirectory(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	ms := func(n int) time.Time { return start.Add(time.Duration(n) * time.Millisecond) }
	sign := func(node uint16, life, beat uint64, terms ...uint64) Sign {
		s := Sign{Node: node, Incarnation: life, Beat: beat}
		for i, term := range terms {
			if term > 0 {
				s.Leads = append(s.Leads, Lead{uint32(i + 1), term})
			}
		}
		return s
	}
	type act func(d *Directory)
	hear := func(at int, s Sign, want News) act {
		return func(d *Directory) {
			if got := d.Hear(s, ms(at)); got != want {
				t.Errorf("beacon %+v at %d is %v, want %v", s, at, got, want)
			}
		}
	}
	for _, c := range []struct {
		name  string
		acts  []act
		at    int
		node  uint16 // 0: nobody is to be told
		term  uint64
		moved int // times
	}{
		{"nothing is known", nil, 0, 0, 0, 0},
		{"a beacon", []act{hear(0, sign(2, 1, 1, 5), Alive)}, 100, 2, 5, 0},
		{"the same again", []act{hear(0, sign(2, 1, 1, 5), Alive), hear(300, sign(2, 1, 2, 5), Alive)}, 1700, 2, 5, 0},
		{"not confirmed for too long", []act{hear(0, sign(2, 1, 1, 5), Alive)}, 1500, 0, 5, 0},
		{"confirmed again", []act{hear(0, sign(2, 1, 1, 5), Alive), hear(5000, sign(2, 1, 2, 5), Alive)}, 5100, 2, 5, 0},
		{"a higher term wins", []act{hear(0, sign(2, 1, 1, 5), Alive), hear(10, sign(3, 1, 1, 6), Alive)}, 20, 3, 6, 1},
		{"the deposed one says it still", []act{hear(0, sign(3, 1, 1, 6), Alive), hear(10, sign(2, 1, 1, 5), Alive)}, 20, 3, 6, 0},
		{"nor does it confirm", []act{hear(0, sign(3, 1, 1, 6), Alive), hear(1400, sign(2, 1, 1, 5), Alive)}, 1600, 0, 6, 0},
		{"a term has one leader", []act{hear(0, sign(3, 1, 1, 6), Alive), hear(10, sign(2, 1, 1, 6), Alive)}, 20, 3, 6, 0},
		{"a beacon that was overtaken", []act{hear(0, sign(2, 1, 2), Alive), hear(10, sign(2, 1, 1, 5), Stale)}, 20, 0, 0, 0},
		{"an earlier life's", []act{hear(0, sign(2, 2, 1), Alive), hear(10, sign(2, 1, 9, 5), Stale)}, 20, 0, 0, 0},
		{"a new life leads nothing", []act{hear(0, sign(2, 1, 7, 5), Alive), hear(10, sign(2, 2, 1), NewLife)}, 20, 0, 5, 0},
		{"until it says so", []act{hear(0, sign(2, 1, 7, 5), Alive), hear(10, sign(2, 2, 1, 6), NewLife)}, 20, 2, 6, 1},
		{"it says it leads no more", []act{hear(0, sign(2, 1, 1, 5), Alive), hear(10, sign(2, 1, 2), Alive)}, 20, 0, 5, 0},
		{"it leads another term", []act{hear(0, sign(2, 1, 1, 5), Alive), hear(10, sign(2, 1, 2, 7), Alive)}, 20, 2, 7, 1},
		{"a hint that knows more", []act{hear(0, sign(2, 1, 1, 5), Alive), func(d *Directory) { d.Hint(1, 3, 6, ms(10)) }}, 20, 3, 6, 1},
		{"a hint that knows less", []act{hear(0, sign(2, 1, 1, 5), Alive), func(d *Directory) { d.Hint(1, 3, 4, ms(10)) }}, 20, 2, 5, 0},
		{"a hint confirms nothing", []act{hear(0, sign(2, 1, 1, 5), Alive), func(d *Directory) { d.Hint(1, 2, 5, ms(1400)) }}, 1600, 0, 5, 0},
		{"a hint of nobody", []act{func(d *Directory) { d.Hint(1, 0, 6, ms(10)) }}, 20, 0, 0, 0},
		{"it resigns", []act{hear(0, sign(2, 1, 1, 5), Alive), func(d *Directory) { d.Resign(1, 2, 5) }}, 20, 0, 5, 0},
		{"another resigns", []act{hear(0, sign(2, 1, 1, 5), Alive), func(d *Directory) { d.Resign(1, 3, 5) }}, 20, 2, 5, 0},
		{"it resigned earlier", []act{hear(0, sign(2, 1, 1, 5), Alive), func(d *Directory) { d.Resign(1, 2, 4) }}, 20, 2, 5, 0},
		{"it is no member any more", []act{hear(0, sign(2, 1, 1, 5), Alive), func(d *Directory) { d.Remove(2) }}, 20, 0, 5, 0},
		{"shards that there are none of", []act{hear(0, sign(2, 1, 1, 0, 0, 0, 9), Alive), func(d *Directory) { d.Hint(0, 2, 9, ms(0)); d.Confirm(4, 2, 9, ms(0)) }}, 20, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDirectory(3, start)
			moved := 0
			for _, act := range c.acts {
				act(d)
				moved += len(d.Moves())
			}
			node, term, ok := d.Leader(1, ms(c.at))
			if ok != (c.node != 0) || ok && node != c.node || term != c.term || d.Term(1) != c.term {
				t.Errorf("node %d in term %d, %v; want %d in %d", node, term, ok, c.node, c.term)
			}
			if moved != c.moved {
				t.Errorf("moved %d times, want %d", moved, c.moved)
			}
		})
	}
}

// Whoever is not confirmed for ten seconds is said once, and again only after
// it was confirmed: also where nobody ever was.
func TestDirectoryPartsOnce(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	d := NewDirectory(2, start)
	d.Confirm(1, 2, 5, start)
	parted := func(at time.Duration) []uint32 {
		return d.Parted(start.Add(at))
	}
	if p := parted(Parting - 1); len(p) > 0 {
		t.Errorf("%v parted too soon", p)
	}
	if p := parted(Parting); !slices.Equal(p, []uint32{1, 2}) {
		t.Errorf("%v parted, want both", p)
	}
	if p := parted(2 * Parting); len(p) > 0 {
		t.Errorf("%v parted twice", p)
	}
	d.Confirm(1, 2, 5, start.Add(2*Parting))
	if p := parted(3 * Parting); !slices.Equal(p, []uint32{1}) {
		t.Errorf("%v parted, want the one that was confirmed", p)
	}
}

// The node with the least load comes first, one that is silent not at all.
func TestDirectoryNodes(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	d := NewDirectory(1, now)
	for i, l := range []Load{{Connections: 100, Lag: 25 * time.Millisecond}, {Connections: 900, Lag: 3 * time.Millisecond}, {Connections: 800, Lag: 9 * time.Millisecond}} {
		d.Hear(Sign{Node: uint16(i + 1), Incarnation: 1, Beat: 1, Load: l}, now)
	}
	d.Hear(Sign{Node: 9, Incarnation: 1, Beat: 1}, now.Add(-Doubt))
	d.Live(8, 1, now) // it spoke, and said nothing of its load
	d.Feel(7, Load{Connections: 850}, now)
	if got, want := d.Nodes(now), []uint16{3, 7, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("nodes %v, want %v", got, want)
	}
}
