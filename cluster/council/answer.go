package council

import (
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// Decide what a node asks of group 0, this one among them: by the machine, where
// this node leads it, and otherwise by saying who does as far as it knows. Done is
// called once, perhaps before Decide returns, perhaps never where the loop ends.
func Decide(m *control.Control, leader, from string, ask *controlpb.Ask, done func(*controlpb.Answer)) {
	if m == nil || !m.Leads() {
		done(&controlpb.Answer{Outcome: controlpb.Outcome_ELSEWHERE, Leader: leader})
		return
	}
	if _, known := m.View().Node(from); known || ask.GetAdmit() != nil {
		perform(m, from, ask, done)
		return
	}
	// One that was removed is told so when it says who it is. Another leader may
	// have admitted the node, of which this one has not heard that it leads no more:
	// so it is refused by what the group confirms, not by the view.
	m.Vouch(from, func(err error) {
		if err != nil {
			done(Outcome(err))
			return
		}
		perform(m, from, ask, done)
	})
}

// perform what was asked by a member, or by one that is to be admitted.
func perform(m *control.Control, from string, ask *controlpb.Ask, done func(*controlpb.Answer)) {
	simple := func(err error) { done(Outcome(err)) }
	switch b := ask.GetBody().(type) {
	case *controlpb.Ask_Admit:
		admit(m, from, b.Admit, done)
	case *controlpb.Ask_Ready:
		m.MarkReady(from, simple)
	case *controlpb.Ask_Leave:
		m.Leave(number(b.Leave), simple)
	case *controlpb.Ask_Remove:
		m.Remove(number(b.Remove), simple)
	case *controlpb.Ask_Invite:
		m.CreateInvite(time.Duration(b.Invite.GetLife())*time.Millisecond, func(code string, expires time.Time, err error) { //nolint:gosec // bounded there
			a := Outcome(err)
			a.Invite, a.Expires = code, uint64(expires.UnixMilli()) //nolint:gosec // after 1970
			done(a)
		})
	case *controlpb.Ask_Redeem:
		m.Redeem(b.Redeem.GetCode(), b.Redeem.GetUser(), simple)
	case *controlpb.Ask_Check:
		m.CheckInvite(b.Check.GetCode(), b.Check.GetUser(), simple)
	case *controlpb.Ask_Rotate:
		m.RotateKey(simple)
	default:
		done(&controlpb.Answer{Outcome: controlpb.Outcome_REFUSED, Reason: "the node that leads group 0 does not know the question: is it of an older version?"})
	}
}

// Show the view that a node has; nil where it has none.
func Show(v *control.View, done func(*controlpb.Answer)) {
	if v == nil {
		done(&controlpb.Answer{Outcome: controlpb.Outcome_UNAVAILABLE})
		return
	}
	done(&controlpb.Answer{Outcome: controlpb.Outcome_DONE, View: v.Proto()})
}

// number of a member; 0, which nobody has, for what cannot be one.
func number(n uint32) uint16 {
	if n > 1<<16-1 {
		return 0
	}
	return uint16(n) //nolint:gosec // just looked at
}

func admit(m *control.Control, from string, p *controlpb.Member, done func(*controlpb.Answer)) {
	candidate := control.Candidate(p)
	if candidate.Node != from {
		done(&controlpb.Answer{Outcome: controlpb.Outcome_REFUSED, Reason: "node " + from + " says that it is " + candidate.Node})
		return
	}
	m.Admit(candidate, func(_ control.Member, err error) {
		a := Outcome(err)
		if err == nil {
			a.View = m.View().Proto()
		}
		done(a)
	})
}
