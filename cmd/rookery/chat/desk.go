package chat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rookery-im/rookery/client"
	"github.com/rookery-im/rookery/cmd/rookery/chat/history"
	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// news is something for the loop: an event, or a line that tells the person
// something. taken, where there is one, gets what came of it.
type news struct {
	event  talk.Event
	notice string
	taken  chan<- error
}

// desk joins the model with its history and the SDK. The loop owns it, except
// where a comment says otherwise.
type desk struct {
	ctx      context.Context
	cancel   context.CancelFunc
	sdk      *client.Client
	model    *talk.Model
	history  *history.File
	posted   string // id of the last line that the SDK took
	greeting string // what the person should know from the start
	running  sync.WaitGroup
	// deliver hands news to the loop, from any goroutine, and gives up when ctx ends.
	deliver func(context.Context, news)
	// tell shows the person a line, now.
	tell func(string)
	// rescue gives the terminal back before a panic of a goroutine is printed.
	rescue func()
}

// beside runs f in a goroutine that close waits for.
func (d *desk) beside(f func()) {
	d.running.Go(func() {
		whole := false
		defer func() {
			if !whole && d.rescue != nil {
				d.rescue()
			}
		}()
		f()
		whole = true
	})
}

// openDesk reads the history and brings it together with what the SDK still
// has to send.
func openDesk(ctx context.Context, a account, sdk *client.Client) (*desk, error) {
	ctx, cancel := context.WithCancel(ctx)
	d := &desk{ctx: ctx, cancel: cancel, sdk: sdk, model: talk.New(a.User)}
	h, damaged, err := history.Open(a.history(), func(e talk.Event) { d.model.Step(e) })
	if err != nil {
		cancel()
		return nil, err
	}
	d.history = h
	if damaged > 0 {
		d.greeting = fmt.Sprintf("%d damaged lines of the history were left out", damaged)
	}
	if err := d.reconcile(); err != nil {
		cancel()
		return nil, errors.Join(err, h.Close())
	}
	return d, nil
}

// reconcile mends what a crash left between history and queue. A line that
// only the history knows had not reached the queue, or its fate had not
// reached the history; sending its id again settles both. A line that only the
// queue knows is there where a history was deleted.
func (d *desk) reconcile() error {
	queued := map[string]bool{}
	for _, m := range d.sdk.Unsent() {
		queued[m.ID] = true
		e := talk.Queued{Conversation: m.To.String(), ID: m.ID, Text: string(m.Payload), At: time.Now()}
		if c := d.model.Conversation(e.Conversation); c != nil && c.Knows(d.model.Me, m.ID) {
			continue
		}
		d.model.Step(e)
		if err := d.history.Append(e); err != nil {
			return err
		}
	}
	for _, c := range d.model.List() {
		for _, p := range c.Unsettled() {
			if !queued[p.ID] {
				if err := d.post(p); err != nil {
					return fmt.Errorf("queue a line of the history again: %w", err)
				}
			}
		}
	}
	return d.history.Sync()
}

// receive hands what the SDK says to the loop, one after the other, until the
// desk or the client closes.
func (d *desk) receive() {
	d.beside(d.receiving)
}

func (d *desk) receiving() {
	ctx := d.ctx
	err := d.sdk.Receive(ctx, func(ctx context.Context, e client.Event) error {
		if r, ok := e.(*client.Refused); ok {
			d.deliver(ctx, news{notice: "the server refused a " + r.What + ": " + explain(r.Err)})
			return nil
		}
		event := translate(e, time.Now())
		if event == nil {
			return nil
		}
		taken := make(chan error, 1)
		d.deliver(ctx, news{event: event, taken: taken})
		select {
		case err := <-taken:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if ctx.Err() == nil {
		d.deliver(ctx, news{event: over(err)})
	}
}

// take does what news asks for and answers it. It returns the effects that are
// for the eyes.
func (d *desk) take(n news) []talk.Effect {
	if n.event == nil {
		d.tell(n.notice)
		return nil
	}
	shown, err := d.step(n.event)
	if n.taken != nil {
		n.taken <- err
	}
	if err != nil && n.taken == nil {
		d.tell(explain(err))
	}
	return shown
}

// step lets the model take an event and does what it asks for. The history is
// on disk when step returns, if the event changed it.
func (d *desk) step(e talk.Event) ([]talk.Effect, error) {
	return d.perform(d.model.Step(e))
}

func (d *desk) perform(effects []talk.Effect) (shown []talk.Effect, err error) {
	for _, f := range effects {
		switch f := f.(type) {
		case talk.Save:
			if err := d.history.Append(f.Event); err != nil {
				return shown, err
			}
		case talk.Post:
			// In the history first: reconcile mends the rest.
			if err := d.history.Sync(); err != nil {
				return shown, err
			}
			if err := d.post(f); err == nil {
				d.posted = f.ID
			} else {
				more, err := d.step(talk.Settled{Conversation: f.Conversation, ID: f.ID, Refusal: explain(err)})
				shown = append(shown, more...)
				if err != nil {
					return shown, err
				}
			}
		case talk.MarkRead:
			d.must("mark as read", d.sdk.Read(d.ctx, conversation(f.Conversation), f.Order))
		case talk.SayTyping:
			d.must("say typing", d.sdk.Typing(d.ctx, conversation(f.Conversation), f.On))
		case talk.Watch:
			d.must("follow who is there", d.sdk.Watch(d.ctx, f.Users...))
		case talk.Learn:
			d.learn(f.User)
		default:
			shown = append(shown, f)
		}
	}
	if err := d.history.Sync(); err != nil {
		return shown, err
	}
	if d.history.Grown() {
		return shown, d.history.Rewrite(d.model.Events())
	}
	return shown, nil
}

// must tells of errors that are no consequence of being offline, which shows
// anyway.
func (d *desk) must(what string, err error) {
	if err == nil || errors.Is(err, client.ErrOffline) || errors.Is(err, client.ErrClosed) || d.model.Link.State == talk.Refused || d.ctx.Err() != nil {
		return
	}
	d.tell("could not " + what + ": " + explain(err))
}

// post queues a line with the SDK.
func (d *desk) post(p talk.Post) error {
	_, err := d.sdk.Queue(d.ctx, client.Draft{ID: p.ID, To: conversation(p.Conversation), Kind: client.KindText, Payload: []byte(p.Text)})
	if errors.Is(err, client.ErrAlreadyExists) {
		return nil // its fate is on its way
	}
	return err
}

// say sends what was typed. An error means that it is nowhere but where it was typed.
func (d *desk) say(to, text string, at time.Time) ([]talk.Effect, error) {
	text = strings.TrimRight(strings.ToValidUTF8(text, "\uFFFD"), " \n")
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("there is nothing to send")
	}
	if most := d.sdk.Status().Limits.Payload; most > 0 && len(text) > most {
		return nil, fmt.Errorf("too long: %d bytes, and a message has at most %d", len(text), most)
	}
	if d.model.Link.State == talk.Refused {
		return nil, fmt.Errorf("not sent: %s; %s", d.model.Link.Why, d.model.Link.Advice)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make a message id: %w", err)
	}
	shown, err := d.step(talk.Submitted{Conversation: to, ID: id.String(), Text: text, At: at})
	if err == nil || d.posted == id.String() {
		if err != nil {
			d.tell(explain(err)) // it goes out all the same
		}
		return shown, nil
	}
	d.model.Step(talk.Dropped{Conversation: to, ID: id.String()})
	if to == d.model.Open {
		d.model.Step(talk.Typed{Text: text, At: at})
	}
	return nil, fmt.Errorf("not sent: %s", explain(err))
}

// aside does something that needs the server, apart from the loop, and tells
// of what came of it.
func (d *desk) aside(what func(context.Context) (string, error)) {
	const patience = 10 * time.Second
	d.beside(func() {
		ctx, cancel := context.WithTimeout(d.ctx, patience)
		defer cancel()
		notice, err := what(ctx)
		if err != nil {
			notice = explain(err)
		}
		if notice != "" {
			d.deliver(d.ctx, news{notice: notice})
		}
	})
}

// learn asks how a user is called; a silent failure, since the id will do.
func (d *desk) learn(user string) {
	d.aside(func(ctx context.Context) (string, error) {
		p, err := d.sdk.Profile(ctx, user)
		if errors.Is(err, client.ErrNotFound) {
			return "nobody here is called " + user + ", or they hide from you", nil
		}
		if err == nil {
			d.deliver(ctx, news{event: talk.Named{User: user, Name: plain.Name(p.Name)}})
		}
		return "", nil
	})
}

// close writes down what is half typed and lets go of everything.
func (d *desk) close() error {
	_, err := d.perform(d.model.Leave())
	d.cancel()
	d.running.Wait()
	return errors.Join(err, d.sdk.Close(), d.history.Close())
}

// conversation is the SDK's name for a peer.
func conversation(peer string) client.Conversation {
	if talk.IsGroup(peer) {
		return client.InGroup(peer)
	}
	return client.With(peer)
}

// firstLine reads a file of one line, such as a password.
func firstLine(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	s, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSuffix(s, "\r"), err
}
