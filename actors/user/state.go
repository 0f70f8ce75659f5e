package user

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rookery-im/rookery/internal/invariant"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/persistence/mailbox"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// State of one user. Its invariants, checked by Check:
//
//  1. index is sorted by seq, without repeats, and every seq in it is at least
//     head and at most lastSeq.
//  2. devices is sorted by number; a cursor is at least the device's start and
//     at most lastSeq.
//  3. entries and bytes sum up the index, receipts and copies excepted; the latter
//     have sums of their own.
//  4. open of a conversation in memory is sorted, and holds exactly the orders
//     of the index's messages from that peer that no device has acked.
type State struct {
	id       string
	settings Settings

	// Rows.
	account  *storepb.AccountRow // nil: there was never such a user
	devices  []*device
	blocks   map[string]struct{}
	lastSeq  uint64
	lastTime uint64
	head     uint64

	// Derived from rows.
	index    []item
	entries  int
	bytes    int
	copies   sum
	deadline uint64

	// Rows by peer, of the peers in memory.
	convs map[string]*conv

	// Volatile: whether sessions were told that no copies are taken, answers that
	// wait for sessions, those sessions of devices that are no longer linked, and when what found the outbox full is tried again, 0 where nothing did.
	full   bool
	links  []link
	ending []Attachment
	retry  uint64

	needed [1]string // scratch of Needs

	// parked are lists that wait, in the order in which they came.
	parked []Attachment
}

// device of this user.
type device struct {
	row    *storepb.DeviceRow
	start  uint64 // of the row, and num: each step looks for them
	num    uint32
	cursor uint64
	seen   uint64 // Unix milliseconds
	owed   uint64 // volatile: acked while the outbox was full, not taken in yet
	att    Attachment
	next   Attachment // of a session that was told so, and has still to pull
}

func newDevice(row *storepb.DeviceRow, seen uint64) *device {
	return &device{row: row, start: row.GetStart(), num: row.GetDevice(), cursor: row.GetStart(), seen: seen}
}

func (d *device) number() uint32 { return d.num }
func (d *device) attached() bool { return d.att.Conn != 0 }

// online: it has a session, or one that is about to begin.
func (d *device) online() bool { return d.attached() || d.next.Conn != 0 }

// has is the seq up to which the device said that it has everything.
func (d *device) has() uint64 { return max(d.cursor, d.owed) }

// item is what the index keeps of a stored entry.
type item struct {
	seq     uint64
	expires uint64 // Unix milliseconds; 0 never
	order   uint64
	peer    string
	size    uint32
	skip    uint32
	kind    itemKind
	acked   bool // by any device
}

// itemKind says what an entry is to the mailbox.
type itemKind uint8

const (
	itemInbound itemKind = iota + 1 // a message accepted here: counts in quotas, is receipted
	itemCopy                        // what another device of this user sent
	itemReceipt                     // never expires, counts in no quota
	itemEvent
)

func (k itemKind) String() string {
	return [...]string{"", "inbound", "copy", "receipt", "event"}[k]
}

// link is the answer to a request that links a device, or ends some, once sessions
// have said what it waits for: that they have seen the devices of the epoch, or that
// they have ended.
type link struct {
	request uint64
	device  uint32 // that is linked; 0 where devices are ended
	epoch   uint64
	waiting map[uint64]struct{} // sessions
}

// Settings that all users share.
type Settings struct {
	// TimeToLive is the longest that an entry waits and a device stays away.
	TimeToLive time.Duration
	// MailboxEntries and MailboxBytes are what may wait; of one sender, a
	// limits.SenderShare of it.
	MailboxEntries, MailboxBytes int
}

// DefaultSettings are those of package limits.
func DefaultSettings() Settings {
	return Settings{TimeToLive: limits.TimeToLive, MailboxEntries: limits.MailboxEntries, MailboxBytes: limits.MailboxBytes}
}

// Validate names every fault.
func (set Settings) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("user: "+format, args...))
		}
	}
	check(set.TimeToLive >= time.Millisecond, "time to live: %v is below a millisecond", set.TimeToLive)
	check(set.MailboxEntries >= limits.SenderShare, "mailbox: with %d entries a sender may have none", set.MailboxEntries)
	check(set.MailboxBytes >= limits.SenderShare*limits.Message, "mailbox: with %d bytes a sender's share does not hold the largest message", set.MailboxBytes)
	return errors.Join(errs...)
}

// Load reads a user's rows with the default settings.
func Load(id string, rows Rows, attachments []Attachment) (*State, error) {
	return DefaultSettings().Load(id, rows, attachments)
}

// Load reads a user's rows, those of single peers excepted (see Adopt).
// Attachments of devices that are no longer linked are dropped.
func (set Settings) Load(id string, rows Rows, attachments []Attachment) (*State, error) {
	s := &State{id: id, settings: set, head: 1, blocks: map[string]struct{}{}, convs: map[string]*conv{}}
	l := loader{rows: rows}
	l.one(mailbox.Account, func(v []byte) error {
		s.account = &storepb.AccountRow{}
		return s.account.UnmarshalVT(v)
	})
	l.one(mailbox.Mailbox, func(v []byte) error {
		var r storepb.MailboxRow
		err := r.UnmarshalVT(v)
		s.lastSeq, s.lastTime = r.GetLastSeq(), r.GetLastTime()
		return err
	})
	l.one(mailbox.Head, func(v []byte) error {
		var r storepb.HeadRow
		err := r.UnmarshalVT(v)
		s.head = max(1, r.GetHead())
		return cmp.Or(err, damagedIf(s.head-1 > s.lastSeq, "head %d past seq %d", s.head, s.lastSeq))
	})
	l.each(mailbox.Block, nil, func(k, _ []byte) error { s.blocks[string(k)] = struct{}{}; return nil })
	l.each(mailbox.Device, nil, s.loadDevice)
	l.each(mailbox.Cursor, nil, s.loadCursor)
	l.each(mailbox.Seen, nil, func(k, v []byte) error {
		var r storepb.SeenRow
		n, err := number32(k)
		err = cmp.Or(err, r.UnmarshalVT(v))
		if d := s.device(n); d != nil {
			d.seen = max(d.seen, r.GetLastSeen())
		}
		return err
	})
	l.each(mailbox.Entry, nil, s.loadEntry)
	if l.err != nil {
		return nil, fmt.Errorf("user: load: %w", l.err)
	}
	for _, a := range attachments {
		switch d := s.device(a.Device); {
		case d == nil:
		case a.Parked():
			s.parked = append(s.parked, a)
		case a.Next:
			d.next = a
		default:
			d.att = a
		}
	}
	s.full = s.copied()
	s.schedule()
	return s, nil
}

// loader scans until the first error, which it keeps.
type loader struct {
	rows Rows
	err  error
}

func (l *loader) each(kind mailbox.Kind, prefix []byte, fn func(suffix, value []byte) error) {
	if l.err != nil {
		return
	}
	if err := l.rows.Scan(byte(kind), prefix, fn); err != nil {
		l.err = fmt.Errorf("rows of kind %q: %w", rune(kind), err)
	}
}

func (l *loader) one(kind mailbox.Kind, fn func(value []byte) error) {
	l.each(kind, nil, func(_, v []byte) error { return fn(v) })
}

// damagedIf is what a row that passed its checksum, and yet cannot have been
// written, is reported as.
func damagedIf(damaged bool, format string, args ...any) error {
	if !damaged {
		return nil
	}
	return fmt.Errorf("damaged: "+format, args...)
}

// number32 reads a suffix that is a device number.
func number32(suffix []byte) (uint32, error) {
	if len(suffix) != 4 {
		return 0, damagedIf(true, "suffix of %d bytes is no device", len(suffix))
	}
	return binary.BigEndian.Uint32(suffix), nil
}

func (s *State) loadDevice(k, v []byte) error {
	row := &storepb.DeviceRow{}
	n, err := number32(k)
	err = cmp.Or(err, row.UnmarshalVT(v))
	err = cmp.Or(err, damagedIf(row.GetDevice() != n, "device %d under key %d", row.GetDevice(), n))
	err = cmp.Or(err, damagedIf(row.GetStart() > s.lastSeq, "device %d starts past seq %d", n, s.lastSeq))
	s.devices = append(s.devices, newDevice(row, row.GetLinked()))
	return err
}

func (s *State) loadCursor(k, v []byte) error {
	var r storepb.Cursor
	n, err := number32(k)
	err = cmp.Or(err, r.UnmarshalVT(v))
	err = cmp.Or(err, damagedIf(r.GetSeq() > s.lastSeq, "cursor %d past seq %d", r.GetSeq(), s.lastSeq))
	if d := s.device(n); d != nil {
		d.cursor = max(d.cursor, r.GetSeq())
	}
	return err
}

func (s *State) loadEntry(k, v []byte) error {
	if len(k) != 8 {
		return damagedIf(true, "entry with a suffix of %d bytes", len(k))
	}
	seq := binary.BigEndian.Uint64(k)
	// Rows below the head are leftovers of a checkpoint that a crash cut short.
	if seq < s.head {
		return nil
	}
	e := &storepb.Entry{}
	if err := e.UnmarshalVT(v); err != nil {
		return err
	}
	if e.GetSeq() != seq || seq > s.lastSeq {
		return damagedIf(true, "entry %d under key %d, last seq %d", e.GetSeq(), seq, s.lastSeq)
	}
	it := s.itemOf(e)
	it.acked = s.ackedByAny(it)
	s.index = append(s.index, it)
	s.weigh(it, 1)
	return nil
}

func (s *State) itemOf(e *storepb.Entry) item {
	it := item{seq: e.GetSeq(), expires: e.GetExpires(), skip: e.GetSkip(), size: uint32(e.SizeVT())} //nolint:gosec // bounded by limits.Message
	switch b := e.GetBody().(type) {
	case *storepb.Entry_Message:
		it.peer, it.order, it.kind = b.Message.GetPeer(), b.Message.GetOrder(), itemCopy
		if b.Message.GetFrom() != s.id || b.Message.GetPeer() == s.id {
			it.kind = itemInbound
		}
	case *storepb.Entry_Receipt:
		it.peer, it.kind = b.Receipt.GetPeer(), itemReceipt
	default:
		it.kind = itemEvent
	}
	return it
}

// sum of entries.
type sum struct{ entries, bytes int }

// weigh counts an entry that is in the index from now on, or no longer.
func (s *State) weigh(it item, by int) {
	switch it.kind {
	case itemReceipt:
	case itemCopy:
		s.copies.entries += by
		s.copies.bytes += by * int(it.size)
	default:
		s.entries += by
		s.bytes += by * int(it.size)
	}
}

// copied says whether as many copies wait for devices as may: one that is away for
// long must not fill a mailbox without bound, nor what is for messages of others.
func (s *State) copied() bool {
	return s.copies.entries >= s.settings.MailboxEntries || s.copies.bytes >= s.settings.MailboxBytes
}

func (s *State) ackedByAny(it item) bool {
	return slices.ContainsFunc(s.devices, func(d *device) bool {
		return d.number() != it.skip && d.start < it.seq && d.cursor >= it.seq
	})
}

// device by its number, or nil.
func (s *State) device(n uint32) *device {
	for _, d := range s.devices {
		if d.number() == n {
			return d
		}
	}
	return nil
}

func (s *State) exists() bool { return s.account != nil && !s.account.GetDeleted() }

func (s *State) blocked(user string) bool {
	_, ok := s.blocks[user]
	return ok
}

// online says whether any device is.
func (s *State) online() bool {
	return slices.ContainsFunc(s.devices, (*device).online)
}

func (s *State) lastSeen() uint64 {
	var t uint64
	for _, d := range s.devices {
		t = max(t, d.seen)
	}
	return t
}

// others are the numbers of the devices but n.
func (s *State) others(n uint32) []uint32 {
	var o []uint32
	for _, d := range s.devices {
		if d.number() != n {
			o = append(o, d.number())
		}
	}
	return o
}

// ttl in milliseconds.
func (set Settings) ttl() uint64 { return uint64(set.TimeToLive.Milliseconds()) } //nolint:gosec // positive

// refresh is how stale the row that says when a device was seen may be.
func (set Settings) refresh() uint64 {
	return min(uint64(limits.SeenWithin.Milliseconds()), set.ttl()/4) //nolint:gosec // positive
}

// Deadline is when the next Tick is due, Unix milliseconds, or 0.
func (s *State) Deadline() uint64 { return s.deadline }

// Idle says that nothing volatile would be lost by forgetting the state, its
// Attachments excepted.
func (s *State) Idle() bool { return len(s.links) == 0 && s.retry == 0 }

// Hollow says that there was never such a user: nothing is kept of it.
func (s *State) Hollow() bool { return s.account == nil && s.lastSeq == 0 && len(s.devices) == 0 }

// Attachments of the devices that have any, or had when they were unlinked.
func (s *State) Attachments() []Attachment {
	var a []Attachment
	for _, d := range s.devices {
		if d.attached() {
			a = append(a, d.att)
		}
		if d.next.Conn != 0 {
			a = append(a, d.next)
		}
	}
	a = append(a, s.ending...)
	return append(a, s.parked...)
}

// schedule computes the deadline: the first expiry of an entry, or the moment
// at which a device has been away for too long, or is to be noted as there. All
// of them wait while the outbox is full.
func (s *State) schedule() {
	if s.retry != 0 {
		s.deadline = s.retry
		return
	}
	var t uint64
	sooner := func(at uint64) {
		if at != 0 && (t == 0 || at < t) {
			t = at
		}
	}
	for i := range s.index {
		sooner(s.index[i].expires)
	}
	if len(s.devices) > 1 {
		for _, d := range s.devices {
			if d.online() {
				sooner(d.seen + s.settings.refresh())
			} else {
				sooner(d.seen + s.settings.ttl())
			}
		}
	}
	s.deadline = t
}

// soonest moves the deadline up for one new expiry, without looking at the rest.
func (s *State) soonest(expires uint64) {
	if expires != 0 && s.retry == 0 && (s.deadline == 0 || expires < s.deadline) {
		s.deadline = expires
	}
}

// Check the invariants; it panics with the first that is broken.
func (s *State) Check() {
	var entries, bytes int
	var copies sum
	for i, it := range s.index {
		invariant.Check(it.seq >= s.head && it.seq <= s.lastSeq, "user: seq %d outside %d to %d", it.seq, s.head, s.lastSeq)
		invariant.Check(i == 0 || s.index[i-1].seq < it.seq, "user: seq %d after %d", it.seq, s.index[max(0, i-1)].seq)
		switch it.kind {
		case itemReceipt:
		case itemCopy:
			copies = sum{copies.entries + 1, copies.bytes + int(it.size)}
		default:
			entries++
			bytes += int(it.size)
		}
	}
	invariant.Check(copies == s.copies, "user: %v copies in the index, %v counted", copies, s.copies)
	invariant.Check(entries == s.entries && bytes == s.bytes, "user: index of %d entries, %d bytes; %d, %d counted", entries, bytes, s.entries, s.bytes)
	for i, d := range s.devices {
		invariant.Check(i == 0 || s.devices[i-1].number() < d.number(), "user: devices out of order")
		invariant.Check(d.cursor >= d.start && d.cursor <= s.lastSeq, "user: device %d has cursor %d of %d to %d",
			d.number(), d.cursor, d.start, s.lastSeq)
		invariant.Check(!d.att.Next && d.next.Next == (d.next.Conn != 0), "user: device %d has %+v, then %+v", d.number(), d.att, d.next)
	}
	for peer, c := range s.convs {
		var open []uint64
		for _, it := range s.index {
			if it.kind == itemInbound && it.peer == peer && !it.acked {
				open = append(open, it.order)
			}
		}
		invariant.Check(slices.Equal(open, c.open), "user: open orders %v, index has %v", c.open, open)
	}
}
