package node

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/internal/limits"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// The council's times.
const (
	askPatience = time.Second            // for one node's answer
	askPause    = 100 * time.Millisecond // before a question is asked again
)

// council is where questions to group 0 are asked, and answered by the node that
// leads it. A question goes on until it is answered or its time is over: whoever
// is asked and does not lead says who does. All questions can be asked again, so
// one that is not answered is. It belongs to the loop.
type council struct {
	// Immutable.
	self   string // node
	send   func(to string, body []byte) error
	answer func(from string, ask *controlpb.Ask, done func(*controlpb.Answer))
	// leads says whether this node leads group 0, leader who does as far as it
	// knows; others are those that may know, in the order in which to ask them.
	leads  func() bool
	leader func() string
	others func() []string

	now    time.Time
	number uint64
	open   map[uint64]*question
}

// question that is not answered yet.
type question struct {
	ask    *controlpb.Ask
	done   func(*controlpb.Answer, error)
	only   string    // the one node that it is for; empty where it is for group 0's leader
	until  time.Time // it is given up
	next   time.Time // it is asked again
	asked  string    // who was asked last; empty where nobody's answer is waited for
	hint   string    // who leads, as the last one said
	turn   int       // of others
	doubts bool      // somebody was asked, and did not say what came of it
}

// ask group 0's leader. Done is called once, perhaps before ask returns. An
// error, control.ErrUnavailable or control.ErrUnknown, says that there was no
// answer.
func (c *council) ask(ask *controlpb.Ask, life time.Duration, done func(*controlpb.Answer, error)) {
	c.put(&question{ask: ask, done: done}, life)
}

// askNode asks one node about itself.
func (c *council) askNode(node string, ask *controlpb.Ask, life time.Duration, done func(*controlpb.Answer, error)) {
	c.put(&question{ask: ask, done: done, only: node}, life)
}

func (c *council) put(q *question, life time.Duration) {
	if len(c.open) >= limits.Questions {
		q.done(nil, control.ErrUnavailable)
		return
	}
	c.number++
	q.ask.Number = c.number
	q.until = c.now.Add(life)
	c.open[c.number] = q
	c.attempt(q)
}

// attempt asks the one who should know.
func (c *council) attempt(q *question) {
	q.asked = c.whom(q)
	q.hint = ""
	switch q.asked {
	case "":
		q.next = c.now.Add(askPause)
		return
	case c.self:
		q.next = c.now.Add(q.until.Sub(c.now)) // its own answer comes for certain
		number := q.ask.GetNumber()
		c.answer(c.self, q.ask, func(a *controlpb.Answer) {
			a.Number = number
			c.answered(c.self, a)
		})
		return
	}
	body, err := word(&controlpb.Word{Body: &controlpb.Word_Ask{Ask: q.ask}})
	if err == nil {
		err = c.send(q.asked, body)
	}
	if err != nil {
		q.asked = ""
		q.next = c.now.Add(askPause)
		return
	}
	q.next = c.now.Add(askPatience)
}

// whom to ask.
func (c *council) whom(q *question) string {
	if q.only != "" {
		return q.only
	}
	if c.leads() {
		return c.self
	}
	if q.hint != "" && q.hint != c.self {
		return q.hint
	}
	if leader := c.leader(); leader != "" && leader != c.self && q.turn == 0 {
		q.turn++
		return leader
	}
	others := c.others()
	if len(others) == 0 {
		return ""
	}
	q.turn++
	return others[(q.turn-1)%len(others)]
}

// word as a body for the office.
func word(w *controlpb.Word) ([]byte, error) {
	b, err := proto.MarshalOptions{}.MarshalAppend(frame(kindControl, proto.Size(w)), w)
	if err != nil {
		return nil, fmt.Errorf("node: encode a word: %w", err)
	}
	return b, nil
}

// asked answers what another node asks.
func (c *council) asked(from string, ask *controlpb.Ask) {
	c.answer(from, ask, func(a *controlpb.Answer) {
		a.Number = ask.GetNumber()
		body, err := word(&controlpb.Word{Body: &controlpb.Word_Answer{Answer: a}})
		if err != nil {
			return
		}
		_ = c.send(from, body) // it asks again
	})
}

// answered takes an answer; a late one is as good as any.
func (c *council) answered(from string, a *controlpb.Answer) {
	q := c.open[a.GetNumber()]
	if q == nil || q.only != "" && q.only != from {
		return
	}
	switch a.GetOutcome() {
	case controlpb.Outcome_DONE, controlpb.Outcome_REFUSED:
		delete(c.open, a.GetNumber())
		q.done(a, nil)
		return
	case controlpb.Outcome_UNKNOWN:
		q.doubts = true
	}
	if q.asked != from {
		return // somebody else is being asked by now
	}
	q.asked = ""
	if hint := a.GetLeader(); hint != "" && hint != from && q.hint != hint {
		q.hint, q.next = hint, c.now // at the next tick: two that point at each other go no faster
		return
	}
	q.next = c.now.Add(askPause)
}

// tick asks again what was not answered, and gives up what is too old.
func (c *council) tick(now time.Time) {
	c.now = now
	numbers := make([]uint64, 0, len(c.open))
	for number := range c.open {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	for _, number := range numbers {
		q := c.open[number]
		switch {
		case q == nil:
		case !now.Before(q.until):
			delete(c.open, number)
			err := control.ErrUnavailable
			if q.doubts || q.asked != "" {
				err = control.ErrUnknown
			}
			q.done(nil, err)
		case !now.Before(q.next):
			q.doubts = q.doubts || q.asked != ""
			c.attempt(q)
		}
	}
}

// Refusals of group 0 and how they are called between nodes. Append only.
var refusals = []struct {
	code string
	err  error
}{
	{"invite_unknown", control.ErrInviteUnknown}, {"invite_used", control.ErrInviteUsed}, {"invite_expired", control.ErrInviteExpired},
	{"too_many_invites", control.ErrTooMany}, {"removed", control.ErrRemoved}, {"stale", control.ErrStale}, {"numbers", control.ErrNumbers},
	{"no_member", control.ErrNoMember}, {"last_data", control.ErrLastData}, {"member", control.ErrMember},
}

// outcome of an operation as an answer.
func outcome(err error) *controlpb.Answer {
	switch {
	case err == nil:
		return &controlpb.Answer{Outcome: controlpb.Outcome_DONE}
	case errors.Is(err, control.ErrUnavailable):
		return &controlpb.Answer{Outcome: controlpb.Outcome_UNAVAILABLE}
	case errors.Is(err, control.ErrUnknown):
		return &controlpb.Answer{Outcome: controlpb.Outcome_UNKNOWN}
	}
	a := &controlpb.Answer{Outcome: controlpb.Outcome_REFUSED, Reason: err.Error()}
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			a.Code = r.code
		}
	}
	return a
}

// refusal is what somebody else was refused for.
type refusal struct {
	reason string
	err    error
}

func (r *refusal) Error() string { return r.reason }
func (r *refusal) Unwrap() error { return r.err }

// verdict is the error of an answer, if it is one.
func verdict(a *controlpb.Answer, err error) error {
	if err != nil || a.GetOutcome() == controlpb.Outcome_DONE {
		return err
	}
	r := &refusal{reason: a.GetReason()}
	for _, known := range refusals {
		if known.code == a.GetCode() {
			r.err = known.err
		}
	}
	return r
}
