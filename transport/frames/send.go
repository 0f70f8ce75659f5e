package frames

import (
	"fmt"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/internal/limits"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// NewSend judges everything about a send that needs no state, and turns it
// into what the recipient's actor is asked: To, Id, Kind, Payload, Payloads,
// ReplyTo and Ttl are set, the rest is the caller's. The fault names the field
// with path in front, "send." for a frame. payload and payloads are shared
// with s, not copied.
func NewSend(s *clientpb.Send, path string) (*nodepb.Send, *nodepb.Fault) {
	id, err := ident.ParseMessageID(s.GetId())
	if err != nil {
		return nil, invalid(path+"id", "%v", err)
	}
	to, broken := Peer(s.GetTo(), path, "to")
	if broken != nil {
		return nil, broken
	}
	// The ids are bytes of the same allocation.
	made := &struct {
		nodepb.Send
		id, reply [ident.MessageIDLen]byte
	}{id: id}
	out := &made.Send
	out.To, out.Id, out.Payload = to, made.id[:], s.GetPayload()
	if out.Kind, broken = kind(s.GetKind(), path); broken != nil {
		return nil, broken
	}
	if _, known := clientpb.Send_Push_name[int32(s.GetPush())]; !known {
		return nil, invalid(path+"push", "must be one of NONE, NORMAL, URGENT")
	}
	if len(s.GetPayload()) > limits.Payload {
		return nil, fault.New(fault.PayloadTooLarge, "", "%spayload: has %d bytes, at most %d are taken", path, len(s.GetPayload()), limits.Payload)
	}
	if out.Payloads, broken = targets(s.GetPayloads(), path); broken != nil {
		return nil, broken
	}
	if s.GetReplyTo() != "" {
		if made.reply, err = ident.ParseMessageID(s.GetReplyTo()); err != nil {
			return nil, invalid(path+"replyTo", "%v", err)
		}
		out.ReplyTo = made.reply[:]
	}
	if out.Ttl, broken = ttl(s, path); broken != nil {
		return nil, broken
	}
	return out, nil
}

// Peer is the other user of a conversation, which is a field of what path, such
// as "send.", names. Groups are refused: a group can
// only be spoken to by its members, and nobody is one.
func Peer(c *clientpb.Conversation, path, field string) (string, *nodepb.Fault) {
	switch p := c.GetPeer().(type) {
	case *clientpb.Conversation_User:
		if err := ident.CheckUser(p.User); err != nil {
			return "", invalid(path+field+".user", "%v", err)
		}
		return p.User, nil
	case *clientpb.Conversation_Group:
		if err := ident.CheckGroup(p.Group); err != nil {
			return "", invalid(path+field+".group", "%v", err)
		}
		return "", fault.New(fault.PermissionDenied, "", "%s%s.group: you are not a member", path, field)
	default:
		return "", invalid(path+field, "must name a user or a group")
	}
}

// kind makes what was left out a text.
func kind(k clientpb.Kind, path string) (uint32, *nodepb.Fault) {
	if k == clientpb.Kind_KIND_UNSPECIFIED {
		k = clientpb.Kind_TEXT
	}
	if _, known := clientpb.Kind_name[int32(k)]; !known {
		return 0, invalid(path+"kind", "must be one of %s", names(k.Descriptor()))
	}
	return uint32(k), nil
}

func targets(payloads []*clientpb.DevicePayload, path string) ([]*nodepb.TargetPayload, *nodepb.Fault) {
	if len(payloads) == 0 {
		return nil, nil
	}
	path += "payloads"
	type key struct {
		user   string
		device uint32
	}
	seen := make(map[key]struct{}, len(payloads))
	out := make([]*nodepb.TargetPayload, len(payloads))
	bytes := 0
	for i, p := range payloads {
		if err := ident.CheckUser(p.GetUser()); err != nil {
			return nil, invalid(fmt.Sprintf("%s[%d].user", path, i), "%v", err)
		}
		if p.GetDevice() == 0 {
			return nil, invalid(fmt.Sprintf("%s[%d].device", path, i), "must be a device id, from 1")
		}
		k := key{p.GetUser(), p.GetDevice()}
		if _, twice := seen[k]; twice {
			return nil, invalid(fmt.Sprintf("%s[%d]", path, i), "names a device for the second time")
		}
		seen[k] = struct{}{}
		if bytes += len(p.GetPayload()); bytes > limits.DevicePayloads {
			return nil, fault.New(fault.PayloadTooLarge, "", "%s: have more than %d bytes together", path, limits.DevicePayloads)
		}
		out[i] = &nodepb.TargetPayload{User: p.GetUser(), Device: p.GetDevice(), Payload: p.GetPayload()}
	}
	return out, nil
}

// ttl in milliseconds, rounded up; 0 where none is given. How long is too long
// is the mailbox's setting, and it shortens.
func ttl(s *clientpb.Send, path string) (uint64, *nodepb.Fault) {
	if s.GetTtl() == nil {
		return 0, nil
	}
	if err := s.GetTtl().CheckValid(); err != nil || s.GetTtl().AsDuration() <= 0 {
		return 0, invalid(path+"ttl", `must be a duration above zero, such as "30s"`)
	}
	d := s.GetTtl().AsDuration()
	return uint64((d + time.Millisecond - 1) / time.Millisecond), nil
}

// ErrorFrame shows a fault to the client whose frame it answers; id is the
// message's where the frame was a send, and is repeated where it is one.
func ErrorFrame(ref uint32, id string, f *nodepb.Fault) *clientpb.ServerFrame {
	if _, err := ident.ParseMessageID(id); err != nil {
		id = ""
	}
	retryable := f.GetRetryable()
	return &clientpb.ServerFrame{Ref: ref, Body: &clientpb.ServerFrame_Error{Error: &clientpb.Error{
		Id:           id,
		Code:         f.GetCode(),
		Reason:       f.GetReason(),
		Message:      f.GetMessage(),
		Retryable:    &retryable,
		RetryAfterMs: f.GetRetryAfterMs(),
		Missing:      Devices(f.GetMissing()),
		Extra:        Devices(f.GetExtra()),
	}}}
}

// Devices shows the devices that a fault names.
func Devices(refs []*nodepb.DeviceRef) []*clientpb.Device {
	if len(refs) == 0 {
		return nil
	}
	out := make([]*clientpb.Device, len(refs))
	for i, r := range refs {
		out[i] = &clientpb.Device{User: r.GetUser(), Device: r.GetDevice()}
	}
	return out
}
