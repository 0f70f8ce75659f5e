package talk

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
)

const (
	typingEvery = 3 * time.Second // how often typing is said while it goes on
	typingIdle  = 5 * time.Second // without a key, it has ceased
	typingShown = 8 * time.Second // without a word, the other side has ceased
	watchedMost = 50              // whose presence is followed
)

// Model is all that the chat knows. One goroutine owns it.
type Model struct {
	// Me is the user.
	Me string
	// Link is how the connection stands.
	Link Link
	// Now is the time of the last event that had one.
	Now time.Time
	// Open is the conversation that the person has turned to; may be empty.
	Open string

	conversations map[string]*Conversation
	names         map[string]plain.Text
	presence      map[string]Presence
	watched       []string
	sight         Sight

	loose       draft     // what stands in the input while no conversation is open
	typingSaid  time.Time // zero: not typing, as far as the other side knows
	typedLast   time.Time
	typingWhere string
}

// New is a model of nothing yet.
func New(me string) *Model {
	return &Model{Me: me, conversations: map[string]*Conversation{}, names: map[string]plain.Text{}, presence: map[string]Presence{}}
}

// Step takes an event and says what to do about it.
func (m *Model) Step(e Event) []Effect {
	switch e := e.(type) {
	case Arrived:
		return m.arrived(e)
	case Queued:
		m.queued(e)
	case Settled:
		return m.settled(e)
	case Delayed:
		return m.delayed(e)
	case Receipt:
		return m.receipt(e)
	case ReadHere:
		c := m.at(e.Conversation)
		c.read = max(c.read, e.Order)
	case Drafted:
		d := m.draft(e.Conversation)
		d.text, d.saved = e.Text, e.Text
	case Dropped:
		m.drop(e)
	case Named:
		if m.names[e.User] != e.Name {
			m.names[e.User] = e.Name
			return []Effect{Save{e}}
		}
	case Presence:
		m.presence[e.User] = e
	case Typing:
		m.typing(e)
	case LinkChanged:
		return m.linkChanged(e)
	case Drained:
		if m.Link.State == CatchingUp {
			m.Link.State = Online
		}
		return m.watch()
	case Opened:
		return m.opened(e)
	case Looked:
		m.sight = e.Sight
		return m.markRead()
	case Typed:
		return m.typed(e)
	case Submitted:
		return m.submitted(e)
	case TookBack:
		return m.tookBack(e)
	case Ticked:
		return m.ticked(e)
	}
	return nil
}

// at is the conversation with a peer, made where there is none.
func (m *Model) at(peer string) *Conversation {
	c := m.conversations[peer]
	if c == nil {
		c = &Conversation{Peer: peer, typing: map[string]time.Time{}, known: map[lineKey]bool{}}
		m.conversations[peer] = c
	}
	return c
}

// draft of a conversation, or of none where peer is empty.
func (m *Model) draft(peer string) *draft {
	if peer == "" {
		return &m.loose
	}
	return &m.at(peer).draft
}

// Draft is what stands in the input of a conversation, or of none.
func (m *Model) Draft(peer string) string {
	if c := m.conversations[peer]; c != nil {
		return c.draft.text
	}
	return m.loose.text
}

func (m *Model) arrived(e Arrived) []Effect {
	c := m.at(e.Conversation)
	l := &Line{ID: e.ID, From: e.From, Device: e.Device, Order: e.Order, Time: e.Time, Body: e.Body}
	if !c.insert(l) {
		return nil
	}
	delete(c.typing, e.From)
	out := []Effect{Save{e}, Moved{c, l, c.State(l, m.Me)}}
	out = append(out, m.markRead()...)
	return append(out, m.watch()...)
}

func (m *Model) queued(e Queued) {
	c := m.at(e.Conversation)
	if _, l := c.pending(e.ID); l != nil || c.known[lineKey{m.Me, e.ID}] {
		return
	}
	c.Pending = append(c.Pending, &Line{ID: e.ID, From: m.Me, At: e.At, Body: Body{Text: plain.Clean(e.Text)}, typed: e.Text})
}

func (m *Model) settled(e Settled) []Effect {
	c := m.at(e.Conversation)
	i, l := c.pending(e.ID)
	if l == nil || l.failed {
		return nil
	}
	l.Why, l.RetryAt = e.Refusal, time.Time{}
	if e.Refusal != "" {
		l.failed = true
		return []Effect{Save{e}, Moved{c, l, Failed}}
	}
	c.Pending = slices.Delete(c.Pending, i, i+1)
	l.Order, l.Time, l.typed = e.Order, e.Time, ""
	c.insert(l)
	return []Effect{Save{e}, Moved{c, l, c.State(l, m.Me)}}
}

func (m *Model) delayed(e Delayed) []Effect {
	c := m.at(e.Conversation)
	_, l := c.pending(e.ID)
	if l == nil || l.failed {
		return nil
	}
	news := l.Why != e.Why
	l.Why, l.RetryAt = e.Why, e.RetryAt
	if !news {
		return nil
	}
	return []Effect{Moved{c, l, Waiting}}
}

func (m *Model) receipt(e Receipt) []Effect {
	c := m.at(e.Conversation)
	if e.By == m.Me {
		if e.ReadUpTo <= c.read {
			return nil
		}
		c.read = e.ReadUpTo
		return []Effect{Save{e}}
	}
	out := []Effect{Save{e}}
	before := make([]State, len(c.Lines))
	for i, l := range c.Lines {
		before[i] = c.State(l, m.Me)
	}
	c.delivered = max(c.delivered, e.Delivered)
	c.seen = max(c.seen, e.ReadUpTo)
	c.undelivered = e.Undelivered
	for i, l := range c.Lines {
		if s := c.State(l, m.Me); s != before[i] {
			out = append(out, Moved{c, l, s})
		}
	}
	return out
}

func (m *Model) drop(e Dropped) {
	c := m.at(e.Conversation)
	if i, l := c.pending(e.ID); l != nil {
		c.Pending = slices.Delete(c.Pending, i, i+1)
	}
}

func (m *Model) typing(e Typing) {
	m.advance(e.At)
	c := m.conversations[e.Conversation]
	if c == nil || e.From == m.Me {
		return // a stranger's typing opens no conversation
	}
	if e.On {
		c.typing[e.From] = e.At.Add(typingShown)
	} else {
		delete(c.typing, e.From)
	}
}

func (m *Model) linkChanged(e LinkChanged) []Effect {
	m.Link = e.Link
	if e.Link.State == Online || e.Link.State == CatchingUp {
		return m.watch()
	}
	// What was heard by a connection is not known without one.
	m.typingSaid = time.Time{}
	clear(m.presence)
	for _, c := range m.conversations {
		clear(c.typing)
	}
	return nil
}

func (m *Model) opened(e Opened) []Effect {
	m.advance(e.At)
	if e.Conversation == m.Open {
		return nil
	}
	out := m.ceaseTyping()
	if m.Open == "" && m.loose.text != "" {
		// It was typed before it was said to whom.
		d := m.draft(e.Conversation)
		d.text, m.loose.text = strings.TrimSuffix(m.loose.text+"\n"+d.text, "\n"), ""
		out = append(out, m.saveDraft(e.Conversation)...)
	}
	out = append(out, m.saveDraft(m.Open)...)
	m.Open = e.Conversation
	if m.Open == "" {
		return out
	}
	if c := m.at(m.Open); c.Active().IsZero() {
		c.touched = e.At
	}
	if !IsGroup(m.Open) && m.names[m.Open] == "" {
		out = append(out, Learn{m.Open})
	}
	out = append(out, m.markRead()...)
	return append(out, m.watch()...)
}

func (m *Model) typed(e Typed) []Effect {
	m.advance(e.At)
	d := m.draft(m.Open)
	if d.text == e.Text {
		return nil
	}
	d.text = e.Text
	if m.Open == "" {
		return nil
	}
	if strings.TrimSpace(e.Text) == "" || strings.HasPrefix(e.Text, "/") {
		return m.ceaseTyping()
	}
	m.typedLast = e.At
	if m.Link.State != Online && m.Link.State != CatchingUp {
		return nil
	}
	if !m.typingSaid.IsZero() && e.At.Sub(m.typingSaid) < typingEvery {
		return nil
	}
	m.typingSaid, m.typingWhere = e.At, m.Open
	return []Effect{SayTyping{m.Open, true}}
}

// ceaseTyping says so, where the other side believes otherwise.
func (m *Model) ceaseTyping() []Effect {
	if m.typingSaid.IsZero() {
		return nil
	}
	m.typingSaid = time.Time{}
	return []Effect{SayTyping{m.typingWhere, false}}
}

// saveDraft of a conversation, where it changed.
func (m *Model) saveDraft(peer string) []Effect {
	d := m.draft(peer)
	if d.text == d.saved {
		return nil
	}
	d.saved = d.text
	return []Effect{Save{Drafted{peer, d.text}}}
}

func (m *Model) submitted(e Submitted) []Effect {
	m.advance(e.At)
	q := Queued(e)
	m.queued(q)
	c := m.at(e.Conversation)
	l := c.Pending[len(c.Pending)-1]
	out := []Effect{Save{q}, Post{Conversation: e.Conversation, ID: e.ID, Text: e.Text}, Moved{c, l, WaitsHere}}
	if e.Conversation == m.Open {
		c.draft.text = ""
		out = append(out, m.ceaseTyping()...)
		out = append(out, m.saveDraft(m.Open)...)
	}
	return append(out, m.watch()...)
}

func (m *Model) tookBack(e TookBack) []Effect {
	c := m.conversations[e.Conversation]
	if c == nil {
		return nil
	}
	_, l := c.pending(e.ID)
	if l == nil || !l.failed {
		return nil
	}
	text := l.typed
	if c.draft.text != "" {
		text += "\n" + c.draft.text
	}
	m.drop(Dropped(e))
	// The draft is saved first: a crash between the two leaves the text twice, not nowhere.
	c.draft = draft{text, text}
	return []Effect{Save{Drafted{e.Conversation, text}}, Save{Dropped(e)}, Restore{e.Conversation, text}}
}

func (m *Model) ticked(e Ticked) []Effect {
	m.advance(e.At)
	var out []Effect
	if !m.typingSaid.IsZero() && e.At.Sub(m.typedLast) >= typingIdle {
		out = m.ceaseTyping()
	}
	return append(out, m.saveDraft(m.Open)...)
}

func (m *Model) advance(at time.Time) {
	if at.After(m.Now) {
		m.Now = at
	}
}

// markRead marks what the person sees.
func (m *Model) markRead() []Effect {
	c := m.conversations[m.Open]
	if c == nil || m.sight != AtNewest {
		return nil
	}
	return m.Read(m.Open)
}

// Read marks a conversation as read, as if it had been looked at.
func (m *Model) Read(peer string) []Effect {
	c := m.conversations[peer]
	if c == nil {
		return nil
	}
	top := c.newest(m.Me)
	if top <= c.read {
		return nil
	}
	c.read = top
	return []Effect{Save{ReadHere{peer, top}}, MarkRead{peer, top}}
}

// watch follows those one talked with last, where they have changed.
func (m *Model) watch() []Effect {
	if m.Link.State != Online {
		return nil // while much arrives, the list would change with each message
	}
	var users []string
	for _, c := range m.List() {
		if !IsGroup(c.Peer) && c.Peer != m.Me && len(users) < watchedMost {
			users = append(users, c.Peer)
		}
	}
	slices.Sort(users)
	if slices.Equal(users, m.watched) {
		return nil
	}
	m.watched = users
	return []Effect{Watch{users}}
}

// List is the conversations, the most recently active first.
func (m *Model) List() []*Conversation {
	return slices.SortedFunc(maps.Values(m.conversations), func(a, b *Conversation) int {
		return cmp.Or(b.Active().Compare(a.Active()), strings.Compare(a.Peer, b.Peer))
	})
}

// Conversation with a peer, or nil.
func (m *Model) Conversation(peer string) *Conversation { return m.conversations[peer] }

// Name is how a user wants to be called, or empty.
func (m *Model) Name(user string) plain.Text { return m.names[user] }

// Presence of a user, and whether it is known.
func (m *Model) Presence(user string) (Presence, bool) {
	p, ok := m.presence[user]
	return p, ok
}

// Unsent counts the lines of one's own that have no fate yet.
func (m *Model) Unsent() int {
	n := 0
	for _, c := range m.conversations {
		n += len(c.Unsettled())
	}
	return n
}

// InFlight counts those of them that nothing is known to hold up.
func (m *Model) InFlight() int {
	n := 0
	for _, c := range m.conversations {
		for _, l := range c.Pending {
			if c.State(l, m.Me) == WaitsHere {
				n++
			}
		}
	}
	return n
}

// Leave is what is to be done before the chat ends.
func (m *Model) Leave() []Effect {
	return append(m.ceaseTyping(), m.saveDraft(m.Open)...)
}
