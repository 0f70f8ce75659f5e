package node

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/internal/limits"
	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
)

// Status is what GET /v1/status says of the cluster.
type Status struct {
	Cluster string `json:"cluster"`
	// Version of the map and the members, as this node knows them.
	Version uint64 `json:"version"`
	Shards  uint32 `json:"shards"`
	// Replicas is how many each group ought to have.
	Replicas int `json:"replicas"`
	// FullyReplicated: every group has a leader, and three replicas, where it
	// ought to have them, none far behind. It is never so with less than three
	// data nodes.
	FullyReplicated bool           `json:"fullyReplicated"`
	Members         []MemberStatus `json:"members"`
	Groups          []GroupStatus  `json:"groups"`
}

// MemberStatus is of one node.
type MemberStatus struct {
	Number  uint16    `json:"number"`
	Node    string    `json:"node"`
	State   string    `json:"state"`
	Since   time.Time `json:"since"`
	Answers bool      `json:"answers"` // it was asked, and did
	Roles   []string  `json:"roles"`
	Zone    string    `json:"zone"`
	Version string    `json:"version"`
	Gossip  string    `json:"gossip"`
	Peer    string    `json:"peer"`
	Clients string    `json:"clients"`
	// Groups that it has replicas of, Leads those of them that it leads.
	Groups int `json:"groups"`
	Leads  int `json:"leads"`
	// Loss is what losing the node now would lose, in words.
	Loss string `json:"loss"`
}

// GroupStatus is of one Raft group; group 0 is the cluster's own.
type GroupStatus struct {
	Group    uint32          `json:"group"`
	Leader   uint16          `json:"leader"` // number; 0 where it has none
	Term     uint64          `json:"term"`
	Wanted   []uint16        `json:"wanted"` // who ought to hold it, the first to lead
	Replicas []ReplicaStatus `json:"replicas"`
}

// ReplicaStatus is of one replica.
type ReplicaStatus struct {
	Number  uint16 `json:"number"` // 0 where the node is no member any more
	Learner bool   `json:"learner"`
	Active  bool   `json:"active"`
	// Lag is how many entries of the log it is behind.
	Lag uint64 `json:"lag"`
}

// maxLag is what a replica may be behind under load without being called so.
const maxLag = 10_000

// statusOf puts together what the nodes said.
func statusOf(v *control.View, reports map[string]*controlpb.Report) Status {
	s := Status{Cluster: v.Cluster, Version: v.Version, Shards: v.Shards, FullyReplicated: true, Members: []MemberStatus{}, Groups: []GroupStatus{}}
	groups := newest(reports)
	for id := range v.Shards + 1 {
		g := groupOf(v, id, groups[id])
		s.Replicas = max(s.Replicas, len(g.Wanted))
		s.FullyReplicated = s.FullyReplicated && g.full()
		s.Groups = append(s.Groups, g)
	}
	for _, m := range v.Members {
		s.Members = append(s.Members, s.memberOf(m, reports[m.Node] != nil))
	}
	return s
}

func groupOf(v *control.View, id uint32, g *controlpb.Group) GroupStatus {
	st := GroupStatus{Group: id, Term: g.GetTerm(), Wanted: slices.Clone(v.Of(id)), Replicas: []ReplicaStatus{}}
	if leader, ok := v.Node(g.GetLeader()); ok {
		st.Leader = leader.Number
	}
	for _, r := range g.GetReplicas() {
		m, _ := v.Node(r.GetNode())
		lag := uint64(0)
		if g.GetLast() > r.GetMatch() {
			lag = g.GetLast() - r.GetMatch()
		}
		st.Replicas = append(st.Replicas, ReplicaStatus{Number: m.Number, Learner: r.GetLearner(), Active: r.GetActive(), Lag: lag})
	}
	return st
}

// full says whether the group stands as it ought to.
func (g GroupStatus) full() bool {
	if g.Leader == 0 || len(g.Wanted) < control.Replicas || len(g.Replicas) != len(g.Wanted) {
		return false
	}
	for _, r := range g.Replicas {
		if !r.sound() || !slices.Contains(g.Wanted, r.Number) {
			return false
		}
	}
	return true
}

// sound says whether the replica counts: it votes, is there, and is not behind.
func (r ReplicaStatus) sound() bool { return !r.Learner && r.Active && r.Lag <= maxLag }

func (s *Status) memberOf(m control.Member, answers bool) MemberStatus {
	st := MemberStatus{
		Number: m.Number, Node: m.Node, State: m.State.String(), Since: m.Since.UTC(), Answers: answers, Roles: m.Roles, Zone: m.Zone, Version: m.Version,
		Gossip: m.Gossip, Peer: m.Peer, Clients: m.Clients,
	}
	lost, stopped, unknown := 0, 0, 0
	for _, g := range s.Groups {
		at := slices.IndexFunc(g.Replicas, func(r ReplicaStatus) bool { return r.Number == m.Number })
		switch {
		case g.Leader == 0:
			unknown++
			continue
		case at < 0:
			continue
		}
		st.Groups++
		if g.Leader == m.Number {
			st.Leads++
		}
		voters, sound := 0, 0
		for i, r := range g.Replicas {
			if !r.Learner {
				voters++
				if i != at && r.sound() {
					sound++
				}
			}
		}
		switch {
		case sound == 0:
			lost++
		case sound <= voters/2:
			stopped++
		}
	}
	st.Loss = inWords(st.Groups, lost, stopped, unknown)
	return st
}

// inWords is what losing a node would lose, which has replicas of so many groups.
func inWords(held, lost, stopped, unknown int) string {
	var parts []string
	if lost > 0 {
		parts = append(parts, fmt.Sprintf("%s would be lost: no other node has all of it", count(lost)))
	}
	if stopped > 0 {
		parts = append(parts, fmt.Sprintf("%s would stop until it is back: too few of the others would be left for a majority", count(stopped)))
	}
	if unknown > 0 {
		parts = append(parts, fmt.Sprintf("of %s nobody says who leads, so what it would lose there is not known", count(unknown)))
	}
	switch {
	case len(parts) > 0:
		return strings.Join(parts, "; ")
	case held == 0:
		return "nothing: it holds no data"
	}
	return fmt.Sprintf("nothing: the others have all of the %s that it holds, and go on without it", count(held))
}

func count(groups int) string {
	if groups == 1 {
		return "1 group"
	}
	return strconv.Itoa(groups) + " groups"
}

// report is what this node says of its groups; loop only.
func (n *Node) report() *controlpb.Report {
	r := &controlpb.Report{}
	for _, g := range n.set.Groups() {
		st := g.Status()
		r.Holds = append(r.Holds, st.Group)
		if st.Role != shard.Leading {
			continue
		}
		of := &controlpb.Group{Group: st.Group, Term: st.Term, Leader: n.dir.Node()}
		for _, p := range st.Members {
			of.Last = max(of.Last, p.Match)
			of.Replicas = append(of.Replicas, &controlpb.Replica{Node: p.Node, Learner: p.Learner, Active: p.Active && !p.Filling, Match: p.Match})
		}
		r.Leads = append(r.Leads, of)
	}
	return r
}

// sayStatus answers GET /v1/status.
func (n *Node) sayStatus(w http.ResponseWriter, r *http.Request) {
	ended := make(chan Status, 1)
	put := func() {
		n.cluster.gather(func(reports map[string]*controlpb.Report) {
			if v := n.cluster.view(); v != nil {
				ended <- statusOf(v, reports)
				return
			}
			ended <- Status{}
		})
	}
	if !n.conns.Post(put) {
		say(w, http.StatusServiceUnavailable, map[string]string{"error": errBusy.Error()})
		return
	}
	timeout := time.NewTimer(limits.AnswerTimeout)
	defer timeout.Stop()
	select {
	case s := <-ended:
		if s.Cluster == "" {
			say(w, http.StatusServiceUnavailable, map[string]string{"error": errJoining.Error()})
			return
		}
		say(w, http.StatusOK, s)
	case <-r.Context().Done():
	case <-timeout.C:
		say(w, http.StatusServiceUnavailable, map[string]string{"error": errUnknown.Error()})
	}
}

// removeNode answers DELETE /v1/nodes/{node}: its replicas move away, and then it
// is taken out. With ?force=true it is taken out at once, whatever it holds.
func (n *Node) removeNode(w http.ResponseWriter, r *http.Request) {
	v := n.cluster.view()
	name := r.PathValue("node")
	m, ok := v.Node(name)
	if number, err := strconv.ParseUint(name, 10, 16); !ok && err == nil {
		m, ok = v.Member(uint16(number))
	}
	if !ok {
		say(w, http.StatusNotFound, map[string]string{"error": "there is no node " + strconv.Quote(name)})
		return
	}
	ask := &controlpb.Ask{Body: &controlpb.Ask_Leave{Leave: uint32(m.Number)}}
	if r.FormValue("force") == "true" {
		ask = &controlpb.Ask{Body: &controlpb.Ask_Remove{Remove: uint32(m.Number)}}
	}
	if _, err := n.ask(r.Context(), ask); err != nil {
		sayError(w, err)
		return
	}
	say(w, http.StatusAccepted, map[string]any{"number": m.Number, "node": m.Node, "warning": fewer(v, m)})
}

// fewer is what becomes worse when the member is out, in words; empty where nothing does.
func fewer(v *control.View, gone control.Member) string {
	left := 0
	for _, m := range v.Members {
		if m.Node != gone.Node && m.Has(control.RoleData) && m.State != control.Leaving {
			left++
		}
	}
	switch {
	case !gone.Has(control.RoleData) || left >= control.Replicas || left == 0:
		return ""
	case left == 1:
		return "one data node is left, with the only replica of everything"
	}
	return fmt.Sprintf("%d data nodes are left, which all have to be up: add one", left)
}
