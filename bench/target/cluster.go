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

// grow starts the other nodes of the cluster, and waits until losing one of them
// would lose nothing.
func (n *Node) grow(ctx context.Context, cfg SelfConfig, gossip string) error {
	cfg.Extra = append(slices.Clone(cfg.Extra), "--join", gossip)
	nodes := cfg.Nodes
	cfg.Nodes = 1
	for len(n.Others) < nodes-1 {
		other, err := Self(ctx, cfg)
		if err != nil {
			return err
		}
		n.Others = append(n.Others, other)
	}
	n.Set = append(n.Set, fmt.Sprintf("%d nodes", nodes))
	ctx, cancel := context.WithTimeout(ctx, replicatedPatience)
	defer cancel()
	for {
		var status struct {
			FullyReplicated bool `json:"fullyReplicated"`
		}
		err := n.do(ctx, http.MethodGet, "/v1/status", nil, &status)
		if err == nil && status.FullyReplicated {
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
