package target

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rookery-im/rookery/bench/machine"
)

// replicatedPatience is how long a new cluster may take to have all its replicas:
// with a node's 64 shards a few seconds, with 256 up to a minute.
const replicatedPatience = 2 * time.Minute

// Placement is where a cluster's replicas are, as its status says.
type Placement struct {
	FullyReplicated bool    `json:"fullyReplicated"`
	Groups          []Group `json:"groups"`
}

// Group is a Raft group; nodes are told apart by their numbers. Number 0 is the
// cluster's own, the others are shards.
type Group struct {
	Group    uint32   `json:"group"`
	Leader   uint16   `json:"leader"`
	Wanted   []uint16 `json:"wanted"` // who ought to hold it, the first to lead
	Replicas []struct {
		Number  uint16 `json:"number"`
		Learner bool   `json:"learner"`
	} `json:"replicas"`
}

// Settled says whether every group is where it ought to be, and nowhere else, and
// whether the one leads it that ought to.
func (p Placement) Settled() bool {
	return p.FullyReplicated && !slices.ContainsFunc(p.Groups, func(g Group) bool { return !g.settled() })
}

func (g Group) settled() bool {
	for _, r := range g.Replicas {
		if r.Learner || !slices.Contains(g.Wanted, r.Number) {
			return false
		}
	}
	return len(g.Replicas) == len(g.Wanted) && len(g.Wanted) > 0 && g.Leader == g.Wanted[0]
}

// Shards is the number of them.
func (p Placement) Shards() int {
	return len(slices.DeleteFunc(slices.Clone(p.Groups), func(g Group) bool { return g.Group == 0 }))
}

// Moved counts the replicas of shards that are where none was before.
func (p Placement) Moved(before Placement) (n int) {
	type place struct {
		group uint32
		node  uint16
	}
	had := map[place]bool{}
	for _, g := range before.Groups {
		for _, r := range g.Replicas {
			had[place{g.Group, r.Number}] = true
		}
	}
	for _, g := range p.Groups {
		for _, r := range g.Replicas {
			if g.Group != 0 && !had[place{g.Group, r.Number}] {
				n++
			}
		}
	}
	return n
}

// Placement of the cluster that the node is in.
func (n *Node) Placement(ctx context.Context) (p Placement, err error) {
	err = n.do(ctx, http.MethodGet, "/v1/status", nil, &p)
	return p, err
}

// Join starts one more node of a cluster that was started here, and waits until
// it is ready, not until it has any replica.
func (n *Node) Join(ctx context.Context) error {
	if n.own == nil || n.own.next.Binary == "" {
		return errors.New("target: only a cluster started by the bench itself may grow: use --self --nodes 3")
	}
	other, err := Self(ctx, n.own.next)
	if err == nil {
		n.Others = append(n.Others, other)
	}
	return err
}

// grow starts the other nodes of the cluster, and waits until losing one of them
// would lose nothing.
func (n *Node) grow(ctx context.Context, cfg SelfConfig, gossip string) error {
	n.own.next = cfg
	n.own.next.Nodes, n.own.next.Extra = 1, append(slices.Clone(cfg.Extra), "--join", gossip)
	for len(n.Others) < cfg.Nodes-1 {
		if err := n.Join(ctx); err != nil {
			return err
		}
	}
	n.Set = append(n.Set, fmt.Sprintf("%d nodes", cfg.Nodes))
	ctx, cancel := context.WithTimeout(ctx, replicatedPatience)
	defer cancel()
	for {
		p, err := n.Placement(ctx)
		if err == nil && p.FullyReplicated {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("target: the cluster did not get all its replicas"), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Addresses of clients, of all nodes.
func (n *Node) Addresses() []string {
	all := []string{n.Address}
	for _, other := range n.Others {
		all = append(all, other.Address)
	}
	return all
}

// Metrics of all nodes: sums, but for quantiles, of which it is the highest.
func (n *Node) Metrics(ctx context.Context) (Metrics, error) {
	sum, err := n.Admin.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	for _, other := range n.Others {
		m, err := other.Metrics(ctx)
		if err != nil {
			return nil, err
		}
		for name, v := range m {
			if strings.Contains(name, "{quantile=") {
				sum[name] = max(sum[name], v)
			} else {
				sum[name] += v
			}
		}
	}
	return sum, nil
}

// processes of all nodes together, on this machine.
func (n *Node) processes() (machine.Process, error) {
	sum, err := machine.ReadProcess(n.About.PID)
	if err != nil {
		return sum, err
	}
	for _, other := range n.Others {
		p, err := other.processes()
		if err != nil {
			return sum, err
		}
		sum.CPU += p.CPU
		sum.Resident += p.Resident
		sum.Anonymous += p.Anonymous
		sum.BytesWritten += p.BytesWritten
		sum.BytesRead += p.BytesRead
		sum.Cancelled += p.Cancelled
	}
	return sum, nil
}
