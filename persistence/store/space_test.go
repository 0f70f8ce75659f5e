package store

import (
	"errors"
	"io"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Badger dies by SIGBUS where it opens on a disk without room.
func TestOpenOnAFullDisk(t *testing.T) {
	cfg := Config{
		Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: NewMetrics(prometheus.NewRegistry()),
		Reserve: 1 << 60, MemTableBytes: mib, BlockCacheBytes: mib,
	}
	if s, err := Open(cfg); !errors.Is(err, ErrNoSpace) {
		if err == nil {
			err = s.Close()
		}
		t.Fatalf("got %v where there is no room", err)
	}
	cfg.Reserve = 1
	s, err := Open(cfg)
	if err != nil {
		t.Fatalf("refused again when there is room: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
