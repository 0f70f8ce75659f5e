package store

import (
	"bytes"
	"errors"
	"testing"
)

func FuzzUnseal(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), []byte("garbage"), uint(3))
	f.Add([]byte{}, []byte{}, []byte{}, uint(0))
	f.Fuzz(func(t *testing.T, key, value, garbage []byte, bit uint) {
		s := &Store{cfg: small("x")}
		sealed := seal(nil, key, value)
		if got, err := s.unseal(key, sealed); err != nil || !bytes.Equal(got, value) {
			t.Fatalf("%q %v, want %q", got, err, value)
		}
		bit %= uint(len(sealed) * 8)
		sealed[bit/8] ^= 1 << (bit % 8)
		if got, err := s.unseal(key, sealed); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d flipped: %q %v", bit, got, err)
		}
		if got, err := s.unseal(append(key, 'x'), seal(nil, key, value)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("of another key: %q %v", got, err)
		}
		_, _ = s.unseal(key, garbage)
	})
}
