// Package journal is the format of the SDK's store file: a header, then
// batches of records, each with its length and checksum.
//
//	file   = "rookery store 1\n" batch*
//	batch  = length uint32, checksum uint32 (CRC-32C of what follows), body     little endian
//	body   = synced uint64, record*
//	record = uvarint len(key), key, uvarint 0 (deleted) or 1+len(value), value
//
// A batch is one write. Its synced says how much of the file was on disk when
// it was written. So a flaw can be judged: where a later batch says that the
// place had been on disk, it is damage; else it is the end of a write that a
// crash cut short, and the file ends before it.
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	header     = "rookery store 1\n"
	batchHead  = 8       // length and checksum
	bodyHead   = 8       // synced
	batchLimit = 1 << 30 // a length above it is a flaw
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Errors of Read.
var (
	ErrNotOne  = errors.New("this is no store's file")
	ErrDamaged = errors.New("a batch that had been on disk does not check")
)

// Batch is records that are written together.
type Batch struct {
	Synced  int64
	records []byte
}

// Add a record; a nil value deletes the key.
func (b *Batch) Add(key string, value []byte) {
	b.records = binary.AppendUvarint(b.records, uint64(len(key)))
	b.records = append(b.records, key...)
	if value == nil {
		b.records = binary.AppendUvarint(b.records, 0)
		return
	}
	b.records = binary.AppendUvarint(b.records, uint64(len(value))+1)
	b.records = append(b.records, value...)
}

// Bytes of the batch, as they are appended to a file.
func (b *Batch) Bytes() []byte {
	out := make([]byte, batchHead, batchHead+bodyHead+len(b.records))
	out = binary.LittleEndian.AppendUint64(out, uint64(b.Synced))
	out = append(out, b.records...)
	body := out[batchHead:]
	binary.LittleEndian.PutUint32(out, uint32(len(body)))
	binary.LittleEndian.PutUint32(out[4:], crc32.Checksum(body, castagnoli))
	return out
}

// Begin is the content of a new file, with a first batch where there is one.
func Begin(first *Batch) []byte {
	out := []byte(header)
	if first != nil {
		out = append(out, first.Bytes()...)
	}
	return out
}

// Read calls put for every record of a file and gives the offset at which to
// go on writing: its end, but for the torn end of a last write. It puts
// nothing where it returns an error.
func Read(file []byte, put func(key string, value []byte)) (int64, error) {
	if len(file) < len(header) || string(file[:len(header)]) != header {
		return 0, ErrNotOne
	}
	at := len(header)
	var bodies [][]byte
	for at < len(file) {
		body := batchAt(file, at)
		if body == nil {
			break
		}
		if err := records(body[bodyHead:], func(string, []byte) {}); err != nil {
			return 0, fmt.Errorf("batch at %d: %w", at, err)
		}
		bodies = append(bodies, body)
		at += batchHead + len(body)
	}
	if by := witness(file, at); by > 0 {
		return 0, fmt.Errorf("%w: at byte %d; the batch at %d says that it had been", ErrDamaged, at, by)
	}
	for _, body := range bodies {
		if err := records(body[bodyHead:], put); err != nil {
			return 0, err
		}
	}
	return int64(at), nil
}

// batchAt gives the body of a whole batch, or nil.
func batchAt(file []byte, at int) []byte {
	rest := file[at:]
	if len(rest) < batchHead+bodyHead {
		return nil
	}
	length := binary.LittleEndian.Uint32(rest)
	if length < bodyHead || length > batchLimit || int(length) > len(rest)-batchHead {
		return nil
	}
	body := rest[batchHead : batchHead+int(length)]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(rest[4:]) {
		return nil
	}
	return body
}

// witness finds a batch behind a flaw which says that the flaw's place had
// been on disk. 0 for none.
func witness(file []byte, flaw int) int {
	for at := flaw + 1; at+batchHead+bodyHead <= len(file); at++ {
		synced := binary.LittleEndian.Uint64(file[at+batchHead:])
		// Cheap first: most places are no batch, and most batches no witness.
		if synced > uint64(flaw) && synced <= uint64(at) && batchAt(file, at) != nil {
			return at
		}
	}
	return 0
}

// records calls put for each record of a body.
func records(b []byte, put func(key string, value []byte)) error {
	for len(b) > 0 {
		key, rest, err := piece(b)
		if err != nil {
			return fmt.Errorf("key: %w", err)
		}
		n, used := binary.Uvarint(rest)
		if used <= 0 {
			return errors.New("value: no length")
		}
		rest = rest[used:]
		if n == 0 {
			put(string(key), nil)
			b = rest
			continue
		}
		if n-1 > uint64(len(rest)) {
			return errors.New("value: longer than its batch")
		}
		put(string(key), rest[:n-1:n-1])
		b = rest[n-1:]
	}
	return nil
}

// piece takes a length and as many bytes.
func piece(b []byte) (head, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, errors.New("longer than its batch")
	}
	return b[used : used+int(n)], b[used+int(n):], nil
}
