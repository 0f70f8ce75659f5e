package raftlog

import (
	"errors"
	"fmt"
)

var (
	// ErrDamaged is what every [DamagedError] is.
	ErrDamaged = errors.New("raftlog: damaged")
	// ErrLost says that there is no log where there has to be one.
	ErrLost = errors.New("raftlog: the log is lost")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("raftlog: closed")
	// ErrTooLarge refuses an Append or a checkpoint above limits.LogWrite.
	// Nothing was written, the log stays usable.
	ErrTooLarge = errors.New("raftlog: write too large")
)

// DamagedError says where something that was durable does not check any more.
// The log is left as it was found.
type DamagedError struct {
	File   string
	Offset int64
	Reason string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("raftlog: %s is damaged at offset %d: %s. "+
		"Acknowledged writes may be missing, so this replica must not start with what is left: "+
		"check the disk; with other replicas, wipe this node's data and let it join under a new id; "+
		"without, restore the data directory from a backup",
		e.File, e.Offset, e.Reason)
}

// Is makes errors.Is(err, ErrDamaged) hold.
func (e *DamagedError) Is(target error) bool { return target == ErrDamaged }
