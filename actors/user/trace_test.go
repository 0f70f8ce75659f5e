package user

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/persistence/mailbox"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// How the traces in testdata read: times count from the start of the world,
// and what has its default is left out.

func since(ms uint64) string {
	if ms == 0 {
		return "-"
	}
	return "+" + time.Duration((int64(ms)-epoch)*int64(time.Millisecond)).String()
}

func clockOf(t uint64) string { return fmt.Sprintf("%s.%d", since(t>>16), t&0xFFFF) }

func idName(id []byte) string { return strings.TrimRight(string(id), "\x00") }

func ranges(r []*storepb.Range) string {
	var s []string
	for _, x := range r {
		if x.GetFirst() == x.GetLast() {
			s = append(s, fmt.Sprint(x.GetFirst()))
		} else {
			s = append(s, fmt.Sprintf("%d-%d", x.GetFirst(), x.GetLast()))
		}
	}
	if len(s) == 0 {
		return ""
	}
	return " undelivered " + strings.Join(s, ",")
}

func traceEntry(e *storepb.Entry) string {
	s := fmt.Sprintf("seq %d ", e.GetSeq())
	switch b := e.GetBody().(type) {
	case *storepb.Entry_Message:
		m := b.Message
		s += fmt.Sprintf("message %s from %s/%d with %s order %d at %s", idName(m.GetId()), m.GetFrom(), m.GetDevice(), m.GetPeer(), m.GetOrder(), clockOf(m.GetTime()))
		if len(m.GetPayload()) > 0 && len(m.GetPayload()) < 40 {
			s += fmt.Sprintf(" %q", m.GetPayload())
		}
		for _, p := range m.GetPayloads() {
			s += fmt.Sprintf(" for %d %q", p.GetDevice(), p.GetPayload())
		}
	case *storepb.Entry_Receipt:
		r := b.Receipt
		s += fmt.Sprintf("receipt with %s by %s delivered %d read %d%s", r.GetPeer(), r.GetBy(), r.GetDelivered(), r.GetRead(), ranges(r.GetUndelivered()))
	case *storepb.Entry_DeviceEvent:
		s += "devices"
		for _, d := range b.DeviceEvent.GetLinked() {
			s += fmt.Sprintf(" +%d", d.GetDevice())
		}
		for _, d := range b.DeviceEvent.GetUnlinked() {
			s += fmt.Sprintf(" -%d", d)
		}
	}
	if e.GetSkip() != 0 {
		s += fmt.Sprintf(" skip %d", e.GetSkip())
	}
	if e.GetExpires() != 0 && e.GetBody() != nil && e.GetExpires() < epoch+defaultTTL {
		s += " until " + since(e.GetExpires())
	}
	return s
}

func traceMutation(m *storepb.Mutation) string {
	switch op := m.GetOp().(type) {
	case *storepb.Mutation_Accept:
		a := op.Accept
		snd := fmt.Sprintf("%s/%d session %d number %d count %d", a.GetPeer(), a.GetDevice(), a.GetSender().GetSession(), a.GetSender().GetNumber(), a.GetSender().GetAccepted())
		if a.GetEntry() == nil {
			return fmt.Sprintf("discard %s order %d; %s", idName(a.GetResult().GetId()), a.GetResult().GetOrder(), snd)
		}
		return "accept " + traceEntry(a.GetEntry()) + "; " + snd
	case *storepb.Mutation_Append:
		s := "append " + traceEntry(op.Append.GetEntry())
		if r := op.Append.GetReplaces(); r != 0 {
			s += fmt.Sprintf(" for %d", r)
		}
		return s
	case *storepb.Mutation_Progress:
		return traceProgress(op.Progress)
	case *storepb.Mutation_Row:
		return traceRow(op.Row)
	}
	return fmt.Sprint(m)
}

func traceProgress(p *storepb.Progress) string {
	s := "progress"
	for _, c := range p.GetCursors() {
		s += fmt.Sprintf(" cursor %d=%d", c.GetDevice(), c.GetSeq())
	}
	if len(p.GetDeleted()) > 0 {
		s += fmt.Sprintf(" delete %v", p.GetDeleted())
	}
	if p.GetHead() != 0 {
		s += fmt.Sprintf(" head %d", p.GetHead())
	}
	for _, m := range p.GetWatermarks() {
		s += " " + traceWatermark(m)
	}
	return s
}

func traceWatermark(m *storepb.Watermark) string {
	s := fmt.Sprintf("watermark %s delivered %d read %d%s", m.GetPeer(), m.GetDelivered(), m.GetRead(), ranges(m.GetUndelivered()))
	if a := ranges(m.GetAcked()); a != "" {
		s += strings.Replace(a, "undelivered", "acked", 1)
	}
	return s
}

func traceRow(r *storepb.Row) string {
	kind, suffix := mailbox.Kind(r.GetKey()[0]), r.GetKey()[1:]
	verb := "row"
	if r.Value == nil {
		verb = "drop"
	}
	name := map[mailbox.Kind]string{
		mailbox.Account: "account", mailbox.Block: "block", mailbox.Cursor: "cursor",
		mailbox.Device: "device", mailbox.Seen: "seen", mailbox.Sender: "sender", mailbox.Watermark: "watermark",
	}[kind]
	switch kind {
	case mailbox.Cursor, mailbox.Device, mailbox.Seen:
		s := fmt.Sprintf("%s %s %d", verb, name, binary.BigEndian.Uint32(suffix))
		if kind == mailbox.Device && r.Value != nil {
			var d storepb.DeviceRow
			_ = proto.Unmarshal(r.GetValue(), &d)
			s += fmt.Sprintf(" start %d", d.GetStart())
		}
		return s
	case mailbox.Block:
		return fmt.Sprintf("%s %s %s", verb, name, suffix)
	case mailbox.Sender:
		peer, rest, _ := mailbox.SplitPeer(suffix)
		var snd storepb.Sender
		_ = proto.Unmarshal(r.GetValue(), &snd)
		return fmt.Sprintf("%s %s %s/%d session %d number %d count %d", verb, name, peer, binary.BigEndian.Uint32(rest), snd.GetSession(), snd.GetNumber(), snd.GetAccepted())
	}
	return verb + " " + name
}

func traceStep(m *storepb.Step) string {
	if c := m.GetCopy(); c != nil {
		return "copy of " + idName(c.GetId())
	}
	return traceWatermark(m.GetWatermark())
}

func traceFault(f *nodepb.Fault) string {
	s := f.GetCode()
	if f.GetReason() != "" {
		s += " " + f.GetReason()
	}
	if f.GetRetryable() {
		s += " (retryable)"
	}
	for _, d := range f.GetMissing() {
		s += fmt.Sprintf(" missing %s/%d", d.GetUser(), d.GetDevice())
	}
	for _, d := range f.GetExtra() {
		s += fmt.Sprintf(" extra %s/%d", d.GetUser(), d.GetDevice())
	}
	return s
}

func traceMessage(m proto.Message) string {
	switch m := m.(type) {
	case *nodepb.Attached:
		if m.GetError() != nil {
			return "not attached: " + traceFault(m.GetError())
		}
		return fmt.Sprintf("attached as session %d cursor %d last %d others %v", m.GetSession(), m.GetCursor(), m.GetLastSeq(), m.GetOthers())
	case *nodepb.Page:
		return tracePage(m)
	case *nodepb.Push:
		return fmt.Sprintf("push after %d: %s", m.GetPrevious(), traceEntry(m.GetEntry()))
	case *nodepb.Sent:
		s := fmt.Sprintf("sent order %d at %s", m.GetOrder(), clockOf(m.GetTime()))
		if m.GetDuplicate() {
			s += " duplicate"
		}
		return s
	case *nodepb.Refused:
		return "refused: " + traceFault(m.GetFault())
	case *nodepb.Devices:
		return fmt.Sprintf("devices epoch %d others %v", m.GetEpoch(), m.GetOthers())
	case *nodepb.Kick:
		return fmt.Sprintf("kick %d %s", m.GetCode(), m.GetReason())
	case *nodepb.Presence:
		return fmt.Sprintf("presence %s online=%t seen=%s", m.GetUser(), m.GetOnline(), since(m.GetLastSeen()))
	case *nodepb.Notice:
		return fmt.Sprintf("typing %s/%d on=%t", m.GetFrom().GetUser(), m.GetFrom().GetDevice(), m.GetOn())
	case *nodepb.Ring:
		return fmt.Sprintf("signal %s/%d %q", m.GetFrom().GetUser(), m.GetFrom().GetDevice(), m.GetBytes())
	case *nodepb.Answer:
		return traceAnswer(m)
	}
	return fmt.Sprint(m)
}

func tracePage(m *nodepb.Page) string {
	s := fmt.Sprintf("page after %d", m.GetAfter())
	if m.GetEnd() {
		s += " (end)"
	}
	for _, e := range m.GetEntries() {
		s += "\n      " + traceEntry(e)
	}
	return s
}

func traceAnswer(m *nodepb.Answer) string {
	switch b := m.GetBody().(type) {
	case *nodepb.Answer_Fault:
		return "refused: " + traceFault(b.Fault)
	case *nodepb.Answer_Done:
		return "done"
	case *nodepb.Answer_Linked:
		return fmt.Sprintf("linked %d", b.Linked.GetDevice())
	case *nodepb.Answer_Sent:
		return traceMessage(b.Sent)
	case *nodepb.Answer_Page:
		return tracePage(b.Page)
	case *nodepb.Answer_Profile:
		p := b.Profile
		return fmt.Sprintf("profile %q privacy=%s online=%t seen=%s", p.GetProfile().GetName(), p.GetProfile().GetLastSeen(), p.GetOnline(), since(p.GetLastSeen()))
	case *nodepb.Answer_Devices:
		s := "devices"
		for _, d := range b.Devices.GetDevices() {
			s += fmt.Sprintf(" %d", d.GetDevice())
		}
		return s
	case *nodepb.Answer_Credentials:
		return "credentials"
	}
	return fmt.Sprint(m)
}
