package ws

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/rookery-im/rookery/internal/fault"
)

// Refuse answers a request that is not upgraded with problem+json (RFC 9457),
// in the shape, codes and headers of the REST API. A status of 0 is the code's own.
func Refuse(w http.ResponseWriter, status int, code fault.Code, detail string) {
	if status == 0 {
		status = code.Status()
	}
	wait := 0 // seconds
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		wait = 1
		w.Header().Set("Retry-After", strconv.Itoa(wait))
	}
	body, err := json.Marshal(struct {
		Type      string     `json:"type"`
		Title     string     `json:"title"`
		Status    int        `json:"status"`
		Code      fault.Code `json:"code"`
		Detail    string     `json:"detail"`
		Retryable bool       `json:"retryable"`
		AfterMs   int        `json:"retryAfterMs,omitempty"`
	}{"about:blank", http.StatusText(status), status, code, detail, code.Retryable(), wait * 1000})
	if err != nil { // strings and numbers always marshal
		body = nil
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a peer that has gone needs no answer
}
