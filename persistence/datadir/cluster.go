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
func (d *Dir) Cluster() string { return d.id.Cluster }

// Number of the node in its cluster; 0 until it is known.
func (d *Dir) Number() uint16 { return d.id.Number }

// Incarnation is which of its lives the node lives: how often Begin was called.
func (d *Dir) Incarnation() uint64 { return d.id.Incarnation }

// Begin a life of the node, which is to create a cluster, or to join one. What
// became of an earlier life rules: a node that is in a cluster stays there.
func (d *Dir) Begin(o Origin) error {
	id := d.id
	if d.undecided() {
		// An earlier start that was cut short decided nothing.
		id.Cluster, id.Origin = "", o
		if o == Creates {
			id.Cluster = uuid.NewString()
		}
	}
	if id.Number == 0 && id.Origin != o {
		return fmt.Errorf("%w: %s is for a node that %s cluster %s, and this start %s one", ErrOrigin, d.path, id.Origin, id.Cluster, o)
	}
	return d.change(func(was *identity) {
		was.Cluster, was.Origin = id.Cluster, id.Origin
		was.Incarnation++
	})
}

// undecided says whether nothing of an earlier life has to last: the folder was
// not prepared, and it was never in use.
func (d *Dir) undecided() bool {
	return d.New() && d.id.Number == 0 && (d.id.Origin == "" || d.id.Incarnation > 0)
}

// Prepare a folder that no node has begun in for a cluster: to create the one of
// that id, or to join it.
func (d *Dir) Prepare(cluster string, o Origin) error {
	if d.id.Incarnation > 0 || d.id.Origin != "" && (d.id.Origin != o || d.id.Cluster != cluster) {
		return fmt.Errorf("%w: %s belongs to a node already", ErrOrigin, d.path)
	}
	return d.change(func(id *identity) { id.Cluster, id.Origin = cluster, o })
}

// Belong says which cluster has taken the node in, under which number.
func (d *Dir) Belong(cluster string, number uint16) error {
	if d.id.Cluster == cluster && d.id.Number == number {
		return nil
	}
	if d.id.Number != 0 || d.id.Cluster != "" && d.id.Cluster != cluster {
		return fmt.Errorf("%w: %s is node %d of cluster %s, and cannot be node %d of %s", ErrOrigin, d.path, d.id.Number, d.id.Cluster, number, cluster)
	}
	return d.change(func(id *identity) { id.Cluster, id.Number = cluster, number })
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
