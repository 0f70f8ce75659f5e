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

// Format of the folder that this version writes and the newest it reads.
const Format = 1

const identityName = "identity"

// state of a folder: new, and, from Established on, in use.
type state string

const (
	stateNew   state = "new"
	stateInUse state = "in use"
)

// identity is the file, as JSON. Check is over the other fields: a node that
// takes a damaged id for its own would be another node.
type identity struct {
	Format int    `json:"format"`
	Node   string `json:"node"`
	State  state  `json:"state"`
	Check  uint32 `json:"check"`
}

func (id identity) check() uint32 {
	return crc32.Checksum(fmt.Appendf(nil, "%d\n%s\n%s\n", id.Format, id.Node, id.State), crc32.MakeTable(crc32.Castagnoli))
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
	}
	if err := json.Unmarshal(data, &id); err != nil {
		return id, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	if _, err := uuid.Parse(id.Node); err != nil || id.Format < 1 || id.Check != id.check() ||
		id.State != stateNew && id.State != stateInUse {
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
