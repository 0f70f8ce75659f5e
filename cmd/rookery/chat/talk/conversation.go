package talk

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
)

// State is how far a line has got.
type State uint8

// The states of a line. Received is a line of somebody else's.
const (
	Received State = iota
	WaitsHere
	Waiting
	Failed
	Sent
	Delivered
	Seen
	Expired
)

// String is the state in a word.
func (s State) String() string {
	return [...]string{"received", "queued", "waiting", "refused", "sent", "delivered", "read", "expired"}[s]
}

// Line is one message on the screen.
type Line struct {
	ID, From string
	Device   uint32
	Order    uint64
	Time     uint64    // the server's; 0 while there is none
	At       time.Time // when it was typed, for a line without Time
	Body     Body
	// Why it waits or was refused, and when it is tried again.
	Why     string
	RetryAt time.Time

	typed  string // as it was typed, while it has no fate
	failed bool
}

// Wall is the line's time of day.
func (l *Line) Wall() time.Time {
	if l.Time == 0 {
		return l.At
	}
	return time.UnixMilli(int64(l.Time >> 16)) //nolint:gosec // 48 bits
}

// before is the order of lines that every device agrees on.
func (l *Line) before(o *Line) bool {
	switch {
	case l.Time != o.Time:
		return l.Time < o.Time
	case l.From != o.From:
		return l.From < o.From
	default:
		return l.Order < o.Order
	}
}

// Says is the body as it is shown.
func (b Body) Says() plain.Text {
	switch {
	case b.Kind == "":
		return b.Text
	case b.Size < 1<<10:
		return plain.Text(fmt.Sprintf("[%s, %d bytes]", b.Kind, b.Size))
	default:
		return plain.Text(fmt.Sprintf("[%s, %d KB]", b.Kind, (b.Size+1<<9)>>10))
	}
}

// Conversation with one user, or in one group.
type Conversation struct {
	// Peer is the user's or the group's id.
	Peer string
	// Lines that the server has a place for, in their order.
	Lines []*Line
	// Pending are lines of one's own that it has none for, as they were typed.
	Pending []*Line

	draft           draft
	delivered, seen uint64 // watermarks of the other side, in one's own orders
	undelivered     []Range
	read            uint64 // how far one has read oneself
	touched         time.Time
	typing          map[string]time.Time // until when
	known           map[lineKey]bool
}

// draft is what stands in an input, and what the history knows of it.
type draft struct{ text, saved string }

// lineKey tells messages apart. The id alone would let one user hide another's
// message by sending its id.
type lineKey struct{ from, id string }

// linesKept is how many lines of a conversation stay, at least; half as many
// again may, so that not every new line costs an old one.
const linesKept = 1000

// insert adds a line in its place, and says whether it was new.
func (c *Conversation) insert(l *Line) bool {
	k := lineKey{l.From, l.ID}
	if c.known[k] {
		return false
	}
	c.known[k] = true
	at := sort.Search(len(c.Lines), func(i int) bool { return l.before(c.Lines[i]) })
	c.Lines = slices.Insert(c.Lines, at, l)
	if len(c.Lines) > linesKept*3/2 {
		for _, old := range c.Lines[:len(c.Lines)-linesKept] {
			delete(c.known, lineKey{old.From, old.ID})
		}
		c.Lines = slices.Clone(c.Lines[len(c.Lines)-linesKept:])
	}
	return true
}

// pending is the line without a place that has this id.
func (c *Conversation) pending(id string) (int, *Line) {
	for i, l := range c.Pending {
		if l.ID == id {
			return i, l
		}
	}
	return -1, nil
}

// Unread counts what others wrote since one has read, me being oneself.
func (c *Conversation) Unread(me string) int {
	n := 0
	for _, l := range c.Lines {
		if l.From != me && l.Order > c.read {
			n++
		}
	}
	return n
}

// newest is the highest order of what others wrote.
func (c *Conversation) newest(me string) uint64 {
	var top uint64
	for _, l := range c.Lines {
		if l.From != me {
			top = max(top, l.Order)
		}
	}
	return top
}

// State of a line in this conversation, me being oneself.
func (c *Conversation) State(l *Line, me string) State {
	switch {
	case l.From != me:
		return Received
	case l.failed:
		return Failed
	case l.Time == 0 && l.Why != "":
		return Waiting
	case l.Time == 0:
		return WaitsHere
	}
	for _, r := range c.undelivered {
		if r.First <= l.Order && l.Order <= r.Last {
			return Expired
		}
	}
	switch {
	case c.seen >= l.Order:
		return Seen
	case c.delivered >= l.Order:
		return Delivered
	default:
		return Sent
	}
}

// Active is when something last happened in the conversation.
func (c *Conversation) Active() time.Time {
	t := c.touched
	if n := len(c.Lines); n > 0 && c.Lines[n-1].Wall().After(t) {
		t = c.Lines[n-1].Wall()
	}
	if n := len(c.Pending); n > 0 && c.Pending[n-1].At.After(t) {
		t = c.Pending[n-1].At
	}
	return t
}

// Typing are those who type at that moment, sorted.
func (c *Conversation) Typing(now time.Time) []string {
	var who []string
	for user, until := range c.typing {
		if now.Before(until) {
			who = append(who, user)
		}
	}
	slices.Sort(who)
	return who
}

// Failed is the newest refused line, or nil.
func (c *Conversation) Failed() *Line {
	for _, l := range slices.Backward(c.Pending) {
		if l.failed {
			return l
		}
	}
	return nil
}

// Unsettled are one's own lines that have no fate yet: id and text as typed.
func (c *Conversation) Unsettled() []Post {
	var posts []Post
	for _, l := range c.Pending {
		if !l.failed {
			posts = append(posts, Post{Conversation: c.Peer, ID: l.ID, Text: l.typed})
		}
	}
	return posts
}

// Knows says whether a line of that user has this id, with or without a fate.
func (c *Conversation) Knows(user, id string) bool {
	_, l := c.pending(id)
	return l != nil && l.From == user || c.known[lineKey{user, id}]
}
