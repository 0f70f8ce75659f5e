package node

import (
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// answer what a node asks, this one among them. Done is called once, perhaps
// before answer returns, perhaps never where the loop ends.
func (c *cluster) answer(from string, ask *controlpb.Ask, done func(*controlpb.Answer)) {
	switch ask.GetBody().(type) {
	case *controlpb.Ask_Report:
		done(&controlpb.Answer{Outcome: controlpb.Outcome_DONE, Report: c.reports()})
		return
	case *controlpb.Ask_View:
		c.answerView(done)
		return
	}
	if !c.leads() {
		leader := c.lead()
		if leader == c.node {
			leader = "" // it is about to lead, or has just led
		}
		done(&controlpb.Answer{Outcome: controlpb.Outcome_ELSEWHERE, Leader: leader})
		return
	}
	simple := func(err error) { done(outcome(err)) }
	if _, known := c.view().Node(from); !known && ask.GetAdmit() == nil {
		// One that was removed is told so when it says who it is.
		simple(control.ErrNoMember)
		return
	}
	m := c.machine
	switch b := ask.GetBody().(type) {
	case *controlpb.Ask_Admit:
		c.answerAdmit(from, b.Admit, done)
	case *controlpb.Ask_Ready:
		m.MarkReady(from, simple)
	case *controlpb.Ask_Leave:
		m.Leave(number(b.Leave), simple)
	case *controlpb.Ask_Remove:
		m.Remove(number(b.Remove), simple)
	case *controlpb.Ask_Invite:
		m.CreateInvite(time.Duration(b.Invite.GetLife())*time.Millisecond, func(code string, expires time.Time, err error) { //nolint:gosec // bounded there
			a := outcome(err)
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

// number of a member; 0, which nobody has, for what cannot be one.
func number(n uint32) uint16 {
	if n > 1<<16-1 {
		return 0
	}
	return uint16(n) //nolint:gosec // just looked at
}

func (c *cluster) answerView(done func(*controlpb.Answer)) {
	v := c.view()
	if v == nil {
		done(&controlpb.Answer{Outcome: controlpb.Outcome_UNAVAILABLE})
		return
	}
	done(&controlpb.Answer{Outcome: controlpb.Outcome_DONE, View: v.Proto()})
}

func (c *cluster) answerAdmit(from string, p *controlpb.Member, done func(*controlpb.Answer)) {
	m := control.Candidate(p)
	if m.Node != from {
		done(&controlpb.Answer{Outcome: controlpb.Outcome_REFUSED, Reason: "node " + from + " says that it is " + m.Node})
		return
	}
	c.machine.Admit(m, func(_ control.Member, err error) {
		a := outcome(err)
		if err == nil {
			a.View = c.machine.View().Proto()
		}
		done(a)
	})
}
