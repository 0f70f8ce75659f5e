package openapitest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
)

// Witness sees exchanges, judges them and remembers which answers of which
// calls there were.
type Witness struct {
	// immutable
	Spec   *Spec
	Report func(x *Exchange, faults []error)

	mu   sync.Mutex // guards what follows
	seen map[string]map[int]int
}

// NewWitness tells report of every exchange that departs from the document.
func NewWitness(s *Spec, report func(x *Exchange, faults []error)) *Witness {
	return &Witness{Spec: s, Report: report, seen: map[string]map[int]int{}}
}

// See judges an exchange.
func (w *Witness) See(r *http.Request, x *Exchange) {
	if faults := w.Spec.Judge(r.Context(), x); len(faults) > 0 {
		w.Report(x, faults)
	}
	call := w.Spec.CallOf(x)
	if call == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[call.Name] == nil {
		w.seen[call.Name] = map[int]int{}
	}
	w.seen[call.Name][x.Status]++
}

// Seen is how often the call was answered so.
func (w *Witness) Seen(call string, status int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[call][status]
}

// Missing lists the answers of the document that were never seen.
func (w *Witness) Missing() (list []string) {
	for _, c := range w.Spec.Calls {
		for _, status := range c.Statuses() {
			if w.Seen(c.Name, status) == 0 {
				list = append(list, fmt.Sprintf("%s %d (%s %s)", c.Name, status, c.Method, c.Path))
			}
		}
	}
	slices.Sort(list)
	return list
}

// Through is a RoundTripper that shows the witness what goes through it.
func (w *Witness) Through(base http.RoundTripper) http.RoundTripper { return &through{w, base} }

type through struct {
	witness *Witness
	base    http.RoundTripper
}

func (t *through) RoundTrip(r *http.Request) (*http.Response, error) {
	x := &Exchange{Method: r.Method, Target: r.URL.RequestURI(), Header: r.Header.Clone()}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, fmt.Errorf("read the request: %w", err)
		}
		if err := r.Body.Close(); err != nil {
			return nil, fmt.Errorf("close the request's body: %w", err)
		}
		x.Body = body
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	out, err := t.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	x.Status, x.AnswerHeader = out.StatusCode, out.Header.Clone()
	if out.StatusCode != http.StatusSwitchingProtocols && out.Header.Get("Content-Type") != stream {
		if x.Answer, err = io.ReadAll(out.Body); err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		if err := out.Body.Close(); err != nil {
			return nil, fmt.Errorf("close the answer's body: %w", err)
		}
		out.Body = io.NopCloser(bytes.NewReader(x.Answer))
	}
	t.witness.See(r, x)
	return out, nil
}
