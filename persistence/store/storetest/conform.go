package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Conform runs random scenarios against subjects that open makes. Each scenario
// begins with an empty one; open arranges for its end by Cleanup.
func Conform(t *testing.T, open func(Cleaner) Subject) {
	rapid.Check(t, func(r *rapid.T) {
		s := &scenario{r: r, s: open(r)}
		r.Repeat(map[string]func(*rapid.T){
			"":           s.check,
			"put":        s.put,
			"putNew":     s.putNew,
			"delete":     s.remove,
			"churn":      s.churn,
			"freeze":     s.freeze,
			"write":      s.write,
			"checkpoint": s.checkpoint,
			"crash":      s.crash,
			"replay":     s.replay,
		})
	})
}

// Cleaner is the part of a test that open needs.
type Cleaner interface {
	Cleanup(func())
	Fatalf(format string, args ...any)
}

var errUnrecorded = errors.New("storetest: written but not recorded, as asked")

// op is an entry of the log: with a value a put, without a delete.
type op struct {
	key   string
	value []byte
	fresh bool
}

// scenario drives a subject beside a map. The log holds what was ever done;
// positions in it are what an index of Raft's log is.
type scenario struct {
	r     *rapid.T
	s     Subject
	model Memory

	log      []op
	applied  int // the subject has this much of the log
	saved    int // where replay starts: the last complete checkpoint
	frozenAt int
	frozen   bool
	seq      int
}

var topics = []string{"a/", "a/b/", "b/", "c"}

func (s *scenario) do(o op) {
	s.log = append(s.log, o)
	apply(&s.model, o)
	apply(s.s.Rows, o)
	s.applied++
}

func apply(r Rows, o op) {
	key := []byte(o.key)
	switch {
	case o.value == nil:
		r.Delete(key)
	case o.fresh:
		r.PutNew(key, bytes.Clone(o.value))
	default:
		r.Put(key, bytes.Clone(o.value))
	}
}

// live skips an action that needs the log replayed.
func (s *scenario) live(r *rapid.T) {
	if s.applied < len(s.log) {
		r.Skip("replaying")
	}
}

func value(r *rapid.T) []byte {
	size := rapid.SampledFrom([]int{0, 1, 40, 200, 5000}).Draw(r, "size")
	return bytes.Repeat([]byte{rapid.Byte().Draw(r, "fill")}, size)
}

func (s *scenario) put(r *rapid.T) {
	s.live(r)
	key := rapid.SampledFrom(topics).Draw(r, "topic") + fmt.Sprintf("k%d", rapid.IntRange(0, 1).Draw(r, "key"))
	s.do(op{key: key, value: value(r)})
}

func (s *scenario) newKey(r *rapid.T) string {
	s.seq++
	return fmt.Sprintf("%ss%04d", rapid.SampledFrom(topics).Draw(r, "topic"), s.seq)
}

func (s *scenario) putNew(r *rapid.T) {
	s.live(r)
	s.do(op{key: s.newKey(r), value: value(r), fresh: true})
}

// remove deletes a row that is there, or was once.
func (s *scenario) remove(r *rapid.T) {
	s.live(r)
	if len(s.log) == 0 {
		r.Skip("nothing yet")
	}
	back := rapid.SampledFrom([]int{4, 12, len(s.log)}).Draw(r, "how long ago")
	first := max(0, len(s.log)-back)
	s.do(op{key: s.log[rapid.IntRange(first, len(s.log)-1).Draw(r, "which")].key})
}

// churn is a message that is appended and acked.
func (s *scenario) churn(r *rapid.T) {
	s.live(r)
	key := s.newKey(r)
	s.do(op{key: key, value: value(r), fresh: true})
	s.do(op{key: key})
}

func (s *scenario) freeze(r *rapid.T) {
	if began := s.s.Freeze(); began == s.frozen {
		r.Fatalf("Freeze says %v while one is under way: %v", began, s.frozen)
	}
	if !s.frozen {
		s.frozen, s.frozenAt = true, s.applied
	}
}

func (s *scenario) write(r *rapid.T) {
	if !s.frozen {
		r.Skip("not frozen")
	}
	s.finish(r, outcome(r))
}

func outcome(r *rapid.T) Outcome {
	return rapid.SampledFrom([]Outcome{Complete, Untouched, Partial, Unrecorded}).Draw(r, "outcome")
}

func (s *scenario) finish(r *rapid.T, o Outcome) {
	err := s.s.Write(o)
	if (err == nil) != (o == Complete || o == Unrecorded) {
		r.Fatalf("Write that was to be %v: %v", o, err)
	}
	if o == Unrecorded {
		err = errUnrecorded
	}
	s.s.Thaw(err)
	s.frozen = false
	if err == nil {
		s.saved = s.frozenAt
	}
}

func (s *scenario) checkpoint(r *rapid.T) {
	if !s.frozen {
		s.freeze(r)
	}
	s.finish(r, Complete)
}

// crash may come while a checkpoint is being written, and at the moment when it
// is written but not yet recorded.
func (s *scenario) crash(r *rapid.T) {
	if s.frozen {
		_ = s.s.Write(outcome(r))
	}
	s.s = s.s.Crash()
	s.frozen, s.applied = false, s.saved
	s.caughtUp()
}

func (s *scenario) replay(r *rapid.T) {
	if s.applied == len(s.log) {
		r.Skip("nothing to replay")
	}
	for range rapid.IntRange(1, len(s.log)-s.applied).Draw(r, "entries") {
		apply(s.s.Rows, s.log[s.applied])
		s.applied++
	}
	s.caughtUp()
}

func (s *scenario) caughtUp() {
	if s.applied == len(s.log) {
		s.s.Replayed()
	}
}

// check compares everything, unless a replay is under way: then the subject is
// partly ahead.
func (s *scenario) check(r *rapid.T) {
	if s.applied < len(s.log) {
		return
	}
	s.compare(r, nil, nil)
	prefix := []byte(rapid.SampledFrom(topics).Draw(r, "prefix"))
	s.compare(r, prefix, nil)
	if len(s.log) == 0 {
		return
	}
	key := []byte(s.log[rapid.IntRange(0, len(s.log)-1).Draw(r, "from")].key)
	s.compare(r, prefix, key)
	want, wantOK, _ := s.model.Get(key)
	got, ok, err := s.s.Get(key)
	if err != nil || ok != wantOK || !bytes.Equal(got, want) {
		r.Fatalf("Get(%s) is %v %v %v, want %v %v", key, ok, brief(got), err, wantOK, brief(want))
	}
}

func (s *scenario) compare(r *rapid.T, prefix, from []byte) {
	want := list(r, &s.model, prefix, from)
	if got := list(r, s.s.Rows, prefix, from); !slices.Equal(got, want) {
		r.Fatalf("Scan(%s, %s)\n gives %v\n want  %v", prefix, from, got, want)
	}
}

func list(r *rapid.T, rows Rows, prefix, from []byte) []string {
	var out []string
	err := rows.Scan(prefix, from, func(key, value []byte) bool {
		out = append(out, string(key)+"="+brief(value))
		return true
	})
	if err != nil {
		r.Fatalf("Scan(%s, %s): %v", prefix, from, err)
	}
	return out
}

func brief(value []byte) string {
	if len(value) == 0 {
		return "empty"
	}
	return fmt.Sprintf("%d*%02x", len(value), value[0])
}
