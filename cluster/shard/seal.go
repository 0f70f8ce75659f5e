package shard

// A replica that was removed goes when a leader tells it to, and that does so only
// once nobody can need its vote any more. What it has applied itself, or the leader
// has, is not enough: that the removal is committed may be on no disk, since an
// index is synced with the next entry. If all lost power then, those that are left
// would count the votes by the configuration before, with the removed one among
// the voters and gone for good.
//
// So the leader that has applied a removal appends an entry, the seal. Each follower
// gets it together with the index up to which all is committed, in one write; once
// the seal is committed, most voters know on their disks that the removal is.

// remove a replica from what is kept of the members. One that follows has nothing to
// seal: should it lead, its first entry comes after all that it has applied by then.
func (g *Group) remove(id uint64, node string) {
	delete(g.voices, id)
	if g.role == Follower {
		return
	}
	g.sealAt = g.lastAppended() + 1
	if node != "" {
		if g.removed == nil {
			g.removed = map[uint64]string{}
		}
		g.removed[id] = node
	}
}

// lastAppended is the index of the last entry of the log, as leader.
func (g *Group) lastAppended() uint64 { return g.node.Status().Progress[g.Replica()].Next - 1 }

// sealed says whether an entry that was appended after the last removal is applied.
func (g *Group) sealed() bool { return g.applied >= g.sealAt }

// seal a removal that was applied, as leader.
func (g *Group) seal() {
	if g.role != Leading || g.sealed() || g.lastAppended() >= g.sealAt {
		return
	}
	if g.node.Propose(nil) == nil { // else the next tick tries again
		g.touch()
	}
}

// dismiss the replicas that were removed, once they are not needed.
func (g *Group) dismiss() {
	if len(g.removed) == 0 || !g.sealed() {
		return
	}
	for id, node := range g.removed {
		g.tellRemoved(node, id)
	}
	g.removed = nil
}
