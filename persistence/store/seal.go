package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// In Badger a value is followed by the CRC-32C of key and value (4 bytes, big
// endian).
const sealBytes = crc32.Size

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// seal appends the sealed value to buf.
func seal(buf, key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(append(buf, value...), checksum(key, value))
}

func (s *Store) unseal(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - sealBytes
	if n < 0 || binary.BigEndian.Uint32(sealed[n:]) != checksum(key, sealed[:n]) {
		s.cfg.Metrics.Damaged.Inc()
		return nil, fmt.Errorf("%w: the value of key %x (%d bytes)", ErrDamaged, key, len(sealed))
	}
	return sealed[:n:n], nil
}
