package storetest

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
)

// Memory is a store in a sorted map. Its zero value is empty and ready. Crash
// takes it back to its last complete checkpoint.
type Memory struct {
	rows   map[string][]byte
	frozen map[string][]byte // nil while no checkpoint is under way
	disk   map[string][]byte
}

var errNotWritten = errors.New("storetest: not written, as asked")

// Put stores a row.
func (m *Memory) Put(key, value []byte) {
	if m.rows == nil {
		m.rows = make(map[string][]byte)
	}
	m.rows[string(key)] = bytes.Clone(value)
}

// PutNew is Put.
func (m *Memory) PutNew(key, value []byte) { m.Put(key, value) }

// Delete removes a row, if there is one.
func (m *Memory) Delete(key []byte) { delete(m.rows, string(key)) }

// Get returns the value of a key.
func (m *Memory) Get(key []byte) (value []byte, ok bool, err error) {
	value, ok = m.rows[string(key)]
	return value, ok, nil
}

// Scan calls fn for the rows with the prefix, ascending, from the key from on.
func (m *Memory) Scan(prefix, from []byte, fn func(key, value []byte) bool) error {
	for _, key := range slices.Sorted(maps.Keys(m.rows)) {
		if strings.HasPrefix(key, string(prefix)) && bytes.Compare([]byte(key), from) >= 0 &&
			!fn([]byte(key), m.rows[key]) {
			break
		}
	}
	return nil
}

// Len is the number of rows.
func (m *Memory) Len() int { return len(m.rows) }

// Freeze starts a checkpoint, unless one is under way.
func (m *Memory) Freeze() bool {
	if m.frozen != nil {
		return false
	}
	m.frozen = make(map[string][]byte, len(m.rows))
	maps.Copy(m.frozen, m.rows)
	return true
}

// Write completes the checkpoint or leaves it undone; there is no in between.
func (m *Memory) Write(o Outcome) error {
	switch o {
	case Complete:
		m.disk = m.frozen
	case Untouched, Partial:
		return errNotWritten
	}
	return nil
}

// Thaw ends a checkpoint.
func (m *Memory) Thaw(error) { m.frozen = nil }

// Replayed changes nothing.
func (m *Memory) Replayed() {}

// Crash opens what the last complete checkpoint wrote.
func (m *Memory) Crash() Subject {
	n := &Memory{rows: maps.Clone(m.disk), disk: m.disk}
	return Subject{n, n}
}
