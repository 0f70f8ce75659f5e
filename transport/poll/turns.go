package poll

// turns is a queue of connections. A connection stands in one at most once at a
// time, so that their number bounds it, and those that were closed meanwhile.
type turns struct {
	ids  []ID
	head int
}

func (t *turns) len() int { return len(t.ids) - t.head }

func (t *turns) push(id ID) {
	if len(t.ids) == cap(t.ids) && t.head > len(t.ids)/2 { // there is room in front
		t.ids = t.ids[:copy(t.ids, t.ids[t.head:])]
		t.head = 0
	}
	t.ids = append(t.ids, id)
}

func (t *turns) pop() ID {
	id := t.ids[t.head]
	t.head++
	if t.head == len(t.ids) {
		t.ids, t.head = t.ids[:0], 0
	}
	return id
}
