package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/internal/limits"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// Writer takes the rows that a mutation writes, each with its absolute value.
// Keys and values are valid during the call only: a row that kept the batch it
// came in would keep a megabyte for thirty bytes.
type Writer interface {
	Put(key, value []byte)
	// PutNew is a Put of a key that no log entry before this one ever wrote.
	PutNew(key, value []byte)
	Delete(key []byte)
}

const (
	// maxTrim is far more steps than one mutation trims: limits.OutboxSteps may
	// wait for confirmation at once.
	maxTrim = 8 * limits.OutboxSteps
	// maxRowKey is more than the kind and the suffix of any row take.
	maxRowKey = 4 * limits.UserID
)

// Batch is an encoded storepb.Batch that was checked: it can be expanded.
type Batch struct {
	Term, Now uint64
	data      []byte
}

// ReadBatch checks a batch as it stands in the log, and all that is in it.
// It keeps data.
func ReadBatch(data []byte) (Batch, error) {
	if err := shapeBatch.check(data); err != nil {
		return Batch{}, fmt.Errorf("mailbox: %w", err)
	}
	b := Batch{data: data}
	for rest := data; len(rest) > 0; {
		var f field
		f, rest = take(rest)
		switch f.num {
		case batchTerm:
			b.Term = f.n
		case batchNow:
			b.Now = f.n
		case batchMutations:
			if err := open(f.body).sensible(); err != nil {
				return Batch{}, err
			}
		}
	}
	return b, nil
}

// OwnBatch is ReadBatch without the checks, and without Now, for what was put
// together on this node of mutations that each passed ReadMutation.
func OwnBatch(term uint64, data []byte) Batch { return Batch{Term: term, data: data} }

// Mutations of the batch, in order.
func (b Batch) Mutations() iter.Seq[Mutation] {
	return func(yield func(Mutation) bool) {
		for rest := b.data; len(rest) > 0; {
			var f field
			if f, rest = take(rest); f.num == batchMutations && !yield(open(f.body)) {
				return
			}
		}
	}
}

// Mutation is an encoded storepb.Mutation that was checked.
type Mutation struct {
	data, user []byte
	op         field
}

// ReadMutation checks one mutation. What passes can be expanded, so that who
// puts nothing else into the log never stops at what it wrote.
func ReadMutation(data []byte) (Mutation, error) {
	if err := shapeMutation.check(data); err != nil {
		return Mutation{}, fmt.Errorf("mailbox: %w", err)
	}
	m := open(data)
	return m, m.sensible()
}

// open a mutation whose shape was checked.
func open(data []byte) Mutation {
	m := Mutation{data: data}
	for len(data) > 0 {
		var f field
		if f, data = take(data); f.num == mutationUser {
			m.user = f.body
		} else {
			m.op = f
		}
	}
	return m
}

// Bytes of the mutation, encoded.
func (m Mutation) Bytes() []byte { return m.data }

// sensible refuses what has the right shape, and no actor can have asked for.
func (m Mutation) sensible() error {
	if m.op.num >= mutationOutboxPut && len(m.user) > 0 {
		return errors.New("mailbox: mutation of a shard's own rows that names a user")
	}
	switch m.op.num {
	case 0:
		return errors.New("mailbox: mutation of no kind; was it written by a newer version?")
	case mutationRow:
		if n := len(partOf(m.op.body, rowKey)); n == 0 || n > maxRowKey {
			return fmt.Errorf("mailbox: row with a key of %d bytes", n)
		}
	case mutationOutboxTrim:
		if first, last := numberOf(m.op.body, trimFirst), numberOf(m.op.body, trimLast); last < first || last-first >= maxTrim {
			return fmt.Errorf("mailbox: trim of steps %d to %d", first, last)
		}
	}
	return nil
}

// Expander writes the rows of mutations. It keeps the memory that it builds
// keys in; one goroutine uses it.
type Expander struct {
	space Space
	w     Writer
	key   []byte
	base  int    // of key: what all rows of the user share
	value []byte // of the few rows that are no field of a mutation
}

// NewExpander makes one for a space.
func NewExpander(space Space) *Expander { return &Expander{space: space} }

// Expand writes the rows of one mutation into w. It reads nothing, so that replaying
// a log over rows that are partly ahead of it ends in the same rows.
func (x *Expander) Expand(m Mutation, w Writer) {
	x.w = w
	x.of(m.user)
	switch op := m.op; op.num {
	case mutationAccept:
		x.accept(op.body)
	case mutationAppend:
		x.append(op.body)
	case mutationProgress:
		x.progress(op.body)
	case mutationRow:
		x.row(op.body)
	case mutationOutboxPut:
		x.outboxPut(op.body)
	case mutationOutboxTrim:
		x.outboxTrim(op.body)
	case mutationInboxMark:
		x.w.Put(x.u32(Inbox, numberOf(op.body, markShard)), op.body)
	}
}

// of begins the keys of a user's rows.
func (x *Expander) of(user []byte) {
	x.key = binary.BigEndian.AppendUint32(x.key[:0], x.space.Shard)
	x.key = binary.BigEndian.AppendUint32(x.key, x.space.Version)
	x.key = append(append(x.key, byte(len(user))), user...)
	x.base = len(x.key)
}

// Keys, each valid until the next.

func (x *Expander) bare(kind Kind) []byte {
	x.key = append(x.key[:x.base], byte(kind))
	return x.key
}

func (x *Expander) u32(kind Kind, n uint64) []byte {
	x.key = binary.BigEndian.AppendUint32(x.bare(kind), uint32(n))
	return x.key
}

func (x *Expander) u64(kind Kind, n uint64) []byte {
	x.key = binary.BigEndian.AppendUint64(x.bare(kind), n)
	return x.key
}

func (x *Expander) peer(kind Kind, peer []byte) []byte {
	x.key = append(append(x.bare(kind), byte(len(peer))), peer...)
	return x.key
}

func (x *Expander) device(kind Kind, peer []byte, device uint64) []byte {
	x.key = binary.BigEndian.AppendUint32(x.peer(kind, peer), uint32(device))
	return x.key
}

func (x *Expander) step(shard, number uint64) []byte {
	x.key = binary.BigEndian.AppendUint64(x.u32(Outbox, shard), number)
	return x.key
}

func (x *Expander) accept(b []byte) {
	var peer, sender, result, entry, mailbox []byte
	var device uint64
	for len(b) > 0 {
		var f field
		f, b = take(b)
		switch f.num {
		case acceptPeer:
			peer = f.body
		case acceptDevice:
			device = f.n
		case acceptSender:
			sender = f.body
		case acceptResult:
			result = f.body
		case acceptEntry:
			entry = f.body
		case acceptMailbox:
			mailbox = f.body
		}
	}
	x.w.Put(x.device(Sender, peer, device), sender)
	slot := byte(numberOf(sender, senderAccepted) % limits.IdempotencyWindow)
	x.key = append(x.device(Result, peer, device), slot)
	x.w.Put(x.key, result)
	x.w.Put(x.bare(Mailbox), mailbox)
	if entry != nil {
		x.entry(entry)
	}
}

func (x *Expander) entry(e []byte) { x.w.PutNew(x.u64(Entry, numberOf(e, entrySeq)), e) }

func (x *Expander) append(b []byte) {
	var entry, receipt, mailbox []byte
	for len(b) > 0 {
		var f field
		f, b = take(b)
		switch f.num {
		case appendEntry:
			entry = f.body
		case appendReplaces:
			if f.n != 0 {
				x.w.Delete(x.u64(Entry, f.n))
			}
		case appendReceiptRow:
			receipt = f.body
		case appendMailbox:
			mailbox = f.body
		}
	}
	x.entry(entry)
	x.w.Put(x.bare(Mailbox), mailbox)
	if receipt != nil {
		r := partOf(receipt, receiptRowReceipt)
		x.key = append(x.peer(Receipt, partOf(r, receiptPeer)), partOf(r, receiptBy)...)
		x.w.Put(x.key, receipt)
	}
}

func (x *Expander) progress(b []byte) {
	for len(b) > 0 {
		var f field
		f, b = take(b)
		switch f.num {
		case progressCursors:
			x.w.Put(x.u32(Cursor, numberOf(f.body, cursorDevice)), f.body)
		case progressHead:
			if f.n != 0 {
				x.value = binary.AppendUvarint(append(x.value[:0], headHead<<3|wireNumber), f.n)
				x.w.Put(x.bare(Head), x.value)
			}
		case progressDeleted:
			for list := f.body; len(list) > 0; {
				seq, size := uvarint(list)
				list = list[size:]
				x.w.Delete(x.u64(Entry, seq))
			}
		case progressWatermarks:
			x.w.Put(x.peer(Watermark, partOf(f.body, watermarkPeer)), f.body)
		}
	}
}

func (x *Expander) row(b []byte) {
	var value []byte
	for rest := b; len(rest) > 0; {
		var f field
		f, rest = take(rest)
		switch f.num {
		case rowKey:
			x.key = append(x.key[:x.base], f.body...)
		case rowValue:
			value = f.body // not nil, however short: a sub-slice
		}
	}
	if value == nil {
		x.w.Delete(x.key)
		return
	}
	x.w.Put(x.key, value)
}

func (x *Expander) outboxPut(b []byte) {
	shard, number := numberOf(b, putShard), numberOf(b, putNumber)
	x.w.PutNew(x.step(shard, number), partOf(b, putStep))
	x.value = x.value[:0]
	if shard != 0 {
		x.value = binary.AppendUvarint(append(x.value, markShard<<3|wireNumber), shard)
	}
	if number != 0 {
		x.value = binary.AppendUvarint(append(x.value, markNumber<<3|wireNumber), number)
	}
	x.w.Put(x.u32(OutboxNumber, shard), x.value)
}

func (x *Expander) outboxTrim(b []byte) {
	shard, first, last := numberOf(b, trimShard), numberOf(b, trimFirst), numberOf(b, trimLast)
	for i := range last - first + 1 {
		x.w.Delete(x.step(shard, first+i))
	}
}

// OutboxKey of one step to a shard.
func OutboxKey(space Space, to uint32, number uint64) []byte {
	return space.Key("", Outbox, append(U32(to), U64(number)...)...)
}

// RowOf makes the mutation that writes one row of a user; a nil value deletes it.
func RowOf(user string, kind Kind, suffix []byte, value proto.Message) (*storepb.Mutation, error) {
	r := &storepb.Row{Key: append([]byte{byte(kind)}, suffix...)}
	if value != nil {
		b, err := proto.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("mailbox: encode row: %w", err)
		}
		if b == nil {
			b = []byte{}
		}
		r.Value = b
	}
	return &storepb.Mutation{User: user, Op: &storepb.Mutation_Row{Row: r}}, nil
}
