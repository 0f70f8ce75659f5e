// Package storetest is the contract of a store as a test, and Memory, the
// plainest store that keeps it, for tests of other packages.
//
// A subject goes through random scenarios of changes, checkpoints (completed,
// failed, cut off) and crashes. After a crash the log is replayed from the last
// completed checkpoint, and the store must hold what a map holds that never
// crashed.
package storetest

// Rows is a store as the loop sees it between checkpoints.
type Rows interface {
	Put(key, value []byte)
	PutNew(key, value []byte)
	Delete(key []byte)
	Get(key []byte) (value []byte, ok bool, err error)
	Scan(prefix, from []byte, fn func(key, value []byte) bool) error
}

// Life is a store's checkpoints and its end.
type Life interface {
	Freeze() bool
	// Write writes the frozen generation, all of it or up to some point.
	Write(Outcome) error
	Thaw(err error)
	Replayed()
	// Crash ends the subject at once and opens another on what it left.
	Crash() Subject
}

// Subject is a store under test.
type Subject struct {
	Rows
	Life
}

// Outcome of a Write.
type Outcome uint8

const (
	Complete Outcome = iota
	// Untouched fails before anything is written.
	Untouched
	// Partial fails when some of it is written.
	Partial
	// Unrecorded is complete, but the log does not get to know.
	Unrecorded
)

func (o Outcome) String() string {
	return [...]string{"complete", "untouched", "partial", "unrecorded"}[o]
}
