package node

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rookery-im/rookery/cluster/shard"
	"github.com/rookery-im/rookery/persistence/mailbox"
	"github.com/rookery-im/rookery/persistence/store"
)

// What one store's cut hands out, another's load puts where a mailbox of the new
// version finds it, and erasing the old version leaves the rest alone.
func TestRowsGoFromStoreToStore(t *testing.T) {
	open := func() *store.Store {
		s, err := store.Open(store.Config{
			Dir: t.TempDir(), Split: mailbox.Part, Reserve: 1, Logger: slog.New(slog.DiscardHandler),
			Metrics: store.NewMetrics(prometheus.NewRegistry()),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	from, to := open(), open()
	was, other, fresh := mailbox.Space{Shard: 3}, mailbox.Space{Shard: 4, Version: 2}, mailbox.Space{Shard: 3, Version: 7}
	want := map[string]string{}
	for i := range 50 {
		user, value := fmt.Sprint("user", i), fmt.Sprint(i)
		from.Put(was.Key(user, mailbox.Head), []byte(value))
		from.Put(other.Key(user, mailbox.Head), []byte("another shard's"))
		want[string(fresh.Key(user, mailbox.Head))] = value
	}
	f, _ := from.Freeze()
	from.Thaw(f, f.Write(t.Context()))

	cut, ok := rowsAdapter{from}.Cut(shard.Space{Group: 3})
	if !ok {
		t.Fatal("no cut after a checkpoint")
	}
	defer cut.Close()
	load := rowsAdapter{to}.Load(shard.Space{Group: 3, Version: 7})
	var next []byte
	for more := true; more; {
		var rows []shard.Row
		more = false
		err := cut.Scan(next, func(key, value []byte) bool {
			if len(rows) == 7 {
				next, more = append([]byte(nil), key...), true
				return false
			}
			rows = append(rows, shard.Row{Key: append([]byte(nil), key...), Value: append([]byte(nil), value...)})
			return true
		})
		if err == nil {
			err = load.Write(context.Background(), rows)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := load.Sync(); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	if err := to.Scan(nil, nil, func(k, v []byte) bool { got[string(k)] = string(v); return true }); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("%d rows came, want %d", len(got), len(want))
	}
	spaces := rowsAdapter{from}.Spaces()
	if fmt.Sprint(spaces) != "[{3 0} {4 2}]" {
		t.Errorf("spaces %v", spaces)
	}
	if err := (rowsAdapter{from}).Erase(t.Context(), spaces[0]); err != nil {
		t.Fatal(err)
	}
	if spaces := (rowsAdapter{from}).Spaces(); fmt.Sprint(spaces) != "[{4 2}]" {
		t.Errorf("spaces %v", spaces)
	}
}
