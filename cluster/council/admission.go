package council

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// The admission's times.
const (
	admitLife   = 5 * time.Second
	admitPause  = 500 * time.Millisecond
	admitRemind = 10 * time.Second // how often it is said that a node waits
)

// stage of a node's admission, in each of its lives:
//
//	silent    its own addresses are not known yet
//	asking    it says who it is, and asks to be taken in, or that its addresses
//	          be taken over; again and again until it is heard
//	admitted  it has a number, and a view; it says that it is ready
//	joined    the cluster knows that it is. Admitted again where the cluster
//	          took it for lost
//	refused   for good: the node ends
type stage uint8

const (
	silent stage = iota
	asking
	admitted
	joined
	refused
)

func (s stage) String() string {
	return [...]string{"silent", "asking", "admitted", "joined", "refused"}[s]
}

// Admission takes a node into its cluster. It belongs to the loop.
type Admission struct {
	// Immutable.
	ask    func(ask *controlpb.Ask, life time.Duration, done func(*controlpb.Answer, error))
	take   func(v *control.View) error // the view that came with being admitted
	refuse func(error)
	log    *slog.Logger

	stage stage
	self  control.Member
	busy  bool // a question is out
	next  time.Time
	now   time.Time
	said  time.Time // that it waits
	why   string    // it waits
}

// NewAdmission asks by a council. Take is given the view that came with being
// admitted, refuse why the node is not taken, for good.
func NewAdmission(c *Council, take func(*control.View) error, refuse func(error), log *slog.Logger) *Admission {
	return &Admission{ask: c.Ask, take: take, refuse: refuse, log: log}
}

// Begin to ask, as the member that this node is.
func (a *Admission) Begin(self control.Member) {
	a.self = self
	a.stage = asking
}

// Again: the cluster took this node for lost, and it is not.
func (a *Admission) Again() {
	if a.stage == joined {
		a.stage = admitted
	}
}

func (a *Admission) Tick(now time.Time) {
	a.now = now
	if a.busy || now.Before(a.next) {
		return
	}
	switch a.stage {
	case asking:
		a.busy = true
		a.ask(&controlpb.Ask{Body: &controlpb.Ask_Admit{Admit: a.self.Proto()}}, admitLife, a.heard)
	case admitted:
		a.busy = true
		a.ask(&controlpb.Ask{Body: &controlpb.Ask_Ready{Ready: &controlpb.Nothing{}}}, admitLife, a.counted)
	case silent, joined, refused:
	}
}

// heard what became of being admitted.
func (a *Admission) heard(answer *controlpb.Answer, err error) {
	if a.settle(answer, err) {
		return
	}
	v, err := control.ViewOf(answer.GetView())
	if err == nil {
		err = a.take(v)
	}
	if err != nil {
		a.becomeRefused(err)
		return
	}
	a.stage = admitted
	if m, _ := v.Node(a.self.Node); m.State != control.Joining && m.State != control.Lost {
		a.stage = joined
	}
	m, _ := v.Node(a.self.Node)
	a.log.Info("this node is a member of the cluster", "cluster", v.Cluster, "number", m.Number, "state", m.State)
}

// counted in as ready.
func (a *Admission) counted(answer *controlpb.Answer, err error) {
	if a.settle(answer, err) {
		return
	}
	a.stage = joined
	a.log.Info("this node is ready in the cluster")
}

// settle says whether an answer leads no further.
func (a *Admission) settle(answer *controlpb.Answer, err error) bool {
	a.busy = false
	switch err := Verdict(answer, err); {
	case err == nil:
		return false
	case errors.Is(err, control.ErrUnavailable), errors.Is(err, control.ErrUnknown):
		a.Wait("no node answers that leads group 0, or knows who does")
	default:
		a.becomeRefused(err)
	}
	return true
}

func (a *Admission) becomeRefused(err error) {
	a.stage = refused
	a.refuse(fmt.Errorf("the cluster does not take this node: %w", err))
}

// Wait for better times, and say so now and then.
func (a *Admission) Wait(why string) {
	a.next = a.now.Add(admitPause)
	if why == a.why && a.now.Sub(a.said) < admitRemind {
		return
	}
	a.why, a.said = why, a.now
	a.log.Info("this node waits for its cluster", "stage", a.stage, "why", why)
}
