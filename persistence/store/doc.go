// Package store holds the state of every shard: Badger, and in front of it a
// write-back overlay in memory.
//
// The Raft log is the write-ahead log. Applying an entry only changes the
// overlay; Badger is written at checkpoints, away from the hot path, with what
// is still there then. A row that was put and deleted between two checkpoints
// never reaches Badger.
//
// # Layers
//
//	live     what was applied since the last Freeze; the loop writes here
//	frozen   the generation that a checkpoint is writing; read-only
//	Badger   what earlier checkpoints wrote, and perhaps a part of this one
//
// A row is what the highest layer says about its key; a tombstone there hides
// what is below.
//
// # A checkpoint
//
//	f, ok := s.Freeze()   loop: live becomes frozen, an empty live begins
//	err := f.Write(ctx)   any goroutine: into Badger, then every file synced
//	s.Thaw(f, err)        loop: frozen is dropped, or goes back below live
//
// Write takes small steps, each synced, with pauses for others between them;
// Hurry ends the pauses.
//
// Only after Thaw without an error may the log's checkpoint advance to the
// index that was applied at Freeze. A crash before leaves Badger partly ahead
// of the log's checkpoint; replay repairs that, because rows are absolute
// values and deletes of rows that may be in Badger are tombstones.
//
// # What may be left out (elision)
//
// Deleting a row leaves nothing behind only when its key is known to be in no
// layer below. Looking that up costs too much for the hot path, so the caller
// says it: PutNew is for keys that no earlier entry of the log ever put. After
// Open that is not enough: Badger may be ahead of the log's checkpoint, so a
// key that is new to the replayed log may be in Badger already. Until Replayed
// was called and a checkpoint frozen after it has completed, PutNew is
// therefore the same as Put, and every delete is a tombstone. (A checkpoint
// frozen before all that Badger may know was applied again would not do: some of
// it would still be to come.) A database that
// was empty at Open holds nothing to fear and is trusted from the start.
//
// # Rows from elsewhere
//
// A snapshot that another node sends is put into Badger by Load, beside the
// overlay, under a prefix that nobody has used yet; its rows are those of exactly
// one entry's outcome, and the entries that follow are applied on top of them as
// on any checkpoint. Both halves of elision still hold then. PutNew is for keys
// that no earlier entry put, those before the snapshot's included, so no loaded
// row has such a key; but only because a View, out of which the sender reads, is
// never ahead of the entry: it is opened on a completed checkpoint, and not before
// everything that Badger knew at Open was applied again. And a prefix is never
// used for two loads: rows of an earlier one, of which the later knows nothing,
// would come back. Deleting a loaded row leaves a tombstone, like that of any row
// that a checkpoint wrote, since its put was no PutNew of this generation.
//
// What was there before is deleted by Erase, in steps, once a checkpoint has
// completed that was begun after its last row was put; leftovers of loads that
// came to nothing are, at the next start. Dropping a prefix as Badger does it
// stops every writer, and is not used.
//
// Badger keeps every version of a row that the last checkpoint or an open View
// can see: the rows of a checkpoint, a load and a deletion each have a version of
// their own.
//
// # No value log
//
// All values are in Badger's tree. Collecting garbage in its value log (4.9.6)
// asks of each old value whether its version is still in the tree, not whether
// it is the newest. A version hidden by a tombstone is written back to the top;
// when the tombstone then reaches the last level and is dropped, the deleted row
// is there again. It also removes the old log before anything that replaces it
// is synced. Payloads are at most some 100 KB, and few outlive a checkpoint.
//
// # Damage
//
// Badger treats a block that does not match its checksum as a block without
// rows, also while it compacts. So its check on block reads is left off, every value
// carries a checksum of key and value that Get and Scan verify, and whole
// tables are verified at Open, before Badger may touch them, and by Maintain. A
// log or manifest with a damaged record is to Badger one that ends there; see
// SYNCED in marks.go.
package store
