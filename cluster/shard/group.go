package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/rookery-im/rookery/internal/invariant"
)

// Why Propose and Read take nothing. No call of the machine follows.
var (
	ErrNotLeading = errors.New("shard: this replica does not lead")
	ErrInFlight   = errors.New("shard: a proposal is in flight already")
	ErrOverloaded = errors.New("shard: too much is waiting to be written")
	ErrHandover   = errors.New("shard: leadership is being handed over")
	ErrBroken     = errors.New("shard: the node has stopped accepting")
	// ErrLog is why a node stops accepting when its log broke: once the log is
	// repaired, Set.Resume goes on.
	ErrLog = errors.New("shard: log")
	// ErrMessage is what Step says to a message that replicas do not send each other.
	ErrMessage = errors.New("shard: no message of one replica to another")
	// ErrNoReplica: the message is for a replica that this node does not hold, or
	// from one that is somewhere else.
	ErrNoReplica = errors.New("shard: no such replica here")
)

// Role of this replica in its group.
type Role uint8

// The roles; the package comment says how one follows another.
const (
	Follower Role = iota
	Elected
	Leading
)

func (r Role) String() string {
	switch r {
	case Follower:
		return "follower"
	case Elected:
		return "elected"
	case Leading:
		return "leading"
	default:
		return fmt.Sprintf("role %d", uint8(r))
	}
}

type stage uint8

const (
	nothing  stage = iota
	queued         // waits for the next round
	proposed       // Raft has it
)

// proposal is the one that may be in flight.
type proposal struct {
	stage stage
	token uint64
	data  []byte
	index uint64 // once it was in a Ready
}

// waiting reads are confirmed by a quorum, but not all applied yet.
type waiting struct {
	index  uint64
	tokens []uint64
}

// Group is this node's replica of one Raft group. All methods belong to the loop.
type Group struct {
	// immutable
	id      uint32
	machine Machine
	set     *Set
	node    *raft.RawNode

	// owned by the loop
	holding
	turn      candidacy
	data      []byte            // holding, encoded: of the next checkpoint
	heard     map[uint64]string // where replicas are that are not members yet, by what they say
	cut       *Checkpoint       // what a snapshot is of: as of the last checkpoint; nil before one has completed
	leaving   bool              // the configuration has this replica no more
	alone     int               // ticks without a leader
	role      Role
	state     raft.StateType // as of the last Ready
	term      uint64         // as of the last Ready
	leader    uint64         // replica id, as of the last Ready
	leadTerm  uint64         // of Elected and Leading
	hardState *raftpb.HardState
	pause     uint64 // ticks that a leader lets go by: see keepStep
	dirty     bool   // in set.dirty
	waits     bool   // in set.intake

	applied, appliedTerm, checkpointed uint64
	conf                               *raftpb.ConfState
	changing                           bool              // a change of the configuration was begun
	changes                            uint64            // applied
	changeIndex                        uint64            // of its entry, once it was in a Ready
	sealAt                             uint64            // see seal.go
	removed                            map[uint64]string // replicas that are to be told, and where
	voices                             map[uint64]uint64 // when replicas were heard last, in ticks of the Set
	handing                            bool              // leadership over
	heir                               uint64            // who gets it, once no proposal is in flight

	proposal  proposal
	queued    []uint64            // reads that wait for the next round
	reads     map[uint64][]uint64 // reads that Raft has, by context
	lastRead  uint64
	confirmed []waiting
}

// ID of the group.
func (g *Group) ID() uint32 { return g.id }

// Replica is this replica's id in the group.
func (g *Group) Replica() uint64 { return g.holding.id }

// Term that this replica knows of; the one it leads while it is Leading.
func (g *Group) Term() uint64 { return g.term }

// Role of this replica.
func (g *Group) Role() Role { return g.role }

// Leading says whether proposals and reads are taken.
func (g *Group) Leading() bool { return g.role == Leading }

// Leader is the replica id of the group's leader; 0 where it is not known.
func (g *Group) Leader() uint64 { return g.leader }

// Applied is the index of the last entry applied.
func (g *Group) Applied() uint64 { return g.applied }

// Propose hands in data for the next entry and keeps the slice until the
// machine's Committed; after any other outcome it may not be written to either.
// At most one proposal of a group is in flight.
func (g *Group) Propose(token uint64, data []byte) error {
	switch {
	case g.set.err != nil:
		return fmt.Errorf("%w: %w", ErrBroken, g.set.err)
	case g.role != Leading:
		return ErrNotLeading
	case g.proposal.stage != nothing:
		return ErrInFlight
	case g.handing:
		return ErrHandover
	case len(data) == 0:
		return errors.New("shard: an empty proposal")
	case g.set.config.Store.Bytes() >= g.set.config.OverlayBound:
		g.set.drop(dropOverloaded, 1)
		return ErrOverloaded
	}
	g.proposal = proposal{stage: queued, token: token, data: data}
	g.set.config.Metrics.Proposals.Inc()
	g.wait()
	return nil
}

// Read asks for the confirmation that this replica still leads. All reads of a
// round share one question to the others.
func (g *Group) Read(token uint64) error {
	switch {
	case g.set.err != nil:
		return fmt.Errorf("%w: %w", ErrBroken, g.set.err)
	case g.role != Leading:
		return ErrNotLeading
	case g.pendingReads() >= g.set.config.Reads:
		g.set.drop(dropRead, 1)
		return ErrOverloaded
	}
	g.queued = append(g.queued, token)
	g.wait()
	return nil
}

// Campaign stands for election at once.
func (g *Group) Campaign() error {
	err := g.node.Campaign()
	g.touch()
	if err != nil {
		return fmt.Errorf("shard: group %d: campaign: %w", g.id, err)
	}
	return nil
}

func (g *Group) tick() {
	if g.pause > 0 && g.role == Leading {
		g.pause--
	} else {
		g.node.Tick()
	}
	g.maybeResign()
	g.maybeStand()
	g.handOver()
	g.lonely()
	g.seal()
	if (g.set.ticks+uint64(g.id))%uint64(g.set.config.ElectionTicks) == 0 {
		g.follow()
	}
	if !g.dirty && g.node.HasReady() {
		g.touch()
		g.keepStep()
	}
}

// maybeResign does what observe would, where that waits for a sync that is out: a
// leader whom nobody answers goes on for no longer because its disk is slow.
func (g *Group) maybeResign() {
	if g.set.out && g.role != Follower && g.node.BasicStatus().RaftState != raft.StateLeader {
		g.becomeFollower(dropNotLeading)
	}
}

// keepStep has the groups that lead here and are idle send their heartbeats with
// the same ticks, so that they go in one body, and so do the answers: one whose
// heartbeats came with another tick lets some go by. What an idle leader has
// after a tick are heartbeats.
func (g *Group) keepStep() {
	every := uint64(g.set.config.HeartbeatTicks) //nolint:gosec // positive
	if off := g.set.ticks % every; off != 0 && g.role == Leading {
		g.pause = every - off
	}
}

// touch has the next pass of a round look for a Ready.
func (g *Group) touch() {
	if !g.dirty {
		g.dirty = true
		g.set.dirty = append(g.set.dirty, g)
	}
}

// wait has the next round feed what was handed in.
func (g *Group) wait() {
	if !g.waits {
		g.waits = true
		g.set.intake = append(g.set.intake, g)
	}
}

func (g *Group) pendingReads() int {
	n := len(g.queued)
	for _, tokens := range g.reads {
		n += len(tokens)
	}
	for _, w := range g.confirmed {
		n += len(w.tokens)
	}
	return n
}

func (g *Group) idle() bool { return g.proposal.stage == nothing && g.pendingReads() == 0 }

// feed gives Raft what was handed in since the last round.
func (g *Group) feed() {
	g.waits = false
	if g.proposal.stage == queued {
		// Raft refuses before it appends, so that a refusal is definite.
		if err := g.node.Propose(g.proposal.data); err != nil {
			g.dropProposal(dropRaft)
		} else {
			g.proposal.stage, g.proposal.data = proposed, nil
		}
		g.touch()
	}
	if len(g.queued) > 0 {
		g.lastRead++
		g.reads[g.lastRead], g.queued = g.queued, nil
		g.node.ReadIndex(binary.BigEndian.AppendUint64(nil, g.lastRead))
		g.set.config.Metrics.Reads.Inc()
		g.touch()
	}
}

// observe takes in who leads. It runs when a Ready is collected, before its
// sync: to void what is in flight is never too early.
func (g *Group) observe(rd *raft.Ready) {
	if rd.SoftState != nil {
		g.state, g.leader = rd.SoftState.RaftState, rd.SoftState.Lead
		g.turn.follow(g.leader)
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		if rd.HardState.GetTerm() != g.term {
			g.turn.silent = 0 // an election is under way, or over
		}
		g.term, g.hardState = rd.HardState.GetTerm(), rd.HardState
	}
	leads := g.state == raft.StateLeader
	if g.role != Follower && (!leads || g.term != g.leadTerm) {
		g.becomeFollower(dropNotLeading)
	}
	if g.role == Follower && leads {
		g.becomeElected()
	}
	g.observeChange(rd.Entries)
	if g.proposal.stage != proposed || g.proposal.index != 0 {
		return
	}
	for _, e := range rd.Entries {
		if e.GetTerm() == g.leadTerm && e.GetType() == raftpb.EntryNormal && len(e.GetData()) > 0 {
			g.proposal.index = e.GetIndex()
		}
	}
}

func (g *Group) becomeElected() {
	g.role, g.leadTerm, g.voices = Elected, g.term, map[uint64]uint64{}
	g.sealAt, g.removed = 0, nil
}

func (g *Group) becomeLeading() {
	g.role = Leading
	g.set.config.Metrics.Leading.Inc()
	g.machine.Lead(g.leadTerm)
	if g.set.config.Led != nil {
		g.set.config.Led(g.id)
	}
}

func (g *Group) becomeFollower(reason string) {
	was := g.role
	g.role, g.changing, g.handing, g.heir = Follower, false, false, raft.None
	switch g.proposal.stage {
	case queued:
		g.dropProposal(reason)
	case proposed:
		g.endProposal()
	}
	g.queued, g.confirmed = nil, nil
	clear(g.reads)
	if was == Leading {
		g.set.config.Metrics.Leading.Dec()
		g.machine.Follow()
	}
}

func (g *Group) endProposal() uint64 {
	token := g.proposal.token
	g.proposal = proposal{}
	g.set.config.Metrics.Proposals.Dec()
	return token
}

func (g *Group) dropProposal(reason string) {
	g.set.drop(reason, 1)
	g.machine.Dropped(g.endProposal())
}

// apply takes what a synced Ready has committed and confirmed.
func (g *Group) apply(rd *raft.Ready) error {
	for _, e := range rd.CommittedEntries {
		if err := g.applyEntry(e); err != nil {
			return fmt.Errorf("shard: group %d: apply entry %d: %w", g.id, e.GetIndex(), err)
		}
	}
	for _, rs := range rd.ReadStates {
		context := binary.BigEndian.Uint64(rs.RequestCtx)
		if tokens := g.reads[context]; len(tokens) > 0 {
			delete(g.reads, context)
			g.confirmed = append(g.confirmed, waiting{rs.Index, tokens})
		}
	}
	g.confirm()
	return nil
}

func (g *Group) applyEntry(e *raftpb.Entry) error {
	invariant.Check(e.GetIndex() == g.applied+1, "group %d applies entry %d after %d", g.id, e.GetIndex(), g.applied)
	switch e.GetType() {
	case raftpb.EntryNormal:
		if len(e.GetData()) > 0 {
			if err := g.machine.Apply(e.GetIndex(), e.GetTerm(), e.GetData()); err != nil {
				return err
			}
		}
	default:
		if err := g.applyConf(e); err != nil {
			return err
		}
	}
	g.applied, g.appliedTerm = e.GetIndex(), e.GetTerm()
	g.set.appliedSince = true
	if g.changing && g.changeIndex == e.GetIndex() {
		g.changing = false
	}
	if g.role == Elected && e.GetTerm() == g.leadTerm {
		g.becomeLeading()
	}
	g.dismiss()
	if g.proposal.stage == proposed && g.proposal.index == e.GetIndex() {
		g.machine.Committed(g.endProposal())
		g.handOver()
	}
	return nil
}

// confirm releases the reads up to the applied index.
func (g *Group) confirm() {
	kept := g.confirmed[:0]
	var ready []uint64
	for _, w := range g.confirmed {
		if w.index <= g.applied {
			ready = append(ready, w.tokens...)
		} else {
			kept = append(kept, w)
		}
	}
	g.confirmed = kept
	for _, token := range ready {
		g.machine.Confirmed(token)
	}
}

// checkpoint is what a checkpoint begun now would save.
func (g *Group) checkpoint() Checkpoint {
	return Checkpoint{Group: g.id, Index: g.applied, Term: g.appliedTerm, ConfState: g.conf, Data: g.data}
}

// exact says whether the store has the outcome of what is applied here, and of
// nothing that followed it before the last start.
func (g *Group) exact() bool { return g.applied >= g.ahead }

// singleton says whether nobody else has a vote.
func (g *Group) singleton() bool {
	return len(g.conf.GetVoters()) == 1 && g.conf.GetVoters()[0] == g.Replica() && len(g.conf.GetVotersOutgoing()) == 0
}

// entryBytes is roughly what entries take in the log.
func entryBytes(entries []*raftpb.Entry) (n int) {
	const overhead = 32
	for _, e := range entries {
		n = min(n+len(e.GetData())+overhead, math.MaxInt/2)
	}
	return n
}
