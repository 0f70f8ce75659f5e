package poll

// MaxIndex bounds the indices of slots; what is above is left to others who
// make IDs.
const MaxIndex = 1<<(indexBits-1) - 1

// maxGeneration is the last that an ID has room for.
const maxGeneration = 1<<generationBits - 1

// Slots hands out indices with generations, and takes them back. The zero
// value is ready.
type Slots struct {
	generations Pages[uint32] // of the slot's present or next holder; even: free
	free        []uint32
	fresh       uint32 // indices from here on were never given out
}

// Take returns an ID that was never given before, or false where there are
// MaxIndex connections.
func (s *Slots) Take() (ID, bool) {
	var i uint32
	if n := len(s.free); n > 0 {
		i, s.free = s.free[n-1], s.free[:n-1]
	} else {
		if s.fresh >= MaxIndex {
			return 0, false
		}
		i = s.fresh
		s.fresh++
	}
	g := s.generations.Reach(i)
	*g++ // odd: taken
	return MakeID(i, *g), true
}

// Holds says whether the ID is taken and has not been given back.
func (s *Slots) Holds(id ID) bool {
	i := id.Index()
	return i < s.fresh && id.Generation()&1 == 1 && *s.generations.At(i) == id.Generation()
}

// Give takes an ID back. A slot whose generations are used up stays empty:
// IDs are not given twice.
func (s *Slots) Give(id ID) {
	if !s.Holds(id) {
		return
	}
	g := s.generations.At(id.Index())
	*g++
	if *g < maxGeneration {
		s.free = append(s.free, id.Index())
	}
}

// At is the ID that holds an index now, if any does.
func (s *Slots) At(i uint32) (ID, bool) {
	if i >= s.fresh {
		return 0, false
	}
	g := *s.generations.At(i)
	return MakeID(i, g), g&1 == 1
}

// Fresh is one more than the highest index ever given.
func (s *Slots) Fresh() uint32 { return s.fresh }

// Taken is how many IDs are held.
func (s *Slots) Taken() int { return int(s.fresh) - len(s.free) }
