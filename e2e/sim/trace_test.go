package sim

import (
	"fmt"
	"hash/fnv"
	"io"
	"strings"
)

// event is one line of the trace.
type event struct {
	at     int64
	node   int // 0: the world
	format string
	args   []any
}

// trace keeps what happened: a sum of all of it, and the last events of each
// node. Events that nobody will read are never made into text.
type trace struct {
	sum   uint64
	count int
	all   bool
	last  map[int][]event // by node
	every []event         // where all is set
}

const traceKept = 60 // events of each node

func newTrace(all bool) *trace { return &trace{last: map[int][]event{}, all: all} }

func (t *trace) add(at int64, node int, format string, args ...any) {
	e := event{at, node, format, args}
	t.count++
	h := fnv.New64a()
	fmt.Fprint(h, t.sum, at, node, format)
	fmt.Fprintln(h, args...)
	t.sum = h.Sum64()
	if t.all {
		t.every = append(t.every, e)
		return
	}
	l := append(t.last[node], e)
	if len(l) >= 2*traceKept {
		l = append(l[:0], l[len(l)-traceKept:]...)
	}
	t.last[node] = l
}

// write the events of all nodes in one order.
func (t *trace) write(w io.Writer, nodes int) {
	list := t.every
	if !t.all {
		list = t.merged(nodes)
	}
	for _, e := range list {
		fmt.Fprintln(w, e.text())
	}
}

func (e event) text() string {
	who := "world"
	if e.node > 0 {
		who = fmt.Sprintf("n%d", e.node)
	}
	return fmt.Sprintf("%11.6f %-5s %s", float64(e.at)/1e6, who, strings.TrimSpace(fmt.Sprintf(e.format, e.args...)))
}

func (t *trace) merged(nodes int) (list []event) {
	at := make([]int, nodes+1)
	for n := range at {
		at[n] = max(0, len(t.last[n])-traceKept)
	}
	for {
		next := -1
		for n := range at {
			if at[n] < len(t.last[n]) && (next < 0 || t.last[n][at[n]].at < t.last[next][at[next]].at) {
				next = n
			}
		}
		if next < 0 {
			return list
		}
		list = append(list, t.last[next][at[next]])
		at[next]++
	}
}
