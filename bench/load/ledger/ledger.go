package ledger

import (
	"math"
	"math/bits"
)

// ReceiversMax bounds the devices that the messages of one flow are for.
const ReceiversMax = 32

// Tally is what was counted; all but the first group must be zero at the end.
type Tally struct {
	Sent       uint64 `json:"sent"`      // given a number
	Accepted   uint64 `json:"accepted"`  // answered with sent
	Refused    uint64 `json:"refused"`   // answered with an error for good
	Delivered  uint64 `json:"delivered"` // to a device
	Receipted  uint64 `json:"receipted"` // covered by a receipt at the sender
	Receipts   uint64 `json:"receipts"`  // that came to the sender
	AskedAgain uint64 `json:"askedAgain"`

	Missing     uint64 `json:"missing"`
	Duplicates  uint64 `json:"duplicates"`
	OutOfOrder  uint64 `json:"outOfOrder"`
	Phantoms    uint64 `json:"phantoms"`
	BadReceipts uint64 `json:"badReceipts"`
	Unanswered  uint64 `json:"unanswered"`
	Unreceipted uint64 `json:"unreceipted"`
	Corrupt     uint64 `json:"corrupt"`
}

// Plus adds two tallies.
func (t Tally) Plus(o Tally) Tally {
	return Tally{
		Sent: t.Sent + o.Sent, Accepted: t.Accepted + o.Accepted, Refused: t.Refused + o.Refused, Delivered: t.Delivered + o.Delivered,
		Receipted: t.Receipted + o.Receipted, Receipts: t.Receipts + o.Receipts, AskedAgain: t.AskedAgain + o.AskedAgain,
		Missing: t.Missing + o.Missing, Duplicates: t.Duplicates + o.Duplicates, OutOfOrder: t.OutOfOrder + o.OutOfOrder,
		Phantoms: t.Phantoms + o.Phantoms, BadReceipts: t.BadReceipts + o.BadReceipts, Unanswered: t.Unanswered + o.Unanswered,
		Unreceipted: t.Unreceipted + o.Unreceipted, Corrupt: t.Corrupt + o.Corrupt,
	}
}

// Wrong is how much is not as it must be.
func (t Tally) Wrong() uint64 {
	return t.Missing + t.Duplicates + t.OutOfOrder + t.Phantoms + t.BadReceipts + t.Unanswered + t.Unreceipted + t.Corrupt
}

// entry is one message; it holds no pointer.
type entry struct {
	intended int64  // when it was to be sent, ns
	order    uint64 // 0 until known
	got      uint32 // receivers that have it
	again    uint32 // us from intended to when it was sent last, where that was not the first time
	state    entryState
}

type entryState uint8

const (
	answered entryState = 1 << iota // by sent
	refused                         // by an error for good
	receipted
	repeated // sent more than once, by right
)

// receiver is one device that a flow's messages are for.
type receiver struct {
	number  uint64 // highest delivered
	order   uint64 // the same
	receipt uint64 // watermark that it was told, of its own user's flow
	read    uint64
}

// flow is what one device sends to one user.
type flow struct {
	entries []entry // of the numbers from first on; those before head have gone
	head    int
	first   uint64 // number of entries[head]
	order   uint64 // of the last accepted entry that has gone
	mark    uint64 // delivered watermark told to the sender
	read    uint64 // read watermark told to the sender
	acked   uint64 // highest order that a device of the recipient has acked
	shown   uint64 // highest order that the recipient has said it read
	covered uint64 // number up to which entries are receipted
	want    uint32 // the receivers' bits
	open    uint32 // entries that are neither answered nor refused
	base    uint32 // of the receivers, in Ledger.receivers
	devices uint8  // of the recipient: the first receivers
}

// Ledger is the account of some flows.
type Ledger struct {
	flows     []flow
	receivers []receiver
	tally     Tally
	stale     int // entries that are not done, all flows
}

// AddFlow opens a flow and says its index. Its messages are for the recipient's
// devices, receivers 0 to devices-1, and for those of the sender's user, which
// come next, save the one that sends: self, counted from 0 among its own.
func (l *Ledger) AddFlow(devices, own, self int) int {
	n := devices + own
	l.flows = append(l.flows, flow{
		first: 1, want: uint32(1<<n-1) &^ (1 << (devices + self)), base: uint32(len(l.receivers)), devices: uint8(devices),
	})
	l.receivers = append(l.receivers, make([]receiver, n)...)
	return len(l.flows) - 1
}

// Tally so far. Missing, Unanswered and Unreceipted are Audit's alone.
func (l *Ledger) Tally() Tally { return l.tally }

// Open is how many messages are not done: something is still to come of them.
func (l *Ledger) Open() int { return l.stale }

// Unanswered is how many messages of a flow have no answer.
func (l *Ledger) Unanswered(f int) int { return int(l.flows[f].open) }

// Last is the number of a flow's last message.
func (l *Ledger) Last(f int) uint64 {
	fl := &l.flows[f]
	return fl.first + uint64(len(fl.entries)-fl.head) - 1
}

// Send opens a message that was to be sent at a time, and gives its number.
func (l *Ledger) Send(f int, intended int64) uint64 {
	fl := &l.flows[f]
	if fl.head > 64 && fl.head*2 > len(fl.entries) {
		fl.entries = fl.entries[:copy(fl.entries, fl.entries[fl.head:])]
		fl.head = 0
	}
	fl.entries = append(fl.entries, entry{intended: intended})
	fl.open++
	l.tally.Sent++
	l.stale++
	return l.Last(f)
}

// Again says that a message is sent once more, as the protocol asks for after a
// lost connection or an error that can be retried. It is false where the
// message is answered, so that it must not be.
func (l *Ledger) Again(f int, number uint64, now int64) bool {
	e := l.at(f, number)
	if e == nil || e.state&(answered|refused) != 0 {
		return false
	}
	e.state |= repeated
	e.again = uint32(min(max((now-e.intended)/1000, 0), math.MaxUint32))
	l.tally.AskedAgain++
	return true
}

// FirstUnanswered is the lowest number without an answer, or one past the last.
func (l *Ledger) FirstUnanswered(f int) uint64 {
	fl := &l.flows[f]
	for i := fl.head; i < len(fl.entries); i++ {
		if fl.entries[i].state&(answered|refused) == 0 {
			return fl.first + uint64(i-fl.head)
		}
	}
	return l.Last(f) + 1
}

// Intended is when a message was to be sent, where it is not done yet.
func (l *Ledger) Intended(f int, number uint64) (int64, bool) {
	if e := l.at(f, number); e != nil {
		return e.intended, true
	}
	return 0, false
}

func (l *Ledger) at(f int, number uint64) *entry {
	fl := &l.flows[f]
	i := number - fl.first
	if number < fl.first || i >= uint64(len(fl.entries)-fl.head) {
		return nil
	}
	return &fl.entries[fl.head+int(i)]
}

// known judges a number that came back: gone is one that was done before.
func (l *Ledger) known(f int, number uint64) (e *entry, gone bool) {
	if number == 0 || number > l.Last(f) {
		return nil, false
	}
	e = l.at(f, number)
	return e, e == nil
}

// Sent is the answer that accepts. It gives when the message was to be sent,
// and when it was last sent again, the same where it was not; false where this
// was not the first answer to it.
func (l *Ledger) Sent(f int, number, order uint64, duplicate bool) (intended, last int64, first bool) {
	e, gone := l.known(f, number)
	switch {
	case gone, e != nil && e.state&answered != 0:
		l.tally.Duplicates++
		return 0, 0, false
	case e == nil, e.state&refused != 0:
		l.tally.Phantoms++
		return 0, 0, false
	}
	if duplicate && e.state&repeated == 0 {
		// Accepted before, and it was sent once only.
		l.tally.Duplicates++
	}
	l.tally.Accepted++
	e.state |= answered
	l.flows[f].open--
	l.setOrder(e, order)
	intended = e.intended
	last = intended + 1000*int64(e.again)
	l.settle(f)
	return intended, last, true
}

// setOrder notes a message's order, which whoever says it must agree on.
func (l *Ledger) setOrder(e *entry, order uint64) {
	switch e.order {
	case 0:
		e.order = order
	case order:
	default:
		l.tally.OutOfOrder++
	}
}

// Refuse is an error for good.
func (l *Ledger) Refuse(f int, number uint64) {
	e, gone := l.known(f, number)
	switch {
	case gone, e != nil && e.state&(answered|refused) != 0:
		l.tally.Duplicates++
		return
	case e == nil:
		l.tally.Phantoms++
		return
	}
	l.tally.Refused++
	l.flows[f].open--
	e.state |= refused
	if e.got != 0 {
		l.tally.Phantoms += uint64(bits.OnesCount32(e.got))
	}
	l.settle(f)
}

// Deliver is a message at a receiver. It gives when it was to be sent; false
// where it should not have come.
func (l *Ledger) Deliver(f int, r int, number, order uint64) (int64, bool) {
	fl := &l.flows[f]
	bit := uint32(1) << r
	if r >= ReceiversMax || fl.want&bit == 0 {
		l.tally.Phantoms++
		return 0, false
	}
	e, gone := l.known(f, number)
	switch {
	case gone, e != nil && e.got&bit != 0:
		l.tally.Duplicates++
		return 0, false
	case e == nil, e.state&refused != 0:
		l.tally.Phantoms++
		return 0, false
	}
	to := &l.receivers[int(fl.base)+r]
	if number < to.number || order <= to.order {
		l.tally.OutOfOrder++
	}
	to.number, to.order = max(to.number, number), max(to.order, order)
	l.tally.Delivered++
	e.got |= bit
	l.setOrder(e, order)
	at := e.intended
	l.settle(f)
	return at, true
}

// Corrupt counts a delivery that is not what was sent.
func (l *Ledger) Corrupt() { l.tally.Corrupt++ }

// Stray counts what came back and was never sent.
func (l *Ledger) Stray() { l.tally.Phantoms++ }

// Acked says that a receiver acks all that it was delivered, before it does.
func (l *Ledger) Acked(f int, r int) {
	fl := &l.flows[f]
	if r >= int(fl.devices) {
		return // a copy of the sender's own: its ack is no receipt
	}
	fl.acked = max(fl.acked, l.receivers[int(fl.base)+r].order)
}

// Delivered is the highest order that a receiver got.
func (l *Ledger) Delivered(f int, r int) uint64 {
	return l.receivers[int(l.flows[f].base)+r].order
}

// Shown says that a receiver reads up to an order, before it does.
func (l *Ledger) Shown(f int, order uint64) {
	l.flows[f].shown = max(l.flows[f].shown, order)
}

// Marks of a flow, all of them orders: what the sender was told, and what the
// recipient has said.
type Marks struct{ Delivered, Read, Acked, Shown uint64 }

// Marks of a flow now.
func (l *Ledger) Marks(f int) Marks {
	fl := &l.flows[f]
	return Marks{fl.mark, fl.read, fl.acked, fl.shown}
}

// Receipt is a receipt at the sender. each is called with the intended time of
// every message that it is the first to cover.
func (l *Ledger) Receipt(f int, delivered, read uint64, undelivered int, each func(intended int64)) {
	fl := &l.flows[f]
	l.tally.Receipts++
	if delivered < fl.mark || read < fl.read || delivered > fl.acked || read > fl.shown || undelivered > 0 {
		l.tally.BadReceipts++
	}
	fl.mark, fl.read = max(fl.mark, delivered), max(fl.read, read)
	for {
		e := l.at(f, max(fl.covered+1, fl.first))
		if e == nil || e.state&refused == 0 && (e.order == 0 || e.order > delivered) {
			break
		}
		fl.covered = max(fl.covered+1, fl.first)
		if e.state&refused != 0 {
			continue
		}
		e.state |= receipted
		l.tally.Receipted++
		each(e.intended)
	}
	l.settle(f)
}

// Copy is a receipt at another device of the sender's user, which is receiver r.
func (l *Ledger) Copy(f int, r int, delivered, read uint64) {
	fl := &l.flows[f]
	to := &l.receivers[int(fl.base)+r]
	if delivered < to.receipt || read < to.read || delivered > fl.acked || read > fl.shown {
		l.tally.BadReceipts++
	}
	to.receipt, to.read = max(to.receipt, delivered), max(to.read, read)
}

// settle lets go of what is done, in order.
func (l *Ledger) settle(f int) {
	fl := &l.flows[f]
	for fl.head < len(fl.entries) {
		e := &fl.entries[fl.head]
		if e.state&refused == 0 {
			if e.state&(answered|receipted) != answered|receipted || e.got != fl.want {
				return
			}
			if e.order != fl.order+1 {
				l.tally.OutOfOrder++
			}
			fl.order = e.order
		}
		fl.head++
		fl.first++
		l.stale--
	}
	fl.entries, fl.head = fl.entries[:0], 0
}

// Audit is the tally with what is missing now; it is for when nothing more is
// to come.
func (l *Ledger) Audit() Tally {
	t := l.tally
	for i := range l.flows {
		fl := &l.flows[i]
		order := fl.order
		for _, e := range fl.entries[fl.head:] {
			switch {
			case e.state&refused != 0:
				continue
			case e.state&answered == 0:
				t.Unanswered++
			default:
				t.Missing += uint64(bits.OnesCount32(fl.want &^ e.got))
				if e.state&receipted == 0 && e.got == fl.want {
					t.Unreceipted++
				}
			}
			if e.order != 0 && e.order <= order {
				t.OutOfOrder++
			}
			order = max(order, e.order)
		}
	}
	return t
}
