package membership

import (
	"context"
	"log/slog"
	"strings"

	"github.com/hashicorp/memberlist"
)

// described is what memberlist asks about this node.
type described struct{ m *Membership }

func (d described) NodeMeta(int) []byte {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	return d.m.meta
}

func (described) NotifyMsg([]byte)                {}
func (described) GetBroadcasts(int, int) [][]byte { return nil }
func (described) LocalState(bool) []byte          { return nil }
func (described) MergeRemoteState([]byte, bool)   {}

// gate lets nodes in, or not.
type gate struct{ m *Membership }

// NotifyAlive implements memberlist.AliveDelegate.
func (g gate) NotifyAlive(n *memberlist.Node) error {
	member, err := decode(n.Name, n.Address(), n.Meta)
	if err == nil {
		g.m.mu.Lock()
		err = g.m.view.admits(member)
		g.m.mu.Unlock()
	}
	if err != nil {
		g.m.cfg.Metrics.Refused.Inc()
		g.m.cfg.Logger.Warn("a node is not let in", "node", n.Name, "address", n.Address(), "err", err)
	}
	return err
}

// NotifyMerge implements memberlist.MergeDelegate: one whose members are not all
// welcome is not talked to.
func (g gate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if n.State != memberlist.StateAlive && n.State != memberlist.StateSuspect {
			continue
		}
		if err := g.NotifyAlive(n); err != nil {
			return err
		}
	}
	return nil
}

// events are what memberlist has found out. The gate has seen all of them.
type events struct{ m *Membership }

func (e events) NotifyJoin(n *memberlist.Node)   { e.note(n, (*view).joined) }
func (e events) NotifyUpdate(n *memberlist.Node) { e.note(n, (*view).joined) }
func (e events) NotifyLeave(n *memberlist.Node)  { e.note(n, (*view).gone) }

func (e events) note(n *memberlist.Node, change func(*view, Member)) {
	member, err := decode(n.Name, n.Address(), n.Meta)
	if err != nil {
		e.m.cfg.Logger.Warn("gossip of a node that was not let in", "node", n.Name, "err", err)
		return
	}
	e.m.mu.Lock()
	defer e.m.mu.Unlock()
	change(e.m.view, member)
	e.m.changed()
}

// levels gives memberlist's lines, which begin with a level in brackets, theirs
// of ours: what is an error of gossip is no error of the node.
type levels struct{ slog.Handler }

// Enabled implements slog.Handler: only the line itself says its level.
func (levels) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (l levels) Handle(ctx context.Context, r slog.Record) error {
	level, text, ok := strings.Cut(r.Message, " ")
	if ok {
		r.Message = strings.TrimPrefix(text, "memberlist: ")
	}
	switch level {
	case "[ERR]":
		r.Level = slog.LevelWarn
	case "[WARN]":
		r.Level = slog.LevelInfo
	default:
		r.Level = slog.LevelDebug
	}
	if !l.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}
