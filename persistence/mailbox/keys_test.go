package mailbox

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A key comes apart into what it was made of.
func TestKeyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		space := Space{Shard: rapid.Uint32().Draw(t, "shard"), Version: rapid.Uint32().Draw(t, "version")}
		user := rapid.StringMatching(`[a-z0-9+._@-]{0,64}`).Draw(t, "user")
		kind := Kind(rapid.Byte().Draw(t, "kind"))
		suffix := rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "suffix")
		key := space.Key(user, kind, suffix...)
		s, u, k, x, err := Split(key)
		if err != nil || s != space || u != user || k != kind || !bytes.Equal(x, suffix) {
			t.Fatalf("%x: %v %q %q %x, %v", key, s, u, k, x, err)
		}
		if !bytes.HasPrefix(key, space.User(user)) || !bytes.HasPrefix(key, space.Prefix()) {
			t.Fatalf("%x is outside its user or its space", key)
		}
	})
}

// A peer's suffixes come apart, and no peer's rows stand among another's.
func TestPeerSuffixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[a-c]{1,4}`)
		a, b := id.Draw(t, "a"), id.Draw(t, "b")
		device := rapid.Uint32().Draw(t, "device")
		for _, suffix := range [][]byte{SenderSuffix(a, device), ResultSuffix(a, device, 63), ReceiptSuffix(a, b), Peer(a)} {
			peer, rest, err := SplitPeer(suffix)
			if err != nil || peer != a || !bytes.Equal(append(Peer(a), rest...), suffix) {
				t.Fatalf("%x: %q %x, %v", suffix, peer, rest, err)
			}
			if a != b && bytes.HasPrefix(suffix, Peer(b)) {
				t.Fatalf("%x of %s is among the rows of %s", suffix, a, b)
			}
		}
	})
}

// One user's rows are never among another's, even where one id begins the
// other, and entries sort by seq.
func TestKeyOrder(t *testing.T) {
	s := Space{Shard: 7, Version: 1}
	for _, other := range []string{"ann", "bo", "bobb", "bob\x00", ""} {
		if bytes.HasPrefix(s.Key(other, Entry, U64(1)...), s.User("bob")) {
			t.Errorf("the rows of %q are among those of bob", other)
		}
	}
	keys := [][]byte{
		s.Key("bob", Entry, U64(1)...), s.Key("bob", Entry, U64(255)...), s.Key("bob", Entry, U64(256)...),
		s.Key("bob", Entry, U64(1<<32)...), s.Key("bob", Entry, U64(1<<63)...),
	}
	if !slices.IsSortedFunc(keys, bytes.Compare) {
		t.Error("entries do not sort by seq")
	}
	if long := strings.Repeat("x", 64); len(s.User(long)) != 9+64 {
		t.Errorf("the prefix of a user with %d bytes has %d", len(long), len(s.User(long)))
	}
}

func FuzzSplit(f *testing.F) {
	s := Space{Shard: 7, Version: 1}
	f.Add(s.Key("bob", Entry, U64(1)...))
	f.Add(s.Key("", Outbox, U32(1)...))
	f.Add(s.Key("bob", Receipt, ReceiptSuffix("alice", "bob")...)[:14])
	f.Add(s.User("bob"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, key []byte) {
		space, user, kind, suffix, err := Split(key)
		if err == nil && !bytes.Equal(space.Key(user, kind, suffix...), key) {
			t.Errorf("%x splits into %v %q %q %x", key, space, user, kind, suffix)
		}
		if peer, rest, err := SplitPeer(suffix); err == nil && !bytes.Equal(append(Peer(peer), rest...), suffix) {
			t.Errorf("%x splits into %q %x", suffix, peer, rest)
		}
	})
}
