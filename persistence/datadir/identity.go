package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// Format of the folder that this version writes, and the only one it reads.
const Format = 2

const identityName = "identity"

// state of a folder: new, and, from Established on, in use.
type state string

const (
	stateNew   state = "new"
	stateInUse state = "in use"
)

// Origin of a node in its cluster.
type Origin string

// The origins.
const (
	Creates Origin = "creates" // the cluster, as its first node
	Joins   Origin = "joins"   // one that there is
)

// identity is the file, as JSON. Check is over the other fields: a node that
// takes a damaged id for its own would be another node.
type identity struct {
	Format int    `json:"format"`
	Node   string `json:"node"`
	State  state  `json:"state"`
	// Cluster is empty, as Origin is, until a node begins to create one, or is
	// taken into one, unless it was prepared for one.
	Cluster string `json:"cluster"`
	Origin  Origin `json:"origin"`
	// Number in the cluster; 0 until it is known.
	Number uint16 `json:"number"`
	// Shards of the cluster; 0 until it is known.
	Shards uint32 `json:"shards"`
	// Incarnation counts the starts.
	Incarnation uint64 `json:"incarnation"`
	Check       uint32 `json:"check"`
}

func (id identity) check() uint32 {
	text := fmt.Appendf(nil, "%d\n%s\n%s\n%s\n%s\n%d\n%d\n%d\n", id.Format, id.Node, id.State, id.Cluster, id.Origin, id.Number, id.Shards, id.Incarnation)
	return crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli))
}

// whole says whether it is one that a version of this format wrote.
func (id identity) whole() bool {
	if _, err := uuid.Parse(id.Node); err != nil || id.Format != Format || id.Check != id.check() {
		return false
	}
	if _, err := uuid.Parse(id.Cluster); id.Cluster != "" && err != nil {
		return false
	}
	return (id.State == stateNew || id.State == stateInUse) && (id.Origin == "" || id.Origin == Creates || id.Origin == Joins)
}

func readIdentity(dir string) (identity, error) {
	path := filepath.Join(dir, identityName)
	data, err := os.ReadFile(path)
	if err != nil {
		return identity{}, fmt.Errorf("datadir: %w", err)
	}
	// A newer format may have other fields, so that is looked at first.
	var id identity
	var format struct{ Format int }
	if err := json.Unmarshal(data, &format); err == nil && format.Format > Format {
		return id, fmt.Errorf("%w: %s says %d, this version knows %d; run the version that wrote it, or a newer one",
			ErrNewer, path, format.Format, Format)
	} else if err == nil && format.Format >= 1 && format.Format < Format {
		return id, fmt.Errorf("%w: %s says %d, this version knows %d; run the version that wrote it, or begin in an empty folder",
			ErrOlder, path, format.Format, Format)
	}
	if err := json.Unmarshal(data, &id); err != nil {
		return id, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	if !id.whole() {
		return id, fmt.Errorf("%w: %s does not match its checksum or says what no version wrote", ErrDamaged, path)
	}
	return id, nil
}

// writeIdentity replaces the file.
func writeIdentity(dir string, id identity) error {
	id.Check = id.check()
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("datadir: %w", err)
	}
	return replace(dir, identityName, data)
}

// replace writes a file: after a crash it is the old or the new one.
func replace(dir, name string, data []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("datadir: write the %s: %w", name, err)
		}
	}()
	path := filepath.Join(dir, name)
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(dir)
}
