package user

import (
	"testing"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// Hollow is who never was; whoever was deleted has numbers to go on with.
func TestHollow(t *testing.T) {
	w := newWorld(t.Fatalf)
	s, err := Load("bob", userRows(nil), nil)
	if err != nil || !s.Hollow() {
		t.Fatalf("of no rows: %v", err)
	}
	w.ask(&nodepb.Ask{User: "bob", Body: &nodepb.Ask_Register{Register: &nodepb.Register{Name: "bob", Password: "pw"}}})
	w.settle()
	if w.state("bob").Hollow() {
		t.Error("bob is nobody")
	}
	w.ask(&nodepb.Ask{User: "bob", Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Name: "phone", Password: "pw"}}})
	w.ask(&nodepb.Ask{User: "bob", Asker: "bob", Device: 1, Body: &nodepb.Ask_DeleteAccount{DeleteAccount: &nodepb.DeleteAccount{}}})
	w.settle()
	if w.state("bob").Hollow() {
		t.Error("bob, deleted, is nobody")
	}
	w.done()
}
