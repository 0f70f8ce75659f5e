package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/persistence/mailbox"
	"github.com/rookery-im/rookery/persistence/store"
)

// storeAdapter is the store's checkpoints as cluster/shard wants them.
type storeAdapter struct{ store *store.Store }

func (a storeAdapter) Bytes() int { return a.store.Bytes() }

func (a storeAdapter) Freeze() (shard.Frozen, bool) {
	f, ok := a.store.Freeze()
	if !ok {
		return nil, false
	}
	return frozenAdapter{f}, true
}

func (a storeAdapter) Thaw(f shard.Frozen, err error) { a.store.Thaw(f.(frozenAdapter).Frozen, err) }

// frozenAdapter tells an error for good from one to try again.
type frozenAdapter struct{ *store.Frozen }

func (a frozenAdapter) Write(ctx context.Context) error {
	err := a.Frozen.Write(ctx)
	if errors.Is(err, store.ErrBroken) {
		return fmt.Errorf("%w: %w", shard.ErrStoreBroken, err)
	}
	return err
}

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("node: %s: %w", op, err)
}

// rowsAdapter is the store as snapshots see it: a space is what the keys of a
// shard's version begin with, group 0's among them.
type rowsAdapter struct{ store *store.Store }

func prefixOf(s shard.Space) []byte {
	return mailbox.Space{Shard: s.Group, Version: s.Version}.Prefix()
}

func (a rowsAdapter) Cut(s shard.Space) (shard.Cut, bool) {
	v, ok := a.store.View()
	if !ok {
		return nil, false
	}
	return cutAdapter{v, prefixOf(s)}, true
}

func (a rowsAdapter) Load(s shard.Space) shard.Load {
	return loadAdapter{a.store.Load(), prefixOf(s)}
}

func (a rowsAdapter) Erase(ctx context.Context, s shard.Space) error {
	return wrap("erase rows", a.store.Erase(ctx, prefixOf(s)))
}

func (a rowsAdapter) Spaces() []shard.Space {
	var spaces []shard.Space
	for _, p := range a.store.Prefixes(nil, len(prefixOf(shard.Space{}))) {
		spaces = append(spaces, shard.Space{Group: binary.BigEndian.Uint32(p), Version: binary.BigEndian.Uint32(p[4:])})
	}
	return spaces
}

type cutAdapter struct {
	*store.View
	prefix []byte
}

func (c cutAdapter) Scan(from []byte, fn func(key, value []byte) bool) error {
	return wrap("read rows", c.View.Scan(c.prefix, slices.Concat(c.prefix, from), func(key, value []byte) bool {
		return fn(key[len(c.prefix):], value)
	}))
}

type loadAdapter struct {
	*store.Load
	prefix []byte
}

func (l loadAdapter) Write(ctx context.Context, rows []shard.Row) error {
	own := make([]store.Row, len(rows))
	for i, r := range rows {
		own[i] = store.Row{Key: slices.Concat(l.prefix, r.Key), Value: r.Value}
	}
	return wrap("load rows", l.Load.Write(ctx, own))
}
