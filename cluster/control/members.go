package control

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// Why a node is not taken, finally.
var (
	ErrMember = errors.New("control: not a member as it should be")
	// ErrRemoved: the node was removed. Its disk may come back as another node,
	// in an empty folder.
	ErrRemoved = errors.New("control: the node was removed from the cluster, for good")
	// ErrStale: a later life of the node is known.
	ErrStale = errors.New("control: the node has started again since, or its folder was copied")
	// ErrNumbers: no more nodes.
	ErrNumbers = errors.New("control: all numbers of nodes are given")
	// ErrNoMember: there is no such node.
	ErrNoMember = errors.New("control: no such member")
	// ErrLastData: nobody else could hold what the node holds.
	ErrLastData = errors.New("control: no other node is ready to hold data")
)

// Bounds of what a node says of itself.
const (
	maxAddress = 255 // bytes
	maxWord    = 64  // bytes of a zone or a version
	maxURL     = 1024
)

// Validate names every fault of a node as it describes itself.
func (m Member) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrMember}, args...)...))
		}
	}
	_, err := uuid.Parse(m.Node)
	check(err == nil, "node %q is not a UUID", m.Node)
	check(m.Incarnation > 0, "no incarnation")
	check(len(m.Peer) <= maxAddress && len(m.Gossip) <= maxAddress, "an address is longer than %d bytes", maxAddress)
	check(len(m.Clients) <= maxURL, "the URL of clients is longer than %d bytes", maxURL)
	check(len(m.Zone) <= maxWord && len(m.Version) <= maxWord, "zone or version is longer than %d bytes", maxWord)
	check(len(m.Roles) > 0, "no roles")
	for i, r := range m.Roles {
		check(r == RoleData || r == RoleGateway, "role %q is neither %s nor %s", r, RoleData, RoleGateway)
		check(!slices.Contains(m.Roles[:i], r), "role %s is named twice", r)
	}
	return errors.Join(errs...)
}

// Proto is the member as nodes send and keep it.
func (m Member) Proto() *controlpb.Member {
	return &controlpb.Member{
		Node: m.Node, Number: uint32(m.Number), Incarnation: m.Incarnation, Peer: m.Peer, Gossip: m.Gossip, Clients: m.Clients,
		Roles: m.Roles, Zone: m.Zone, Version: m.Version, State: controlpb.MemberState(m.State), Since: uint64(m.Since.UnixMilli()), //nolint:gosec // after 1970
	}
}

// MemberOf takes what Proto gave.
func MemberOf(p *controlpb.Member) (Member, error) {
	m := Member{
		Node: p.GetNode(), Number: uint16(p.GetNumber()), Incarnation: p.GetIncarnation(), Peer: p.GetPeer(), Gossip: p.GetGossip(), Clients: p.GetClients(),
		Roles: p.GetRoles(), Zone: p.GetZone(), Version: p.GetVersion(), State: MemberState(p.GetState()), Since: time.UnixMilli(int64(p.GetSince())), //nolint:gosec // looked at below
	}
	if n := p.GetNumber(); n == 0 || n > math.MaxUint16 {
		return m, fmt.Errorf("control: member with number %d", n)
	}
	if s := p.GetState(); s < controlpb.MemberState_JOINING || s > controlpb.MemberState_REMOVED {
		return m, fmt.Errorf("control: member %d is in state %d", m.Number, s)
	}
	return m, m.Validate()
}

// Candidate takes what Proto gave of a node that asks to be admitted: nothing is
// believed of its number and state.
func Candidate(p *controlpb.Member) Member {
	return Member{
		Node: p.GetNode(), Incarnation: p.GetIncarnation(), Peer: p.GetPeer(), Gossip: p.GetGossip(), Clients: p.GetClients(),
		Roles: p.GetRoles(), Zone: p.GetZone(), Version: p.GetVersion(),
	}
}

func placed(replicas []uint16) *controlpb.Placement {
	p := &controlpb.Placement{}
	for _, n := range replicas {
		p.Replicas = append(p.Replicas, uint32(n))
	}
	return p
}

func replicasOf(p *controlpb.Placement) ([]uint16, error) {
	var replicas []uint16
	for _, n := range p.GetReplicas() {
		if n == 0 || n > math.MaxUint16 || slices.Contains(replicas, uint16(n)) {
			return nil, fmt.Errorf("control: replicas on %v", p.GetReplicas())
		}
		replicas = append(replicas, uint16(n))
	}
	return replicas, nil
}

// members, by number.
func (s *state) ordered() []Member {
	all := make([]Member, 0, len(s.members))
	for _, m := range s.members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.Number, b.Number) })
	return all
}

func (s *state) byNumber(number uint16) (Member, bool) {
	for _, m := range s.members {
		if m.Number == number {
			return m, true
		}
	}
	return Member{}, false
}

func (d *draft) putMember(m Member) {
	d.members[m.Node] = m
	d.put(kindMember, []byte(m.Node), m.Proto())
	d.seen = true
}

// become puts a member into a state, and plans anew.
func (d *draft) become(m Member, s MemberState) {
	m.State, m.Since = s, time.UnixMilli(int64(d.now)) //nolint:gosec // a clock's
	d.putMember(m)
	d.replan()
}

// admit takes a node in, or takes over how it describes itself now.
func (d *draft) admit(m Member) (Member, error) {
	if err := m.Validate(); err != nil {
		return Member{}, err
	}
	was, known := d.members[m.Node]
	if !known {
		m.Number = d.nextNumber()
		if m.Number == 0 {
			return Member{}, ErrNumbers
		}
		m.State, m.Since = Joining, time.UnixMilli(int64(d.now)) //nolint:gosec // a clock's
		d.putMember(m)
		return m, nil
	}
	m.Number, m.State, m.Since = was.Number, was.State, was.Since
	switch {
	case was.State == Removed:
		return Member{}, fmt.Errorf("%w: it was node %d, until %s", ErrRemoved, was.Number, was.Since.UTC().Format(time.RFC3339))
	case m.Incarnation < was.Incarnation,
		// One life has one address: these are two. The creator's is told later.
		m.Incarnation == was.Incarnation && (was.Peer != "" && m.Peer != was.Peer || was.Gossip != "" && m.Gossip != was.Gossip):
		return Member{}, fmt.Errorf("%w: life %d of %s is known, and has links at %s", ErrStale, was.Incarnation, was.Node, was.Peer)
	case same(m, was):
		return was, nil
	}
	replan := m.Zone != was.Zone || m.Has(RoleData) != was.Has(RoleData)
	d.putMember(m)
	if replan {
		d.replan()
	}
	return m, nil
}

func same(a, b Member) bool {
	return a.Incarnation == b.Incarnation && a.Peer == b.Peer && a.Gossip == b.Gossip && a.Clients == b.Clients &&
		slices.Equal(a.Roles, b.Roles) && a.Zone == b.Zone && a.Version == b.Version
}

// nextNumber is one that no node ever had; 0 where there is none.
func (d *draft) nextNumber() uint16 {
	highest := uint16(0)
	for _, m := range d.members {
		highest = max(highest, m.Number)
	}
	return highest + 1
}

// vouch that a node is a member.
func (d *draft) vouch(node string) error {
	if m, ok := d.members[node]; !ok || m.State == Removed {
		return ErrNoMember
	}
	return nil
}

// ready counts a node in: it is up, and replicas may be placed on it.
func (d *draft) ready(node string) error {
	switch m, ok := d.members[node]; {
	case !ok:
		return ErrNoMember
	case m.State == Removed:
		return ErrRemoved
	case m.State == Joining || m.State == Lost:
		d.become(m, Ready)
	}
	return nil
}

// lose counts out a node that is gone. Others take over what it holds, if there
// are enough; it comes back by ready.
func (d *draft) lose(number uint16) error {
	m, ok := d.byNumber(number)
	if !ok {
		return ErrNoMember
	}
	if m.State == Ready {
		d.become(m, Lost)
	}
	return nil
}

// leave has a node go: it gets no replicas, and those that it has move away.
func (d *draft) leave(number uint16) error {
	m, ok := d.byNumber(number)
	switch {
	case !ok:
		return ErrNoMember
	case m.State == Leaving || m.State == Removed:
		return nil
	case m.Has(RoleData) && !d.othersThan(m):
		return fmt.Errorf("%w: node %d cannot leave", ErrLastData, number)
	}
	d.become(m, Leaving)
	return nil
}

// remove a node for good, whatever it holds.
func (d *draft) remove(number uint16) error {
	m, ok := d.byNumber(number)
	switch {
	case !ok:
		return ErrNoMember
	case m.State == Removed:
		return nil
	case m.Has(RoleData) && !d.othersThan(m):
		return fmt.Errorf("%w: node %d cannot be removed", ErrLastData, number)
	}
	d.become(m, Removed)
	return nil
}

// othersThan says whether somebody else could hold data.
func (d *draft) othersThan(m Member) bool {
	for _, o := range d.members {
		if o.Number != m.Number && o.State == Ready && o.Has(RoleData) {
			return true
		}
	}
	return false
}

// replan has the map follow the members. Only groups that change are written.
func (d *draft) replan() {
	next, err := plan(d.cluster.GetShards(), d.ordered(), d.placed)
	if err != nil {
		d.err = errors.Join(d.err, err)
		return
	}
	for len(d.placed) < len(next) { // nobody was there yet who could hold anything
		d.placed = append(d.placed, nil)
	}
	for g, replicas := range next {
		if !slices.Equal(replicas, d.placed[g]) {
			d.place(uint32(g), replicas) //nolint:gosec // a group
		}
	}
}

func (d *draft) place(group uint32, replicas []uint16) {
	d.placed[group] = replicas
	d.put(kindPlacement, binary.BigEndian.AppendUint32(nil, group), placed(replicas))
	d.seen = true
}
