package ws

import (
	"encoding/json"
	"net/http"

	"github.com/rookery-im/rookery/internal/fault"
)

// Refuse answers a request that is not upgraded with problem+json (RFC 9457),
// in the shape and codes of the REST API. A status of 0 is the code's own.
func Refuse(w http.ResponseWriter, status int, code fault.Code, detail string) {
	if status == 0 {
		status = code.Status()
	}
	body, err := json.Marshal(struct {
		Type      string     `json:"type"`
		Title     string     `json:"title"`
		Status    int        `json:"status"`
		Code      fault.Code `json:"code"`
		Detail    string     `json:"detail"`
		Retryable bool       `json:"retryable"`
	}{"about:blank", http.StatusText(status), status, code, detail, code.Retryable()})
	if err != nil { // strings and numbers always marshal
		body = nil
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a peer that has gone needs no answer
}
