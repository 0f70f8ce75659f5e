package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rookery-im/rookery/internal/limits"
)

func post(t *testing.T, url, token, body string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, bytes.NewBufferString(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// startReady starts a node and waits until it serves.
func startReady(t *testing.T, change func(*Config)) *Node {
	t.Helper()
	n := start(t, change)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	patience := time.After(10 * time.Second)
	for n.Ready() != nil {
		select {
		case <-tick.C:
		case <-patience:
			t.Fatalf("not ready: %v", n.Ready())
		}
	}
	return n
}

// Users made in bulk have devices whose tokens are good, also where nobody may
// register; one that cannot be made stops no other.
func TestBulkUsers(t *testing.T) {
	defer goleak.VerifyNone(t)
	n := startReady(t, func(c *Config) { c.Registration = "closed" })
	defer func() {
		if err := n.Drain(); err != nil {
			t.Error(err)
		}
	}()
	admin := "http://" + n.AdminAddr() + "/v1/users:bulk"
	status, answer := post(t, admin, "", `{"users":[{"user":"a"},{"user":"b","devices":3},{"user":"a"}]}`)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	var made struct{ Users []bulkMade }
	if err := json.Unmarshal(answer, &made); err != nil {
		t.Fatal(err)
	}
	if len(made.Users) != 3 || len(made.Users[1].Devices) != 3 || made.Users[1].Error != nil {
		t.Fatalf("got %s", answer)
	}
	// Which of the two that want the name gets it is open; only one does.
	first, second := made.Users[0], made.Users[2]
	if first.Error != nil {
		first, second = second, first
	}
	if first.Error != nil || len(first.Devices) != 1 || second.Error == nil || second.Error.Code != "already_exists" || len(second.Devices) != 0 {
		t.Errorf("one name made twice: %+v, %+v", first, second)
	}
	for i, d := range made.Users[1].Devices {
		if d.Device != uint32(i+1) {
			t.Errorf("device %d is number %d", i+1, d.Device)
		}
		if status, answer := post(t, "http://"+n.Addr()+"/v1/tokens", d.Token, `{}`); status != http.StatusCreated {
			t.Errorf("the token of device %d: %d %s", d.Device, status, answer)
		}
	}
}

// Without a password there is no login by one; with one there is.
func TestBulkPasswords(t *testing.T) {
	defer goleak.VerifyNone(t)
	n := startReady(t, nil)
	defer func() {
		if err := n.Drain(); err != nil {
			t.Error(err)
		}
	}()
	admin := "http://" + n.AdminAddr() + "/v1/users:bulk"
	if status, answer := post(t, admin, "", `{"users":[{"user":"a"},{"user":"b","password":"correct horse"}]}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	login := "http://" + n.Addr() + "/v1/devices"
	for password, want := range map[string]int{"": http.StatusBadRequest, "correct horse": http.StatusUnauthorized} {
		if status, answer := post(t, login, "", fmt.Sprintf(`{"user":"a","password":%q}`, password)); status != want {
			t.Errorf("login without a password by %q: %d %s", password, status, answer)
		}
	}
	if status, answer := post(t, login, "", `{"user":"b","password":"correct horse"}`); status != http.StatusCreated {
		t.Errorf("login: %d %s", status, answer)
	}
}

// A request at fault makes nobody, and hears of every fault.
func TestBulkFaults(t *testing.T) {
	users := make([]string, limits.BulkUsers+1)
	for i := range users {
		users[i] = fmt.Sprintf(`{"user":"u%d"}`, i)
	}
	for _, c := range []struct{ name, body, want string }{
		{"no users", `{}`, "users: 0"},
		{"too many", `{"users":[` + strings.Join(users, ",") + `]}`, "users: 1001"},
		{"a member unknown", `{"users":[{"user":"a","device":2}]}`, `"device"`},
		{"a bad name", `{"users":[{"user":"a"},{"user":"g_x"}]}`, "users[1].user"},
		{"too many devices", `{"users":[{"user":"a","devices":11}]}`, "users[0].devices: 11"},
		{"a negative count", `{"users":[{"user":"a","devices":-1}]}`, "users[0].devices: -1"},
		{"a short password", `{"users":[{"user":"a","password":"short"}]}`, "users[0].password"},
		{"two faults", `{"users":[{"user":"g_x","devices":11}]}`, "users[0].devices"},
		{"not JSON", `users`, "body"},
	} {
		if _, err := readBulk(strings.NewReader(c.body)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: want a fault with %q, got %v", c.name, c.want, err)
		}
	}
}
