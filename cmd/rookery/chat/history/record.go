package history

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// version of the format: the first line of a file says it.
const (
	version    = 1
	headerLine = `{"is":"` + isHeader + `","version":1}` + "\n"
)

// record is one line of the file.
type record struct {
	Is          string      `json:"is"`
	Version     int         `json:"version,omitempty"`
	With        string      `json:"with,omitempty"`
	ID          string      `json:"id,omitempty"`
	From        string      `json:"from,omitempty"`
	Device      uint32      `json:"device,omitempty"`
	Order       uint64      `json:"order,omitempty"`
	Time        uint64      `json:"time,omitempty"`
	At          *time.Time  `json:"at,omitempty"`
	Text        string      `json:"text,omitempty"`
	Kind        string      `json:"kind,omitempty"`
	Size        int         `json:"size,omitempty"`
	Why         string      `json:"why,omitempty"`
	Delivered   uint64      `json:"delivered,omitempty"`
	Read        uint64      `json:"read,omitempty"`
	Undelivered [][2]uint64 `json:"undelivered,omitempty"`
}

// The kinds of records.
const (
	isHeader  = "rookery-chat-history"
	isMessage = "message"
	isQueued  = "queued"
	isSettled = "settled"
	isReceipt = "receipt"
	isRead    = "read"
	isDraft   = "draft"
	isDropped = "dropped"
	isName    = "name"
)

// encode gives an event as a line.
func encode(e talk.Event) ([]byte, error) {
	var r record
	switch e := e.(type) {
	case talk.Arrived:
		r = record{Is: isMessage, With: e.Conversation, ID: e.ID, From: e.From, Device: e.Device, Order: e.Order, Time: e.Time,
			Text: string(e.Body.Text), Kind: e.Body.Kind, Size: e.Body.Size}
	case talk.Queued:
		r = record{Is: isQueued, With: e.Conversation, ID: e.ID, Text: e.Text, At: &e.At}
	case talk.Settled:
		r = record{Is: isSettled, With: e.Conversation, ID: e.ID, Order: e.Order, Time: e.Time, Why: e.Refusal}
	case talk.Receipt:
		r = record{Is: isReceipt, With: e.Conversation, From: e.By, Delivered: e.Delivered, Read: e.ReadUpTo}
		for _, u := range e.Undelivered {
			r.Undelivered = append(r.Undelivered, [2]uint64{u.First, u.Last})
		}
	case talk.ReadHere:
		r = record{Is: isRead, With: e.Conversation, Order: e.Order}
	case talk.Drafted:
		r = record{Is: isDraft, With: e.Conversation, Text: e.Text}
	case talk.Dropped:
		r = record{Is: isDropped, With: e.Conversation, ID: e.ID}
	case talk.Named:
		r = record{Is: isName, From: e.User, Text: string(e.Name)}
	default:
		return nil, fmt.Errorf("a history keeps no %T", e)
	}
	b, err := json.Marshal(r)
	return append(b, '\n'), err
}

// decode gives the event of a line. Texts of others are cleaned again: the file
// may be older than the rules, or somebody else may have written into it.
func decode(b []byte) (talk.Event, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	if r.Is != isName && (r.Is != isDraft || r.With != "") {
		if err := talk.CheckPeer(r.With); err != nil {
			return nil, err
		}
	}
	switch r.Is {
	case isMessage:
		if err := talk.CheckPeer(r.From); err != nil {
			return nil, err
		}
		return talk.Arrived{Conversation: r.With, ID: r.ID, From: r.From, Device: r.Device, Order: r.Order, Time: r.Time,
			Body: talk.Body{Text: plain.Clean(r.Text), Kind: string(plain.Name(r.Kind)), Size: r.Size}}, nil
	case isQueued:
		q := talk.Queued{Conversation: r.With, ID: r.ID, Text: r.Text}
		if r.At != nil {
			q.At = *r.At
		}
		return q, nil
	case isSettled:
		return talk.Settled{Conversation: r.With, ID: r.ID, Order: r.Order, Time: r.Time, Refusal: string(plain.Clean(r.Why))}, nil
	case isReceipt:
		e := talk.Receipt{Conversation: r.With, By: r.From, Delivered: r.Delivered, ReadUpTo: r.Read}
		for _, u := range r.Undelivered {
			e.Undelivered = append(e.Undelivered, talk.Range{First: u[0], Last: u[1]})
		}
		return e, nil
	case isRead:
		return talk.ReadHere{Conversation: r.With, Order: r.Order}, nil
	case isDraft:
		return talk.Drafted{Conversation: r.With, Text: r.Text}, nil
	case isDropped:
		return talk.Dropped{Conversation: r.With, ID: r.ID}, nil
	case isName:
		return talk.Named{User: r.From, Name: plain.Name(r.Text)}, nil
	default:
		return nil, fmt.Errorf("unknown record %q", r.Is)
	}
}
