package api

import (
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/ident"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/frames"
)

// send: POST /v1/messages.
func (a *API) send(c *call) (reply, *nodepb.Fault) {
	data, f := c.body()
	if f != nil {
		return reply{}, f
	}
	s := new(clientpb.Send)
	var broken *nodepb.Fault
	var err error
	c.decode(data, func() { broken, err = frames.UnmarshalJSON(data, s, "") })
	if err != nil {
		return reply{}, invalid("body", "is "+err.Error())
	}
	if broken != nil {
		return reply{}, broken
	}
	if f := idempotencyKey(c.r.Header, s); f != nil {
		return reply{}, f
	}
	m, f := frames.NewSend(s, "")
	if f != nil {
		return reply{}, f
	}
	devices, f := a.linked(c)
	if f != nil {
		return reply{}, f
	}
	m.Origin = &nodepb.Origin{User: c.asker.user, Device: c.asker.device}
	m.After = devices.GetTime()
	for _, d := range devices.GetDevices() {
		if d.GetDevice() != c.asker.device {
			m.Others = append(m.Others, d.GetDevice())
		}
	}
	if devices.GetFull() && len(m.GetOthers()) > 0 {
		return reply{}, fault.CopiesFull()
	}
	// No session keeps the list of devices up to date here: one that was linked
	// since it was asked for must get its copy all the same.
	m.Copy = true
	answer, f := a.ask(c, writes, &nodepb.Ask{User: m.GetTo(), Asker: c.asker.user, Device: c.asker.device, Body: &nodepb.Ask_Send{Send: m}})
	if f != nil {
		return reply{}, f
	}
	sent := answer.GetSent()
	if sent == nil {
		return reply{}, a.unexpected(c, writes)
	}
	return message(&clientpb.Sent{
		Id: ident.MessageIDString(m.GetId()), Conversation: frames.With(m.GetTo()),
		Order: sent.GetOrder(), Time: sent.GetTime(), Duplicate: sent.GetDuplicate(),
	})
}

// idempotencyKey takes the id from the header; given in both places, it must
// be the same. The header may have quotes, as the IETF's draft wants it.
func idempotencyKey(h http.Header, s *clientpb.Send) *nodepb.Fault {
	const name = "Idempotency-Key"
	values := h.Values(name)
	if len(values) == 0 {
		return nil
	}
	key := values[0]
	if n := len(key); n > 1 && key[0] == '"' && key[n-1] == '"' {
		key = key[1 : n-1]
	}
	if len(values) > 1 {
		return invalid(name, "is given twice")
	}
	if _, err := ident.ParseMessageID(key); err != nil {
		return invalid(name, err.Error())
	}
	if s.GetId() != "" && !strings.EqualFold(s.GetId(), key) {
		return invalid("id", "is not the "+name)
	}
	s.Id = key
	return nil
}

func message(m proto.Message) (reply, *nodepb.Fault) {
	body, err := frames.AppendJSON(nil, m)
	if err != nil {
		return reply{}, fault.New(fault.Internal, "", "the answer cannot be written")
	}
	return reply{status: http.StatusOK, body: body}, nil
}

// ack: POST /v1/messages/ack.
func (a *API) ack(c *call) (reply, *nodepb.Fault) {
	var seq uint64
	if f := c.read(fields{"seq": &seq}); f != nil {
		return reply{}, f
	}
	if seq == 0 {
		return reply{}, invalid("seq", "must be given")
	}
	q := c.own()
	q.Body = &nodepb.Ask_AckUpTo{AckUpTo: &nodepb.AckUpTo{Seq: seq}}
	return a.confirm(c, q)
}
