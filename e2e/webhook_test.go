//go:build e2e

package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Registration asked of a service: it decides by the proof, it is asked with a
// signature and never sees the password, and nobody waits for it above 5 s.
func TestRegistrationWebhook(t *testing.T) {
	secret := []byte("01234567890123456789012345678901")
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("whsec_"+base64.StdEncoding.EncodeToString(secret)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	ids := map[string]string{} // of questions, by user and proof; one is asked after the other
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(r.Header.Get("webhook-id") + "." + r.Header.Get("webhook-timestamp") + "." + string(body)))
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("webhook-signature") != want {
			t.Errorf("signature %q, want %q", r.Header.Get("webhook-signature"), want)
		}
		var asked struct {
			User, Name, Proof, Address string
			Taken                      bool
		}
		if err := json.Unmarshal(body, &asked); err != nil || asked.Address != "127.0.0.1" || strings.Contains(string(body), "correct horse") {
			t.Errorf("asked %s: %v", body, err)
		}
		which := asked.User + " " + asked.Proof
		if before := ids[which]; before != "" && before != r.Header.Get("webhook-id") {
			t.Errorf("%s: a repeat has another id", asked.User)
		}
		ids[which] = r.Header.Get("webhook-id")
		switch asked.Proof {
		case "123456":
			_, _ = io.WriteString(w, `{"allow":true}`)
		case "silence":
			<-release
		default:
			_, _ = io.WriteString(w, `{"allow":false,"message":"The code is wrong."}`)
		}
	}))
	defer service.Close()
	s := startServer(t, "--registration", "webhook", "--registration-webhook", service.URL, "--registration-webhook-secret-file", path)
	register := func(user, proof string) (int, map[string]any) {
		return s.rest("POST /v1/users", "", `{"user":"`+user+`","name":"Al","password":"correct horse","proof":"`+proof+`"}`)
	}
	if status, out := register("alice", "654321"); status != 403 || out["reason"] != "registration_refused" || out["detail"] != "The code is wrong." {
		t.Errorf("a wrong proof: %d %v", status, out)
	}
	if status, out := register("alice", "123456"); status != 201 {
		t.Errorf("a right proof: %d %v", status, out)
	}
	if status, out := register("alice", "123456"); status != 409 || out["code"] != "already_exists" {
		t.Errorf("the same again: %d %v", status, out)
	}
	if status, out := register("alice", ""); status != 403 {
		t.Errorf("a stranger, about a taken name: %d %v", status, out)
	}
	begin := time.Now()
	if status, out := register("bob", "silence"); status != 503 || out["retryable"] != true || time.Since(begin) > 5*time.Second {
		t.Errorf("no answer: %d %v after %v", status, out, time.Since(begin))
	}
	close(release)
	if status, out := s.rest("POST /v1/devices", "", `{"user":"bob","password":"correct horse"}`); status != 401 {
		t.Errorf("registered without an answer: %d %v", status, out)
	}
	if status, out := s.rest("POST /v1/devices", "", `{"user":"alice","password":"correct horse"}`); status != 201 {
		t.Errorf("log in: %d %v", status, out)
	}
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{"123456", "654321", "whsec_", service.URL + "/"} {
		if strings.Contains(string(text), hidden) {
			t.Errorf("%q stands in the log", hidden)
		}
	}
}
