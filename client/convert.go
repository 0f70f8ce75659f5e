package client

import (
	"bytes"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rookery-im/rookery/client/internal/core"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

func (c Conversation) proto() *clientpb.Conversation {
	if c.Group != "" {
		return &clientpb.Conversation{Peer: &clientpb.Conversation_Group{Group: c.Group}}
	}
	return &clientpb.Conversation{Peer: &clientpb.Conversation_User{User: c.User}}
}

// check refuses what no frame holds; field is what the server calls it.
func (c Conversation) check(field string) error {
	if (c.User == "") == (c.Group == "") {
		return fmt.Errorf("%w: a conversation has a user or a group", ErrInvalidArgument)
	}
	if c.User != "" {
		return checkText(field+".user", c.User)
	}
	return checkText(field+".group", c.Group)
}

// checkText refuses what protobuf does not take for text: the frame could not
// be encoded, and its connection would end each time it is said again.
func checkText(field, text string) error {
	if !utf8.ValidString(text) {
		return fmt.Errorf("%w: %s: must be UTF-8", ErrInvalidArgument, field)
	}
	return nil
}

func conversation(c *clientpb.Conversation) Conversation {
	return Conversation{User: c.GetUser(), Group: c.GetGroup()}
}

func deviceOf(d *clientpb.Device) Device { return Device{User: d.GetUser(), Device: d.GetDevice()} }

func devicesOf(list []*clientpb.Device) []Device {
	var out []Device
	for _, d := range list {
		out = append(out, deviceOf(d))
	}
	return out
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

func (d Draft) check() error {
	if err := d.To.check("send.to"); err != nil {
		return err
	}
	for i, p := range d.Payloads {
		if err := checkText(fmt.Sprintf("send.payloads[%d].user", i), p.User); err != nil {
			return err
		}
	}
	return checkText("send.replyTo", d.ReplyTo)
}

// proto is the draft as a frame, with an id.
func (d Draft) proto() (*clientpb.Send, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	s := &clientpb.Send{
		To: d.To.proto(), Kind: clientpb.Kind(d.Kind), Payload: bytes.Clone(d.Payload), ReplyTo: d.ReplyTo, Push: clientpb.Send_Push(d.Push),
	} // payloads are copied: the caller may use its own again at once
	if d.TTL != 0 {
		s.Ttl = durationpb.New(d.TTL)
	}
	for _, p := range d.Payloads {
		s.Payloads = append(s.Payloads, &clientpb.DevicePayload{User: p.User, Device: p.Device.Device, Payload: bytes.Clone(p.Payload)})
	}
	if d.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("make an id: %w", err)
		}
		s.Id = id.String()
		return s, nil
	}
	id, err := uuid.Parse(d.ID)
	if err != nil || len(d.ID) != 36 {
		return nil, fmt.Errorf("%w: send.id: %q is not a UUID", ErrInvalidArgument, d.ID)
	}
	if id == uuid.Nil { // an error about it could not name it, and it would wait for ever
		return nil, fmt.Errorf("%w: send.id: must not be the nil UUID", ErrInvalidArgument)
	}
	s.Id = id.String()
	return s, nil
}

func draft(s *clientpb.Send) Draft {
	d := Draft{
		ID: s.GetId(), To: conversation(s.GetTo()), Kind: kind(s.GetKind()), Payload: bytes.Clone(s.GetPayload()), ReplyTo: s.GetReplyTo(),
		TTL: s.GetTtl().AsDuration(), Push: Push(s.GetPush()),
	}
	for _, p := range s.GetPayloads() {
		d.Payloads = append(d.Payloads, DevicePayload{Device: Device{User: p.GetUser(), Device: p.GetDevice()}, Payload: bytes.Clone(p.GetPayload())})
	}
	return d
}

func kind(k clientpb.Kind) Kind {
	if k == clientpb.Kind_KIND_UNSPECIFIED {
		return KindText
	}
	return Kind(k)
}

func errorOf(e *clientpb.Error) error {
	if e == nil {
		return nil
	}
	return &Error{
		Code: Code(e.GetCode()), Reason: e.GetReason(), Message: e.GetMessage(), Retryable: e.GetRetryable(),
		RetryAfter: time.Duration(e.GetRetryAfterMs()) * time.Millisecond,
		Missing:    devicesOf(e.GetMissing()), Extra: devicesOf(e.GetExtra()),
	}
}

func sentOf(s *clientpb.Sent) Sent {
	if s == nil {
		return Sent{}
	}
	return Sent{ID: s.GetId(), To: conversation(s.GetConversation()), Order: s.GetOrder(), Time: Time(s.GetTime()), Duplicate: s.GetDuplicate()}
}

func statusOf(s core.Status) Status {
	return Status{
		State: State(s.Phase), Err: s.Err, RetryAt: s.RetryAt, Self: Device{User: s.User, Device: s.Device}, Node: s.Node, Unsent: s.Unsent,
		Limits: Limits{
			Payload: int(s.Limits.GetPayload()), DevicePayloads: int(s.Limits.GetDevicePayloads()), Signal: int(s.Limits.GetSignal()),
			InFlightPerConversation: int(s.Limits.GetInFlightPerConversation()), InFlight: int(s.Limits.GetInFlight()), Watched: int(s.Limits.GetWatched()),
		},
	}
}

// eventOf is the application's view of an event.
func eventOf(e core.Event) Event {
	switch e := e.(type) {
	case *clientpb.Deliver:
		return &Message{
			Seq: e.GetSeq(), ID: e.GetId(), From: deviceOf(e.GetFrom()), Conversation: conversation(e.GetConversation()),
			Order: e.GetOrder(), Time: Time(e.GetTime()), Kind: kind(e.GetKind()), ReplyTo: e.GetReplyTo(), Payload: e.GetPayload(),
		}
	case *clientpb.Receipt:
		r := &Receipt{
			Seq: e.GetSeq(), Conversation: conversation(e.GetConversation()), By: e.GetBy(),
			DeliveredUpTo: e.GetDeliveredUpTo(), ReadUpTo: e.GetReadUpTo(),
		}
		for _, u := range e.GetUndelivered() {
			r.Undelivered = append(r.Undelivered, OrderRange{First: u.GetFirst(), Last: u.GetLast()})
		}
		return r
	case *clientpb.DeviceEvent:
		d := &DevicesChanged{Seq: e.GetSeq(), Unlinked: e.GetUnlinked()}
		for _, l := range e.GetLinked() {
			d.Linked = append(d.Linked, DeviceInfo{Device: l.GetDevice(), Name: l.GetName(), LinkedAt: timeOf(l.GetLinkedAt())})
		}
		return d
	case *clientpb.Presence:
		return &Presence{User: e.GetUser(), Online: e.GetOnline(), LastSeen: timeOf(e.GetLastSeen())}
	case *clientpb.TypingNotice:
		return &Typing{From: deviceOf(e.GetFrom()), Conversation: conversation(e.GetConversation()), On: e.GetOn()}
	case *clientpb.Signal:
		return &Signal{From: deviceOf(e.GetFrom()), Bytes: e.GetBytes()}
	case *clientpb.Drained:
		return &Drained{Seq: e.GetSeq()}
	case *core.Fate:
		return &Settled{ID: e.ID, To: conversation(e.To), Sent: sentOf(e.Sent), Err: errorOf(e.Refusal)}
	case *core.Delay:
		return &Delayed{ID: e.ID, To: conversation(e.To), Err: errorOf(e.Refusal), RetryAt: e.Until}
	case *core.Refused:
		return &Refused{What: e.What, Err: errorOf(e.Refusal)}
	case *core.Changed:
		return &StateChanged{Status: statusOf(e.Status)}
	default:
		return nil
	}
}

// stopError says why the machine stopped, as the sentinels have it.
func stopError(s core.Stop) error {
	why := map[core.Why]error{
		core.Closed: ErrClosed, core.Displaced: ErrDisplaced, core.Unlinked: ErrUnlinked,
		core.Unauthenticated: ErrUnauthenticated, core.Malformed: ErrProtocol, core.StoreBroken: ErrStore,
	}[s.Why]
	switch {
	case s.Err == nil:
		return why
	case errors.Is(s.Err, why):
		return s.Err
	}
	return fmt.Errorf("%w: %w", why, s.Err)
}
