package node

import (
	"context"

	"github.com/rookery-im/rookery/persistence/store"
)

func maintain(context.Context, *store.Store) error { return nil }
