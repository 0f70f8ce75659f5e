package poll

import "fmt"

// ID names a connection: generation<<32 | index. Zero names none.
type ID uint64

// MakeID joins the parts of an ID.
func MakeID(index, generation uint32) ID { return ID(generation)<<32 | ID(index) }

// Index is the connection's place in tables, which another takes afterwards.
func (id ID) Index() uint32 { return uint32(id) }

// Generation tells apart the connections that had the same index.
func (id ID) Generation() uint32 { return uint32(id >> 32) }

// String is index.generation.
func (id ID) String() string { return fmt.Sprintf("%d.%d", id.Index(), id.Generation()) }
