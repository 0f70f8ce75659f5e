package api

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/events"
)

// Waiting configures what waits for what is to come. None of it is among the
// requests served at once.
type Waiting struct {
	// Polls that wait at once; limits.Parked where not above 0.
	Polls int
	// Streams of events; there are none where it is nil.
	Streams Streams
}

// Streams serves a stream of events for a device until it ends. The fault says
// why there was none, and nothing was written.
type Streams interface {
	Serve(w http.ResponseWriter, r *http.Request, from netip.Addr, hello events.Hello) *nodepb.Fault
}

func (w Waiting) polls() int {
	if w.Polls > 0 {
		return w.Polls
	}
	return limits.Parked
}

// poll is a list that waits, where nothing at all is stored after what it is
// asked for, until something is or the time is over.
//
// It waits at the user's actor, which answers Woken once it is worth asking
// again. That is no more than a hint: what is told comes from a list that was
// asked afterwards, and the last one is asked when the time is over. So nothing
// is told early, and a hint that was lost costs time only.
func (a *API) poll(c *call, list *nodepb.List, wait time.Duration) (reply, *nodepb.Fault) {
	select {
	case a.polls <- struct{}{}:
		defer func() { <-a.polls }()
	default:
		a.cfg.Metrics.polls.WithLabelValues("full").Inc()
		return reply{}, fault.New(fault.Unavailable, "", "as many requests wait as may; ask without wait, or another node")
	}
	c.leave()
	c.waited = true
	a.cfg.Metrics.parked.Inc()
	defer a.cfg.Metrics.parked.Dec()

	// Nothing is told past the end of the token.
	if !c.until.IsZero() {
		wait = min(wait, c.until.Sub(a.cfg.Now()))
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), wait)
	defer cancel()
	defer context.AfterFunc(a.serving, cancel)()
	out, end, f := a.await(ctx, c, list)
	if f != nil && end == "" {
		end = f.GetCode()
	}
	a.cfg.Metrics.polls.WithLabelValues(end).Inc()
	return out, f
}

// await asks, and waits, until there is something or the context ends. It says
// in a word how it went.
func (a *API) await(ctx context.Context, c *call, list *nodepb.List) (reply, string, *nodepb.Fault) {
	list.Park = &nodepb.Park{}
	for ctx.Err() == nil {
		q := c.own()
		q.Body = &nodepb.Ask_List{List: list}
		answer, err := a.cfg.Backend.Ask(ctx, q)
		switch {
		case err != nil && ctx.Err() != nil:
			continue
		case err != nil:
			a.cfg.Log.Warn("question to a user was not answered", "route", c.r.Pattern, "err", err)
			return reply{}, "", fault.New(fault.Unavailable, "", "no answer in time")
		case answer.GetFault() != nil:
			return reply{}, "", answer.GetFault()
		case answer.GetWoken() != nil:
			continue
		}
		p, f := a.listed(c, list, answer)
		switch {
		case f != nil:
			return reply{}, "", f
		case !p.empty || !p.end:
			return p.reply(), "entries", nil
		case p.next <= list.GetAfter(): // cannot be: it were parked
			return reply{}, "", a.unexpected(c, reads)
		}
		list.After = p.next // the filter fits nothing that is stored
	}
	if c.r.Context().Err() != nil {
		return reply{}, "gone", nil
	}
	return a.last(c, list)
}

// last asks once more, for what is there now.
func (a *API) last(c *call, list *nodepb.List) (reply, string, *nodepb.Fault) {
	list.Park = nil
	q := c.own()
	q.Body = &nodepb.Ask_List{List: list}
	answer, f := a.ask(c, reads, q)
	if f != nil {
		return reply{}, "", f
	}
	p, f := a.listed(c, list, answer)
	switch {
	case f != nil:
		return reply{}, "", f
	case !p.empty || !p.end:
		return p.reply(), "entries", nil
	case a.serving.Err() != nil:
		return reply{}, "drain", fault.New(fault.Unavailable, "", "the node is going away; nothing has come so far")
	default:
		return p.reply(), "time", nil
	}
}
