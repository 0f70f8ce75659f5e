package session

import "github.com/rookery-im/rookery/internal/limits"

// spare is what sessions have used and the next one uses again, so that a
// message makes no garbage here and an idle session holds nothing. In a round
// of the loop every session may have something to say and sends in flight, so
// there may be many; what is not needed any more goes, see trim.
type spare struct {
	out     stack[[]byte]
	bytes   int // of out
	pending stack[*pending]
	chains  stack[*chain]
}

// buffer for session.out.
func (p *spare) buffer() []byte {
	b, ok := p.out.take()
	if !ok {
		return make([]byte, 0, 1024)
	}
	p.bytes -= cap(b)
	return b
}

func (p *spare) keepBuffer(b []byte) {
	if p.bytes+cap(b) <= limits.SpareBytes && p.out.give(b[:0]) {
		p.bytes += cap(b)
	}
}

func (p *spare) newPending() *pending {
	if v, ok := p.pending.take(); ok {
		return v
	}
	return &pending{}
}

func (p *spare) newChain() *chain {
	v, ok := p.chains.take()
	if !ok {
		return &chain{}
	}
	*v = chain{}
	return v
}

// trim is called at every sweep.
func (p *spare) trim() {
	p.out.trim()
	p.pending.trim()
	p.chains.trim()
	p.bytes = 0
	for _, b := range p.out.free {
		p.bytes += cap(b)
	}
}

// stack of what may be used again.
type stack[T any] struct {
	free  []T
	least int // that were free since the last trim
}

func (s *stack[T]) take() (v T, ok bool) {
	n := len(s.free) - 1
	if n < 0 {
		return v, false
	}
	v, s.free = s.free[n], s.free[:n]
	s.least = min(s.least, n)
	return v, true
}

// give is false where there are enough already.
func (s *stack[T]) give(v T) bool {
	if len(s.free) >= limits.Spares {
		return false
	}
	s.free = append(s.free, v)
	return true
}

// trim drops half of what was not needed since it was last called.
func (s *stack[T]) trim() {
	n := len(s.free) - (s.least+1)/2
	clear(s.free[n:])
	s.free, s.least = s.free[:n], n
	if n == 0 {
		s.free = nil
	}
}
