package poll

import (
	"fmt"

	"github.com/rookery-im/rookery/internal/limits"
)

// ID names a connection: generation, then index, in the lowest IDBits bits, so
// that others can say above them whose connection it is. Zero names none.
type ID uint64

// The parts of an ID.
const (
	indexBits      = limits.ConnIndexBits
	generationBits = limits.ConnGenerationBits

	IDBits = indexBits + generationBits
)

// MakeID joins the parts of an ID.
func MakeID(index, generation uint32) ID { return ID(generation)<<indexBits | ID(index) }

// Index is the connection's place in tables, which another takes afterwards.
func (id ID) Index() uint32 { return uint32(id & (1<<indexBits - 1)) }

// Generation tells apart the connections that had the same index.
func (id ID) Generation() uint32 { return uint32(id >> indexBits) } //nolint:gosec // of IDBits

// String is index.generation.
func (id ID) String() string { return fmt.Sprintf("%d.%d", id.Index(), id.Generation()) }
