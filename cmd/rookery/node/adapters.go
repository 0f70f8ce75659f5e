package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/rookery-im/rookery/cluster/shard"
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
