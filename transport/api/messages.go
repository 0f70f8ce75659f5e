package api

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/internal/limits"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/frames"
)

// listDefault is how many entries a page of GET /v1/messages has.
const listDefault = 100

// send: POST /v1/messages.
func (a *API) send(c *call) (reply, *nodepb.Fault) {
	data, f := c.body()
	if f != nil {
		return reply{}, f
	}
	s := new(clientpb.Send)
	broken, err := frames.UnmarshalJSON(data, s, "")
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

// listMessages: GET /v1/messages.
func (a *API) listMessages(c *call) (reply, *nodepb.Fault) {
	list, f := listQuery(c.r.URL)
	if f != nil {
		return reply{}, f
	}
	q := c.own()
	q.Body = &nodepb.Ask_List{List: list}
	answer, f := a.ask(c, reads, q)
	if f != nil {
		return reply{}, f
	}
	page := answer.GetPage()
	if page == nil {
		return reply{}, a.unexpected(c, reads)
	}
	// next is where the following page begins, also where a filter left
	// everything of this one out.
	next := max(list.GetAfter(), page.GetAfter(), page.GetUpTo())
	body := []byte(`{"messages":[`)
	empty := len(body)
	for _, e := range page.GetEntries() {
		next = max(next, e.GetSeq())
		frame := frames.FromEntry(e, c.asker.device)
		if frame == nil {
			continue
		}
		if len(body) > empty {
			body = append(body, ',')
		}
		var err error
		if body, err = frames.AppendJSON(body, frame); err != nil {
			return reply{}, fault.New(fault.Internal, "", "an entry cannot be written")
		}
	}
	body = append(body, `],"next":"`...)
	body = strconv.AppendUint(body, next, 10)
	body = append(body, `","end":`...)
	body = strconv.AppendBool(body, page.GetEnd())
	return reply{status: http.StatusOK, body: append(body, '}')}, nil
}

func listQuery(u *url.URL) (*nodepb.List, *nodepb.Fault) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, invalid("query", "is not well-formed")
	}
	list := &nodepb.List{Limit: listDefault}
	for name, values := range query {
		if len(values) != 1 {
			return nil, invalid(name, "is given twice")
		}
		if f := listParameter(list, name, values[0]); f != nil {
			return nil, f
		}
	}
	return list, nil
}

func listParameter(list *nodepb.List, name, value string) *nodepb.Fault {
	switch name {
	case "after":
		after, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return invalid(name, "must be a seq")
		}
		list.After = after
	case "limit":
		limit, err := strconv.ParseUint(value, 10, 32)
		if err != nil || limit < 1 || limit > limits.PageEntries {
			return invalid(name, "must be 1 to "+strconv.Itoa(limits.PageEntries))
		}
		list.Limit = uint32(limit)
	case "conversation":
		peer, f := conversation(value)
		if f != nil {
			return f
		}
		list.Peer = peer
	case "id":
		id, err := ident.ParseMessageID(value)
		if err != nil {
			return invalid(name, err.Error())
		}
		list.Id = id[:]
	default:
		return fault.New(fault.InvalidArgument, fault.ReasonUnknownField, "%q: unknown parameter", name[:min(len(name), limits.UserID)])
	}
	return nil
}

// conversation reads user:bob or bob. A space is a plus sign that a form
// encoder would have escaped: ids hold no spaces, and many begin with +.
func conversation(value string) (string, *nodepb.Fault) {
	value = strings.ReplaceAll(value, " ", "+")
	c := frames.With(strings.TrimPrefix(value, "user:"))
	if group, ok := strings.CutPrefix(value, "group:"); ok {
		c = &clientpb.Conversation{Peer: &clientpb.Conversation_Group{Group: group}}
	}
	return frames.Peer(c, "conversation")
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
