package client_test

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rookery-im/rookery/client"
)

// record is the history of a run, written by all phones.
type record struct {
	mu       sync.Mutex
	last     time.Time
	messages map[string]*told
	inOrder  []*told
	lives    map[int][]*life
}

// told is what is known of one message.
type told struct {
	id, to, text string
	by           int
	life         int
	kept         answered // Queue's answer
	fates        []fateOf
}

type answered uint8

const (
	unknown  answered = iota // the call ended before its answer, or with it the life
	accepted                 // it is stored
	rejected                 // it is not
)

type fateOf struct {
	life int
	sent client.Sent
	err  error
}

// life is what one phone was shown between Open and its end.
type life struct {
	shown  []*client.Message
	end    int
	cursor uint64 // what its file says was taken, when it ended; 0: nothing of this life
	over   bool
}

func newRecord() *record {
	return &record{messages: map[string]*told{}, lives: map[int][]*life{}, last: time.Now()}
}

func (r *record) idle() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.last)
}

func (r *record) begins(phone, _ int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lives[phone] = append(r.lives[phone], &life{})
}

func (r *record) ended(phone, n, end int, cursor uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lives[phone][n-1]
	l.end, l.cursor, l.over = end, cursor, true
}

func (r *record) making(phone, n int, d client.Draft) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := &told{id: d.ID, to: d.To.User, text: string(d.Payload), by: phone, life: n}
	r.messages[d.ID] = m
	r.inOrder = append(r.inOrder, m)
	r.last = time.Now()
}

func (r *record) made(_ int, id string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.messages[id].kept = accepted
	case !gone(err):
		r.messages[id].kept = rejected
	}
}

// doubtful: a Send that did not wait for its end. It may not even have been stored.
func (r *record) doubtful(string) {}

func (r *record) settled(_, n int, id string, sent client.Sent, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.messages[id]
	m.fates = append(m.fates, fateOf{life: n, sent: sent, err: err})
	r.last = time.Now()
}

func (r *record) shown(phone, n int, m *client.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lives[phone][n-1]
	l.shown = append(l.shown, m)
	r.last = time.Now()
}

// receives says whether a phone is to be shown a message.
func (p *phone) receives(m *told, by *phone) bool {
	return p != by && (p.cfg.User == m.to || p.cfg.User == by.cfg.User)
}

// missing says what must still come.
func (r *record) missing(phones []*phone) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []string
	seen := map[string]map[int]bool{}
	for n, lives := range r.lives {
		for _, l := range lives {
			for _, m := range l.shown {
				if seen[m.ID] == nil {
					seen[m.ID] = map[int]bool{}
				}
				seen[m.ID][n] = true
			}
		}
	}
	for _, m := range r.inOrder {
		if m.kept == accepted && len(m.fates) == 0 {
			list = append(list, fmt.Sprintf("%s of phone %d has no fate", m.id, m.by))
		}
		if !m.accepted() {
			continue
		}
		for _, p := range phones {
			if p.receives(m, phones[m.by]) && !seen[m.id][p.n] {
				list = append(list, fmt.Sprintf("%s of phone %d was not shown by phone %d", m.id, m.by, p.n))
			}
		}
	}
	return list
}

// accepted by the server, as a fate says.
func (m *told) accepted() bool {
	return slices.ContainsFunc(m.fates, func(f fateOf) bool { return f.err == nil })
}

// judge the history.
func (w *world) judge() {
	r := w.log
	r.mu.Lock()
	defer r.mu.Unlock()
	var total, shown int
	for _, m := range r.inOrder {
		total++
		r.judgeFates(w, m)
	}
	for _, p := range w.phones {
		for _, l := range r.lives[p.n] {
			shown += len(l.shown)
		}
		r.judgeShown(w, p)
	}
	ends := [3]int{}
	for _, lives := range r.lives {
		for _, l := range lives {
			ends[l.end]++
		}
	}
	counts := map[string]int{}
	for _, p := range w.phones {
		for name, n := range p.proxy.counts {
			counts[name] += n
		}
	}
	w.t.Logf("%d messages, shown %d times; lives that were closed %d, crashed %d, lost power %d; connections %v", total, shown, ends[byClose], ends[byCrash], ends[byPowerCut], counts)
}

// judgeFates: what was stored is decided, once, unless a crash kept the phone
// from remembering that it had been told.
func (r *record) judgeFates(w *world, m *told) {
	if m.kept == rejected && len(m.fates) > 0 {
		w.t.Errorf("%s has fate %+v, but was never queued", m.id, m.fates[0])
	}
	for i, f := range m.fates {
		if (f.err != nil) != (m.to == "nobody-is-called-this") {
			w.t.Errorf("%s to %s: %v", m.id, m.to, f.err)
		}
		if i == 0 {
			continue
		}
		before := m.fates[i-1]
		if f.sent.Order != before.sent.Order || f.sent.Time != before.sent.Time || (f.err == nil) != (before.err == nil) {
			w.t.Errorf("%s has two fates: %+v and %+v", m.id, before, f)
		}
		if l := r.lives[m.by][before.life-1]; f.life == before.life || l.end == byClose {
			w.t.Errorf("%s: its fate was told in life %d, which ended well, and again in life %d", m.id, before.life, f.life)
		}
	}
}

// judgeShown: what one phone showed, through all its lives.
func (r *record) judgeShown(w *world, p *phone) {
	type direction struct{ from, conv string }
	var taken uint64 // by the file
	position := map[string]int{}
	for i, m := range r.inOrder {
		position[m.id] = i
	}
	seqs := map[string]uint64{}
	highest := uint64(0)
	byDevice := map[string]int{} // sender and conversation -> position of the last
	orders := map[direction]uint64{}
	for n, l := range r.lives[p.n] {
		previous := uint64(0)
		for _, m := range l.shown {
			t := r.messages[m.ID]
			switch {
			case t == nil:
				w.t.Errorf("phone %d: %s was never sent", p.n, m.ID)
				continue
			case !p.receives(t, w.phones[t.by]):
				w.t.Errorf("phone %d: %s is not for it", p.n, m.ID)
			case t.text != string(m.Payload):
				w.t.Errorf("phone %d: %s has another payload", p.n, m.ID)
			case m.Seq <= previous:
				w.t.Errorf("phone %d: seq %d after %d in one life", p.n, m.Seq, previous)
			}
			previous = m.Seq
			if seq, again := seqs[m.ID]; again {
				if seq != m.Seq {
					w.t.Errorf("phone %d: %s with seq %d, then %d", p.n, m.ID, seq, m.Seq)
				}
				if m.Seq <= taken {
					w.t.Errorf("phone %d, life %d: %s, seq %d, is shown again, though its file says that everything up to %d was taken", p.n, n+1, m.ID, m.Seq, taken)
				}
				continue
			}
			seqs[m.ID] = m.Seq
			if m.Seq <= highest {
				w.t.Errorf("phone %d: %s, seq %d, for the first time after seq %d", p.n, m.ID, m.Seq, highest)
			}
			highest = m.Seq
			sender := fmt.Sprint(t.by, t.to)
			if last, ok := byDevice[sender]; ok && position[m.ID] < last {
				w.t.Errorf("phone %d: %s of phone %d to %s overtook another", p.n, m.ID, t.by, t.to)
			}
			byDevice[sender] = position[m.ID]
			d := direction{m.From.User, t.to}
			if m.Order <= orders[d] {
				w.t.Errorf("phone %d: order %d of %v after %d", p.n, m.Order, d, orders[d])
			}
			orders[d] = m.Order
		}
		taken = r.judgeEnd(w, p, n, l, taken, previous)
	}
}

// judgeEnd: what the file must say when a life is over.
func (r *record) judgeEnd(w *world, p *phone, n int, l *life, taken, last uint64) uint64 {
	now := max(taken, l.cursor)
	switch l.end {
	case byClose:
		if now < last {
			w.t.Errorf("phone %d, life %d was closed, and its file says that %d was taken, not %d", p.n, n+1, now, last)
		}
	case byCrash: // all but the event that the handler was in, or had just left
		open := 0
		for _, m := range l.shown {
			if m.Seq > now {
				open++
			}
		}
		if open > 1 {
			w.t.Errorf("phone %d, life %d crashed with %d messages shown and not known to be", p.n, n+1, open)
		}
	}
	return now
}
