package openapitest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3filter"
)

// Exchange is one request and its answer.
type Exchange struct {
	Method string
	Target string // path and query, as sent
	Header http.Header
	Body   []byte

	Status       int
	AnswerHeader http.Header
	Answer       []byte
}

// Problem is what an error says.
type Problem struct {
	Status       int    `json:"status"`
	Code         string `json:"code"`
	Reason       string `json:"reason"`
	Detail       string `json:"detail"`
	Retryable    bool   `json:"retryable"`
	RetryAfterMs int    `json:"retryAfterMs"`
}

// Problem reads the answer as one; it is false where it is none.
func (x *Exchange) Problem() (p Problem, ok bool) {
	err := json.Unmarshal(x.Answer, &p)
	return p, err == nil && x.Status >= http.StatusBadRequest
}

// String shows the exchange, without tokens.
func (x *Exchange) String() string {
	return fmt.Sprintf("%s %s %s %s\n -> %d %v %s", x.Method, shorten([]byte(x.Target)), shown(x.Header), shorten(x.Body), x.Status, x.AnswerHeader, shorten(x.Answer))
}

func shown(h http.Header) http.Header {
	h = h.Clone()
	for i := range h["Authorization"] {
		h["Authorization"][i] = "(not shown)"
	}
	return h
}

func shorten(b []byte) string {
	const most = 1500
	if len(b) > most {
		return fmt.Sprintf("%q... (%d bytes)", b[:most], len(b))
	}
	return fmt.Sprintf("%q", b)
}

// Call that the exchange is about, or nil.
func (s *Spec) CallOf(x *Exchange) *Call {
	path, _, _ := strings.Cut(x.Target, "?")
	call, _, _ := s.find(x.Method, path)
	return call
}

// Judge returns everything in which the exchange departs from the document.
func (s *Spec) Judge(ctx context.Context, x *Exchange) []error {
	path, _, _ := strings.Cut(x.Target, "?")
	call, params, methods := s.find(x.Method, path)
	if preflight(x) {
		return nil
	}
	if call == nil {
		return s.judgeNowhere(x, methods)
	}
	faults := judgeHeader(x, call)
	r, err := x.request(ctx)
	if err != nil {
		return append(faults, err)
	}
	in := s.input(r, call, params)
	broken := s.broken(x, in)
	if err := s.judgeAnswer(ctx, x, call, in); err != nil {
		faults = append(faults, err)
	}
	p, isProblem := x.Problem()
	switch {
	case x.Status < http.StatusMultipleChoices && broken != nil:
		faults = append(faults, fmt.Errorf("accepted, though it does not fit: %w", broken))
	case isProblem && p.Code == "invalid_argument" && broken == nil && !inWords(call, p, x):
		faults = append(faults, fmt.Errorf("refused, though it fits: %s", p.Detail))
	case isProblem && p.Code == "invalid_argument" && !namesField.MatchString(p.Detail):
		faults = append(faults, fmt.Errorf("refused, but the detail names no field: %s", p.Detail))
	}
	return faults
}

// preflight is a browser's question of CORS that is answered; it is about a
// call and none itself.
func preflight(x *Exchange) bool {
	return x.Method == http.MethodOptions && x.Header.Get("Access-Control-Request-Method") != "" && x.Header.Get("Origin") != "" &&
		x.Status == http.StatusNoContent && len(x.Answer) == 0
}

// namesField: every refusal begins with what is at fault. A name that is not
// a plain one is quoted.
var namesField = regexp.MustCompile(`^([\pL_][\w-]*(\[\d+\])?(\.[\w-]+(\[\d+\])?)*(\.?"[^\n]*"(\.\.\.)?)?|"[^\n]*"(\.\.\.)?|a field's name)(:| is nested deeper)`)

// inWords: what calls refuse for reasons that stand beside the schema.
func inWords(c *Call, p Problem, x *Exchange) bool {
	allowed := map[string][]string{
		"send": {
			"id: is not the Idempotency-Key",                  // "where `id` is given as well, the same"
			"]: names a device for the second time",           // "exactly the recipient's devices"
			"the nil UUID", "Idempotency-Key: is given twice", // one header, one value
			"id: must be a UUID such as 01935b3e-6f2c-7a4e-9d1b-", // in neither place
		},
		// A token of an outside issuer's would stand for them.
		"login":        {"user: must not be empty", "password: must be given"},
		"renewToken":   {"user: must not be empty", "password: must be given"},
		"ack":          {"seq: it is beyond"},
		"listMessages": {"after: it is beyond"},
		"listen":       {"Last-Event-ID: it is beyond"},
		"block":        {"user: one cannot block oneself"},
		"unblock":      {"user: one cannot block oneself"},
		"connect":      {"Upgrade: ", "Connection: ", "Sec-WebSocket-Key: ", "Sec-WebSocket-Version: "}, // RFC 6455's, which OpenAPI has no parameters for
	}
	return slices.ContainsFunc(allowed[c.Name], func(text string) bool { return strings.Contains(p.Detail, text) })
}

// judgeNowhere: no call has this path, or this method of it.
func (s *Spec) judgeNowhere(x *Exchange, methods []string) []error {
	faults := judgeHeader(x, nil)
	want := http.StatusNotFound
	if len(methods) > 0 {
		want = http.StatusMethodNotAllowed
		if slices.Contains(methods, http.MethodGet) {
			methods = append(methods, http.MethodHead)
		}
		slices.Sort(methods)
		if got := x.AnswerHeader.Get("Allow"); got != strings.Join(methods, ", ") {
			faults = append(faults, fmt.Errorf("header Allow: %q, want %q", got, methods))
		}
	}
	if x.Status != want {
		faults = append(faults, fmt.Errorf("status %d for what the document does not have, want %d", x.Status, want))
	}
	if got := x.AnswerHeader.Get("Content-Type"); got != "application/problem+json" {
		faults = append(faults, fmt.Errorf("an error as %q", got))
	}
	if x.Method == http.MethodHead {
		return faults
	}
	var body any
	if err := json.Unmarshal(x.Answer, &body); err != nil {
		return append(faults, err)
	}
	if err := s.Fits(s.doc.Components.Schemas["Problem"].Value, body); err != nil {
		faults = append(faults, err)
	}
	if p, _ := x.Problem(); p.Code != "not_found" || p.Status != x.Status {
		faults = append(faults, fmt.Errorf("code %s, status %d in the body", p.Code, p.Status))
	}
	return faults
}

// request is the exchange's, for openapi3filter. Members that are null are
// left out.
func (x *Exchange) request(ctx context.Context) (*http.Request, error) {
	body := x.Body
	if v, err := strict(body); err == nil && bytes.Contains(body, []byte("null")) {
		if body, err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	u, err := url.ParseRequestURI(x.Target)
	if err != nil {
		return nil, fmt.Errorf("target: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, x.Method, "http://server", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	u.Scheme, u.Host = "http", "server"
	r.URL, r.Header = u, x.Header.Clone()
	return r, nil
}

// Broken says in which way the request does not fit the document, or nil.
func (s *Spec) Broken(ctx context.Context, x *Exchange) error {
	path, _, _ := strings.Cut(x.Target, "?")
	call, params, _ := s.find(x.Method, path)
	if call == nil {
		return errors.New("there is no such call")
	}
	r, err := x.request(ctx)
	if err != nil {
		return err
	}
	return s.broken(x, s.input(r, call, params))
}

func (s *Spec) broken(x *Exchange, in *openapi3filter.RequestValidationInput) error {
	if x.Method == http.MethodHead {
		in.Request.Method = http.MethodGet
	}
	if err := openapi3filter.ValidateRequest(in.Request.Context(), in); err != nil {
		return err
	}
	// What a schema cannot say.
	if in.Route.Operation.RequestBody != nil && len(x.Body) > 0 {
		if _, err := strict(x.Body); err != nil {
			return fmt.Errorf("body: %w", err)
		}
		if err := mediaType(x.Header); err != nil {
			return err
		}
	}
	return unknownQuery(in)
}

// unknownQuery: calls that have parameters in the query refuse others.
func unknownQuery(in *openapi3filter.RequestValidationInput) error {
	known := map[string]bool{}
	for _, p := range in.Route.Operation.Parameters {
		known[p.Value.Name] = p.Value.In == "query"
	}
	if !slices.Contains(slices.Collect(maps.Values(known)), true) {
		return nil
	}
	query, err := url.ParseQuery(in.Request.URL.RawQuery)
	if err != nil {
		return err
	}
	for name, values := range query {
		if len(values) > 1 || !known[name] {
			return fmt.Errorf("query: %q is not known, or given twice", name)
		}
	}
	return nil
}

func mediaType(h http.Header) error {
	values := h.Values("Content-Type")
	if len(values) != 1 {
		return fmt.Errorf("Content-Type is given %d times", len(values))
	}
	_, params, err := mime.ParseMediaType(values[0])
	if charset, ok := params["charset"]; err != nil || ok && !strings.EqualFold(charset, "utf-8") {
		return fmt.Errorf("Content-Type %q: %w", values[0], err)
	}
	return nil
}

// judgeAnswer holds status, headers and body to the call.
func (s *Spec) judgeAnswer(ctx context.Context, x *Exchange, c *Call, in *openapi3filter.RequestValidationInput) error {
	if !slices.Contains(c.Statuses(), x.Status) {
		return fmt.Errorf("status %d, of which %s says nothing", x.Status, c.Name)
	}
	content := c.Op.Responses.Status(x.Status).Value.Content
	if len(content) == 0 || x.Method == http.MethodHead {
		if len(x.Answer) > 0 {
			return fmt.Errorf("status %d with a body", x.Status)
		}
		return nil
	}
	if _, streams := content[stream]; streams && x.Status == http.StatusOK {
		// It has no end that could be waited for; what is in it is the frames' affair.
		if got := x.AnswerHeader.Get("Content-Type"); got != stream {
			return fmt.Errorf("a stream as %q", got)
		}
		return nil
	}
	return openapi3filter.ValidateResponse(ctx, &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Options: in.Options,
		Status: x.Status, Header: x.AnswerHeader, Body: io.NopCloser(bytes.NewReader(x.Answer)),
	})
}

const stream = "text/event-stream"

// headers that every answer may have.
var headers = []string{
	"Cache-Control", "Connection", "Content-Length", "Content-Type", "Date", "Transfer-Encoding", "X-Content-Type-Options",
	"Vary", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Allow-Credentials",
}

// particular headers belong to a status, whichever call it is of.
var particular = map[string][]int{
	"Allow": {405}, "Upgrade": {101}, "Sec-Websocket-Accept": {101}, "Sec-Websocket-Protocol": {101},
}

// judgeHeader: what holds for all answers. The call may describe more.
func judgeHeader(x *Exchange, call *Call) (faults []error) {
	described := map[string]bool{}
	if call != nil {
		if r := call.Op.Responses.Status(x.Status); r != nil {
			for name := range r.Value.Headers {
				described[textproto.CanonicalMIMEHeaderKey(name)] = true
			}
		}
	}
	for name := range x.AnswerHeader {
		name = textproto.CanonicalMIMEHeaderKey(name)
		if !slices.Contains(headers, name) && !slices.Contains(particular[name], x.Status) && !described[name] {
			faults = append(faults, fmt.Errorf("header %s: %q was not to be expected", name, x.AnswerHeader.Get(name)))
		}
	}
	if x.Status == http.StatusSwitchingProtocols {
		return faults
	}
	if got := x.AnswerHeader.Get("Cache-Control"); got != "no-store" {
		faults = append(faults, fmt.Errorf("Cache-Control is %q", got))
	}
	if got := x.AnswerHeader.Get("X-Content-Type-Options"); got != "nosniff" {
		faults = append(faults, fmt.Errorf("X-Content-Type-Options is %q", got))
	}
	p, isProblem := x.Problem()
	if isProblem && (p.RetryAfterMs == 0) != (x.AnswerHeader.Get("Retry-After") == "") {
		faults = append(faults, fmt.Errorf("Retry-After is %q, retryAfterMs %d", x.AnswerHeader.Get("Retry-After"), p.RetryAfterMs))
	}
	return faults
}
