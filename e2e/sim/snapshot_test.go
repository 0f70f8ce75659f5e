package sim

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/rookery-im/rookery/cluster/shard"
)

// snapshots are a node's rows as snapshots see them.
type snapshots struct{ *rows }

// Cut implements shard.Rows.
func (s snapshots) Cut(space shard.Space) (shard.Cut, bool) {
	if s.asOf == nil {
		return nil, false
	}
	return cut{s.asOf.clone(), prefixOf(space)}, true
}

type cut struct {
	rows   table
	prefix string
}

func (c cut) Close() {}

func (c cut) Scan(from []byte, fn func(key, value []byte) bool) error {
	for _, name := range slices.Sorted(maps.Keys(c.rows)) {
		if strings.HasPrefix(name, c.prefix) && !c.rows[name].scan(c.prefix, c.prefix+string(from), func(k, v []byte) bool { return fn(k[spaceBytes:], v) }) {
			break
		}
	}
	return nil
}

// Load implements shard.Rows.
func (s snapshots) Load(space shard.Space) shard.Load { return &load{s.rows, prefixOf(space), nil} }

type load struct {
	rows     *rows
	prefix   string
	unsynced []shard.Row
}

func (l *load) Write(_ context.Context, list []shard.Row) error {
	for _, row := range list {
		key := append([]byte(l.prefix), row.Key...)
		value := append([]byte(nil), row.Value...)
		l.rows.Put(key, value)
		l.unsynced = append(l.unsynced, shard.Row{Key: key, Value: value})
	}
	return nil
}

// Sync implements shard.Load. What is under way to the disk is not to take the
// rows away again.
func (l *load) Sync() error {
	for _, row := range l.unsynced {
		l.rows.disk.put(string(row.Key), row.Value)
		if l.rows.frozen != nil {
			l.rows.frozen.put(string(row.Key), row.Value)
		}
		if l.rows.asOf != nil {
			l.rows.asOf.put(string(row.Key), row.Value)
		}
	}
	l.unsynced = nil
	return nil
}

// Erase implements shard.Rows.
func (s snapshots) Erase(_ context.Context, space shard.Space) error {
	list := []table{s.live, s.disk, s.asOf}
	if s.frozen != nil {
		list = append(list, *s.frozen)
	}
	for _, t := range list {
		maps.DeleteFunc(t, func(name string, _ *bucket) bool { return strings.HasPrefix(name, prefixOf(space)) })
	}
	delete(s.sums, space)
	return nil
}

// Spaces implements shard.Rows.
func (s snapshots) Spaces() (list []shard.Space) {
	for _, name := range slices.Sorted(maps.Keys(s.disk)) {
		if space := spaceOf(name); !slices.Contains(list, space) {
			list = append(list, space)
		}
	}
	return list
}

// ship tells another node about replicas.
func (n *node) ship(node string, body []byte) error {
	to := n.world.named[node]
	if !n.world.net.reliable(n.number, to.number, func() {
		if err := to.set.Take(n.name, body); err != nil {
			n.world.fault("n%d: %w", to.number, err)
		}
	}, nil) {
		return errFull
	}
	return nil
}

// retire takes leave of a replica, which begins anew on a snapshot.
func (n *node) retire(group uint32, m shard.Machine) {
	r := m.(*replica)
	n.note("replica of shard %d ends, or begins anew", group)
	n.world.stats.snapshots++
	if r.host != nil {
		n.system.Remove(r.host)
	} else {
		n.seat.machine, n.seat.lead = nil, func() string { return "" }
	}
	delete(n.shards, group)
	n.order = slices.DeleteFunc(n.order, func(o *replica) bool { return o == r })
}
