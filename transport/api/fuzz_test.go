package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// FuzzTargets: whatever a path and a query say, the request is answered, with a
// problem that is JSON and short where it is refused.
func FuzzTargets(f *testing.F) {
	for _, target := range []string{
		"/v1/messages?after=18446744073709551615&limit=256&conversation=user:bob&id=" + idText,
		"/v1/messages?after=-1", "/v1/messages?limit=1e9", "/v1/messages?limit=256&limit=1", "/v1/messages?%zz", "/v1/messages?;", "/v1/messages?wait=9223372036854775807h",
		"/v1/messages?conversation=group:g_x", "/v1/messages?conversation=%2B49151", "/v1/messages?conversation=user:user:", "/v1/messages?" + strings.Repeat("a&", 500),
		"/v1/users/a%2Fb", "/v1/users/..", "/v1/users/g_x", "/v1/users/%00", "/v1/users/alice/blocks/%ff", "/v1/devices/0", "/v1/devices/4294967296", "/v1/devices/+1", "/v1/devices/1%20",
		"/v1/events?after=1", "//v1/nodes", "/v1/nodes/../nodes", "/%76%31/nodes", "/", "/healthz?x=1",
	} {
		f.Add(target)
	}
	w := newWorld(f, func(c *Config) { c.AccountsPerSecond, c.AccountsBurst, c.RequestsBurst = 1, 1<<30, 1<<30 })
	token := w.token(1)
	f.Fuzz(func(t *testing.T, target string) {
		for _, method := range []string{"GET", "DELETE", "PUT"} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			r, err := http.NewRequestWithContext(ctx, method, "http://here"+target, http.NoBody)
			if err != nil || !strings.HasPrefix(target, "/") {
				cancel()
				return
			}
			r.RequestURI, r.RemoteAddr = target, "192.0.2.1:1234"
			r.Header.Set("Authorization", "Bearer "+token)
			out := httptest.NewRecorder()
			w.api.ServeHTTP(out, r)
			cancel()
			waits := strings.Contains(target, "wait") || strings.Contains(target, "events")
			if out.Code >= 500 && (!waits || out.Code != http.StatusServiceUnavailable) {
				t.Fatalf("%s %q: %d %s", method, target, out.Code, out.Body)
			}
			if out.Code >= 400 && (out.Header().Get("Content-Type") != "application/problem+json" || !json.Valid(out.Body.Bytes()) || out.Body.Len() > 1024) {
				t.Fatalf("%s %q: %d %s", method, target, out.Code, out.Body)
			}
			w.mu.Lock()
			w.asked = nil
			w.mu.Unlock()
		}
	})
}
