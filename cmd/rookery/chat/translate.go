package chat

import (
	"time"
	"unicode/utf8"

	"github.com/rookery-im/rookery/client"
	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// kinds of messages that are not text, as they are shown.
var kinds = map[client.Kind]string{
	client.KindImage: "image", client.KindVideo: "video", client.KindAudio: "audio", client.KindDocument: "document",
	client.KindLocation: "location", client.KindContact: "contact", client.KindStatus: "status",
	client.KindEncrypted: "encrypted message", client.KindControl: "change of a message",
}

// translate puts an event of the SDK into the chat's words; nil for what a
// chat does not show. This is where what strangers wrote is made safe.
func translate(e client.Event, now time.Time) talk.Event {
	switch e := e.(type) {
	case *client.Message:
		return talk.Arrived{Conversation: e.Conversation.String(), ID: e.ID, From: e.From.User, Device: e.From.Device,
			Order: e.Order, Time: uint64(e.Time), Body: body(e.Kind, e.Payload)}
	case *client.Receipt:
		r := talk.Receipt{Conversation: e.Conversation.String(), By: e.By, Delivered: e.DeliveredUpTo, ReadUpTo: e.ReadUpTo}
		for _, u := range e.Undelivered {
			r.Undelivered = append(r.Undelivered, talk.Range(u))
		}
		return r
	case *client.Settled:
		s := talk.Settled{Conversation: e.To.String(), ID: e.ID, Order: e.Sent.Order, Time: uint64(e.Sent.Time)}
		if e.Err != nil {
			s.Refusal = explain(e.Err)
		}
		return s
	case *client.Delayed:
		return talk.Delayed{Conversation: e.To.String(), ID: e.ID, Why: explain(e.Err), RetryAt: e.RetryAt}
	case *client.Presence:
		return talk.Presence{User: e.User, Online: e.Online, LastSeen: e.LastSeen}
	case *client.Typing:
		return talk.Typing{Conversation: e.Conversation.String(), From: e.From.User, On: e.On, At: now}
	case *client.Drained:
		return talk.Drained{}
	case *client.StateChanged:
		if e.State == client.StateStopped {
			return nil // Receive ends with the reason
		}
		return talk.LinkChanged{Link: link(e.Status)}
	default:
		return nil
	}
}

func body(kind client.Kind, payload []byte) talk.Body {
	switch name, other := kinds[kind]; {
	case other:
		return talk.Body{Kind: name, Size: len(payload)}
	case kind != client.KindText:
		return talk.Body{Kind: "message of a newer kind", Size: len(payload)}
	case !utf8.Valid(payload):
		return talk.Body{Kind: "text that is not UTF-8", Size: len(payload)}
	default:
		return talk.Body{Text: plain.Clean(string(payload))}
	}
}

func link(s client.Status) talk.Link {
	switch s.State {
	case client.StateOnline:
		return talk.Link{State: talk.CatchingUp}
	case client.StateWaiting:
		return talk.Link{State: talk.Offline, Why: explain(s.Err), RetryAt: s.RetryAt}
	default:
		return talk.Link{State: talk.Connecting, Why: explain(s.Err)}
	}
}

// over is the link of a client that stopped for good.
func over(err error) talk.LinkChanged {
	return talk.LinkChanged{Link: talk.Link{State: talk.Refused, Why: explain(err), Advice: advice(err)}}
}
