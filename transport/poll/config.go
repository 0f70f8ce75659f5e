package poll

import (
	"errors"
	"fmt"
	"time"
)

// Config of a loop. Zero values mean the defaults.
type Config struct {
	ReadBuffer int // bytes read at once; 64 KiB
	Events     int // taken from the kernel at once; 1024
	KeepBytes  int // of unused buffers of each size; 8 MiB

	// RoundBytes is how much one Wait reads of what has come, before what it led
	// to is written, and Round for how long at most: 256 KiB, of which each
	// connection that is read takes 1 KiB for itself, and 10 ms. That is some
	// hundreds of messages, which share a write to the disk; who comes next waits
	// for them and no longer. The last connection's share comes on top.
	RoundBytes int
	Round      time.Duration
	Clock      func() time.Time // time.Now
}

func (c Config) withDefaults() Config {
	if c.ReadBuffer == 0 {
		c.ReadBuffer = 64 << 10
	}
	if c.Events == 0 {
		c.Events = 1024
	}
	if c.KeepBytes == 0 {
		c.KeepBytes = 8 << 20
	}
	if c.RoundBytes == 0 {
		c.RoundBytes = 256 << 10
	}
	if c.Round == 0 {
		c.Round = 10 * time.Millisecond
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var errs []error
	if c.ReadBuffer < 0 || c.ReadBuffer > 1<<24 {
		errs = append(errs, fmt.Errorf("poll: ReadBuffer is %d bytes", c.ReadBuffer))
	}
	if c.Events < 0 || c.Events > 1<<16 {
		errs = append(errs, fmt.Errorf("poll: Events is %d", c.Events))
	}
	if c.KeepBytes < 0 {
		errs = append(errs, fmt.Errorf("poll: KeepBytes is %d", c.KeepBytes))
	}
	if c.RoundBytes < 0 {
		errs = append(errs, fmt.Errorf("poll: RoundBytes is %d", c.RoundBytes))
	}
	if c.Round < 0 || c.Round > time.Second {
		errs = append(errs, fmt.Errorf("poll: Round is %v", c.Round))
	}
	return errors.Join(errs...)
}

// Handler hears of what happens to connections. All is called on the loop's
// goroutine, from Wait or Flush.
type Handler interface {
	// Data lends bytes that were read, during the call. They may be overwritten.
	Data(id ID, b []byte)
	// Wrote is called when something was written; left bytes still wait.
	Wrote(id ID, left int)
	// Gone is called when the peer has ended its stream (io.EOF) or the
	// connection failed. The handler closes the ID, now or soon; until then
	// nothing is read.
	Gone(id ID, err error)
}

// Stats count since the start.
type Stats struct {
	Read, Written           uint64 // bytes
	Reads, Writes, ShortOut uint64 // system calls; writes that the kernel did not take whole
}

// Plus adds the counts of two loops.
func (s Stats) Plus(o Stats) Stats {
	return Stats{
		Read: s.Read + o.Read, Written: s.Written + o.Written,
		Reads: s.Reads + o.Reads, Writes: s.Writes + o.Writes, ShortOut: s.ShortOut + o.ShortOut,
	}
}
