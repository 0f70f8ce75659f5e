package client

import "context"

// FileStore is a Store in one file, for one client at a time.
type FileStore struct{}

// OpenFileStore opens the file, or makes it (mode 0600) where there is none.
// ErrStoreLocked where another process or client has it; ErrStoreDamaged where
// its content was changed, other than by a crash in the middle of a write.
func OpenFileStore(path string) (*FileStore, error) { return nil, errUnfinished }

// Load gives all records.
func (s *FileStore) Load(context.Context) ([]Record, error) { return nil, errUnfinished }

// Apply appends the records to the file.
func (s *FileStore) Apply(context.Context, []Record) error { return errUnfinished }

// Sync syncs the file.
func (s *FileStore) Sync(context.Context) error { return errUnfinished }

// Close closes the file and lets go of its lock.
func (s *FileStore) Close() error { return errUnfinished }
