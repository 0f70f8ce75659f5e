package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// viewName is a file that only its owner may read: it holds the keys that sign
// tokens.
const viewName = "view"

// Cluster is the id of the node's cluster, a UUID; empty until it is known.
func (d *Dir) Cluster() string { return d.id.Load().Cluster }

// Number of the node in its cluster; 0 until it is known.
func (d *Dir) Number() uint16 { return d.id.Load().Number }

// Shards of the cluster; 0 until it is known.
func (d *Dir) Shards() uint32 { return d.id.Load().Shards }

// Origin of the node in its cluster; empty before Begin.
func (d *Dir) Origin() Origin { return d.id.Load().Origin }

// Incarnation is which of its lives the node lives: how often Begin was called.
func (d *Dir) Incarnation() uint64 { return d.id.Load().Incarnation }

// Begin a life of the node, which is to create a cluster, or to join one. What
// became of an earlier life rules: a node that is in a cluster stays there.
func (d *Dir) Begin(o Origin) error {
	id := *d.id.Load()
	if d.undecided() {
		// An earlier start that was cut short decided nothing.
		id.Cluster, id.Origin = "", o
		if o == Creates {
			id.Cluster = uuid.NewString()
		}
	}
	// One that has begun to create its cluster is in it, though it has no number yet.
	created := id.Origin == Creates && !d.New()
	if id.Number == 0 && id.Origin != o && !created {
		how := "start it with --join and the address of a node that is there"
		if id.Origin == Creates {
			how = "start it without --join"
		}
		return fmt.Errorf("%w: %s is for a node that %s cluster %s, and this start %s one: %s", ErrOrigin, d.path, id.Origin, id.Cluster, o, how)
	}
	return d.change(func(was *identity) {
		was.Cluster, was.Origin = id.Cluster, id.Origin
		was.Incarnation++
	})
}

// undecided says whether nothing of an earlier life has to last: the folder was
// not prepared, and it was never in use.
func (d *Dir) undecided() bool {
	return d.New() && d.id.Load().Number == 0 && (d.id.Load().Origin == "" || d.id.Load().Incarnation > 0)
}

// Prepare a folder that no node has begun in for a cluster: to create the one of
// that id, or to join it. One of a member of that cluster stays as it is.
func (d *Dir) Prepare(cluster string, o Origin) error {
	if d.id.Load().Number != 0 && d.id.Load().Cluster == cluster {
		return nil // it is what it is
	}
	if d.id.Load().Incarnation > 0 || d.id.Load().Origin != "" && (d.id.Load().Origin != o || d.id.Load().Cluster != cluster) {
		return fmt.Errorf("%w: %s belongs to a node already", ErrOrigin, d.path)
	}
	return d.change(func(id *identity) { id.Cluster, id.Origin = cluster, o })
}

// Belong says which cluster has taken the node in, under which number. The number
// of its shards is kept as well: without it no user is found.
func (d *Dir) Belong(cluster string, number uint16, shards uint32) error {
	if d.id.Load().Cluster == cluster && d.id.Load().Number == number {
		return nil
	}
	if d.id.Load().Number != 0 || d.id.Load().Cluster != "" && d.id.Load().Cluster != cluster {
		return fmt.Errorf("%w: %s is node %d of cluster %s, and cannot be node %d of %s", ErrOrigin, d.path, d.id.Load().Number, d.id.Load().Cluster, number, cluster)
	}
	return d.change(func(id *identity) { id.Cluster, id.Number, id.Shards = cluster, number, shards })
}

// View is what SetView kept last; nil where it never did.
func (d *Dir) View() ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(d.path, viewName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("datadir: %w", err)
	}
	return data[:max(0, len(data)-1)], nil // a file ends with a newline
}

// SetView keeps what the node knows of its cluster. It waits for the disk; any
// goroutine may call it, one at a time, until Close.
func (d *Dir) SetView(view []byte) error { return replace(d.path, viewName, view) }
