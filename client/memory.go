package client

import (
	"context"
	"slices"
	"strings"
	"sync"
)

// MemoryStore is a Store that ends with its process.
type MemoryStore struct {
	mu      sync.Mutex
	records map[string][]byte
}

// NewMemoryStore gives an empty one.
func NewMemoryStore() *MemoryStore { return &MemoryStore{records: map[string][]byte{}} }

// Load gives all records.
func (s *MemoryStore) Load(context.Context) ([]Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sorted(s.records), nil
}

// Apply writes the records.
func (s *MemoryStore) Apply(_ context.Context, records []Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	apply(s.records, records)
	return nil
}

// Sync does nothing: memory does not outlive its process.
func (s *MemoryStore) Sync(context.Context) error { return nil }

// Close does nothing; the records stay, for the next client of this process.
func (s *MemoryStore) Close() error { return nil }

// sorted gives copies of a table's records in ascending order of key.
func sorted(table map[string][]byte) []Record {
	list := make([]Record, 0, len(table))
	for k, v := range table {
		list = append(list, Record{Key: k, Value: append([]byte{}, v...)})
	}
	slices.SortFunc(list, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// apply writes records into a table, which keeps copies of them.
func apply(table map[string][]byte, records []Record) {
	for _, r := range records {
		if r.Value == nil {
			delete(table, r.Key)
			continue
		}
		table[r.Key] = append([]byte{}, r.Value...)
	}
}
