package client

import "context"

// Store keeps what a device must remember across restarts: its token and
// number, how far it has received, and the messages that have no fate yet.
// It is a small table of records, which only the client understands.
//
// Use NewMemoryStore, OpenFileStore, or your own; package storetest has the
// tests that each must pass. A client calls one method at a time.
type Store interface {
	// Load gives all records, in ascending order of key.
	Load(ctx context.Context) ([]Record, error)
	// Apply writes the records in order and all together: after a crash, all of
	// them are there or none, and none without those of earlier calls. What it
	// wrote outlives the process, but need not yet outlive a power cut. After
	// an error it is not known what was written, and the client stops.
	Apply(ctx context.Context, records []Record) error
	// Sync makes everything applied outlive a power cut.
	Sync(ctx context.Context) error
	// Close lets go of what the store holds. Close of the client calls it.
	Close() error
}

// Record is one entry of a Store. A nil Value deletes the key; an empty one does not.
type Record struct {
	Key   string
	Value []byte
}
