package council

import (
	"errors"
	"slices"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/internal/limits"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// The council's times.
const (
	askPatience = time.Second            // for one node's answer
	askPause    = 100 * time.Millisecond // before a question is asked again
)

// Config of a Council. All of it is required.
type Config struct {
	// Self is this node, Now the time at which it begins.
	Self string
	Now  time.Time
	// Send gives a word to another node, once and in order while both live. An
	// error says that it never arrives.
	Send func(to string, w *controlpb.Word) error
	// Answer what a node asks, this one among them. Done is called once, perhaps
	// before Answer returns, perhaps never where the loop ends.
	Answer func(from string, ask *controlpb.Ask, done func(*controlpb.Answer))
	// Leads says whether this node leads group 0, Leader who does as far as it
	// knows; Others are those that may know, in the order in which to ask them.
	Leads  func() bool
	Leader func() string
	Others func() []string
}

// Council is where questions to group 0 are asked, and answered by the node that
// leads it. A question goes on until it is answered or its time is over: whoever
// is asked and does not lead says who does. All questions can be asked again, so
// one that is not answered is. It belongs to the loop.
type Council struct {
	config Config // immutable

	now    time.Time
	number uint64
	open   map[uint64]*question
}

// New council, which has asked nothing yet.
func New(config Config) *Council {
	return &Council{config: config, now: config.Now, open: map[uint64]*question{}}
}

// Now is the time of the last Tick.
func (c *Council) Now() time.Time { return c.now }

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

// Ask group 0's leader. Done is called once, perhaps before Ask returns. An
// error, control.ErrUnavailable or control.ErrUnknown, says that there was no
// answer.
func (c *Council) Ask(ask *controlpb.Ask, life time.Duration, done func(*controlpb.Answer, error)) {
	c.put(&question{ask: ask, done: done}, life)
}

// AskNode asks one node about itself.
func (c *Council) AskNode(node string, ask *controlpb.Ask, life time.Duration, done func(*controlpb.Answer, error)) {
	c.put(&question{ask: ask, done: done, only: node}, life)
}

func (c *Council) put(q *question, life time.Duration) {
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
func (c *Council) attempt(q *question) {
	q.asked = c.whom(q)
	q.hint = ""
	switch q.asked {
	case "":
		q.next = c.now.Add(askPause)
		return
	case c.config.Self:
		q.next = c.now.Add(q.until.Sub(c.now)) // its own answer comes for certain
		number := q.ask.GetNumber()
		c.config.Answer(c.config.Self, q.ask, func(a *controlpb.Answer) {
			a.Number = number
			c.Answered(c.config.Self, a)
		})
		return
	}
	if err := c.config.Send(q.asked, &controlpb.Word{Body: &controlpb.Word_Ask{Ask: q.ask}}); err != nil {
		q.asked = ""
		q.next = c.now.Add(askPause)
		return
	}
	q.next = c.now.Add(askPatience)
}

// whom to ask.
func (c *Council) whom(q *question) string {
	if q.only != "" {
		return q.only
	}
	if c.config.Leads() {
		return c.config.Self
	}
	if q.hint != "" && q.hint != c.config.Self {
		return q.hint
	}
	if leader := c.config.Leader(); leader != "" && leader != c.config.Self && q.turn == 0 {
		q.turn++
		return leader
	}
	others := c.config.Others()
	if len(others) == 0 {
		return ""
	}
	q.turn++
	return others[(q.turn-1)%len(others)]
}

// Asked answers what another node asks.
func (c *Council) Asked(from string, ask *controlpb.Ask) {
	c.config.Answer(from, ask, func(a *controlpb.Answer) {
		a.Number = ask.GetNumber()
		_ = c.config.Send(from, &controlpb.Word{Body: &controlpb.Word_Answer{Answer: a}}) // it asks again
	})
}

// Answered takes an answer; a late one is as good as any.
func (c *Council) Answered(from string, a *controlpb.Answer) {
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

// Tick asks again what was not answered, and gives up what is too old.
func (c *Council) Tick(now time.Time) {
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

// Outcome of an operation as an answer.
func Outcome(err error) *controlpb.Answer {
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

// Refusal is what somebody else was refused for.
type Refusal struct {
	reason string
	err    error
}

func (r *Refusal) Error() string { return r.reason }
func (r *Refusal) Unwrap() error { return r.err }

// Verdict is the error of an answer, if it is one.
func Verdict(a *controlpb.Answer, err error) error {
	if err != nil || a.GetOutcome() == controlpb.Outcome_DONE {
		return err
	}
	r := &Refusal{reason: a.GetReason()}
	for _, known := range refusals {
		if known.code == a.GetCode() {
			r.err = known.err
		}
	}
	return r
}
