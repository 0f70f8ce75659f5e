package poll

// The classes of pooled buffers: 1 KiB, 4 KiB, ... 256 KiB.
const (
	classes    = 5
	classShift = 2
	classMin   = 1 << 10
	classMax   = classMin << (classShift * (classes - 1))
)

// Buffers is a pool for one goroutine. The zero value keeps nothing.
type Buffers struct {
	// Keep is how many bytes of each class are kept for later.
	Keep int

	free  [classes][][]byte
	least [classes]int // that were free since the last trim
}

func class(n int) int {
	c := 0
	for size := classMin; size < n; size <<= classShift {
		c++
	}
	return c
}

// Get returns an empty buffer with room for n bytes at least.
func (b *Buffers) Get(n int) []byte {
	if n > classMax {
		return make([]byte, 0, n)
	}
	c := class(n)
	if k := len(b.free[c]); k > 0 {
		buf := b.free[c][k-1]
		b.free[c][k-1] = nil
		b.free[c] = b.free[c][:k-1]
		b.least[c] = min(b.least[c], k-1)
		return buf
	}
	return make([]byte, 0, classMin<<(classShift*c))
}

// Put takes a buffer back that nobody looks at any more.
func (b *Buffers) Put(buf []byte) {
	n := cap(buf)
	if n < classMin || n > classMax {
		return
	}
	c := class(n)
	if n != classMin<<(classShift*c) || (len(b.free[c])+1)*n > b.Keep {
		return
	}
	b.free[c] = append(b.free[c], buf[:0])
}

// Trim gives half of what nobody has needed since the last call to the
// collector. What every round of a busy loop needs stays.
func (b *Buffers) Trim() {
	for c, free := range b.free {
		n := len(free) - (b.least[c]+1)/2
		clear(free[n:])
		b.free[c], b.least[c] = free[:n], n
		if n == 0 {
			b.free[c] = nil
		}
	}
}

// Kept is how many bytes are kept for later.
func (b *Buffers) Kept() int {
	bytes := 0
	for c, free := range b.free {
		bytes += len(free) * classMin << (classShift * c)
	}
	return bytes
}

// Grow moves a buffer's content to one with room for n bytes more, and takes
// the old one back. It at least doubles.
func (b *Buffers) Grow(buf []byte, n int) []byte {
	bigger := append(b.Get(max(len(buf)+n, 2*cap(buf))), buf...)
	b.Put(buf)
	return bigger
}
