package shard

import (
	"context"
)

// Space is where the rows of a replica are: a version of its group's keys.
type Space struct{ Group, Version uint32 }

// Rows are what machines have in the store, as snapshots see them.
type Rows interface {
	// Cut opens the rows as the last completed checkpoint left them; false where
	// none has completed yet. It is called on the loop.
	Cut(Space) (Cut, bool)
	// Load begins to take rows of a space that nobody has used. It is called on
	// the loop.
	Load(Space) Load
	// Erase deletes what the disk has of a space into which nobody writes any
	// more. Off the loop.
	Erase(context.Context, Space) error
	// Spaces are all of which the disk has rows. It is called on the loop.
	Spaces() []Space
}

// Cut is one state of a replica's rows. Its Scan is called off the loop.
type Cut interface {
	// Scan calls fn for each row from a key on, ascending, until it returns false.
	// What it hands out is valid during the call.
	Scan(from []byte, fn func(key, value []byte) bool) error
	Close()
}

// Load puts rows beside what is there. Off the loop, one call at a time.
type Load interface {
	Write(context.Context, []Row) error
	// Sync returns when all of it is durable.
	Sync() error
}
