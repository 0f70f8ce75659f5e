package raftlog

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/rookery-im/rookery/internal/limits"
)

// Missing says what Open does where it finds no log.
type Missing uint8

const (
	// Create begins a new log, in a directory that is empty.
	Create Missing = iota
	// Refuse fails with ErrLost. It is for a caller who sees from other files
	// that there was a log before.
	Refuse
)

// String names the value for logs.
func (m Missing) String() string {
	switch m {
	case Create:
		return "create"
	case Refuse:
		return "refuse"
	default:
		return fmt.Sprintf("Missing(%d)", uint8(m))
	}
}

// Config says where a log is and how much it may hold. The zero value of each
// field but Dir (or Disk) means its default.
type Config struct {
	Dir     string
	Missing Missing

	SegmentBytes   int // size of a segment file
	TailBytes      int // newest entries kept in memory, all groups together
	GroupTailBytes int // the same, one group
	// RetainBytes bounds the segments that are kept although no restart needs
	// them, for followers that are behind. Negative: none.
	RetainBytes int

	Disk    Disk         // instead of Dir
	Metrics *Metrics     // nil: not counted
	Logger  *slog.Logger // nil: silent

	// Spawn runs what prepares segments. Nil: a goroutine; a simulation runs it
	// in line.
	Spawn func(func())
}

const (
	minSegment = 4 << 10
	maxSegment = 1 << 30
)

func (c Config) withDefaults() Config {
	if c.SegmentBytes == 0 {
		c.SegmentBytes = limits.LogSegment
	}
	if c.TailBytes == 0 {
		c.TailBytes = limits.LogTail
	}
	if c.GroupTailBytes == 0 {
		c.GroupTailBytes = limits.LogGroupTail
	}
	if c.RetainBytes == 0 {
		c.RetainBytes = limits.LogRetain
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	if c.Spawn == nil {
		c.Spawn = func(f func()) { go f() }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Dir == "" && c.Disk == nil {
		errs = append(errs, errors.New("raftlog: no directory given"))
	}
	if c.Missing > Refuse {
		errs = append(errs, fmt.Errorf("raftlog: unknown %v", c.Missing))
	}
	if c.SegmentBytes < minSegment || c.SegmentBytes > maxSegment {
		errs = append(errs, fmt.Errorf("raftlog: segment of %d bytes, want %d to %d",
			c.SegmentBytes, minSegment, maxSegment))
	}
	if c.TailBytes < 0 || c.GroupTailBytes < 0 {
		errs = append(errs, errors.New("raftlog: negative memory bound"))
	}
	return errors.Join(errs...)
}
