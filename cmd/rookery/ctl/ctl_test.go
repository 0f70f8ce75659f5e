package ctl

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/cmd/rookery/node"
)

// fake is a node whose status is another each time it is asked; the last stays.
type fake struct {
	*httptest.Server
	statuses []node.Status
	asked    []string
	removal  int // its status code
}

func newFake(t *testing.T, statuses ...node.Status) *fake {
	f := &fake{statuses: statuses, removal: http.StatusAccepted}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			f.asked = append(f.asked, r.URL.String())
			w.WriteHeader(f.removal)
			_, _ = w.Write([]byte(`{"number":3,"node":"c","error":"no"}`))
			return
		}
		if len(f.statuses) == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if err := json.NewEncoder(w).Encode(f.statuses[0]); err != nil {
			t.Error(err)
		}
		f.statuses = f.statuses[min(1, len(f.statuses)-1):]
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) call(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), &call{out: &out, pause: time.Millisecond}, append([]string{"--admin", f.Listener.Addr().String()}, args...))
	return out.String(), err
}

func members(groups ...int) (s node.Status) {
	for i, n := range groups {
		s.Members = append(s.Members, node.MemberStatus{Number: uint16(i + 1), Node: string(rune('a' + i)), Groups: n})
	}
	return s
}

// A removal ends when the node is out, and says how far it is until then.
func TestRemove(t *testing.T) {
	f := newFake(t, members(5, 5, 5), members(5, 5, 2), members(5, 5, 2), members(5, 5))
	text, err := f.call(t, "node", "remove", "3")
	if err != nil || strings.Count(text, "2 groups are left") != 1 || !strings.Contains(text, "node 3 is out") {
		t.Errorf("%q, %v", text, err)
	}
	f = newFake(t, members(5, 5))
	if _, err := f.call(t, "node", "remove", "c", "--force"); err != nil || f.asked[0] != "/v1/nodes/c?force=true" {
		t.Errorf("asked %v, %v", f.asked, err)
	}
}

func TestRemoveThatDoesNotEnd(t *testing.T) {
	f := newFake(t, members(5, 5, 5))
	if _, err := f.call(t, "node", "remove", "3", "--wait", "20ms"); err == nil || !strings.Contains(err.Error(), "goes on leaving") {
		t.Errorf("got %v", err)
	}
	f = newFake(t)
	if _, err := f.call(t, "node", "remove", "3"); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Errorf("got %v", err)
	}
	f.removal = http.StatusConflict
	if _, err := f.call(t, "node", "remove", "3"); err == nil || !strings.Contains(err.Error(), "says: no (409)") {
		t.Errorf("got %v", err)
	}
}

func TestCallsThatAreWrong(t *testing.T) {
	f := newFake(t, members(1))
	for _, args := range [][]string{nil, {"node"}, {"node", "remove"}, {"status", "now"}, {"status", "--jason"}} {
		if _, err := f.call(t, args...); !errors.Is(err, ErrUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
	if text, err := f.call(t, "--help"); err != nil || text != Usage {
		t.Errorf("%q, %v", text, err)
	}
}
