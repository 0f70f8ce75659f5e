package node

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/rookery-im/rookery/actors/host"
	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/cluster/peer"
	"github.com/rookery-im/rookery/cluster/route"
	"github.com/rookery-im/rookery/persistence/mailbox"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/frames"
	"github.com/rookery-im/rookery/transport/session"
)

// sea is a few nodes in one goroutine: real actors, sessions and exchanges, with
// a consensus that the test rules and links as cluster/peer promises them.
type sea struct {
	t       *testing.T
	now     time.Time
	islands map[string]*island
	groups  map[uint32]*consensus
	cut     map[[2]string]bool // nothing is carried from the first to the second
	full    map[[2]string]bool // nothing is taken
}

// Users of shard 1 are those whose name begins with a, and so on.
const seaShards = 3

func seaShard(user string) uint32 { return uint32(user[0]-'a')%seaShards + 1 }

// consensus of one shard: the log that every replica applies.
type consensus struct {
	shard   uint32
	term    uint64
	leader  string
	entries [][]byte
	terms   []uint64
}

// island is a node.
type island struct {
	sea      *sea
	name     string
	number   uint16
	life     uint64
	asleep   bool // it is paused
	stamp    route.Stamp
	shards   map[uint32]*host.Shard
	replicas map[uint32]*replica
	router   *router
	exchange *route.Exchange
	gate     *gateway
	inbox    []bottle
	clients  map[uint64]*client // by connection, in this life
	opened   uint64
	ended    []uint64 // connections that the sessions closed
}

// bottle is a body under way; of loose ones only the kind says so.
type bottle struct {
	from string
	life uint64 // that it is meant for
	kind route.Kind
	body []byte
}

// replica is a shard's on an island; it keeps its rows through every life.
type replica struct {
	island  *island
	group   *consensus
	rows    map[string][]byte
	applied int
	token   uint64
	data    []byte
	busy    bool
}

func newSea(t *testing.T, names ...string) *sea {
	s := &sea{
		t: t, now: time.Unix(1_750_000_000, 0), islands: map[string]*island{}, groups: map[uint32]*consensus{},
		cut: map[[2]string]bool{}, full: map[[2]string]bool{},
	}
	for id := uint32(1); id <= seaShards; id++ {
		s.groups[id] = &consensus{shard: id}
	}
	for i, name := range names {
		s.islands[name] = &island{sea: s, name: name, number: uint16(i + 1), replicas: map[uint32]*replica{}}
	}
	for _, i := range s.each() {
		i.start()
	}
	return s
}

func (s *sea) each() []*island {
	var list []*island
	for _, name := range slices.Sorted(maps.Keys(s.islands)) {
		list = append(list, s.islands[name])
	}
	return list
}

// start a life of the island.
func (i *island) start() {
	t := i.sea.t
	i.life++
	i.inbox, i.clients, i.shards, i.opened, i.ended = nil, map[uint64]*client{}, map[uint32]*host.Shard{}, 0, nil
	i.stamp = route.NewStamp(i.number, i.life)
	i.router, i.gate = &router{shards: i.shards}, &gateway{}
	i.exchange = route.New(route.Config{
		Stamp: i.stamp, Incarnation: i.life, Shards: seaShards, ShardOf: seaShard, Now: func() time.Time { return i.sea.now },
		Office: i, Members: i, Owners: owners{i.shards, i.router}, Gateway: i.gate, Sessions: i.gate,
	})
	i.router.elsewhere = i.exchange.Post
	i.gate.rest = newBackend(stamped(i.stamp), func(f func()) bool { f(); return true }, i.exchange.Tell)
	system := host.NewSystem()
	t.Cleanup(system.Close)
	for id, group := range i.sea.groups {
		r := i.replicas[id]
		if r == nil {
			r = &replica{rows: map[string][]byte{}}
			i.replicas[id] = r
		}
		r.island, r.group, r.busy = i, group, false
		s, err := host.New(host.Config{
			Shard: id, Space: mailbox.Space{Shard: id}, System: system, Store: r, Gateway: outlet{i.exchange, id}, Router: i.router, ShardOf: seaShard,
			Load: func(id string, rows user.Rows, att []user.Attachment) (host.Core, error) {
				return user.Load(id, rows, att)
			},
			Now: func() uint64 { return uint64(i.sea.now.UnixMilli()) }, Fail: func(err error) { t.Error(err) },
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Bind(r)
		i.shards[id] = s
	}
	var err error
	i.gate.sessions, err = session.New(session.DefaultConfig().Named(i.name), quay{i}, tellFunc(i.exchange.Tell), i, func() time.Time { return i.sea.now },
		slog.New(slog.DiscardHandler), session.NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
}

// Store, of rows that a test may hold in a map.

func (r *replica) Put(k, v []byte)    { r.rows[string(k)] = bytes.Clone(v) }
func (r *replica) PutNew(k, v []byte) { r.Put(k, v) }
func (r *replica) Delete(k []byte)    { delete(r.rows, string(k)) }
func (r *replica) Get(k []byte) ([]byte, bool, error) {
	v, ok := r.rows[string(k)]
	return v, ok, nil
}

func (r *replica) Scan(prefix, from []byte, fn func(k, v []byte) bool) error {
	for _, k := range slices.Sorted(maps.Keys(r.rows)) {
		if strings.HasPrefix(k, string(prefix)) && k >= string(from) && !fn([]byte(k), []byte(r.rows[k])) {
			break
		}
	}
	return nil
}

// Raft, as far as a host sees it.

func (r *replica) Propose(token uint64, data []byte) error { return r.begin(token, data) }
func (r *replica) Read(token uint64) error                 { return r.begin(token, nil) }

func (r *replica) begin(token uint64, data []byte) error {
	r.busy, r.token, r.data = true, token, data
	return nil
}

// round of a replica: it applies what is committed and, where it leads for the
// others as well, commits what it proposed.
func (r *replica) round() {
	s := r.island.shards[r.group.shard]
	leads := r.group.leader == r.island.name && s.Term() == r.group.term
	if r.busy && s.Leading() && leads && r.data != nil {
		r.group.entries, r.group.terms = append(r.group.entries, bytes.Clone(r.data)), append(r.group.terms, r.group.term)
	}
	for ; r.applied < len(r.group.entries); r.applied++ {
		if err := s.Apply(uint64(r.applied+1), r.group.terms[r.applied], r.group.entries[r.applied]); err != nil {
			r.island.sea.t.Fatal(err)
		}
	}
	if r.busy && s.Leading() && leads {
		r.busy = false
		if r.data == nil {
			s.Confirmed(r.token)
		} else {
			s.Committed(r.token)
		}
	}
}

// lead has an island lead a shard. Who led before does not know of it, until depose.
func (s *sea) lead(shard uint32, name string) {
	g := s.groups[shard]
	g.term, g.leader = g.term+1, name
	i := s.islands[name]
	i.replicas[shard].round()
	i.shards[shard].Lead(g.term)
}

// depose tells an island that it leads a shard no longer.
func (s *sea) depose(shard uint32, name string) {
	s.islands[name].replicas[shard].busy = false
	s.islands[name].shards[shard].Follow()
}

func stamped(s route.Stamp) func() *route.Stamp { return func() *route.Stamp { return &s } }

// Members.

func (i *island) Number(node string) (uint16, bool) {
	to := i.sea.islands[node]
	if to == nil {
		return 0, false
	}
	return to.number, true
}

func (i *island) Node(number uint16) (string, bool) {
	for _, to := range i.sea.islands {
		if to.number == number {
			return to.name, true
		}
	}
	return "", false
}

func (i *island) Others() (others []string) {
	for _, to := range i.sea.each() {
		if to != i {
			others = append(others, to.name)
		}
	}
	return others
}

// Office.

// Body of a kind, which is its first byte.
func (i *island) Body(k route.Kind, _ int) []byte { return []byte{byte(k)} }

func (i *island) Send(to string, body []byte) error {
	if i.sea.full[[2]string{i.name, to}] {
		return peer.ErrFull
	}
	other := i.sea.islands[to]
	other.inbox = append(other.inbox, bottle{i.name, other.life, route.Kind(body[0]), body[1:]})
	return nil
}

func (i *island) Loose(to string, body []byte) {
	if !i.sea.cut[[2]string{i.name, to}] && !i.sea.islands[to].asleep {
		_ = i.Send(to, body)
	}
}

// crash ends the island's life, and begins the next: what was sent to the life
// that ended comes back to its senders as lost.
func (s *sea) crash(name string) {
	i := s.islands[name]
	for _, g := range s.groups {
		if g.leader == name {
			g.leader = ""
		}
	}
	lost := i.inbox
	i.start()
	for _, b := range lost {
		s.islands[b.from].exchange.Returned(b.kind, name, [][]byte{b.body})
	}
}

// round of every island that is awake.
func (s *sea) round() (moved bool) {
	for _, i := range s.each() {
		if i.asleep {
			continue
		}
		var kept []bottle
		inbox := i.inbox
		i.inbox = nil
		for _, b := range inbox {
			if s.cut[[2]string{b.from, i.name}] {
				kept = append(kept, b)
				continue
			}
			moved = true
			i.exchange.Hear(b.kind, b.from, b.body)
		}
		i.inbox = append(kept, i.inbox...)
		moved = len(i.router.queue) > 0 || moved
		i.router.deliver()
		for _, id := range slices.Sorted(maps.Keys(i.shards)) {
			i.shards[id].Flush()
			moved = moved || i.replicas[id].busy && s.groups[id].leader == i.name
			i.replicas[id].round()
		}
		for _, conn := range i.ended {
			i.gate.sessions.Closed(conn)
		}
		i.ended = nil
		i.gate.sessions.Flush()
		moved = i.exchange.Waits() || i.gate.sessions.Due() || moved
		i.exchange.Flush()
	}
	return moved
}

// calm runs rounds until nothing moves.
func (s *sea) calm() {
	s.t.Helper()
	for range 10_000 {
		if !s.round() {
			return
		}
	}
	s.t.Fatal("it never ends")
}

// after some time.
func (s *sea) after(d time.Duration) {
	s.t.Helper()
	const tick = 50 * time.Millisecond
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(tick)
		for _, i := range s.each() {
			if i.asleep {
				continue
			}
			for _, id := range slices.Sorted(maps.Keys(i.shards)) {
				i.shards[id].Tick()
			}
			i.exchange.Tick()
			i.gate.sessions.Sweep()
		}
		s.calm()
	}
}

// Connections, and who is at them.

// client is a device's connection, and all that it was sent.
type client struct {
	island *island
	conn   uint64
	who    string
	got    []*clientpb.ServerFrame
	closed uint16
	sent   map[string]uint64 // order by id
	errors map[string]string // code by id
}

// connect a device that is linked already: it is the token that it gives.
func (s *sea) connect(at, who string) *client {
	s.t.Helper()
	i := s.islands[at]
	i.opened++
	c := &client{island: i, conn: i.stamp.Connection(i.opened), who: who, sent: map[string]uint64{}, errors: map[string]string{}}
	i.clients[c.conn] = c
	i.gate.sessions.Opened(c.conn, frames.JSON, who)
	c.say(`{"hello":{}}`)
	s.calm()
	return c
}

func (c *client) say(line string) {
	if c.closed == 0 {
		c.island.gate.sessions.Message(c.conn, frames.JSON, []byte(line))
	}
}

func messageID(n int) string { return fmt.Sprintf("01935b3e-0000-7000-8000-%012d", n) }

func (c *client) send(to string, ids ...int) {
	for _, n := range ids {
		delete(c.errors, messageID(n))
		c.say(fmt.Sprintf(`{"send":{"id":%q,"to":{"user":%q},"payload":"aGk="}}`, messageID(n), to))
	}
}

// delivered are the ids of the messages that it got, in their order.
func (c *client) delivered() (ids []string) {
	for _, f := range c.got {
		if d := f.GetDeliver(); d != nil {
			ids = append(ids, d.GetId())
		}
	}
	return ids
}

// quay is the sessions' view of the connections.
type quay struct{ *island }

func (q quay) Send(conn uint64, data []byte) {
	c := q.clients[conn]
	for _, line := range bytes.Split(data, []byte("\n")) {
		f := &clientpb.ServerFrame{}
		if err := protojson.Unmarshal(line, f); err != nil {
			q.sea.t.Fatalf("%s: %v", line, err)
		}
		c.got = append(c.got, f)
		if s := f.GetSent(); s != nil {
			c.sent[s.GetId()] = s.GetOrder()
		}
		if e := f.GetError(); e != nil {
			c.errors[e.GetId()] = e.GetCode()
		}
	}
}

func (q quay) Pending(uint64) int                     { return 0 }
func (q quay) Read(uint64, session.Reading)           {}
func (q quay) Admit(uint64, time.Duration, time.Time) {}
func (q quay) Close(conn uint64, code uint16, _ string) {
	q.clients[conn].closed = code
	q.ended = append(q.ended, conn)
}

var errToken = errors.New("not a token")

// Identify takes "alice/1" for a token.
func (i *island) Identify(token string) (session.Identity, error) {
	name, device, ok := strings.Cut(token, "/")
	if !ok {
		return session.Identity{}, errToken
	}
	return session.Identity{User: name, Device: uint32(device[0] - '0'), Expires: i.sea.now.Add(time.Hour)}, nil
}

// register a user with one device.
func (s *sea) register(name string) {
	s.t.Helper()
	for _, in := range []*nodepb.Ask{
		{User: name, Body: &nodepb.Ask_Register{Register: &nodepb.Register{Name: name, Password: "x"}}},
		{User: name, Body: &nodepb.Ask_LinkDevice{LinkDevice: &nodepb.LinkDevice{Name: "phone", Password: "x"}}},
	} {
		g := s.groups[seaShard(name)]
		if err := s.islands[g.leader].shards[g.shard].Tell(name, in); err != nil {
			s.t.Fatal(err)
		}
		s.calm()
	}
}
