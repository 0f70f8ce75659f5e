package main

import "github.com/rookery-im/rookery/bench/load/ledger"

// answers says what tells a sender that its message was taken.
type answers uint8

const (
	byServer  answers = iota // an acknowledgement of the server
	byReceipt                // nothing but the recipient's own receipt
)

// message is one that is not done yet.
type message struct {
	intended int64 // when it was to be sent, ns
	state    messageState
}

type messageState uint8

const (
	accepted messageState = 1 << iota
	refused
	delivered
	receipted
)

// chat is what one user sends to another. Its messages are numbered from 1.
type chat struct {
	messages []message // numbers from first on
	first    uint64
	highest  uint64 // number delivered
	inFlight int    // sent, and neither accepted nor refused
	undone   int    // sent, and not refused, and something of it is still to come
}

// account knows of every message whether it was accepted, delivered once, in
// order, and receipted once. Unlike the node's, a peer's receipts are of one
// message each, and its messages have no order but their numbers.
type account struct {
	answers answers
	chats   []chat
	tally   ledger.Tally
	open    int // messages that are not done
}

func newAccount(chats int, a answers) *account {
	acc := &account{answers: a, chats: make([]chat, chats)}
	for i := range acc.chats {
		acc.chats[i].first = 1
	}
	return acc
}

// send opens a message and gives its number.
func (a *account) send(c int, intended int64) uint64 {
	ch := &a.chats[c]
	ch.messages = append(ch.messages, message{intended: intended})
	ch.inFlight++
	ch.undone++
	a.open++
	a.tally.Sent++
	return ch.first + uint64(len(ch.messages)) - 1
}

// find gives nil for one that is done, and for one that was never sent; known
// tells them apart.
func (a *account) find(c int, number uint64) (m *message, known bool) {
	if c < 0 || c >= len(a.chats) || number == 0 {
		return nil, false
	}
	ch := &a.chats[c]
	if number < ch.first {
		return nil, true
	}
	if i := number - ch.first; i < uint64(len(ch.messages)) {
		return &ch.messages[i], true
	}
	return nil, false
}

// accept is the server's acknowledgement; it gives when the message was to be
// sent, and false where this is not the first.
func (a *account) accept(c int, number uint64) (int64, bool) {
	m, known := a.find(c, number)
	switch {
	case !known:
		a.tally.Phantoms++
		return 0, false
	case m == nil || m.state&accepted != 0:
		a.tally.Duplicates++
		return 0, false
	case m.state&refused != 0:
		a.tally.Phantoms++
		return 0, false
	}
	at := m.intended
	a.tally.Accepted++
	a.chats[c].inFlight--
	a.enter(c, m, accepted)
	return at, true
}

// refuse is a definite no.
func (a *account) refuse(c int, number uint64) {
	m, known := a.find(c, number)
	switch {
	case !known, m != nil && m.state&delivered != 0:
		a.tally.Phantoms++
		return
	case m == nil || m.state&(accepted|refused) != 0:
		a.tally.Duplicates++
		return
	}
	m.state |= refused
	a.tally.Refused++
	a.chats[c].inFlight--
	a.chats[c].undone--
	a.settle(c)
}

// deliver is the message at its recipient.
func (a *account) deliver(c int, number uint64) (int64, bool) {
	m, known := a.find(c, number)
	switch {
	case !known, m != nil && m.state&refused != 0:
		a.tally.Phantoms++
		return 0, false
	case m == nil || m.state&delivered != 0:
		a.tally.Duplicates++
		return 0, false
	}
	ch := &a.chats[c]
	if number < ch.highest {
		a.tally.OutOfOrder++
	}
	ch.highest = max(ch.highest, number)
	at := m.intended
	a.tally.Delivered++
	a.enter(c, m, delivered)
	return at, true
}

// receipt is the recipient's word at the sender. Where nothing else answers it
// is what accepts, too.
func (a *account) receipt(c int, number uint64) (int64, bool) {
	m, known := a.find(c, number)
	a.tally.Receipts++
	switch {
	case !known, m != nil && m.state&delivered == 0:
		a.tally.BadReceipts++
		return 0, false
	case m == nil || m.state&receipted != 0:
		a.tally.Duplicates++
		return 0, false
	}
	at, news := m.intended, receipted
	a.tally.Receipted++
	if a.answers == byReceipt {
		news |= accepted
		a.tally.Accepted++
		a.chats[c].inFlight--
	}
	a.enter(c, m, news)
	return at, true
}

// done is the state of a message of which nothing more is to come.
const done = accepted | delivered | receipted

// enter gives a message one more state, which it has not yet.
func (a *account) enter(c int, m *message, s messageState) {
	m.state |= s
	if m.state&done == done {
		a.chats[c].undone--
	}
	a.settle(c)
}

// settle lets go of what is done, in the order of numbers.
func (a *account) settle(c int) {
	ch := &a.chats[c]
	n := 0
	for n < len(ch.messages) && (ch.messages[n].state&done == done || ch.messages[n].state&refused != 0) {
		n++
	}
	a.open -= n
	ch.first += uint64(n)
	if n == len(ch.messages) {
		ch.messages = ch.messages[:0]
		return
	}
	ch.messages = ch.messages[n:]
}

// audit is the tally with what is missing now: for when nothing more comes.
func (a *account) audit() ledger.Tally {
	t := a.tally
	for i := range a.chats {
		for _, m := range a.chats[i].messages {
			switch {
			case m.state&refused != 0:
			case a.answers == byServer && m.state&accepted == 0:
				t.Unanswered++
			case m.state&delivered == 0:
				t.Missing++
			case m.state&receipted == 0:
				t.Unreceipted++
			}
		}
	}
	return t
}
