package host

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
)

// script is what an actor under test does with each message it gets: it posts
// others, and fails. Its supervisor suspends the mailbox, and resumes it later.
type script struct {
	box   actor.Mailbox
	rand  *rand.Rand
	sent  int
	deep  int
	trace []string
}

func (s *script) InvokeUserMessage(m any)   { s.take("user", m) }
func (s *script) InvokeSystemMessage(m any) { s.take("system", m) }

func (s *script) EscalateFailure(reason, m any) {
	s.trace = append(s.trace, fmt.Sprintf("%v on %v, %d wait", reason, m, s.box.UserMessageCount()))
	s.box.PostSystemMessage(&actor.SuspendMailbox{})
}

func (s *script) take(kind string, m any) {
	s.trace = append(s.trace, fmt.Sprintf("begin %s %v, %d wait", kind, m, s.box.UserMessageCount()))
	s.deep++
	for s.deep < 4 && s.rand.IntN(3) == 0 {
		s.post()
	}
	s.deep--
	if s.rand.IntN(6) == 0 {
		panic("failed")
	}
	s.trace = append(s.trace, fmt.Sprintf("end %v", m))
}

func (s *script) post() {
	s.sent++
	switch n := s.sent; s.rand.IntN(8) {
	case 0:
		s.box.PostSystemMessage(n)
	case 1:
		s.box.PostSystemMessage(&actor.SuspendMailbox{})
	case 2, 3:
		s.box.PostSystemMessage(&actor.ResumeMailbox{})
	default:
		s.box.PostUserMessage(n)
	}
}

// The mailbox of an actor runs the same messages in the same order as the
// library's own does with a dispatcher that runs in the caller's goroutine.
func TestPostIsAsTheLibrarys(t *testing.T) {
	for seed := range uint64(2000) {
		var traces [2][]string
		for i, box := range []actor.Mailbox{actor.Unbounded()(), &post{}} {
			s := &script{box: box, rand: rand.New(rand.NewPCG(seed, 1))}
			box.RegisterHandlers(s, actor.NewSynchronizedDispatcher(300))
			box.Start()
			for range 40 {
				s.post()
			}
			traces[i] = append(s.trace, fmt.Sprintf("%d wait", box.UserMessageCount()))
		}
		if !slices.Equal(traces[0], traces[1]) {
			t.Fatalf("seed %d:\nthe library's: %q\nours:          %q", seed, traces[0], traces[1])
		}
	}
}
