package chat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rookery-im/rookery/client"
	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
	"github.com/rookery-im/rookery/cmd/rookery/chat/screen"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// command does what both modes do alike. Quit, help, history and saying
// something are the modes' own.
func (d *desk) command(c talk.Command, now time.Time) ([]talk.Effect, error) {
	peer := c.To
	if peer == "" {
		peer = d.model.Open
	}
	switch c.Name {
	case "to":
		return d.step(talk.Opened{Conversation: peer, At: now})
	case "read":
		if d.model.Conversation(peer) == nil {
			return nil, errors.New("read what? /read bob")
		}
		return d.perform(d.model.Read(peer))
	case "who":
		d.who(c.To, now)
		return nil, nil
	case "back", "drop":
		return d.refused(c.Name)
	case "name":
		d.aside(func(ctx context.Context) (string, error) {
			p, err := d.sdk.UpdateProfile(ctx, client.ProfileChange{Name: &c.Text})
			return "others see you as " + string(plain.Name(p.Name)), err
		})
	case "block":
		d.aside(func(ctx context.Context) (string, error) {
			return "you hear nothing more of " + c.To + "; /unblock " + c.To + " ends it", d.sdk.Block(ctx, c.To)
		})
	case "unblock":
		d.aside(func(ctx context.Context) (string, error) {
			return "you hear from " + c.To + " again", d.sdk.Unblock(ctx, c.To)
		})
	default:
		return nil, fmt.Errorf("/%s is not for here", c.Name)
	}
	return nil, nil
}

// refused takes the newest refused line of the open conversation back, or away.
func (d *desk) refused(verb string) ([]talk.Effect, error) {
	c := d.model.Conversation(d.model.Open)
	if c == nil || c.Failed() == nil {
		return nil, errors.New("no line was refused here")
	}
	id := c.Failed().ID
	if verb == "back" {
		return d.step(talk.TookBack{Conversation: c.Peer, ID: id})
	}
	d.model.Step(talk.Dropped{Conversation: c.Peer, ID: id})
	return d.perform([]talk.Effect{talk.Save{Event: talk.Dropped{Conversation: c.Peer, ID: id}}})
}

// who tells about one user, or about everyone in the list.
func (d *desk) who(user string, now time.Time) {
	if user == "" {
		for _, c := range d.model.List() {
			what := []string{c.Peer}
			if n := d.model.Name(c.Peer); n != "" && string(n) != c.Peer {
				what = append(what, "("+string(n)+")")
			}
			if s := screen.Presence(d.model, c.Peer, now); s != "" {
				what = append(what, s)
			}
			if n := c.Unread(d.model.Me); n > 0 {
				what = append(what, fmt.Sprintf("%d unread", n))
			}
			d.tell(strings.Join(what, " "))
		}
		return
	}
	d.aside(func(ctx context.Context) (string, error) {
		p, err := d.sdk.Profile(ctx, user)
		if err != nil {
			return "", err
		}
		s := p.User
		if p.Name != "" && p.Name != p.User {
			s += " (" + string(plain.Name(p.Name)) + ")"
		}
		if p.About != "" {
			s += ": " + string(plain.Clean(p.About).OneLine())
		}
		switch {
		case p.Online:
			s += ", online"
		case !p.LastSeen.IsZero():
			s += ", last seen " + screen.When(p.LastSeen, now)
		}
		return s, nil
	})
}
