package host

import "github.com/asynkron/protoactor-go/actor"

// post is the protoactor mailbox of an actor. It is no queue: a message for an
// actor at rest is run before whoever posts it goes on. Only what the library
// itself posts while the actor runs (that it failed, stops or is restarted)
// waits until it is done, and no more than a few such messages ever do: inputs
// that come meanwhile wait in live.waiting, which has the bound. The library's
// own mailboxes cost two queues, a closure and eight atomic operations a message.
type post struct {
	invoker   actor.MessageInvoker
	system    []any
	user      []any
	runs      bool
	suspended bool
}

// PostUserMessage implements actor.Mailbox.
func (p *post) PostUserMessage(m any) {
	if p.runs || p.suspended || len(p.user) > 0 {
		p.user = append(p.user, m)
		p.run()
		return
	}
	p.runs = true
	p.invoke(m)
	if len(p.system)+len(p.user) > 0 {
		p.drain()
	}
	p.runs = false
}

// PostSystemMessage implements actor.Mailbox.
func (p *post) PostSystemMessage(m any) {
	p.system = append(p.system, m)
	p.run()
}

// RegisterHandlers implements actor.Mailbox. There is nothing to dispatch.
func (p *post) RegisterHandlers(invoker actor.MessageInvoker, _ actor.Dispatcher) {
	p.invoker = invoker
}

// Start implements actor.Mailbox.
func (p *post) Start() {}

// UserMessageCount implements actor.Mailbox.
func (p *post) UserMessageCount() int { return len(p.user) }

func (p *post) run() {
	if p.runs {
		return
	}
	p.runs = true
	p.drain()
	p.runs = false
}

// drain what waits, what concerns the actor's life first.
func (p *post) drain() {
	for {
		switch {
		case len(p.system) > 0:
			p.control(shift(&p.system))
		case len(p.user) > 0 && !p.suspended:
			p.invoke(shift(&p.user))
		default:
			return
		}
	}
}

func (p *post) control(m any) {
	switch m.(type) {
	case *actor.SuspendMailbox:
		p.suspended = true
	case *actor.ResumeMailbox:
		p.suspended = false
	default:
		defer p.escalate(m)
		p.invoker.InvokeSystemMessage(m)
	}
}

func (p *post) invoke(m any) {
	defer p.escalate(m)
	p.invoker.InvokeUserMessage(m)
}

// escalate a panic to the actor's supervisor. Deferred.
func (p *post) escalate(m any) {
	if r := recover(); r != nil {
		p.invoker.EscalateFailure(r, m)
	}
}

// shift takes the first of a queue, which keeps no memory once it is empty.
func shift(queue *[]any) any {
	q := *queue
	m := q[0]
	q[0] = nil
	if *queue = q[1:]; len(q) == 1 {
		*queue = nil
	}
	return m
}
