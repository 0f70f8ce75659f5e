package node

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// A pass proves one user and device, at the node that made it.
func TestPasses(t *testing.T) {
	p, err := newPasses(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newPasses(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pass, expires, err := p.issue("+49.30:1", 7)
	if err == nil { // a colon is in no user id
		if _, ok := p.check(pass); ok {
			t.Error("a pass of nobody is taken")
		}
	}
	pass, _, _ = p.issue("bob.b@example", 7)
	who, ok := p.check(pass)
	if !ok || who.User != "bob.b@example" || who.Device != 7 || time.Until(who.Expires) > time.Hour || time.Until(expires) < 59*time.Minute {
		t.Errorf("%q: %+v, %v, until %v", pass, who, ok, expires)
	}
	for name, bad := range map[string]string{
		"of another node":  func() string { s, _, _ := other.issue("bob.b@example", 7); return s }(),
		"another device":   strings.Replace(pass, ":7:", ":8:", 1),
		"another user":     pass + "x",
		"no device":        strings.Replace(pass, ":7:", "::", 1),
		"nothing behind":   passPrefix,
		"a token's looks":  "eyJhbGciOiJFZERTQSJ9.e30.",
		"another spelling": strings.Replace(pass, ":7:", ":07:", 1),
	} {
		if _, ok := p.check(bad); ok {
			t.Errorf("%s: %q is taken", name, bad)
		}
	}
}

// A node that was not started for it gives no passes, takes none, and carries no
// stand-ins.
func TestNoStandIns(t *testing.T) {
	defer goleak.VerifyNone(t)
	n := startReady(t, nil)
	defer func() {
		if err := n.Drain(); err != nil {
			t.Error(err)
		}
	}()
	admin := "http://" + n.AdminAddr()
	if status, answer := post(t, admin+"/v1/users:bulk?proof=stand-in", "", `{"users":[{"user":"a"}]}`); status != http.StatusBadRequest {
		t.Errorf("passes: %d %s", status, answer)
	}
	if status, _ := post(t, admin+standInPath, "", ""); status != http.StatusNotFound {
		t.Errorf("stand-ins: %d", status)
	}
	p, err := newPasses(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pass, _, _ := p.issue("a", 1)
	if _, err := n.Identify(pass); err == nil {
		t.Error("a pass is taken")
	}
}
