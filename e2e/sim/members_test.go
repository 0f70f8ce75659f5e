package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/cluster/balance"
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
	c, wanted := f.groups[group].last(), f.world.intents[group]
	for _, m := range c.members {
		if !m.voter || !slices.Contains(wanted, m.node) {
			return false
		}
	}
	return len(c.members) == len(wanted)
}

// move takes each group that the node leads a step on to where it ought to be, as
// cmd/rookery/node's mover does.
func (n *node) move() {
	w := n.world
	for _, g := range slices.Clone(n.set.Groups()) {
		if !g.Leading() || n.set.Err() != nil {
			continue
		}
		s, err := g.Toward(w.intents[g.ID()], func(node string) bool { return !w.named[node].gone })
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

// spare machines hold no replica of a group, and ought to hold none.
func (w *world) spare(group uint32) (list []string) {
	for _, n := range w.machines {
		if !n.gone && !n.retired && !slices.Contains(w.intents[group], n.name) {
			list = append(list, n.name)
		}
	}
	return list
}

// intend replaces a node that ought to hold a group.
func (w *world) intend(group uint32, was, next string) {
	wanted := slices.Clone(w.intents[group])
	for i := range wanted {
		if wanted[i] == was {
			wanted[i] = next
		}
	}
	w.intents[group] = wanted
	w.note(0, "shard %d ought to be on %v", group, wanted)
}

// planMove has replicas of one or two groups move to a spare node, and back; and
// others lead.
func (w *world) planMove(from, to micros) {
	groups := w.random.Perm(w.shape.shards)[:1+w.random.IntN(2)]
	back := w.chance(2)
	was := map[uint32][2]string{}
	w.during(from, to+2*second, func() {
		for _, i := range groups {
			id := uint32(i + 1) //nolint:gosec // small
			wanted := slices.Clone(w.intents[id])
			w.random.Shuffle(len(wanted), func(i, j int) { wanted[i], wanted[j] = wanted[j], wanted[i] })
			w.intents[id] = wanted
			if spare := w.spare(id); len(spare) > 0 {
				out, in := wanted[w.random.IntN(len(wanted))], spare[w.random.IntN(len(spare))]
				w.intend(id, out, in)
				was[id] = [2]string{in, out}
			}
		}
	}, func() {
		for _, id := range sorted(was) {
			if out, in := was[id][0], was[id][1]; back && !w.named[in].gone && !w.named[in].retired && !slices.Contains(w.intents[id], in) {
				w.intend(id, out, in)
			}
		}
	}, "shards %v (from 0) move, and back %v", groups, back)
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
		if !w.fence.settled(id) || left <= len(w.intents[id])/2 || left < len(w.intents[id])-1 {
			return false
		}
	}
	return !n.gone
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

// planWipe has a machine lose its disk. It comes back as another node.
func (w *world) planWipe(from, to micros) {
	slot := w.random.IntN(len(w.machines))
	w.during(from, to+3*second, func() {
		w.once(to+2*second, func() bool { return w.expendable(w.machines[slot]) }, func() { w.machines[slot].lose() })
	}, func() { w.renew(slot) }, "machine %d loses its disk", slot+1)
}

// renew begins a new node on a machine whose disk was lost.
func (w *world) renew(slot int) {
	old := w.machines[slot]
	if !old.gone || old.retired {
		return
	}
	n := newNode(w, len(w.nodes))
	w.nodes, w.named[n.name] = append(w.nodes, n), n
	w.machines[slot], old.replaced = n, true
	for _, id := range sorted(w.intents) {
		w.intend(id, old.name, n.name)
	}
	n.start()
}

// planRetire takes a node out of the cluster, for good: its groups move away, and
// then it goes, or it has gone before they do.
func (w *world) planRetire(from, to micros) {
	slot := w.random.IntN(len(w.machines))
	first := w.chance(2)
	can := func() bool {
		rest := 0
		for _, n := range w.machines {
			if !n.gone && !n.retired {
				rest++
			}
		}
		return rest > 3 && !w.machines[slot].retired && w.expendable(w.machines[slot])
	}
	w.during(from, to+2*second, func() {
		w.once(to+2*second, can, func() { w.retire(w.machines[slot], first) })
	}, func() {}, "machine %d leaves the cluster, dead already %v", slot+1, first)
}

func (w *world) retire(n *node, dead bool) {
	if n.retired = true; dead {
		n.lose()
	}
	for _, id := range sorted(w.intents) {
		if spare := w.spare(id); slices.Contains(w.intents[id], n.name) {
			w.intend(id, n.name, spare[w.random.IntN(len(spare))])
		}
	}
	w.leave(n)
}

// leave the cluster, once no group needs the node.
func (w *world) leave(n *node) {
	if n.gone {
		return
	}
	for _, a := range w.fence.groups {
		for _, m := range a.last().members {
			if m.node == n.name {
				w.after(200*millisecond, func() { w.leave(n) })
				return
			}
		}
	}
	n.lose()
}
