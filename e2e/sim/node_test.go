package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/actors/host"
	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/placement"
	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/persistence/mailbox"
	"github.com/rookery-im/rookery/persistence/raftlog"
	"github.com/rookery-im/rookery/persistence/raftlog/faultdisk"
	"github.com/rookery-im/rookery/transport/session"
)

// The periods of a node's loop, as cmd/rookery/node has them.
const (
	raftTick  = 100 * millisecond
	hostTick  = 10 * millisecond
	quietTick = 100 * millisecond
	sweepTick = 250 * millisecond
	moveTick  = 200 * millisecond
)

// node is a process and its machine: the disk, the clock.
type node struct {
	world     *world
	number    int
	name      string // its UUID
	founder   bool   // it was there when the cluster began
	retired   bool   // it is to leave the cluster, or to be removed
	gone      bool   // for good
	replaced  bool   // by a node with another disk
	replacing bool   // it is removed when that one begins

	// of the machine
	disk    *faultdisk.Disk
	rows    *rows
	belongs bool   // it has been admitted
	kept    []byte // the view of the cluster
	skew    int64  // milliseconds that its wall clock is ahead
	slow    micros
	// ahead: rows on the disk may be ahead of the log up to this index, per
	// shard, because a checkpoint that was not recorded wrote some.
	ahead map[uint32]uint64

	// of the process
	up, paused  bool
	incarnation int
	log         *raftlog.Log
	durable     *durable
	set         *shard.Set
	system      *host.System
	shards      map[uint32]*replica
	order       []*replica
	office      *office
	seat        *seat
	knew        uint64 // version of the view, at the last look
	sessions    *session.Gateway
	sockets     *sockets
	inbox       []func()
	wakeAt      micros // when the loop wakes; 0: not set
	raft, host  micros // next ticks
	sweep       micros
	moves       micros
	lately      lately
}

func newNode(w *world, number int) *node {
	n := &node{world: w, number: number, name: fmt.Sprintf("00000000-0000-4000-8000-%012d", number), disk: faultdisk.New(w.seed<<8 + uint64(number)), rows: newRows(), ahead: map[uint32]uint64{}} //nolint:gosec // small
	return n
}

func (n *node) String() string { return fmt.Sprintf("n%d", n.number) }

// start the process on what the disk holds.
func (n *node) start() {
	w := n.world
	n.up, n.paused, n.wakeAt, n.inbox = true, false, 0, nil
	n.incarnation++
	n.raft, n.host, n.sweep, n.moves, n.knew = 0, 0, 0, 0, 0
	w.note(n.number, "starts, incarnation %d", n.incarnation)
	if err := n.open(); err != nil {
		w.fault("n%d does not start: %w", n.number, err)
		return
	}
	w.net.began(n)
	n.awoke()
	n.wake(w.now)
}

func (n *node) open() (err error) {
	w := n.world
	if n.log, err = raftlog.Open(raftlog.Config{
		Disk: n.disk, SegmentBytes: 32 << 10, TailBytes: 64 << 10, GroupTailBytes: 16 << 10, RetainBytes: 33 << 10,
		Spawn: func(f func()) { f() }, Metrics: w.fence.metrics.raftlog,
	}); err != nil {
		return err
	}
	n.durable = newDurable(n, n.log)
	n.shards, n.order = map[uint32]*replica{}, nil
	n.sockets = newSockets(n)
	n.office = newOffice(n)
	n.seat = newSeat(n)
	n.rows.began = func() {
		for _, r := range n.order {
			r.frozenAt = r.group.Applied()
		}
	}
	n.system = host.NewSystem()
	var found []uint32
	for group, members := range w.places {
		if n.founder && slices.Contains(members, uint64(n.number)) { //nolint:gosec // small
			found = append(found, uint32(group)) //nolint:gosec // small
		}
	}
	if n.set, err = shard.New(shard.Config{
		Log: n.durable, Store: n.rows, Node: n.name, Found: found, Post: func(f func()) bool { n.post(f); return true },
		Machine: func(g *shard.Group, version uint32) (shard.Machine, error) {
			r, err := newReplica(n, g, version)
			if err != nil {
				return nil, err
			}
			n.shards[r.shard] = r
			n.order = append(n.order, r)
			n.durable.opened(r.shard, g.Replica())
			return r, nil
		},
		Bootstrap: n.bootstrap, Send: n.send, Rows: snapshots{n.rows}, Ship: n.ship, Retire: n.retire, Led: n.office.exchange.Led, Holders: func(id uint32) []string { return wanted(n.seat.view, id) }, Now: w.mono, Offload: n.offload,
		CheckpointEvery: 1500 * time.Millisecond,
		Metrics:         w.fence.metrics.shard,
	}); err != nil {
		return err
	}
	n.sessions, err = session.New(gatewayConfig(n.number), n.sockets, users{n}, tokens{}, w.mono, slog.New(slog.DiscardHandler), w.fence.metrics.session)
	return err
}

// replicaID names a node's replica of a group.
func replicaID(node int, group uint32) uint64 { return uint64(node)<<16 | uint64(group) } //nolint:gosec // small

func (n *node) bootstrap(group uint32) (shard.First, error) {
	first := shard.First{Replica: replicaID(n.number, group), Members: map[uint64]string{}}
	for _, m := range n.world.places[group] {
		first.Members[replicaID(int(m), group)] = n.world.nodes[m].name //nolint:gosec // small
	}
	return first, nil
}

func (n *node) send(node string, group uint32, messages []*raftpb.Message) {
	for _, m := range messages {
		to := n.world.named[node]
		data, err := proto.Marshal(m)
		if err != nil {
			n.world.fault("marshal a message: %w", err)
			return
		}
		n.world.net.loose(n.number, to.number, func() { to.receive(n.name, group, data) })
	}
}

func (n *node) receive(from string, group uint32, data []byte) {
	m := &raftpb.Message{}
	if err := proto.Unmarshal(data, m); err != nil {
		n.world.fault("unmarshal a message: %w", err)
		return
	}
	// What a term that is over says is refused; nobody waits for an answer.
	_ = n.set.Step(from, group, m)
}

// offload has the disk do its work, in its own time.
func (n *node) offload(work shard.Work, run func()) {
	w := n.world
	incarnation := n.incarnation
	takes := n.slow
	switch {
	case work == shard.WorkCheckpoint:
		takes += w.between(5*millisecond, 400*millisecond)
	case n.slow == 0 && !w.chance(4):
		w.stats.syncs++
		run() // as fast as makes no difference
		return
	default:
		takes += w.between(100*microsecond, 4*millisecond)
	}
	w.after(takes, func() {
		if n.up && n.incarnation == incarnation {
			if work == shard.WorkCheckpoint {
				w.stats.checkpoints++
				n.note("checkpoint is written")
			} else {
				w.stats.syncs++
			}
			run()
		}
	})
}

func (n *node) note(format string, args ...any) { n.world.note(n.number, format, args...) }

// post has the loop do something.
func (n *node) post(do func()) {
	if !n.up {
		return
	}
	n.inbox = append(n.inbox, do)
	n.wake(n.world.now + 20*microsecond)
}

// wake the loop at a time, at the latest.
func (n *node) wake(at micros) {
	if n.wakeAt != 0 && n.wakeAt <= at {
		return
	}
	n.wakeAt = at
	incarnation := n.incarnation
	n.world.at(at, func() {
		if n.up && n.incarnation == incarnation && n.wakeAt == at {
			n.wakeAt = 0
			if !n.paused {
				n.round()
			}
		}
	})
}

// round is one pass of the loop.
func (n *node) round() {
	// As much of it as a poll brings at once.
	some := min(len(n.inbox), 1+n.world.random.IntN(24))
	inbox := n.inbox[:some:some]
	n.inbox = n.inbox[some:]
	for _, do := range inbox {
		do()
	}
	n.tick()
	n.office.deliver()
	for _, r := range n.order {
		if r.host != nil {
			r.host.Flush()
		}
	}
	if err := n.set.Round(); err != nil && !errors.Is(err, shard.ErrLog) {
		n.world.fault("n%d stops accepting: %w", n.number, err)
		return
	}
	n.sessions.Flush()
	n.office.exchange.Flush()
	n.sockets.flush()
	n.wake(n.world.now + n.patience())
}

func (n *node) tick() {
	now := n.world.now
	over := func(next *micros, every micros) bool {
		if now < *next {
			return false
		}
		*next = now + every
		return true
	}
	if over(&n.raft, raftTick) {
		n.set.Tick()
		if n.set.Beats() {
			n.office.exchange.Along()
		}
		n.office.exchange.Tick()
		n.seat.tick()
	}
	if over(&n.host, hostTick) {
		for _, r := range n.order {
			if r.host != nil {
				r.host.Tick()
			}
		}
	}
	if over(&n.sweep, sweepTick) {
		n.sessions.Sweep()
	}
	if over(&n.moves, moveTick) {
		n.move()
	}
}

func (n *node) patience() micros {
	if len(n.office.mail) > 0 || n.set.Pending() || len(n.inbox) > 0 || n.sessions.Due() {
		return 30 * microsecond
	}
	wait := quietTick
	for _, r := range n.order {
		if r.host == nil {
			continue
		}
		if r.host.Due() {
			return 30 * microsecond
		}
		if r.host.Pending() {
			wait = hostTick
		}
	}
	return min(wait, max(n.raft-n.world.now, millisecond))
}

// pause stops the loop, as SIGSTOP does: the machine goes on.
func (n *node) pause() {
	n.paused = true
	n.note("is paused")
	n.world.stats.pauses++
}

func (n *node) resume() {
	if n.up && n.paused {
		n.note("goes on")
		n.paused, n.wakeAt = false, 0
		n.awoke()
		n.wake(n.world.now)
	}
}

// end is how a process ends.
type end uint8

const (
	killed   end = iota // what was written stays
	powerCut            // what was not synced may go, by pages or sectors
)

func (e end) String() string { return [...]string{"killed", "without power"}[e] }

// crash ends the process.
func (n *node) crash(how end) {
	if !n.up {
		return
	}
	w := n.world
	n.note("is %v", how)
	w.stats.crashes++
	n.up = false
	for _, r := range n.order {
		n.ahead[r.shard] = max(n.ahead[r.shard], r.frozenAt)
		w.fence.over(n, r)
	}
	if how == killed {
		n.disk.Kill()
	} else {
		n.disk.PowerCut([...]faultdisk.Keep{faultdisk.Nothing, faultdisk.Nothing, faultdisk.Some, faultdisk.Pages}[w.random.IntN(4)])
	}
	if w.chance(2) {
		n.rows.part()
	}
	n.rows = n.rows.crash()
	n.sockets.crash(how)
	w.net.ended(n, how)
	n.log, n.set, n.shards, n.order = nil, nil, map[uint32]*replica{}, nil
}

// replica is this node's replica of a shard: what stands between the group and
// the shard's actors, and sees all that passes.
type replica struct {
	node    *node
	shard   uint32
	machine shard.Machine // one of the next two
	host    *host.Shard
	control *control.Control // of group 0
	group   *shard.Group
	space   shard.Space // of its rows

	term      uint64 // that it leads; 0 while it does not
	releasing bool   // a commit or a confirmation is being told
	frozenAt  uint64 // applied index when the last checkpoint was begun
	token     uint64 // in flight; 0: nothing
	read      bool   // it is a read
	asked     uint64 // of a read: what anybody had applied when it was asked
	data      []byte // of a proposal
	applied   []byte // the last batch
	first     bool   // it is the first to apply what it does now
	last      []byte // the last batch that was proposed
	ghost     uint64 // token of an entry that comes up again; 0: none
	changes   uint64 // of the configuration that were looked at, and one
}

func newReplica(n *node, g *shard.Group, version uint32) (*replica, error) {
	id := g.ID()
	r := &replica{node: n, shard: id, group: g, space: shard.Space{Group: id, Version: version}}
	w := n.world
	if id == placement.Control {
		return r, n.seat.open(r, g, version)
	}
	settings := user.DefaultSettings()
	var err error
	r.host, err = host.New(host.Config{
		Shard: id, Space: mailbox.Space{Shard: id, Version: version}, System: n.system, Store: n.rows, Gateway: shardGateway{r}, Router: router{n.office},
		ShardOf: w.shardOf,
		Load: func(id string, rows user.Rows, att []user.Attachment) (host.Core, error) {
			return settings.Load(id, rows, att)
		},
		Now: n.wall, Fail: func(err error) { w.fault("n%d: %w", n.number, err) }, Idle: 3 * time.Second,
		Metrics: w.fence.metrics.host,
	})
	if err == nil {
		r.host.Bind(r)
	}
	r.machine = r.host
	return r, err
}

// leads says whether its machine leads, and in which term.
func (r *replica) leads() (term uint64, leads bool) {
	if r.control != nil {
		return r.term, r.control.Leads()
	}
	return r.host.Term(), r.host.Leading()
}

func (w *world) shardOf(id string) uint32 { return placement.ShardOf(id, uint32(w.shape.shards)) } //nolint:gosec // small

// each replica of a group that lives.
func (w *world) each(shard uint32) (list []*replica) {
	for _, n := range w.nodes[1:] {
		if r := n.shards[shard]; n.up && r != nil {
			list = append(list, r)
		}
	}
	return list
}

func sorted[V any](m map[uint32]V) []uint32 { return slices.Sorted(maps.Keys(m)) }
