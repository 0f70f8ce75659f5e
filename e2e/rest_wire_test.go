//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// event is one of a stream, as the specification of server-sent events has it.
type event struct {
	name, id, data string
	retry          string
}

// readEvents hands out the events of a stream that are whole; what a cut
// leaves of the last is none.
func readEvents(r io.Reader, fn func(event) error) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	var e event
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if e != (event{}) {
				if err := fn(e); err != nil {
					return err
				}
			}
			e = event{}
		case name == "": // a comment
		case name == "event":
			e.name = value
		case name == "id":
			e.id = value
		case name == "retry":
			e.retry = value
		case name == "data" && e.data == "":
			e.data = value
		default:
			return fmt.Errorf("unexpected line %q", line)
		}
	}
}

// frame that an event carries. Its name and id say what the data says.
func (e event) frame() (frame, error) {
	list, err := parseFrames(e.data)
	if err != nil || len(list) != 1 {
		return frame{}, fmt.Errorf("event %+v: %d frames, %w", e, len(list), err)
	}
	var named map[string]json.RawMessage
	if err := json.Unmarshal([]byte(e.data), &named); err != nil {
		return frame{}, err
	}
	if _, ok := named[e.name]; !ok {
		return frame{}, fmt.Errorf("event %q carries %s", e.name, e.data)
	}
	if seq := list[0].seq(); seq > 0 && e.id != fmt.Sprint(seq) {
		return frame{}, fmt.Errorf("event with id %q carries %s", e.id, e.data)
	}
	return list[0], nil
}

// closing is the data of the last event.
type closing struct {
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

func (e event) closing() (c closing, err error) {
	return c, json.Unmarshal([]byte(e.data), &c)
}

// rest is a client of the REST API of one device.
type rest struct {
	base, token string
	http        *http.Client
}

func newRest(address, token string) *rest {
	return &rest{base: "http://" + address, token: token, http: &http.Client{Transport: &http.Transport{}}}
}

func (c *rest) request(ctx context.Context, method, path, body string, headers ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return c.http.Do(r)
}

// call reads the whole answer into out, where that is not nil; a problem is an
// error.
func (c *rest) call(ctx context.Context, method, path, body string, out any) error {
	response, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		p := problem{status: response.StatusCode}
		if err := json.Unmarshal(data, &p); err != nil {
			return fmt.Errorf("%s: %q: %w", response.Status, data, err)
		}
		return p
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// problem is an error of the REST API.
type problem struct {
	status    int
	Code      string `json:"code"`
	Reason    string `json:"reason"`
	Detail    string `json:"detail"`
	Retryable bool   `json:"retryable"`
}

func (p problem) Error() string {
	return fmt.Sprintf("%d %s %s: %s", p.status, p.Code, p.Reason, p.Detail)
}

// code of a problem, or nothing.
func problemCode(err error) string {
	var p problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

// messagePage is an answer to GET /v1/messages.
type messagePage struct {
	Messages []json.RawMessage `json:"messages"`
	Next     uint64            `json:"next,string"`
	End      bool              `json:"end"`
}

func (p messagePage) frames() ([]frame, error) {
	var list []frame
	for _, m := range p.Messages {
		f, err := parseFrames(string(m))
		if err != nil {
			return nil, err
		}
		list = append(list, f...)
	}
	return list, nil
}

// poll is one long poll.
func (c *rest) poll(ctx context.Context, after uint64, wait string) (messagePage, error) {
	var p messagePage
	err := c.call(ctx, "GET", fmt.Sprintf("/v1/messages?after=%d&wait=%s", after, wait), "", &p)
	return p, err
}

func (c *rest) ack(ctx context.Context, seq uint64) error {
	return c.call(ctx, "POST", "/v1/messages/ack", fmt.Sprintf(`{"seq":"%d"}`, seq), nil)
}

// events asks for a stream, and hands out its events until it ends. after is
// the Last-Event-ID, where there is one.
func (c *rest) events(ctx context.Context, after string, fn func(event) error) error {
	var headers []string
	if after != "" {
		headers = append(headers, "Last-Event-ID: "+after)
	}
	response, err := c.request(ctx, "GET", "/v1/events", "", headers...)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		p := problem{status: response.StatusCode}
		if err := json.NewDecoder(response.Body).Decode(&p); err != nil {
			return fmt.Errorf("%s: %w", response.Status, err)
		}
		return p
	}
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		return fmt.Errorf("a stream of type %q", got)
	}
	return readEvents(response.Body, fn)
}
