package poll

const pageSize = 1024

// Pages is a slab that grows without moving what it holds: a pointer into it
// stays good. With a T without pointers the garbage collector passes it by.
type Pages[T any] struct {
	pages []*[pageSize]T
}

// Len is how many elements there is room for.
func (p *Pages[T]) Len() int { return len(p.pages) * pageSize }

// At is the element at an index below Len.
func (p *Pages[T]) At(i uint32) *T { return &p.pages[i/pageSize][i%pageSize] }

// Reach grows the slab until it holds index i, and returns that element.
func (p *Pages[T]) Reach(i uint32) *T {
	for int(i) >= p.Len() {
		p.pages = append(p.pages, new([pageSize]T))
	}
	return p.At(i)
}

// From is what stands from index i to the end of its page, i being below Len.
func (p *Pages[T]) From(i uint32) []T { return p.pages[i/pageSize][i%pageSize:] }
