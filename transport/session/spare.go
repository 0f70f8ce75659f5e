package session

import "github.com/rookery-im/rookery/internal/limits"

// spare is what sessions have used and the next one uses again, so that a
// message makes no garbage here and an idle session holds nothing.
type spare struct {
	out     [][]byte
	pending stack[pending]
	chains  stack[chain]
}

// spares is how many of each are kept.
const spares = 256

// buffer for session.out.
func (p *spare) buffer() []byte {
	n := len(p.out)
	if n == 0 {
		return make([]byte, 0, 1024)
	}
	b := p.out[n-1]
	p.out = p.out[:n-1]
	return b
}

func (p *spare) takeBack(b []byte) {
	if cap(b) <= limits.PageBytes && len(p.out) < spares {
		p.out = append(p.out, b[:0])
	}
}

// stack of records, whose contents mean nothing.
type stack[T any] struct{ free []*T }

func (s *stack[T]) take() *T {
	n := len(s.free)
	if n == 0 {
		return new(T)
	}
	v := s.free[n-1]
	s.free = s.free[:n-1]
	return v
}

func (s *stack[T]) give(v *T) {
	if len(s.free) < spares {
		s.free = append(s.free, v)
	}
}
