package openapitest

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

func spec(t *testing.T) *Spec {
	t.Helper()
	s, err := Load(t.Context(), "../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sound is an exchange as the document wants it, with what a test changes.
func sound(change ...func(*Exchange)) *Exchange {
	x := &Exchange{
		Method: "POST", Target: "/v1/messages", Status: 200,
		Header:       http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer x"}},
		Body:         []byte(`{"id":"01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b","to":{"user":"bob"},"payload":"aGVsbG8="}`),
		AnswerHeader: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}},
		Answer:       []byte(`{"id":"01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b","conversation":{"user":"bob"},"order":"1","time":"5"}`),
	}
	for _, c := range change {
		c(x)
	}
	return x
}

func body(text string) func(*Exchange)   { return func(x *Exchange) { x.Body = []byte(text) } }
func answer(text string) func(*Exchange) { return func(x *Exchange) { x.Answer = []byte(text) } }

// problem is an answer that is an error.
func problem(status int, code, detail string) func(*Exchange) {
	return func(x *Exchange) {
		x.Status = status
		x.AnswerHeader.Set("Content-Type", "application/problem+json")
		x.Answer = []byte(`{"type":"about:blank","title":"x","status":` + Number(uint64(status)).Raw + `,"code":"` + code + `","detail":"` + detail + `","retryable":false}`)
	}
}

func list(target string) func(*Exchange) {
	return func(x *Exchange) {
		x.Method, x.Target, x.Body = "GET", target, nil
		x.Header.Del("Content-Type")
		x.Answer = []byte(`{"messages":[],"next":"0","end":true}`)
	}
}

// A judge that finds nothing looks just like a server without fault: each
// rule against an exchange that breaks it.
func TestJudge(t *testing.T) {
	s := spec(t)
	for name, c := range map[string]struct {
		x    *Exchange
		want string // part of the faults; empty where there is none
	}{
		"sound":                      {sound(), ""},
		"null is left out":           {sound(body(`{"id":"01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b","to":{"user":"bob"},"kind":null}`)), ""},
		"a refusal":                  {sound(body(`{"to":7}`), problem(400, "invalid_argument", "to: must be an object")), ""},
		"a listing":                  {sound(list("/v1/messages?after=5&limit=3")), ""},
		"nothing there":              {sound(problem(404, "not_found", "x"), func(x *Exchange) { x.Target = "/v1/nothing" }), ""},
		"an undocumented status":     {sound(problem(418, "internal", "x")), "status 418, of which send says nothing"},
		"a bug of the server":        {sound(problem(500, "internal", "x")), "status 500, of which send says nothing"},
		"a member nobody described":  {sound(answer(`{"id":"01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b","conversation":{"user":"bob"},"order":"1","time":"5","x":1}`)), `"x" is unsupported`},
		"one within":                 {sound(answer(`{"id":"01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b","conversation":{"user":"bob","x":1},"order":"1","time":"5"}`)), "conversation"},
		"a member missing":           {sound(answer(`{"id":"01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b","conversation":{"user":"bob"},"order":"1"}`)), "time"},
		"a number for a string":      {sound(answer(`{"id":"01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b","conversation":{"user":"bob"},"order":1,"time":"5"}`)), "order"},
		"a number past 64 bits":      {sound(answer(`{"id":"01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b","conversation":{"user":"bob"},"order":"99999999999999999999","time":"5"}`)), "order"},
		"an id that is none":         {sound(answer(`{"id":"x","conversation":{"user":"bob"},"order":"1","time":"5"}`)), "/id"},
		"no JSON":                    {sound(answer(`{`)), "decode"},
		"another type of content":    {sound(func(x *Exchange) { x.AnswerHeader.Set("Content-Type", "text/html") }), "Content-Type"},
		"an error as JSON":           {sound(problem(404, "not_found", "x"), func(x *Exchange) { x.AnswerHeader.Set("Content-Type", "application/json") }), "Content-Type"},
		"the code of another status": {sound(problem(404, "internal", "x")), "code"},
		"the status of another":      {sound(problem(404, "not_found", "x"), answer(`{"type":"about:blank","title":"x","status":400,"code":"not_found","retryable":false}`)), "status"},
		"a member of no problem":     {sound(problem(404, "not_found", "x"), answer(`{"type":"about:blank","title":"x","status":404,"code":"not_found","retryable":false,"stack":"x"}`)), "stack"},
		"no Retry-After":             {sound(problem(429, "rate_limited", "x")), "Retry-After"},
		"a header nobody described":  {sound(func(x *Exchange) { x.AnswerHeader.Set("X-Debug", "1") }), "X-Debug"},
		"kept by a cache":            {sound(func(x *Exchange) { x.AnswerHeader.Del("Cache-Control") }), "Cache-Control"},
		"guessed at by a browser":    {sound(func(x *Exchange) { x.AnswerHeader.Del("X-Content-Type-Options") }), "X-Content-Type-Options"},
		"a 204 with a body":          {sound(func(x *Exchange) { x.Target, x.Status, x.Body = "/v1/messages/ack", 204, []byte(`{"seq":"5"}`) }), "with a body"},

		"accepted: wrong type":      {sound(body(`{"to":7}`)), "accepted, though"},
		"accepted: unknown member":  {sound(body(`{"to":{"user":"bob"},"x":1}`)), "accepted, though"},
		"accepted: given twice":     {sound(body(`{"to":{"user":"bob"},"to":{"user":"bob"}}`)), "given twice"},
		"accepted: not UTF-8":       {sound(body("{\"to\":{\"user\":\"bob\"},\"ttl\":\"\xff\"}")), "accepted, though"},
		"accepted: half a pair":     {sound(body(`{"to":{"user":"bob"},"payload":"\ud800"}`)), "accepted, though"},
		"accepted: something after": {sound(body(`{"to":{"user":"bob"}}x`)), "accepted, though"},
		"accepted: a bad name":      {sound(body(`{"to":{"user":"g_x"}}`)), "accepted, though"},
		"accepted: no token":        {sound(func(x *Exchange) { x.Header.Del("Authorization") }), "accepted, though"},
		"accepted: other media":     {sound(func(x *Exchange) { x.Header.Set("Content-Type", "text/plain") }), "accepted, though"},
		"accepted: other charset":   {sound(func(x *Exchange) { x.Header.Set("Content-Type", "application/json; charset=latin1") }), "accepted, though"},
		"accepted: a bad query":     {sound(list("/v1/messages?limit=0")), "accepted, though"},
		"accepted: an unknown one":  {sound(list("/v1/messages?x=1")), "accepted, though"},
		"accepted: one given twice": {sound(list("/v1/messages?after=1&after=1")), "accepted, though"},
		"accepted: many bytes": {sound(body(`{"name":"`+strings.Repeat("ä", 100)+`"}`), answer(`{"user":"a"}`), func(x *Exchange) {
			x.Method, x.Target = "PATCH", "/v1/users/a"
		}), "accepted, though"},
		"refused: a sound one":     {sound(problem(400, "invalid_argument", "to: x")), "refused, though it fits"},
		"refused: for two reasons": {sound(problem(400, "invalid_argument", "payloads[1]: names a device for the second time")), ""},
		"refused: no field":        {sound(body(`{"to":7}`), problem(400, "invalid_argument", "this is not right")), "names no field"},

		"no Allow":        {sound(problem(405, "not_found", "x"), func(x *Exchange) { x.Method = "PUT" }), "Allow"},
		"dots in a path":  {sound(problem(404, "not_found", "x"), func(x *Exchange) { x.Method, x.Target = "GET", "/v1/users/.." }), ""},
		"escaped dots":    {sound(problem(404, "not_found", "x"), func(x *Exchange) { x.Method, x.Target = "GET", "/v1/users/%2E%2E" }), ""},
		"a redirect":      {sound(func(x *Exchange) { x.Target, x.Status = "//v1/messages", 307 }), "want 404"},
		"nothing, in 200": {sound(func(x *Exchange) { x.Target = "/v1/nothing" }), "want 404"},
	} {
		t.Run(name, func(t *testing.T) {
			got := errors.Join(s.Judge(t.Context(), c.x)...)
			switch {
			case c.want == "" && got != nil:
				t.Errorf("sound, but judged: %v", got)
			case c.want != "" && (got == nil || !strings.Contains(got.Error(), c.want)):
				t.Errorf("want a fault with %q, got %v", c.want, got)
			}
		})
	}
}

func TestHalves(t *testing.T) {
	for text, want := range map[string]bool{
		`"\ud83d\ude00"`: false, `"\ud83d"`: true, `"\ude00"`: true, `"\\ud83d"`: false, `"\ud83d\\ude00"`: true, `"\u00e4\n"`: false, `"\ud83d\ud83d"`: true,
	} {
		if got := halves([]byte(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
