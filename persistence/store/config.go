package store

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Presence says whether Open may begin a database.
type Presence uint8

const (
	// MayCreate begins an empty database where there is none.
	MayCreate Presence = iota
	// MustExist refuses a folder without a database: it was lost.
	MustExist
)

// Config of a Store. Zero values mean the default.
type Config struct {
	Dir      string // folder of Badger's files; required
	Presence Presence
	Logger   *slog.Logger // required
	Metrics  *Metrics     // required

	// Split gives the length of the part of a key that its mailbox's rows have in
	// common, or 0 for a prefix of a key that ends before that. Every key has such
	// a part, and none may be the beginning of another. Rows that share it are close
	// together in memory, and scanning within it is cheap. Default: none.
	Split func(key []byte) int

	Reserve     int64 // free bytes a checkpoint leaves on the file system; DefaultReserve
	ChunkBytes  int   // bytes written to Badger between two pauses, each with a look at space and context; default 512 KiB
	VerifyBytes int64 // tables larger than this in total are verified by Maintain only, not at Open; default 8 GiB
	FlattenMax  int64 // Maintain flattens a tree up to this size; default 4 GiB

	MemTableBytes   int64 // of each of Badger's memtables; default 32 MiB
	BlockCacheBytes int64 // DefaultBlockCache
}

// Defaults that an operator may want to see.
const (
	DefaultReserve    = 256 * mib
	DefaultBlockCache = 32 * mib
)

const (
	mib = 1 << 20

	// No value is this long; see "No value log" in the package comment.
	valueThreshold = mib
	// Badger's memtables: one being written, two being flushed.
	memTables  = 3
	compactors = 2
	// A key longer than this is a bug of the caller; Badger takes 65,000.
	maxKey = 1 << 10
)

func (c *Config) setDefaults() {
	def := func(field *int64, value int64) {
		if *field == 0 {
			*field = value
		}
	}
	def(&c.Reserve, DefaultReserve)
	def(&c.VerifyBytes, 8<<30)
	def(&c.FlattenMax, 4<<30)
	def(&c.MemTableBytes, 32*mib)
	def(&c.BlockCacheBytes, DefaultBlockCache)
	if c.Split == nil {
		c.Split = func([]byte) int { return 0 }
	}
	if c.ChunkBytes == 0 {
		c.ChunkBytes = mib / 2
	}
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	c.setDefaults()
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(c.Dir != "", "store: Dir is required")
	check(c.Logger != nil, "store: Logger is required")
	check(c.Metrics != nil, "store: Metrics is required")
	check(c.Presence <= MustExist, "store: unknown Presence %d", c.Presence)
	check(c.Reserve > 0, "store: Reserve %d is negative", c.Reserve)
	check(c.VerifyBytes > 0, "store: VerifyBytes %d is negative", c.VerifyBytes)
	check(c.FlattenMax > 0, "store: FlattenMax %d is negative", c.FlattenMax)
	check(c.ChunkBytes > 0, "store: ChunkBytes %d is negative", c.ChunkBytes)
	check(c.MemTableBytes >= mib, "store: MemTableBytes %d is below 1 MiB", c.MemTableBytes)
	check(c.BlockCacheBytes >= mib, "store: BlockCacheBytes %d is below 1 MiB", c.BlockCacheBytes)
	return errors.Join(faults...)
}

// maxValue is what Badger takes in one transaction, with room to spare (its
// bound is 15% of a memtable), and keeps in the tree.
func (c Config) maxValue() int { return int(min(c.MemTableBytes/8, valueThreshold-sealBytes-1)) }

func (c Config) badger() badger.Options {
	o := badger.DefaultOptions(c.Dir)
	o.Logger = badgerLog{c.Logger, c.Metrics}
	o.MemTableSize = c.MemTableBytes
	o.NumMemtables = memTables
	o.NumCompactors = compactors
	o.ValueLogFileSize = mib // the least; it stays empty
	o.ValueThreshold = min(valueThreshold, c.MemTableBytes/7)
	o.BlockCacheSize = c.BlockCacheBytes
	// Without encryption Badger reads indexes from its mapped files and
	// never asks the index cache.
	o.IndexCacheSize = 0
	// Payloads are ciphertext; keys are prefix-compressed in any case.
	o.Compression = options.None
	o.DetectConflicts = false
	o.NumVersionsToKeep = 1
	o.SyncWrites = false
	// Left off on purpose, see "Damage" in the package comment.
	o.ChecksumVerificationMode = options.NoVerification
	o.MetricsEnabled = false // package-level expvars
	return o
}
