package node

import (
	"slices"

	"github.com/rookery-im/rookery/actors/host"
	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/placement"
	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/persistence/datadir"
	"github.com/rookery-im/rookery/persistence/mailbox"
)

// machines makes what the groups' entries are for: group 0's control, and a host
// for each shard that this node holds a replica of.
func (n *Node) machines() func(*shard.Group, uint32) (shard.Machine, error) {
	n.system = host.NewSystem()
	metrics := host.NewMetrics(n.registry)
	settings := n.cfg.users()
	return func(g *shard.Group, version uint32) (shard.Machine, error) {
		id := g.ID()
		if id == placement.Control {
			return n.openControl(g, version)
		}
		s, err := host.New(host.Config{
			Shard: id, Space: mailbox.Space{Shard: id, Version: version}, System: n.system, Store: n.store, Gateway: outlet{n.exchange, id}, Router: n.router,
			ShardOf: n.shardOf,
			Load: func(id string, rows user.Rows, att []user.Attachment) (host.Core, error) {
				return settings.Load(id, rows, att)
			},
			Silent: func(conn uint64) bool { return n.exchange.Silent(conn) },
			Now:    n.clock.millis, Expiry: n.clock.expiry, Fail: n.fail, Idle: n.cfg.IdleActor,
			Log: n.cfg.Log.With("part", "host"), Metrics: metrics,
		})
		if err != nil {
			return nil, err
		}
		s.Bind(g)
		n.shards[id] = s
		n.here = append(n.here, s)
		return s, nil
	}
}

// retire takes leave of a shard that this node holds no replica of any more, or
// that begins anew on a snapshot.
func (n *Node) retire(group uint32, m shard.Machine) {
	if n.cluster.machine == m {
		n.cluster.machine, n.cluster.lead = nil, func() string { return "" }
	}
	if s, ok := m.(*host.Shard); ok {
		n.system.Remove(s)
		delete(n.shards, group)
		n.here = slices.DeleteFunc(n.here, func(h *host.Shard) bool { return h == s })
	}
}

// ship tells another node about a replica that one of both holds.
func (n *Node) ship(node string, body []byte) error {
	return n.office.send(node, append(frame(kindSnapshot, len(body)), body...))
}

// hearParcel takes what ship of another node was given.
func (n *Node) hearParcel(from string, body []byte) {
	if err := n.set.Take(from, body); err != nil {
		n.cfg.Log.Warn("what another node says about replicas cannot be read", "node", from, "err", err)
	}
}

// hearRaft takes what another node's replicas say to those of this one. Most of
// what is not taken was for a replica that has gone; Raft says again what matters.
func (n *Node) hearRaft(from string, body []byte) {
	if err := n.set.Hear(from, body); err != nil {
		n.cfg.Log.Warn("what another node's replicas say cannot be read", "node", from, "err", err)
	}
}

// openControl makes the machine of group 0.
func (n *Node) openControl(g *shard.Group, version uint32) (shard.Machine, error) {
	m, err := control.New(control.Config{
		Store: n.store, Space: version, Shards: n.count.Load(), Cluster: n.dir.Cluster(), Self: n.self(), Changed: n.cluster.committed,
		Now: n.clock.due, Logger: n.cfg.Log.With("part", "control"),
	})
	if err != nil {
		return nil, err
	}
	m.Attach(g)
	n.cluster.machine, n.cluster.lead = m, g.LeaderNode
	return m, nil
}

// countShards finds out how many shards there are, and says which groups this
// node begins: all, where it creates the cluster.
func (n *Node) countShards(log shard.Log) (found []uint32) {
	count := n.dir.Shards()
	if n.dir.Origin() == datadir.Creates && count == 0 {
		if count = shard.Shards(log); count == 0 {
			count = n.cfg.Shards
		}
	}
	n.count.Store(count)
	if count != 0 && count != n.cfg.Shards {
		n.cfg.Log.Info("the cluster was created with another number of shards", "shards", count)
	}
	n.cluster.follow(func(v *control.View) { n.count.Store(v.Shards) })
	n.cluster.follow(n.leave)
	if n.dir.Origin() != datadir.Creates || !n.dir.New() {
		return nil
	}
	for id := range count + 1 {
		found = append(found, id)
	}
	return found
}

// shardOf a user; 0, which is none, as long as the cluster is not known.
func (n *Node) shardOf(user string) uint32 {
	count := n.count.Load()
	if count == 0 {
		return 0
	}
	return placement.ShardOf(user, count)
}
