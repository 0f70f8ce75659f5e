package node

import (
	"slices"
	"testing"
)

// Whose clock is astray leads where nobody else can; the order stays else.
func TestPreferred(t *testing.T) {
	for _, c := range []struct{ nodes, ill, want []uint16 }{
		{[]uint16{3, 1, 2}, nil, []uint16{3, 1, 2}},
		{[]uint16{3, 1, 2}, []uint16{3}, []uint16{1, 2, 3}},
		{[]uint16{3, 1, 2}, []uint16{1, 3}, []uint16{2, 3, 1}},
		{[]uint16{3}, []uint16{3}, []uint16{3}},
		{nil, []uint16{3}, nil},
	} {
		given := slices.Clone(c.nodes)
		if got := preferred(c.nodes, func(n uint16) bool { return slices.Contains(c.ill, n) }); !slices.Equal(got, c.want) || !slices.Equal(c.nodes, given) {
			t.Errorf("%v without %v: %v, want %v", given, c.ill, got, c.want)
		}
	}
}
