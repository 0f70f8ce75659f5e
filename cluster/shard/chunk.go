package shard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Row of a replica, without what all keys of its version begin with.
type Row struct{ Key, Value []byte }

// errChunk: rows from another node that are not what was sent.
var errChunk = errors.New("shard: a chunk that does not check")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func rowSum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// appendRow encodes a row as shardpb.Chunk says.
func appendRow(b, key, value []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = binary.AppendUvarint(b, uint64(len(value)))
	b = append(append(b, key...), value...)
	return binary.BigEndian.AppendUint32(b, rowSum(key, value))
}

// readRows takes a chunk apart. The rows are parts of b.
func readRows(b []byte) ([]Row, error) {
	var rows []Row
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, fmt.Errorf("%w: the length of a key", errChunk)
		}
		b = b[n:]
		value, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, fmt.Errorf("%w: the length of a value", errChunk)
		}
		b = b[n:]
		if have := uint64(len(b)); key > have || value > have-key || have-key-value < crc32.Size {
			return nil, fmt.Errorf("%w: it ends within a row", errChunk)
		}
		r := Row{b[:key:key], b[key : key+value : key+value]}
		if b = b[key+value:]; binary.BigEndian.Uint32(b) != rowSum(r.Key, r.Value) {
			return nil, fmt.Errorf("%w: the row of %x", errChunk, r.Key)
		}
		b = b[crc32.Size:]
		rows = append(rows, r)
	}
	return rows, nil
}
