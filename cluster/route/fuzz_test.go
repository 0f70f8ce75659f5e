package route

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
	wirepb "github.com/rookery-im/rookery/proto/rookery/wire/v1"
)

// stand plays everything around an exchange of node 1, in its life 3; node 2 is
// the other one. It leads the odd shards of four.
type stand struct {
	now      time.Time
	sent     map[Kind][][]byte
	full     bool
	told     []any
	given    []proto.Message
	lost     []string
	cut      []Conn
	moved    int
	letter   int
	deaf     bool
	holds    bool // something of a life that has ended
	unsure   func(user string) bool
	parted   []func(user string) bool
	disowned []func(Conn) bool
}

func newStand() (*stand, *Exchange) {
	s := &stand{now: time.Unix(1_750_000_000, 0), sent: map[Kind][][]byte{}}
	return s, New(Config{
		Stamp: NewStamp(1, 3), Incarnation: 3, Shards: 4, ShardOf: func(user string) uint32 { return uint32(len(user)%4) + 1 },
		Now: func() time.Time { return s.now }, Office: s, Members: s, Owners: s, Gateway: gate{s}, Sessions: s,
	})
}

func (s *stand) Body(k Kind, _ int) []byte { return []byte{byte(k)} }
func (s *stand) Send(_ string, body []byte) error {
	if s.full {
		return errors.New("full")
	}
	s.sent[Kind(body[0])] = append(s.sent[Kind(body[0])], body[1:])
	return nil
}
func (s *stand) Loose(to string, body []byte) { _ = s.Send(to, body) }

func (s *stand) Number(node string) (uint16, bool) { return uint16(node[0] - '0'), node == "2" }
func (s *stand) Node(number uint16) (string, bool) { return "2", number == 2 }
func (s *stand) Others() []string                  { return []string{"2"} }

func (s *stand) Leads(shard uint32) (uint64, bool) { return 5, shard%2 == 1 }
func (s *stand) Tell(_ uint32, _ string, in any) error {
	if s.deaf {
		return errors.New("busy")
	}
	s.told = append(s.told, in)
	return nil
}
func (s *stand) Take(*wirepb.Letter)      { s.letter++ }
func (s *stand) Disown(f func(Conn) bool) { s.disowned = append(s.disowned, f) }
func (s *stand) Disowned() bool           { return !s.holds }

func (s *stand) Moved(func(string) bool)                     { s.moved++ }
func (s *stand) Unsure(lived func(string) bool, _ time.Time) { s.unsure = lived }
func (s *stand) Parted(lived func(string) bool)              { s.parted = append(s.parted, lived) }

type gate struct{ *stand }

func (g gate) Deliver(_ Conn, m proto.Message) { g.given = append(g.given, m) }
func (g gate) Lost(_ Conn, user string)        { g.lost = append(g.lost, user) }
func (g gate) Unknown(c Conn)                  { g.cut = append(g.cut, c) }

// inputs of every kind.
func inputs(o *nodepb.Origin) []any {
	return []any{
		&nodepb.Send{Origin: o, Tag: 1, Id: make([]byte, 16), Payload: []byte("hi")}, &nodepb.Ack{Origin: o, Seq: 3}, &nodepb.Pull{Origin: o},
		&nodepb.Read{Origin: o}, &nodepb.Attach{Origin: o, Tag: 2, Resumes: 9}, &nodepb.Detach{Origin: o}, &nodepb.Typing{Origin: o, On: true},
		&nodepb.Signal{Origin: o, Bytes: []byte{1}}, &nodepb.Watch{Origin: o}, &nodepb.Unwatch{Origin: o}, &nodepb.DevicesSeen{Origin: o, Epoch: 2},
		&nodepb.Ask{Request: o.GetConn(), Body: &nodepb.Ask_GetProfile{GetProfile: &nodepb.GetProfile{}}}, &nodepb.Unpark{Origin: o},
	}
}

// messages of every kind.
func messages(conn Conn) []proto.Message {
	return []proto.Message{
		&nodepb.Sent{Tag: 1, Order: 2}, &nodepb.Push{Session: 1, Entry: &storepb.Entry{Seq: 4}}, &nodepb.Refused{Tag: 1}, &nodepb.Page{End: true},
		&nodepb.Attached{Session: 4}, &nodepb.Kick{Code: 4102}, &nodepb.Devices{Epoch: 3}, &nodepb.Presence{User: "bob"},
		&nodepb.Notice{On: true}, &nodepb.Ring{Bytes: []byte{1}}, &nodepb.Answer{Request: conn}, &nodepb.Woken{},
	}
}

// bodies of each kind, as the other node says them to this one.
func bodies() map[Kind][][]byte {
	s, x := newStand()
	x.cfg.Stamp, x.cfg.Incarnation = NewStamp(2, 7), 7
	x.self = 2
	x.directory.Live(1, 3, s.now)
	conn := NewStamp(1, 3).Connection(8)
	own := x.cfg.Stamp.Connection(9)
	for _, in := range inputs(&nodepb.Origin{Conn: own, User: "bob", Device: 1}) {
		w, _ := word("bob", in)
		_ = x.put(x.to(1), Words, wordsField, w)
	}
	for _, m := range messages(conn) {
		x.Deliver(1, conn, m)
	}
	x.Lost(1, conn, "bob")
	x.Unknown(1, conn)
	for k := range wirepb.NotTaken_Kind_name {
		x.delivery.Body = &wirepb.Delivery_NotTaken{NotTaken: &wirepb.NotTaken{Kind: wirepb.NotTaken_Kind(k), Tag: 4, User: "bob", Leader: 2, Term: 9}}
		x.deliverTo(1, 1, conn, 5)
	}
	for _, l := range []*wirepb.Letter{{Kind: wirepb.Letter_STEP, Src: 1, Dst: 2, Number: 3, Step: &storepb.Step{To: "bob"}}, {Kind: 9}} {
		_ = x.put(x.to(1), Mail, lettersField, l)
	}
	x.announce()
	x.mend(x.to(1))
	x.cfg.Members = stranger{s}
	x.Flush()
	return s.sent
}

// stranger calls everybody by one name.
type stranger struct{ *stand }

func (stranger) Node(uint16) (string, bool) { return "1", true }

// Whatever another node says, nothing breaks, and what is understood is as it
// was meant: put on the wire again it says the same.
func FuzzHear(f *testing.F) {
	for k, list := range bodies() {
		for _, body := range list {
			f.Add(uint8(k), body)
			f.Add(uint8(k), append(body, 0x9a, 0x06, 0x01, 0x00)) // a field of a newer node
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, body []byte) {
		s, x := newStand()
		x.directory.Hear(Sign{Node: 2, Incarnation: 7, Beat: 1, Leads: []Lead{{2, 5}, {4, 5}}}, s.now)
		x.Hear(Kind(kind%4), "2", body)
		x.Returned(Kind(kind%4), "2", [][]byte{body})
		x.Tick()
		x.Flush()
		for _, in := range s.told {
			w, ok := word("bob", in)
			if !ok {
				t.Fatalf("%T was told, and is no word", in)
			}
			b, err := appendMessage(nil, wordsField, w)
			if err != nil {
				t.Fatal(err)
			}
			var again wirepb.Words
			if err := again.UnmarshalVT(b); err != nil || !proto.Equal(again.GetWords()[0], w) {
				t.Errorf("%v said again is %v, %v", w, &again, err)
			}
		}
	})
}
