//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rookery-im/rookery/e2e/openapitest"
)

// Requests that are broken as HTTP: framing, request lines, headers, and bytes
// that are flipped or missing. Whoever reads HTTP may answer in its own words,
// but always, in time, and never as if the server had failed.
func TestHTTPFuzz(t *testing.T) {
	f := newFuzz(t)
	before := f.load()
	f.checks(checks(t, 1000))
	rapid.Check(t, func(t *rapid.T) { f.mangled(t, f.rest(t)) })
	f.calm(before)
}

// The same for the opening handshake of a WebSocket.
func TestHandshakeFuzz(t *testing.T) {
	f := newFuzz(t)
	before := f.load()
	f.checks(checks(t, 1000))
	rapid.Check(t, func(t *rapid.T) {
		f.mangled(t, "GET /v1/ws HTTP/1.1\r\nHost: x\r\n"+strings.Join(handshake, "\r\n")+"\r\n"+
			rapid.SampledFrom([]string{"", "Sec-WebSocket-Protocol: rookery.v1.json\r\n", "Authorization: Bearer x\r\n", "Sec-WebSocket-Extensions: permessage-deflate; x=\"\r\n"}).Draw(t, "more")+"\r\n")
	})
	f.calm(before)
}

// A handshake that never ends, and a WebSocket on which nothing sensible comes:
// the server waits 10 s for either, and not for ever.
func TestHandshakeIsNotWaitedForLong(t *testing.T) {
	f := newFuzz(t)
	before := f.load()
	whole := "GET /v1/ws HTTP/1.1\r\nHost: x\r\n" + strings.Join(handshake, "\r\n") + "\r\n\r\n"
	var lines sync.WaitGroup
	for i, text := range []string{"", "G", "GET /v1/ws", whole[:len(whole)-1], whole[:len(whole)-2], whole[:60], whole, whole + "\x81", whole + "\x81\xfe\xff", whole + "\x81\x80\x00\x00\x00\x00"} {
		c := f.walk.dial(t)
		lines.Go(func() {
			begin := time.Now()
			defer c.Close()
			if _, err := io.WriteString(c, text); err != nil {
				t.Error(err)
				return
			}
			const most = 17 * time.Second // 10 s, then 5 s for a close frame to be answered
			if err := c.SetReadDeadline(begin.Add(most)); err != nil {
				t.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("line %d, %q: after %v: %v", i, text, time.Since(begin), err)
			}
		})
	}
	lines.Wait()
	f.calm(before)
}

// rest draws a sound REST request, as text.
func (f *fuzz) rest(t *rapid.T) string {
	r := f.spec.Sound(t, rapid.SampledFrom(f.spec.Calls).Draw(t, "call"), f.pools)
	// A wait that is mangled may become a long one.
	r.Query = slices.DeleteFunc(r.Query, func(q [2]string) bool { return q[0] == "wait" })
	return string(f.line.Text(r, f.alice))
}

// mangle is something done to the text of a request.
type mangle struct {
	name string
	do   func(t *rapid.T, line, header, body string) string
}

func (m mangle) GoString() string { return m.name }

func (f *fuzz) mangled(t *rapid.T, text string) {
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	line, header, _ := strings.Cut(head, "\r\n")
	for range rapid.IntRange(1, 2).Draw(t, "times") {
		text = rapid.SampledFrom(mangles).Draw(t, "mangle").do(t, line, header, body)
		head, body, _ = strings.Cut(text, "\r\n\r\n")
		line, header, _ = strings.Cut(head, "\r\n")
	}
	r, whole, behind := parse(text)
	then, method := openapitest.HangUp, http.MethodGet
	if whole {
		then, method = openapitest.Wait, r.Method // who hangs up on a whole request wants no answer
	} else if r != nil {
		method = r.Method
	}
	x, err := f.line.Raw([]byte(text), method, then)
	text = strings.ReplaceAll(text, f.alice, "TOKEN")
	if err != nil {
		// Half a request may be answered by closing, and an answer may be lost
		// to a reset where bytes came that nobody read.
		if (!whole || behind) && !errors.Is(err, openapitest.ErrSilent) {
			return
		}
		t.Fatalf("%v: %.2000q", err, text)
	}
	if x.Status >= 500 && x.Status != 501 && x.Status != 503 && x.Status != 505 && x.Status != 507 {
		t.Fatalf("%.2000q\n%s", text, x)
	}
	switch kind := x.AnswerHeader.Get("Content-Type"); kind {
	case "text/plain; charset=utf-8":
		if !slices.Contains([]int{400, 431, 501, 505}, x.Status) {
			t.Fatalf("%.2000q\n%s", text, x)
		}
	case "application/problem+json":
		if p, ok := x.Problem(); method != http.MethodHead && (!ok || p.Code == "" || p.Status != x.Status || p.Code == "internal") {
			t.Fatalf("%.2000q\n%s", text, x)
		}
	case "application/json", "text/event-stream", "":
		if x.Status >= 300 && x.Status != 417 { // an expectation that is not 100-continue
			t.Fatalf("%.2000q\n%s", text, x)
		}
	default:
		t.Fatalf("an answer as %q: %.2000q\n%s", kind, text, x)
	}
}

// parse says whether Go's reader of HTTP takes the text for a whole request,
// and whether something is behind it.
func parse(text string) (r *http.Request, whole, behind bool) {
	in := bufio.NewReaderSize(strings.NewReader(text), len(text)+16)
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, false, true
	}
	_, err = io.Copy(io.Discard, r.Body)
	// Where the head is refused nobody reads more than net/http's buffer.
	const buffer = 4 << 10
	return r, err == nil && r.Header.Get("Expect") == "", in.Buffered() > 0 || len(text) > buffer || r.ProtoMajor != 1
}

func joined(line, header, body string) string { return line + "\r\n" + header + "\r\n\r\n" + body }

func without(header, name string) string {
	lines := slices.DeleteFunc(strings.Split(header, "\r\n"), func(h string) bool { return strings.HasPrefix(h, name+":") })
	return strings.Join(lines, "\r\n")
}

// with puts a header last.
func with(header, more string) string { return strings.TrimPrefix(header+"\r\n"+more, "\r\n") }

var mangles = []mangle{
	{"method", func(t *rapid.T, line, header, body string) string {
		_, rest, _ := strings.Cut(line, " ")
		m := rapid.SampledFrom([]string{"FOO", "get", "", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PRI", "GET GET", "P\x00T", "PATCH ", strings.Repeat("M", 5000), "\xff", "DELETE", "PUT", "POST", "GET"}).Draw(t, "method")
		return joined(m+" "+rest, header, body)
	}},
	{"version", func(t *rapid.T, line, header, body string) string {
		v := rapid.SampledFrom([]string{"HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.1x", "HTTP/9999.1", "http/1.1", "", "X", "HTTP/1.1 HTTP/1.1"}).Draw(t, "version")
		return joined(strings.TrimSuffix(line, "HTTP/1.1")+v, header, body)
	}},
	{"path", func(t *rapid.T, line, header, body string) string {
		parts := strings.SplitN(line, " ", 3)
		p := rapid.SampledFrom([]string{
			"*", "/", "", "//", "/.", "/..", "/v1/../healthz", "//v1/nodes", "/v1//nodes", "v1/nodes", "/v1/nodes/", "/v1/nodes#x", "/v1/nodes?%zz", "/v1/nodes?a=%",
			"/v1/users/%", "/v1/users/%0", "/v1/users/%zz", "/v1/users/%00", "/v1/users/ü", "/v1/users/\x01", `/v1\nodes`, "/v1/users/" + strings.Repeat("a", 9000), "/" + strings.Repeat("x/", 5000),
			"http://x/v1/nodes", "https://other:99/v1/nodes", "x:1", "mailto:a", "/v1/nodes;x", "/v1/messages?" + strings.Repeat("a=1&", 3000), "/v1/messages?limit=1;after=2", "/v1/ws/echo", "/v1/users/%2e%2e/password", "/V1/NODES",
		}).Draw(t, "path")
		return joined(parts[0]+" "+p+" HTTP/1.1", header, body)
	}},
	{"host", func(t *rapid.T, line, header, body string) string {
		for _, h := range rapid.SampledFrom([][]string{{}, {""}, {"x", "y"}, {"a b"}, {"x\x00"}, {"[::1"}, {"x:99999999"}, {`"><script>`}, {"x/y"}, {"\xff"}, {"ü"}, {strings.Repeat("h", 3000)}, {"user@x"}}).Draw(t, "hosts") {
			header = with(without(header, "Host"), "Host: "+h)
		}
		return joined(line, header, body)
	}},
	{"length", func(t *rapid.T, line, header, body string) string {
		header = without(header, "Content-Length")
		for _, n := range rapid.SampledFrom([][]string{{}, {"-1"}, {"+5"}, {"5", "6"}, {"5, 5"}, {"99999999999999999999"}, {"1099511627776"}, {"0x5"}, {""}, {"5 5"}, {"0"}, {"1"}, {fmt.Sprint(len(body) + 7)}, {"999999"}}).Draw(t, "lengths") {
			header = with(header, "Content-Length: "+n)
		}
		return joined(line, header, body)
	}},
	{"chunks", func(t *rapid.T, line, header, body string) string {
		coding := rapid.SampledFrom([]string{"chunked", "Chunked", "gzip, chunked", "chunked, chunked", "identity", "xchunked", " chunked", "\x0bchunked", "gzip"}).Draw(t, "coding")
		if rapid.Bool().Draw(t, "without a length") {
			header = without(header, "Content-Length")
		}
		whole := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		chunks := rapid.SampledFrom([]string{
			whole, whole[:len(whole)-2], whole[:len(whole)/2], "zz\r\n", "-1\r\n", "ffffffffffffffffff\r\nx", "5\r\nabc", "0\r\nX: y\r\n\r\n", "5;" + strings.Repeat("e", 9000) + "\r\nabcde\r\n0\r\n\r\n",
			strings.Repeat("1\r\n{\r\n", 2000) + "0\r\n\r\n", "5\nabcde\n0\n\n", "0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n",
		}).Draw(t, "chunks")
		return joined(line, with(header, "Transfer-Encoding: "+coding), chunks)
	}},
	{"header", func(t *rapid.T, line, header, body string) string {
		return joined(line, with(header, rapid.SampledFrom([]string{
			"no colon", ": no name", "a b: c", " folded: x", "X: a\r\n b", "X: \x00", "X: \x7f", "Ü: x", "X: " + strings.Repeat("v", 30_000), strings.TrimSuffix(strings.Repeat("X: y\r\n", 3000), "\r\n"),
			"Authorization: Bearer x", "Content-Type: text/plain", "Content-Encoding: gzip", "Expect: 100-continue", "Expect: x", "Connection: close", "Connection: Upgrade\r\nUpgrade: h2c", "Upgrade: websocket",
			"Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: mqtt", "Sec-WebSocket-Protocol: ,,,", "Sec-WebSocket-Protocol: \"", "Trailer: X", "TE: trailers", "X-HTTP-Method-Override: DELETE",
			"X-Forwarded-For: 1.2.3.4", "Accept: x/y", "Accept-Encoding: *;q=x", "Range: bytes=0-0", "If-None-Match: *", "Cookie: " + strings.Repeat("a=b;", 500), "Origin: null", "Idempotency-Key: ", "Last-Event-ID: x", "Content-Length: 0",
		}).Draw(t, "header")), body)
	}},
	{"a header taken out", func(t *rapid.T, line, header, body string) string {
		lines := strings.Split(header, "\r\n")
		i := rapid.IntRange(0, len(lines)-1).Draw(t, "which")
		return joined(line, strings.Join(slices.Delete(lines, i, i+1), "\r\n"), body)
	}},
	{"ends of lines", func(t *rapid.T, line, header, body string) string {
		return strings.ReplaceAll(joined(line, header, body), "\r\n", rapid.SampledFrom([]string{"\n", "\r", "\r\r\n", "\n\r", " \r\n"}).Draw(t, "end"))
	}},
	{"something before", func(t *rapid.T, line, header, body string) string {
		return rapid.SampledFrom([]string{"\r\n", "\r\n\r\n\r\n", " ", "\x00", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "\xef\xbb\xbf"}).Draw(t, "before") + joined(line, header, body)
	}},
	{"something behind", func(t *rapid.T, line, header, body string) string {
		return joined(line, header, body) + rapid.SampledFrom([]string{"\r\n", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "x", "\x81\x80\x00\x00\x00\x00", strings.Repeat("\x00", 5000), "\xff\xff\xff\xff"}).Draw(t, "behind")
	}},
	{"cut off", func(t *rapid.T, line, header, body string) string {
		text := joined(line, header, body)
		return text[:rapid.IntRange(0, len(text)).Draw(t, "at")]
	}},
	{"bytes", func(t *rapid.T, line, header, body string) string {
		text := []byte(joined(line, header, body))
		for range rapid.IntRange(1, 5).Draw(t, "how many") {
			i := rapid.IntRange(0, len(text)-1).Draw(t, "at")
			switch rapid.IntRange(0, 2).Draw(t, "how") {
			case 0:
				text[i] = rapid.Byte().Draw(t, "byte")
			case 1:
				text = append(text[:i:i], text[min(i+rapid.IntRange(1, 9).Draw(t, "less"), len(text)-1):]...)
			default:
				text = slices.Insert(text, i, bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, rapid.IntRange(1, 300).Draw(t, "more"))...)
			}
		}
		return string(text)
	}},
}
