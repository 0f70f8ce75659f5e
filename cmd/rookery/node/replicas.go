package node

import (
	"github.com/rookery-im/rookery/actors/host"
	"github.com/rookery-im/rookery/actors/user"
	"github.com/rookery-im/rookery/cluster/placement"
	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/persistence/mailbox"
)

// machines makes what the groups' entries are for: group 0's control, and a host
// for each shard that this node holds a replica of.
func (n *Node) machines(gate *gateway, count uint32) func(*shard.Group, uint32) (shard.Machine, error) {
	system := host.NewSystem()
	metrics := host.NewMetrics(n.registry)
	settings := n.cfg.users()
	return func(g *shard.Group, version uint32) (shard.Machine, error) {
		id := g.ID()
		if id == 0 {
			n.control.Attach(g)
			return n.control, nil
		}
		s, err := host.New(host.Config{
			Shard: id, Space: mailbox.Space{Shard: id, Version: version}, System: system, Store: n.store, Gateway: gate, Router: n.router,
			ShardOf: func(user string) uint32 { return placement.ShardOf(user, count) },
			Load: func(id string, rows user.Rows, att []user.Attachment) (host.Core, error) {
				return settings.Load(id, rows, att)
			},
			Now: n.clock.millis, Expiry: n.clock.expiry, Fail: n.fail, Idle: n.cfg.IdleActor,
			Log: n.cfg.Log.With("part", "host"), Metrics: metrics,
		})
		if err != nil {
			return nil, err
		}
		s.Bind(g)
		n.shards[id] = s
		return s, nil
	}
}

// hearRaft takes what another node's replicas say to those of this one. Most of
// what is not taken was for a replica that has gone; Raft says again what matters.
func (n *Node) hearRaft(from string, body []byte) {
	if err := n.set.Hear(from, body); err != nil {
		n.cfg.Log.Warn("what another node's replicas say cannot be read", "node", from, "err", err)
	}
}
