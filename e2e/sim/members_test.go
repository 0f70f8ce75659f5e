package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/cluster/balance"
	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/persistence/raftlog"
	shardpb "github.com/rookery-im/rookery/proto/rookery/shard/v1"
)

// configuration of a group from an index on.
type configuration struct {
	index   uint64
	members map[uint64]member // by replica
}

type member struct {
	node  string
	voter bool
}

// confChange is an entry that changes a group's configuration.
type confChange struct {
	index  uint64
	change *raftpb.ConfChange
}

// changed keeps the changes of configuration that a group's log has.
func (d *durable) changed(u raftlog.Update) {
	if len(u.Entries) == 0 {
		return
	}
	from := u.Entries[0].GetIndex()
	list := slices.DeleteFunc(d.changes[u.Group], func(c confChange) bool { return c.index >= from })
	for _, e := range u.Entries {
		if e.GetType() != raftpb.EntryConfChange {
			continue
		}
		c := confChange{e.GetIndex(), &raftpb.ConfChange{}}
		if err := proto.Unmarshal(e.GetData(), c.change); err != nil {
			d.node.world.fault("n%d: a change of shard %d: %w", d.node.number, u.Group, err)
			continue
		}
		list = append(list, c)
	}
	d.changes[u.Group] = list
}

// learn the configurations up to an index that the replica has applied. Whatever
// anybody has applied is learned in the step that applied it, so no snapshot and
// no log that begins later leaves out one.
func (f *fence) learn(r *replica, to uint64) {
	a := f.groups[r.shard]
	if to <= a.known {
		return
	}
	for _, c := range r.node.durable.changes[r.shard] {
		if c.index > a.known && c.index <= to {
			f.reconfigure(r.shard, c)
		}
	}
	a.known = to
}

func (f *fence) reconfigure(group uint32, c confChange) {
	w, a := f.world, f.groups[group]
	members := maps.Clone(a.configs[len(a.configs)-1].members)
	id := c.change.GetNodeId()
	was, there := members[id]
	switch c.change.GetType() {
	case raftpb.ConfChangeAddLearnerNode:
		var m shardpb.Member
		if err := proto.Unmarshal(c.change.GetContext(), &m); err != nil || m.GetId() != id {
			w.fault("shard %d: entry %d adds %x, and says %x: %v", group, c.index, id, m.GetId(), err)
		}
		if a.ever[id] {
			w.fault("shard %d: entry %d adds replica %x, an id that was used before", group, c.index, id)
		}
		a.ever[id] = true
		members[id] = member{m.GetNode(), false}
	case raftpb.ConfChangeAddNode:
		if !there || was.voter {
			w.fault("shard %d: entry %d promotes %x, which is no learner", group, c.index, id)
		}
		members[id] = member{was.node, true}
		w.stats.promotions++
	case raftpb.ConfChangeRemoveNode:
		delete(members, id)
		w.stats.removals++
	default:
		w.fault("shard %d: entry %d is a change of kind %v", group, c.index, c.change.GetType())
	}
	a.configs = append(a.configs, configuration{c.index, members})
	w.note(0, "shard %d from entry %d on: %s", group, c.index, a.last())
}

func (c configuration) String() (text string) {
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		m := c.members[id]
		kind := "voter"
		if !m.voter {
			kind = "learner"
		}
		text += fmt.Sprintf(" %s %x %s", m.node, id, kind)
	}
	return text
}

func (a *agreed) last() configuration { return a.configs[len(a.configs)-1] }

// at is the position of the configuration after an index.
func (a *agreed) at(index uint64) int {
	for i := len(a.configs) - 1; i > 0; i-- {
		if a.configs[i].index <= index {
			return i
		}
	}
	return 0
}

// majority says whether most voters of the group have the entry on their disks: by
// the configuration before it or, as a leader commits by what it has applied, by
// the one before that, if no other lies between.
func (f *fence) majority(group uint32, index, term uint64) bool {
	a := f.groups[group]
	at := a.at(index - 1)
	return f.most(group, a.configs[at], index, term) || at > 0 && f.most(group, a.configs[at-1], index, term)
}

func (f *fence) most(group uint32, c configuration, index, term uint64) bool {
	have, voters := 0, 0
	for id, m := range c.members {
		if !m.voter {
			continue
		}
		voters++
		if d := f.world.named[m.node].durable; d != nil && d.synced[replicaOf{group, id}].has(index, term) {
			have++
		}
	}
	return have > voters/2
}

// conforms checks that a replica knows the configuration that was agreed on.
func (f *fence) conforms(r *replica) {
	if r.changes == r.group.Changes()+1 {
		return
	}
	r.changes = r.group.Changes() + 1
	a := f.groups[r.shard]
	c := a.configs[a.at(r.group.Applied())]
	mine := configuration{members: map[uint64]member{}}
	for _, p := range r.group.Status().Members {
		mine.members[p.Replica] = member{p.Node, !p.Learner}
	}
	if !maps.Equal(mine.members, c.members) {
		f.world.fault("n%d: shard %d is after entry %d on%s, and was agreed to be on%s", r.node.number, r.shard, r.group.Applied(), mine, c)
	}
	if !a.ever[r.group.Replica()] {
		f.world.fault("n%d holds replica %x of shard %d, which nobody added", r.node.number, r.group.Replica(), r.shard)
	}
}

// settled says whether a group is where it ought to be.
func (f *fence) settled(group uint32) bool {
	c, wanted := f.groups[group].last(), f.world.wanted(f.charter.newest, group)
	for _, m := range c.members {
		if !m.voter || !slices.Contains(wanted, m.node) {
			return false
		}
	}
	return len(c.members) == len(wanted)
}

// move takes each group that the node leads a step on to where it ought to be by
// the view that it knows, as cmd/rookery/node's mover does.
func (n *node) move() {
	w, v := n.world, n.seat.view
	if v == nil {
		return
	}
	alive := func(node string) bool {
		m, ok := v.Node(node)
		return ok && (m.State == control.Ready || node == n.name)
	}
	for _, g := range slices.Clone(n.set.Groups()) {
		if !g.Leading() || n.set.Err() != nil {
			continue
		}
		s, err := g.Toward(w.wanted(v, g.ID()), alive)
		if s.Kind == balance.Done || s.Kind == balance.Wait {
			continue
		}
		n.note("shard %d: %v %s: %v", g.ID(), s.Kind, s.Node, err)
		if s.Kind == balance.Transfer && err == nil {
			n.lately.handed(g.ID(), w.now)
		}
		if errors.Is(err, shard.ErrMember) {
			w.fault("n%d: shard %d cannot %v %s: %w", n.number, g.ID(), s.Kind, s.Node, err)
		}
	}
}

// detour is what somebody wants of a group otherwise than the view: another leader,
// and a node in the place of one of its.
type detour struct {
	turn    int
	out, in string
}

// wanted are the nodes that ought to hold a group by a view, the one that should lead
// first, but for the detour that is made.
func (w *world) wanted(v *control.View, group uint32) []string {
	nodes := wanted(v, group)
	d, ok := w.moved[group]
	if !ok || len(nodes) == 0 {
		return nodes
	}
	turn := d.turn % len(nodes)
	nodes = slices.Concat(nodes[turn:], nodes[:turn])
	m, _ := v.Node(d.in)
	if at := slices.Index(nodes, d.out); at >= 0 && m.State == control.Ready && !slices.Contains(nodes, d.in) {
		nodes[at] = d.in
	}
	return nodes
}

// spare nodes hold no replica of a group, and ought to hold none.
func (w *world) spare(group uint32) (list []string) {
	wanted := w.wanted(w.fence.charter.newest, group)
	for _, n := range w.machines {
		if !n.gone && w.fence.charter.state(n) == control.Ready && !slices.Contains(wanted, n.name) {
			list = append(list, n.name)
		}
	}
	return list
}

// planMove has replicas of one or two groups move to a spare node, and back; and
// others lead.
func (w *world) planMove(from, to micros) {
	groups := w.random.Perm(w.shape.shards + 1)[:1+w.random.IntN(2)]
	back := w.chance(2)
	w.during(from, to+2*second, func() {
		for _, i := range groups {
			id := uint32(i) //nolint:gosec // small
			d := detour{turn: w.random.IntN(3)}
			if spare, nodes := w.spare(id), wanted(w.fence.charter.newest, id); len(spare) > 0 {
				d.out, d.in = nodes[w.random.IntN(len(nodes))], spare[w.random.IntN(len(spare))]
			}
			w.moved[id] = d
			w.note(0, "shard %d ought to be on %v", id, w.wanted(w.fence.charter.newest, id))
		}
	}, func() {
		for _, i := range groups {
			if back {
				delete(w.moved, uint32(i)) //nolint:gosec // small
			}
		}
	}, "groups %v move, and back %v", groups, back)
}

// expendable says whether nothing is lost for good with a node: every group is at
// rest, and goes on without it.
func (w *world) expendable(n *node) bool {
	for id, a := range w.fence.groups {
		left := 0
		for _, m := range a.last().members {
			if m.node != n.name && !w.named[m.node].gone {
				left++
			}
		}
		wanted := len(w.wanted(w.fence.charter.newest, id))
		if !w.fence.settled(id) || left <= wanted/2 || left < wanted-1 {
			return false
		}
	}
	return !n.gone && w.fence.charter.state(n) == control.Ready
}

// lose a node for good.
func (n *node) lose() {
	n.crash(powerCut)
	n.gone = true
	n.world.stats.wipes++
	n.note("has lost its disk")
}

// once it can be done, something is done, or not at all.
func (w *world) once(end micros, can func() bool, do func()) {
	switch {
	case w.healed || w.now > end:
	case can():
		do()
	default:
		w.after(50*millisecond, func() { w.once(end, can, do) })
	}
}

// planWipe has a machine lose its disk. It comes back as another node, and the one
// that it was is removed: before that, after it, or by who sees that it is gone.
func (w *world) planWipe(from, to micros) {
	slot := w.random.IntN(len(w.machines))
	early, missed := w.chance(2), w.chance(2)
	w.during(from, to+3*second, func() {
		w.once(to+2*second, func() bool { return w.expendable(w.machines[slot]) }, func() {
			n := w.machines[slot]
			n.lose()
			if missed {
				w.takeForLost(n, w.now+10*second)
			}
			if early {
				w.remove(n, func() {})
			}
			n.replacing = !early
		})
	}, func() { w.renew(slot) }, "machine %d loses its disk, is taken for lost %v, removed at once %v", slot+1, missed, early)
}

// renew begins a new node on a machine whose disk was lost, one after the other.
func (w *world) renew(slot int) {
	old := w.machines[slot]
	if !old.gone || old.retired || old.replaced {
		return
	}
	if !w.numbered() {
		w.after(50*millisecond, func() { w.renew(slot) })
		return
	}
	old.replaced = true
	n := w.newcomer()
	w.machines[slot] = n
	n.start()
	if old.replacing {
		w.remove(old, func() {})
	}
}

// departure is how a node leaves the cluster for good.
type departure uint8

const (
	leaving departure = iota // its groups move away, and then it goes
	dead                     // it has gone, and is removed
	forced                   // it is removed, and goes once it is not needed
)

func (d departure) String() string { return [...]string{"it leaves", "it is dead", "it is removed"}[d] }

// planRetire takes a node out of the cluster, for good.
func (w *world) planRetire(from, to micros) {
	slot := w.random.IntN(len(w.machines))
	how := departure(w.random.IntN(3)) //nolint:gosec // small
	can := func() bool {
		rest := 0
		for _, n := range w.machines {
			if !n.gone && w.fence.charter.state(n) == control.Ready {
				rest++
			}
		}
		return rest > 3 && !w.machines[slot].retired && w.expendable(w.machines[slot])
	}
	w.during(from, to+2*second, func() {
		w.once(to+2*second, can, func() { w.retire(w.machines[slot], how) })
	}, func() {}, "machine %d goes for good: %v", slot+1, how)
}

func (w *world) retire(n *node, how departure) {
	n.retired = true
	switch how {
	case leaving:
		w.letLeave(n, func() { w.leave(n) })
	case dead:
		n.lose()
		w.remove(n, func() {})
	case forced:
		w.remove(n, func() { w.unneeded(n, n.lose) })
	}
}

// leave the cluster, once no group needs the node: as the guard of group 0's leader
// sees to it.
func (w *world) leave(n *node) {
	w.unneeded(n, func() {
		w.remove(n, func() {
			if !n.gone {
				n.lose()
			}
		})
	})
}

// unneeded waits until no group has a replica on a node.
func (w *world) unneeded(n *node, then func()) {
	if n.gone {
		return
	}
	for _, a := range w.fence.groups {
		for _, m := range a.last().members {
			if m.node == n.name {
				w.after(200*millisecond, func() { w.unneeded(n, then) })
				return
			}
		}
	}
	then()
}
