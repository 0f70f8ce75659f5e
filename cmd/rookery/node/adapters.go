package node

import (
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
	return f, true
}

func (a storeAdapter) Thaw(f shard.Frozen, err error) { a.store.Thaw(f.(*store.Frozen), err) }

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("node: %s: %w", op, err)
}
