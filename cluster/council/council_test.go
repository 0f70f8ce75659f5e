package council

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/internal/limits"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// chamber is a council at node a, and a record of whom it asks.
type chamber struct {
	*Council
	t     *testing.T
	leads bool
	hint  string // who leads, as a's own replica of group 0 knows
	deaf  map[string]bool
	asked []string
	last  *controlpb.Ask
	at    time.Time
}

func newChamber(t *testing.T) *chamber {
	c := &chamber{t: t, at: time.UnixMilli(1_700_000_000_000), deaf: map[string]bool{}}
	c.Council = New(Config{
		Self: "a", Now: c.at,
		Leads: func() bool { return c.leads }, Leader: func() string { return c.hint }, Others: func() []string { return []string{"b", "c"} },
		Send: func(to string, w *controlpb.Word) error {
			c.asked = append(c.asked, to)
			if c.deaf[to] {
				return errors.New("no link")
			}
			c.last = w.GetAsk()
			return nil
		},
		Answer: func(from string, _ *controlpb.Ask, done func(*controlpb.Answer)) {
			c.asked = append(c.asked, from)
			done(&controlpb.Answer{Outcome: controlpb.Outcome_DONE})
		},
	})
	return c
}

// wait lets time pass, by tenths of a second.
func (c *chamber) wait(d time.Duration) {
	for range d / askPause {
		c.at = c.at.Add(askPause)
		c.Tick(c.at)
	}
}

func (c *chamber) says(from string, o controlpb.Outcome, leader string) {
	c.Answered(from, &controlpb.Answer{Number: c.last.GetNumber(), Outcome: o, Leader: leader, Code: "removed", Reason: "because"})
}

// put a question, and see what becomes of it.
func (c *chamber) put() *error {
	got := errUnansweredYet
	c.Ask(&controlpb.Ask{Body: &controlpb.Ask_Rotate{Rotate: &controlpb.Nothing{}}}, 5*time.Second, func(a *controlpb.Answer, err error) {
		if !errors.Is(got, errUnansweredYet) {
			c.t.Error("answered twice")
		}
		got = Verdict(a, err)
	})
	return &got
}

var errUnansweredYet = errors.New("no answer yet")

func (c *chamber) expect(what string, got *error, want error, asked ...string) {
	c.t.Helper()
	if !errors.Is(*got, want) || (want == nil) != (*got == nil) {
		c.t.Errorf("%s: %v, want %v", what, *got, want)
	}
	if !slices.Equal(c.asked, asked) {
		c.t.Errorf("%s: asked %v, want %v", what, c.asked, asked)
	}
}

func TestQuestionFindsTheLeader(t *testing.T) {
	t.Run("it is here", func(t *testing.T) {
		c := newChamber(t)
		c.leads = true
		c.expect("answer", c.put(), nil, "a")
	})
	t.Run("it is known", func(t *testing.T) {
		c := newChamber(t)
		c.hint = "c"
		q := c.put()
		c.says("c", controlpb.Outcome_DONE, "")
		c.expect("answer", q, nil, "c")
	})
	t.Run("somebody knows it", func(t *testing.T) {
		c := newChamber(t)
		q := c.put()
		c.says("b", controlpb.Outcome_ELSEWHERE, "d")
		c.wait(askPause)
		c.says("d", controlpb.Outcome_REFUSED, "")
		c.expect("answer", q, control.ErrRemoved, "b", "d")
	})
	t.Run("nobody knows it yet", func(t *testing.T) {
		c := newChamber(t)
		q := c.put()
		c.says("b", controlpb.Outcome_ELSEWHERE, "")
		c.wait(askPause)
		c.says("c", controlpb.Outcome_UNAVAILABLE, "")
		c.wait(askPause)
		c.says("b", controlpb.Outcome_DONE, "")
		c.expect("answer", q, nil, "b", "c", "b")
	})
	t.Run("two point at each other", func(t *testing.T) {
		c := newChamber(t)
		c.put()
		for range 10 {
			c.says("b", controlpb.Outcome_ELSEWHERE, "c")
			c.says("c", controlpb.Outcome_ELSEWHERE, "b")
			c.wait(askPause)
		}
		if len(c.asked) > 11 {
			t.Errorf("asked %d times in a second", len(c.asked))
		}
	})
}

// One that says nothing is asked once in a while, and others are; what came of it
// is not known in the end.
func TestQuestionIsGivenUp(t *testing.T) {
	c := newChamber(t)
	q := c.put()
	c.wait(askPatience)
	c.expect("after a while", q, errUnansweredYet, "b", "c")
	c.wait(5 * time.Second)
	c.expect("in the end", q, control.ErrUnknown, "b", "c", "b", "c", "b")
	c.says("b", controlpb.Outcome_DONE, "") // too late

	c = newChamber(t)
	c.deaf["b"], c.deaf["c"] = true, true
	q = c.put()
	c.wait(5 * time.Second)
	if !errors.Is(*q, control.ErrUnavailable) {
		t.Errorf("nobody was reached: %v", *q)
	}
	if len(c.open) != 0 {
		t.Errorf("%d are kept", len(c.open))
	}
}

// A late answer counts, whoever is being asked by then.
func TestLateAnswer(t *testing.T) {
	c := newChamber(t)
	q := c.put()
	c.wait(askPatience)
	c.says("b", controlpb.Outcome_DONE, "")
	c.expect("answer", q, nil, "b", "c")
	c.says("c", controlpb.Outcome_DONE, "")
}

func TestQuestionsAreBounded(t *testing.T) {
	c := newChamber(t)
	for range limits.Questions {
		c.put()
	}
	if q := c.put(); !errors.Is(*q, control.ErrUnavailable) {
		t.Errorf("one too many: %v", *q)
	}
}

// What was refused at one node is refused for the same reason at another.
func TestRefusalsTravel(t *testing.T) {
	for _, r := range refusals {
		err := Verdict(Outcome(fmt.Errorf("wrapped: %w", r.err)), nil)
		if !errors.Is(err, r.err) || err.Error() != "wrapped: "+r.err.Error() {
			t.Errorf("%v became %v", r.err, err)
		}
	}
	if err := Verdict(Outcome(errors.New("new")), nil); err == nil || err.Error() != "new" {
		t.Errorf("became %v", err)
	}
	if err := Verdict(Outcome(nil), nil); err != nil {
		t.Error(err)
	}
}
