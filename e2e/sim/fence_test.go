package sim

import (
	"bytes"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/actors/host"
	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/persistence/mailbox"
	"github.com/rookery-im/rookery/persistence/raftlog"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
	"github.com/rookery-im/rookery/transport/session"
)

// fence watches what must never happen, whatever devices get to see of it.
type fence struct {
	world   *world
	metrics struct {
		raftlog *raftlog.Metrics
		shard   *shard.Metrics
		host    *host.Metrics
		session *session.Metrics
	}
	groups  map[uint32]*agreed
	charter *charter
}

// agreed is what all replicas of a group have to agree on.
type agreed struct {
	leaders map[uint64]int    // term -> node
	entries map[uint64]entry  // by index; entries of Raft's own are missing
	rows    map[uint64]uint64 // index -> sum of the shard's rows after it
	top     uint64            // highest index that anybody has applied
	configs []configuration   // in the order of their indexes
	known   uint64            // up to which they are known
	ever    map[uint64]bool   // every replica that there was
	// stale is a batch of a term that is over, for the fault that proposes it anew.
	stale     []byte
	staleTerm uint64
}

type entry struct {
	term uint64
	sum  uint64
}

func newFence(w *world) *fence {
	f := &fence{world: w, groups: map[uint32]*agreed{}, charter: newCharter(w)}
	f.metrics.raftlog, f.metrics.shard = raftlog.NewMetrics(nil), shard.NewMetrics(nil)
	f.metrics.host, f.metrics.session = host.NewMetrics(nil), session.NewMetrics(nil)
	for i := range w.shape.shards + 1 {
		f.groups[uint32(i)] = &agreed{leaders: map[uint64]int{}, entries: map[uint64]entry{}, rows: map[uint64]uint64{}, ever: map[uint64]bool{}} //nolint:gosec // small
	}
	return f
}

// check what can be seen from outside; the rest is checked where it happens.
func (f *fence) check() {
	for _, n := range f.world.nodes[1:] {
		if !n.up {
			continue
		}
		f.charter.known(n)
		for _, r := range n.order {
			a := f.groups[r.shard]
			a.top = max(a.top, r.group.Applied())
			f.learn(r, r.group.Applied())
			f.conforms(r)
			if term, leads := r.leads(); leads != (r.term != 0) || r.term != 0 && (term != r.term || a.leaders[r.term] != n.number) {
				f.world.fault("n%d: machine of shard %d runs in term %d, leading %v, though its group leads term %d", n.number, r.shard, term, leads, r.term)
			}
		}
	}
}

// over: the replica's term has ended, by Follow or by a crash.
func (f *fence) over(n *node, r *replica) {
	if r.term == 0 {
		return
	}
	if len(r.last) > 0 {
		f.groups[r.shard].stale, f.groups[r.shard].staleTerm = r.last, r.term
	}
	r.term, r.token, r.data, r.ghost = 0, 0, nil, 0
}

// rest: everything is healed and nothing moves.
func (f *fence) rest() {
	f.world.until(60*second, func() bool { return f.world.orders == 0 && f.agree() && f.charter.rest() == "" })
	if f.world.orders > 0 {
		f.world.fault("at rest: %d orders are not answered", f.world.orders)
	}
	if amiss := f.charter.rest(); amiss != "" {
		f.world.fault("at rest: %s", amiss)
	}
	for _, group := range sorted(f.groups) {
		a := f.groups[group]
		if !f.settled(group) {
			f.world.fault("at rest: shard %d is on%s, and ought to be on %v", group, a.last(), f.world.wanted(f.charter.newest, group))
		}
		for _, r := range f.world.each(group) {
			if r.group.Applied() != a.top {
				f.world.fault("at rest: n%d has applied entry %d of shard %d, another %d", r.node.number, r.group.Applied(), group, a.top)
			}
			if first := f.world.each(group)[0]; r.group.Applied() == first.group.Applied() && r.sum() != first.sum() {
				f.world.fault("at rest: rows of shard %d on n%d and n%d differ", group, r.node.number, first.node.number)
			}
		}
	}
}

// agree says whether every replica that can has applied the same.
func (f *fence) agree() bool {
	for group, a := range f.groups {
		if !f.settled(group) || len(f.world.each(group)) != len(f.world.wanted(f.charter.newest, group)) {
			return false
		}
		for _, r := range f.world.each(group) {
			if r.group.Applied() < a.top {
				return false
			}
		}
	}
	return true
}

// sum of the replica's rows.
func (r *replica) sum() uint64 { return r.node.rows.sums[r.space] }

// Apply implements shard.Machine.
func (r *replica) Apply(index, term uint64, data []byte) error {
	w, a := r.node.world, r.node.world.fence.groups[r.shard]
	w.fence.learn(r, index-1)
	before := r.sum()
	e := entry{term, sumOf("", data)}
	was, known := a.entries[index]
	switch {
	case !known:
		a.entries[index] = e
		if !w.fence.majority(r.shard, index, term) {
			w.fault("n%d applies entry %d of shard %d, term %d, which is not on the disks of a majority", r.node.number, index, r.shard, term)
		}
	case was != e:
		w.fault("n%d applies an entry %d of shard %d, term %d, that is not what another applied, of term %d", r.node.number, index, r.shard, term, was.term)
	}
	r.first = !known
	if err := r.machine.Apply(index, term, data); err != nil {
		return err
	}
	r.first = false
	after := r.sum()
	made, err := r.madeIn(data)
	if err != nil {
		return err
	}
	if made != term && after != before {
		w.fault("n%d: entry %d of shard %d, term %d, changed rows, though its batch is of term %d", r.node.number, index, r.shard, term, made)
	}
	if index > r.node.ahead[r.shard] {
		if was, ok := a.rows[index]; ok && was != after {
			w.fault("n%d: rows of shard %d after entry %d are not what they were elsewhere", r.node.number, r.shard, index)
		}
		a.rows[index] = after
		if r.control != nil && known {
			w.fence.charter.taken(r.node, r.control.View())
		}
	}
	r.applied = data
	r.node.note("applies %d/%d of term %d, %d bytes", r.shard, index, term, len(data))
	return nil
}

// madeIn is the term that a batch was made in.
func (r *replica) madeIn(data []byte) (uint64, error) {
	if r.control == nil {
		b, err := mailbox.ReadBatch(data)
		return b.Term, err
	}
	b := &storepb.Batch{}
	err := proto.Unmarshal(data, b)
	return b.GetTerm(), err
}

// Lead implements shard.Machine.
func (r *replica) Lead(term uint64) {
	w, a := r.node.world, r.node.world.fence.groups[r.shard]
	w.stats.leaders++
	if other, ok := a.leaders[term]; ok {
		w.fault("n%d and n%d both lead term %d of shard %d", other, r.node.number, term, r.shard)
	}
	a.leaders[term] = r.node.number
	r.term = term
	w.bounds.next = 0
	r.node.lately.elected(r.shard, w.now)
	r.node.note("leads shard %d, term %d", r.shard, term)
	r.machine.Lead(term)
}

// Follow implements shard.Machine.
func (r *replica) Follow() {
	r.node.note("follows in shard %d", r.shard)
	r.node.world.fence.over(r.node, r)
	r.machine.Follow()
}

// Committed implements shard.Machine.
func (r *replica) Committed(token uint64) {
	if token == r.ghost && token != 0 {
		r.ghost = 0
		return
	}
	w := r.node.world
	index, data := r.group.Applied(), r.data
	switch {
	case token != r.token || r.read:
		w.fault("n%d: shard %d: token %d is committed, in flight is %d", r.node.number, r.shard, token, r.token)
	case !bytes.Equal(r.applied, data):
		w.fault("n%d: shard %d: a batch is said to be committed, and is not applied", r.node.number, r.shard)
	case !w.fence.majority(r.shard, index, r.term):
		w.fault("n%d: shard %d: entry %d of term %d is said to be committed, and is not on the disks of a majority", r.node.number, r.shard, index, r.term)
	}
	r.releasing, r.token, r.data = true, 0, nil
	r.machine.Committed(token)
	r.releasing = false
}

// Dropped implements shard.Machine.
func (r *replica) Dropped(token uint64) {
	if token == r.ghost && token != 0 {
		r.ghost = 0
		return
	}
	r.node.note("batch %d of shard %d is dropped", token, r.shard)
	r.node.world.stats.drops++
	r.token, r.data = 0, nil
	r.machine.Dropped(token)
}

// Confirmed implements shard.Machine.
func (r *replica) Confirmed(token uint64) {
	w := r.node.world
	w.stats.reads++
	switch {
	case token != r.token || !r.read:
		w.fault("n%d: shard %d: read %d is confirmed, in flight is %d", r.node.number, r.shard, token, r.token)
	case r.group.Applied() < r.asked:
		w.fault("n%d: shard %d: a read is confirmed at entry %d, though entry %d had been applied when it was asked", r.node.number, r.shard, r.group.Applied(), r.asked)
	}
	r.releasing, r.token = true, 0
	r.machine.Confirmed(token)
	r.releasing = false
}

// Propose implements host.Raft.
func (r *replica) Propose(token uint64, data []byte) error {
	w := r.node.world
	if r.ghost != 0 || w.haunted && r.haunt() {
		return shard.ErrInFlight
	}
	if !w.healed && w.dropping > 0 && w.chance(w.dropping) {
		// As where leadership is about to be handed over: Raft takes nothing.
		r.token, r.data, r.read = token, data, false
		r.node.post(func() {
			if r.token == token && r.term != 0 {
				r.Dropped(token)
			}
		})
		return nil
	}
	if err := r.group.Propose(token, data); err != nil {
		return err
	}
	r.token, r.data, r.read = token, data, false
	r.last = append(r.last[:0:0], data...)
	return nil
}

// Read implements host.Raft.
func (r *replica) Read(token uint64) error {
	if err := r.group.Read(token); err != nil {
		return err
	}
	a := r.node.world.fence.groups[r.shard]
	for _, other := range r.node.world.each(r.shard) {
		a.top = max(a.top, other.group.Applied())
	}
	r.token, r.read, r.asked = token, true, a.top
	return nil
}

// haunt proposes a batch of an earlier term anew, as a message would that was
// held up on its way to the group.
func (r *replica) haunt() bool {
	a := r.node.world.fence.groups[r.shard]
	const ghost = 1 << 63
	if a.stale == nil || a.staleTerm >= r.term || r.group.Propose(ghost|r.term, a.stale) != nil {
		return false
	}
	r.node.note("a batch of shard %d comes up again, of term %d in term %d", r.shard, a.staleTerm, r.term)
	r.ghost, a.stale = ghost|r.term, nil
	r.node.world.stats.ghosts++
	return true
}

// shardGateway is where a shard's answers pass.
type shardGateway struct{ *replica }

// Deliver implements host.Gateway.
func (g shardGateway) Deliver(conn uint64, msg proto.Message) {
	if waits(msg) && (!g.releasing || g.term == 0) {
		g.node.world.fault("n%d: shard %d: %s for %x leaves outside of a commit", g.node.number, g.shard, msg.ProtoReflect().Descriptor().Name(), conn)
	}
	g.node.office.toConn(g.shard, conn, msg)
}

// waits says whether a message may only follow a commit or a confirmed read.
func waits(msg proto.Message) bool {
	switch m := msg.(type) {
	case *nodepb.Sent, *nodepb.Push, *nodepb.Page, *nodepb.Devices, *nodepb.Kick:
		return true
	case *nodepb.Attached:
		return m.GetError() == nil
	case *nodepb.Answer:
		return m.GetFault() == nil
	default:
		return false
	}
}

// Lost implements host.Gateway.
func (g shardGateway) Lost(conn uint64, user string) {
	g.node.office.exchange.Lost(g.shard, conn, user)
}

// Unknown implements host.Gateway.
func (g shardGateway) Unknown(conn uint64) { g.node.office.exchange.Unknown(g.shard, conn) }

// Left implements host.Gateway.
func (g shardGateway) Left(id uint32) { g.node.office.exchange.Left(id) }
