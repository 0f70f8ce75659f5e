package auth

import (
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/transport/auth/keyset"
)

// What is remembered is what was proved, to the nanosecond, for ids of every
// length; and what was dropped is not.
func TestCacheKeepsWhatWasProved(t *testing.T) {
	c := newCache(100)
	keys := []*keyset.Key{nil, {ID: "a"}, {ID: "b"}}
	of := func(i int) verified {
		v := verified{claims: Claims{User: strings.Repeat("u", i), Device: 7, Expires: time.Unix(1e10+int64(i), int64(i))}, outside: keys[i%3]}
		if i%3 == 0 {
			v.key = "k1"
		}
		if i%2 == 0 {
			v.begins = time.Unix(5, 999_999_999)
		}
		return v
	}
	for range 2 { // a token that is proved twice is there once
		for i := 1; i <= 50; i++ {
			c.put(digest{byte(i)}, of(i))
		}
	}
	c.put(digest{0, 1}, of(64))
	for i := 1; i <= 50; i++ {
		got, ok := c.get(digest{byte(i)})
		want := of(i)
		if !ok || got.claims.User != want.claims.User || got.claims.Device != 7 || !got.claims.Expires.Equal(want.claims.Expires) ||
			got.key != want.key || got.outside != want.outside || !got.begins.Equal(want.begins) || got.begins.IsZero() != want.begins.IsZero() {
			t.Fatalf("%d: %+v (%t), want %+v", i, got, ok, want)
		}
	}
	if n := c.len(); n != 51 {
		t.Errorf("%d tokens", n)
	}
	for i := 1; i <= 50; i++ {
		c.drop(digest{byte(i)})
		if _, ok := c.get(digest{byte(i)}); ok {
			t.Fatalf("%d is still there", i)
		}
	}
	if v, _ := c.get(digest{0, 1}); v.claims.User != of(64).claims.User {
		t.Errorf("the longest id became %q", v.claims.User)
	}
}

// An issuer that changes its keys all the time does not fill the memory.
func TestCacheBoundsSigners(t *testing.T) {
	c := newCache(1 << 20)
	for i := range 3 * signersMax {
		sum := digest{byte(i), byte(i >> 8)}
		key := &keyset.Key{}
		c.put(sum, verified{claims: Claims{User: "u", Device: 1}, outside: key})
		if v, ok := c.get(sum); !ok || v.outside != key || len(c.signers) > signersMax {
			t.Fatalf("%d: %t, %d signers", i, ok, len(c.signers))
		}
	}
}

// A million tokens are 105 MB and a few thousand objects; here are fewer.
func TestCacheBudget(t *testing.T) {
	const tokens = 50_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c := newCache(2 * tokens)
	for i := range uint32(tokens) {
		var sum digest
		binary.LittleEndian.PutUint32(sum[:], i*2654435761)
		c.put(sum, verified{claims: Claims{User: "+4915112345678", Device: 1, Expires: time.Unix(1e10, 0)}, key: "k1"})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	bytes, objects := float64(after.HeapAlloc-before.HeapAlloc)/tokens, float64(after.HeapObjects-before.HeapObjects)/tokens
	if bytes > 120 || objects > 0.05 {
		t.Errorf("%.0f bytes and %.3f objects for a token", bytes, objects)
	}
	runtime.KeepAlive(c)
}
