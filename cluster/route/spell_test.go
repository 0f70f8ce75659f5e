package route

import (
	"testing"
	"time"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	wirepb "github.com/rookery-im/rookery/proto/rookery/wire/v1"
)

// A send that its node said before it was silent is not taken, nor one of a session
// that may not have heard what happened meanwhile.
func TestSendsThatWereHeldUp(t *testing.T) {
	type word struct {
		spell  uint32
		adrift bool   // the session has not attached again
		term   uint64 // of alice's shard, as its node knew it
	}
	const known = 6 // term of alice's shard
	for name, c := range map[string]struct {
		silent, after time.Duration
		life          uint64
		deaf          bool // this node did not run meanwhile
		word          word
		taken         bool
		over          uint32 // spell that the refusal says is over
	}{
		"a moment":                       {silent: Doubt - 1, word: word{spell: 1, term: known}, taken: true},
		"a break":                        {silent: Doubt, word: word{spell: 1, term: known}, over: 1},
		"a break, and still":             {silent: Doubt, after: time.Hour, word: word{spell: 1, term: known}, over: 1},
		"the next spell":                 {silent: Doubt, word: word{spell: 2, term: known}, taken: true},
		"the next, adrift":               {silent: Doubt, word: word{spell: 2, term: known, adrift: true}, over: 1},
		"the next, adrift, long after":   {silent: Doubt, after: Parting, word: word{spell: 2, term: known, adrift: true}, taken: true},
		"the next, an earlier term":      {silent: Doubt, word: word{spell: 2, term: known - 1}, over: 1},
		"no break, an earlier term":      {word: word{spell: 1, term: known - 1}, taken: true},
		"another life":                   {silent: Expelling, life: 8, word: word{spell: 1, term: known}, taken: true},
		"a break of this node's":         {silent: Expelling, deaf: true, word: word{spell: 1, term: known}, taken: true},
		"a node that counts none, break": {silent: Doubt, word: word{term: known}, taken: true},
	} {
		t.Run(name, func(t *testing.T) {
			s, x := newStand()
			x.cfg.ShardOf = func(user string) uint32 { return map[string]uint32{"bob": 1, "alice": 4}[user] }
			x.directory.Confirm(4, 3, known, s.now)
			hear := func(life uint64, w word) {
				s.told = nil
				body := appendNumber(nil, incarnationField, life)
				body = appendNumber(body, spellField, uint64(w.spell))
				body, err := appendMessage(body, wordsField, &wirepb.Word{User: "bob", Body: &wirepb.Word_Send{
					Send: &nodepb.Send{Origin: &nodepb.Origin{Conn: NewStamp(2, life).Connection(9), User: "alice"}, Tag: 1, Term: w.term, Copy: w.adrift},
				}})
				if err != nil {
					t.Fatal(err)
				}
				x.Hear(Words, "2", body)
			}
			first := min(c.word.spell, 1)
			if hear(7, word{spell: first, term: known}); len(s.told) != 1 {
				t.Fatal("the first is not taken")
			}
			run := func(d time.Duration) { // of both
				for ; d > 0; d -= time.Second {
					s.now = s.now.Add(min(d, time.Second))
					x.Tick()
					x.directory.Live(2, max(c.life, 7), s.now)
				}
			}
			for end := s.now.Add(c.silent); s.now.Before(end); { // of that one
				step := min(end.Sub(s.now), time.Second)
				if c.deaf {
					step = c.silent
				}
				s.now = s.now.Add(step)
				if s.now.Before(end) {
					x.Tick()
				}
			}
			if c.after > 0 {
				x.directory.Live(2, max(c.life, 7), s.now)
				run(c.after)
			}
			hear(max(c.life, 7), c.word)
			if taken := len(s.told) == 1; taken != c.taken {
				t.Fatalf("taken %v", taken)
			}
			if c.taken {
				if got, want := s.told[0].(*nodepb.Send).GetCopy(), c.word.adrift || c.word.term < known; got != want {
					t.Errorf("copied %v", got)
				}
				return
			}
			x.Flush()
			var m wirepb.Deliveries
			if err := m.UnmarshalVT(s.sent[Deliveries][0]); err != nil {
				t.Fatal(err)
			}
			if no := m.GetDeliveries()[0].GetNotTaken(); no.GetSpell() != c.over || !no.GetBusy() || no.GetKind() != wirepb.NotTaken_SEND || no.GetTag() != 1 {
				t.Errorf("%v", no)
			}
		})
	}
}

// A node begins a spell when it did not run for a while, and when it is told that
// it was not heard.
func TestSpells(t *testing.T) {
	s, x := newStand()
	spell := func() uint32 {
		t.Helper()
		s.sent = map[Kind][][]byte{}
		if err := x.Tell("bob", &nodepb.Send{Origin: &nodepb.Origin{Conn: NewStamp(1, 3).Connection(9), User: "alice"}, To: "bob"}); err != nil {
			t.Fatal(err)
		}
		x.Flush()
		var m wirepb.Words
		if err := m.UnmarshalVT(s.sent[Words][0]); err != nil {
			t.Fatal(err)
		}
		return m.GetSpell()
	}
	beat := uint64(0)
	lead := func() {
		beat++
		x.directory.Hear(Sign{Node: 2, Incarnation: 7, Beat: beat, Leads: []Lead{{4, 5}}}, s.now)
	}
	lead()
	if got := spell(); got != 1 {
		t.Errorf("begins with %d", got)
	}
	s.now = s.now.Add(Doubt)
	x.Tick()
	lead()
	if got := spell(); got != 2 {
		t.Errorf("%d after a break", got)
	}
	over := &wirepb.Delivery{Shard: 4, Term: 5, Conn: NewStamp(1, 3).Connection(9), Body: &wirepb.Delivery_NotTaken{NotTaken: &wirepb.NotTaken{Busy: true, Spell: 2}}}
	for range 2 {
		x.hand(2, over)
		if got := spell(); got != 3 {
			t.Errorf("%d after it heard that 2 is over", got)
		}
	}
}
