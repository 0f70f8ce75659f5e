package main

import (
	"testing"

	"github.com/rookery-im/rookery/bench/load/ledger"
)

// Every breach is counted under its own name, and a message that went well
// under none.
func TestAccount(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers answers
		events  func(a *account)
		want    ledger.Tally
		open    int
	}{
		{"all is well", byServer, func(a *account) { a.send(0, 1); a.accept(0, 1); a.deliver(0, 1); a.receipt(0, 1) },
			ledger.Tally{Sent: 1, Accepted: 1, Delivered: 1, Receipted: 1, Receipts: 1}, 0},
		{"the ack comes last", byServer, func(a *account) { a.send(0, 1); a.deliver(0, 1); a.receipt(0, 1); a.accept(0, 1) },
			ledger.Tally{Sent: 1, Accepted: 1, Delivered: 1, Receipted: 1, Receipts: 1}, 0},
		{"only a receipt answers", byReceipt, func(a *account) { a.send(0, 1); a.deliver(0, 1); a.receipt(0, 1) },
			ledger.Tally{Sent: 1, Accepted: 1, Delivered: 1, Receipted: 1, Receipts: 1}, 0},
		{"lost, and only a receipt answers", byReceipt, func(a *account) { a.send(0, 1) }, ledger.Tally{Sent: 1, Missing: 1}, 1},
		{"accepted and lost", byServer, func(a *account) { a.send(0, 1); a.accept(0, 1) }, ledger.Tally{Sent: 1, Accepted: 1, Missing: 1}, 1},
		{"never answered", byServer, func(a *account) { a.send(0, 1) }, ledger.Tally{Sent: 1, Unanswered: 1}, 1},
		{"no receipt", byServer, func(a *account) { a.send(0, 1); a.accept(0, 1); a.deliver(0, 1) },
			ledger.Tally{Sent: 1, Accepted: 1, Delivered: 1, Unreceipted: 1}, 1},
		{"twice", byServer, func(a *account) { a.send(0, 1); a.accept(0, 1); a.deliver(0, 1); a.deliver(0, 1); a.receipt(0, 1) },
			ledger.Tally{Sent: 1, Accepted: 1, Delivered: 1, Receipted: 1, Receipts: 1, Duplicates: 1}, 0},
		{"once more when it is done", byServer, func(a *account) { a.send(0, 1); a.accept(0, 1); a.deliver(0, 1); a.receipt(0, 1); a.deliver(0, 1) },
			ledger.Tally{Sent: 1, Accepted: 1, Delivered: 1, Receipted: 1, Receipts: 1, Duplicates: 1}, 0},
		{"overtaken", byServer, func(a *account) {
			a.send(0, 1)
			a.send(0, 1)
			a.deliver(0, 2)
			a.deliver(0, 1)
			a.accept(0, 1)
			a.accept(0, 2)
		},
			ledger.Tally{Sent: 2, Accepted: 2, Delivered: 2, OutOfOrder: 1, Unreceipted: 2}, 2},
		{"never sent", byServer, func(a *account) { a.deliver(0, 1) }, ledger.Tally{Phantoms: 1}, 0},
		{"refused and delivered", byServer, func(a *account) { a.send(0, 1); a.send(0, 1); a.refuse(0, 2); a.deliver(0, 2) },
			ledger.Tally{Sent: 2, Refused: 1, Phantoms: 1, Unanswered: 1}, 2},
		{"refused", byServer, func(a *account) { a.send(0, 1); a.refuse(0, 1) }, ledger.Tally{Sent: 1, Refused: 1}, 0},
		{"a receipt of what did not come", byServer, func(a *account) { a.send(0, 1); a.accept(0, 1); a.receipt(0, 1) },
			ledger.Tally{Sent: 1, Accepted: 1, Receipts: 1, BadReceipts: 1, Missing: 1}, 1},
		{"a receipt of nothing", byServer, func(a *account) { a.receipt(0, 7) }, ledger.Tally{Receipts: 1, BadReceipts: 1}, 0},
	} {
		a := newAccount(1, c.answers)
		c.events(a)
		if got := a.audit(); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
		if a.open != c.open {
			t.Errorf("%s: %d open, want %d", c.name, a.open, c.open)
		}
		if a.open == 0 && (a.chats[0].inFlight != 0 || a.chats[0].undone != 0) {
			t.Errorf("%s: nothing is open, but %d in flight and %d undone", c.name, a.chats[0].inFlight, a.chats[0].undone)
		}
	}
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		chat   int
		number uint64
	}{{0, 1}, {1, 1 << 40}, {1<<24 - 1, 255}} {
		b := appendKey(nil, 0xa5, c.chat, c.number)
		if chat, number, ok := parseKey(b, 0xa5); len(b) != keySize || !ok || chat != c.chat || number != c.number {
			t.Errorf("%+v: %s is %d, %d, %v", c, b, chat, number, ok)
		}
		if _, _, ok := parseKey(b, 0xa6); ok {
			t.Errorf("%s is of another run, and was taken", b)
		}
		if _, _, ok := parseKey(b[1:], 0xa5); ok {
			t.Errorf("%s is cut short, and was taken", b[1:])
		}
	}
}
