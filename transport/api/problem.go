package api

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/rookery-im/rookery/internal/fault"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// retryMs is said of 429 and 503 where nothing better is known.
const retryMs = 1000

// problem is an error as RFC 9457 has it, with the protocol's members.
type problem struct {
	Type         string      `json:"type"`
	Title        string      `json:"title"`
	Status       int         `json:"status"`
	Detail       string      `json:"detail,omitempty"`
	Code         string      `json:"code"`
	Reason       string      `json:"reason,omitempty"`
	Retryable    bool        `json:"retryable"`
	RetryAfterMs uint32      `json:"retryAfterMs,omitempty"`
	Missing      []deviceRef `json:"missing,omitempty"`
	Extra        []deviceRef `json:"extra,omitempty"`
}

type deviceRef struct {
	User   string `json:"user"`
	Device uint32 `json:"device"`
}

func refs(list []*nodepb.DeviceRef) (out []deviceRef) {
	for _, r := range list {
		out = append(out, deviceRef{User: r.GetUser(), Device: r.GetDevice()})
	}
	return out
}

// writeProblem writes the fault. status is the code's but for what only HTTP
// knows: 405 is a not_found.
func writeProblem(w http.ResponseWriter, f *nodepb.Fault, status int) {
	p := problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: f.GetMessage(),
		Code: f.GetCode(), Reason: f.GetReason(), Retryable: f.GetRetryable(), RetryAfterMs: f.GetRetryAfterMs(),
		Missing: refs(f.GetMissing()), Extra: refs(f.GetExtra()),
	}
	h := w.Header()
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if p.RetryAfterMs == 0 {
			p.RetryAfterMs = retryMs
		}
		h.Set("Retry-After", strconv.Itoa(int(p.RetryAfterMs+999)/1000))
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="rookery"`) // RFC 9110, section 11.6.1
	}
	body, err := json.Marshal(p)
	if err != nil { // cannot be: strings, numbers and a bool
		body = []byte("{}")
	}
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone needs no answer
}

// invalid is the fault of a field.
func invalid(field, problem string) *nodepb.Fault {
	return fault.New(fault.InvalidArgument, "", "%s: %s", field, problem)
}
