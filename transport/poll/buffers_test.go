package poll

import "testing"

// What every round needs stays, what nobody needs goes.
func TestBuffersAreGivenBack(t *testing.T) {
	b := Buffers{Keep: 1 << 20}
	for _, size := range []int{1 << 10, 64 << 10} {
		for range 1 << 20 / size {
			b.Put(make([]byte, 0, size))
		}
	}
	taken := make([][]byte, 100)
	for range 20 {
		for i := range taken {
			taken[i] = b.Get(1000)
		}
		for _, buf := range taken {
			b.Put(buf)
		}
		b.Trim()
	}
	if got, large := len(b.free[0]), len(b.free[class(64<<10)]); got != len(taken) || large != 0 {
		t.Errorf("%d buffers are kept of which %d are needed, and %d that nobody needs", got, len(taken), large)
	}
}
