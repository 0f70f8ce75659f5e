// Package storetest holds the tests that every client.Store must pass.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Opener {
//			dsn := newDatabase(t)
//			return func() (client.Store, error) { return OpenMyStore(dsn) }
//		})
//	}
//
// What needs a power cut to be seen, that Sync makes durable, it cannot test.
package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/rookery-im/rookery/client"
)

// Opener opens one and the same store, again after each Close.
type Opener func() (client.Store, error)

// Run runs all tests. fresh gives each of them an empty store.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *bench)
	}{
		{"a new store is empty", empty},
		{"records are there, in order of key", order},
		{"a later record of a key replaces, also within one Apply", replace},
		{"nil deletes, an empty value does not", deletion},
		{"any bytes may be key and value", anyBytes},
		{"slices are not shared with the caller", aliasing},
		{"what was applied is there when the store is opened again", reopening},
		{"much that was overwritten does not hurt", churn},
		{"random histories", histories},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, &bench{t: t, open: fresh(t), want: map[string][]byte{}}) })
	}
}

// bench is a store under test, beside a model of it.
type bench struct {
	t     *testing.T
	open  Opener
	store client.Store
	want  map[string][]byte
}

func (b *bench) get() client.Store {
	b.t.Helper()
	if b.store == nil {
		s, err := b.open()
		if err != nil {
			b.t.Fatal("open:", err)
		}
		b.store = s
		b.t.Cleanup(b.close)
	}
	return b.store
}

func (b *bench) close() {
	b.t.Helper()
	if b.store == nil {
		return
	}
	if err := b.store.Close(); err != nil {
		b.t.Error("close:", err)
	}
	b.store = nil
}

func (b *bench) apply(records ...client.Record) {
	b.t.Helper()
	if err := b.get().Apply(b.t.Context(), records); err != nil {
		b.t.Fatal("apply:", err)
	}
	for _, r := range records {
		if r.Value == nil {
			delete(b.want, r.Key)
			continue
		}
		b.want[r.Key] = slices.Clone(r.Value)
	}
}

func (b *bench) sync() {
	b.t.Helper()
	if err := b.get().Sync(b.t.Context()); err != nil {
		b.t.Fatal("sync:", err)
	}
}

func (b *bench) load() []client.Record {
	b.t.Helper()
	records, err := b.get().Load(b.t.Context())
	if err != nil {
		b.t.Fatal("load:", err)
	}
	return records
}

// check compares the store with the model.
func (b *bench) check() {
	b.t.Helper()
	records := b.load()
	if !slices.IsSortedFunc(records, func(x, y client.Record) int { return strings.Compare(x.Key, y.Key) }) {
		b.t.Error("Load gives records that are not in ascending order of key")
	}
	got := map[string][]byte{}
	for _, r := range records {
		if r.Value == nil {
			b.t.Errorf("%q: Load gives a nil value, which means deleted", r.Key)
		}
		if _, twice := got[r.Key]; twice {
			b.t.Errorf("%q: Load gives it twice", r.Key)
		}
		got[r.Key] = r.Value
	}
	for k, v := range b.want {
		if w, ok := got[k]; !ok {
			b.t.Errorf("%q: missing", k)
		} else if !bytes.Equal(v, w) {
			b.t.Errorf("%q: is %q, not %q", k, w, v)
		}
	}
	for k := range got {
		if _, ok := b.want[k]; !ok {
			b.t.Errorf("%q: is there, and should not be", k)
		}
	}
}

func record(key, value string) client.Record {
	return client.Record{Key: key, Value: []byte(value)}
}

func empty(t *testing.T, b *bench) {
	b.check()
	b.close()
	b.check()
}

func order(t *testing.T, b *bench) {
	b.apply(record("out/02", "b"), record("cursor", "7"), record("out/10", "c"))
	b.apply(record("out/01", "a"))
	b.check()
}

func replace(t *testing.T, b *bench) {
	b.apply(record("k", "1"))
	b.apply(record("k", "2"), record("k", "3"))
	b.check()
	b.apply(client.Record{Key: "k"}, record("k", "4"), record("l", "5"), client.Record{Key: "l"})
	b.check()
}

func deletion(t *testing.T, b *bench) {
	b.apply(record("a", "1"), record("b", ""), record("c", "3"))
	b.apply(client.Record{Key: "a"}, client.Record{Key: "never was"})
	b.check()
	b.close()
	b.check()
}

func anyBytes(t *testing.T, b *bench) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	b.apply(client.Record{Key: string(all), Value: all}, record("\x00", "\n"), record("\xff", "\x00"), record("/", "ü"))
	b.apply(client.Record{Key: "large", Value: bytes.Repeat(all, 2048)})
	b.check()
	b.close()
	b.check()
}

func aliasing(t *testing.T, b *bench) {
	value := []byte("before")
	b.apply(client.Record{Key: "k", Value: value})
	copy(value, "after!")
	b.check()
	for _, r := range b.load() {
		copy(r.Value, "......")
	}
	b.check()
}

func reopening(t *testing.T, b *bench) {
	b.apply(record("a", "1"), record("b", "2"))
	b.sync()
	b.apply(record("b", "3"), record("c", "4")) // not synced: a power cut may take it, closing may not
	b.close()
	b.check()
	b.apply(record("d", "5"))
	b.close()
	b.check()
}

func churn(t *testing.T, b *bench) {
	value := bytes.Repeat([]byte("x"), 1<<10)
	for i := range 2000 {
		b.apply(client.Record{Key: fmt.Sprintf("out/%04d", i), Value: value}, record("cursor", fmt.Sprint(i)))
		if i >= 8 {
			b.apply(client.Record{Key: fmt.Sprintf("out/%04d", i-8)})
		}
	}
	b.check()
	b.close()
	b.check()
}

func histories(t *testing.T, b *bench) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		switch rng.IntN(20) {
		case 0:
			b.close()
		case 1:
			b.sync()
		case 2:
			b.check()
		default:
			records := make([]client.Record, rng.IntN(6))
			for i := range records {
				records[i].Key = fmt.Sprintf("k/%d", rng.IntN(12))
				if rng.IntN(3) > 0 {
					records[i].Value = bytes.Repeat([]byte{byte(rng.IntN(256))}, rng.IntN(2000))
				}
			}
			b.apply(records...)
		}
	}
	b.close()
	b.check()
}
