package mailbox

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/limits"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// decodedExpand is the plain way to do what Expand does: it decodes a mutation
// into its messages, and encodes those that become rows. Tests hold Expand to it.
func decodedExpand(space Space, m *storepb.Mutation, w Writer) error {
	x := decoded{space: space, user: m.GetUser(), w: w}
	x.checkID(x.user)
	switch op := m.GetOp().(type) {
	case *storepb.Mutation_Accept:
		x.checkID(op.Accept.GetPeer())
	case *storepb.Mutation_Append:
		r := op.Append.GetReceiptRow().GetReceipt()
		x.checkID(r.GetPeer())
		x.checkID(r.GetBy())
	case *storepb.Mutation_Progress:
		for _, m := range op.Progress.GetWatermarks() {
			x.checkID(m.GetPeer())
		}
	case *storepb.Mutation_OutboxTrim:
		if t := op.OutboxTrim; t.GetLast() < t.GetFirst() || t.GetLast()-t.GetFirst() >= maxTrim {
			x.err = fmt.Errorf("mailbox: trim of steps %d to %d", t.GetFirst(), t.GetLast())
		}
	}
	if x.err != nil {
		return x.err
	}
	return x.expand(m)
}

func (x *decoded) checkID(id string) {
	if len(id) > limits.UserID {
		x.err = fmt.Errorf("mailbox: mutation of an id of %d bytes", len(id))
	}
}

func (x *decoded) expand(m *storepb.Mutation) error {
	switch op := m.GetOp().(type) {
	case *storepb.Mutation_Accept:
		x.accept(op.Accept)
	case *storepb.Mutation_Append:
		x.append(op.Append)
	case *storepb.Mutation_Progress:
		x.progress(op.Progress)
	case *storepb.Mutation_Row:
		x.row(op.Row)
	case *storepb.Mutation_OutboxPut:
		x.outboxPut(op.OutboxPut)
	case *storepb.Mutation_OutboxTrim:
		for i := range op.OutboxTrim.GetLast() - op.OutboxTrim.GetFirst() + 1 {
			x.w.Delete(OutboxKey(x.space, op.OutboxTrim.GetShard(), op.OutboxTrim.GetFirst()+i))
		}
	case *storepb.Mutation_InboxMark:
		x.put(Inbox, U32(op.InboxMark.GetShard()), op.InboxMark)
	default:
		return fmt.Errorf("mailbox: mutation of unknown kind %T; was it written by a newer version?", op)
	}
	return x.err
}

type decoded struct {
	space Space
	user  string
	w     Writer
	err   error
}

func (x *decoded) encode(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil && x.err == nil {
		x.err = fmt.Errorf("mailbox: encode row: %w", err)
	}
	return b
}

func (x *decoded) put(kind Kind, suffix []byte, m proto.Message) {
	x.w.Put(x.space.Key(x.user, kind, suffix...), x.encode(m))
}

func (x *decoded) entry(e *storepb.Entry) {
	x.w.PutNew(x.space.Key(x.user, Entry, U64(e.GetSeq())...), x.encode(e))
}

func (x *decoded) accept(a *storepb.Accept) {
	snd := a.GetSender()
	x.put(Sender, SenderSuffix(a.GetPeer(), a.GetDevice()), snd)
	slot := byte(snd.GetAccepted() % limits.IdempotencyWindow)
	x.put(Result, ResultSuffix(a.GetPeer(), a.GetDevice(), slot), a.GetResult())
	x.put(Mailbox, nil, a.GetMailbox())
	if e := a.GetEntry(); e != nil {
		x.entry(e)
	}
}

func (x *decoded) append(a *storepb.Append) {
	if n := a.GetReplaces(); n != 0 {
		x.w.Delete(x.space.Key(x.user, Entry, U64(n)...))
	}
	x.entry(a.GetEntry())
	x.put(Mailbox, nil, a.GetMailbox())
	if r := a.GetReceiptRow(); r != nil {
		x.put(Receipt, ReceiptSuffix(r.GetReceipt().GetPeer(), r.GetReceipt().GetBy()), r)
	}
}

func (x *decoded) progress(p *storepb.Progress) {
	for _, c := range p.GetCursors() {
		x.put(Cursor, U32(c.GetDevice()), c)
	}
	for _, seq := range p.GetDeleted() {
		x.w.Delete(x.space.Key(x.user, Entry, U64(seq)...))
	}
	for _, m := range p.GetWatermarks() {
		x.put(Watermark, Peer(m.GetPeer()), m)
	}
	if p.GetHead() != 0 {
		x.put(Head, nil, &storepb.HeadRow{Head: p.GetHead()})
	}
}

func (x *decoded) row(r *storepb.Row) {
	if len(r.GetKey()) == 0 {
		x.err = fmt.Errorf("mailbox: row without a key")
		return
	}
	key := append(x.space.User(x.user), r.GetKey()...)
	if r.Value == nil {
		x.w.Delete(key)
		return
	}
	x.w.Put(key, r.GetValue())
}

func (x *decoded) outboxPut(o *storepb.OutboxPut) {
	x.w.PutNew(OutboxKey(x.space, o.GetShard(), o.GetNumber()), x.encode(o.GetStep()))
	x.put(OutboxNumber, U32(o.GetShard()), &storepb.InboxMark{Shard: o.GetShard(), Number: o.GetNumber()})
}
