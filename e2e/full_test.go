//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A file system that really is full, where a store to a mapped page of which there
// is no more ends a process by SIGBUS: the node refuses as unavailable, stays up,
// says so, and serves again when there is room, without a restart. Whether it comes
// to it by what waits for a checkpoint, or by the end of its log.
func TestFullDisk(t *testing.T) {
	seed := envSeed(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=640m"); err != nil {
		t.Fatalf("mount: %v (this test needs root)", err)
	}
	t.Cleanup(func() { // after the server's, which comes later
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := newServerIn(t, filepath.Join(dir, "data"), "--disk-reserve", "16MiB")
	s.start()
	s.waitReady()
	d := &director{t: t, server: s, rng: rand.New(rand.NewPCG(seed, 0))}
	d.cast(6, 2)
	d.castListeners()
	hoards := newHoards(t, s, 20)
	stop := d.action()
	for round := range envInt(t, "E2E_DISK_ROUNDS", 2) {
		s.kill()
		s.extra = [][]string{{"--checkpoint-memory", "1MiB"}, nil}[round%2]
		s.restart()
		d.talkUntil("something is sent", d.more(&d.count.sents))
		fill(t, filepath.Join(dir, "ballast"))
		stored := hoards.untilRefused(t)
		d.talkUntil("the node is not ready", func() bool { return d.status("/readyz") == http.StatusServiceUnavailable })
		if d.status("/healthz") != http.StatusOK || !s.alive() {
			t.Fatal("the node did not stay up")
		}
		d.unwell()
		if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
			t.Fatal(err)
		}
		s.waitReady()
		d.talkUntil("something is sent again", d.more(&d.count.sents))
		d.judge(fmt.Sprintf("round %d", round))
		s.kill()
		s.restart()
		d.judge(fmt.Sprintf("round %d, started again", round))
		hoards.check(t)
		t.Logf("round %d: refused after %d large messages", round, stored)
	}
	d.settle()
	stop()
	d.judgeAtRest()
}

// unwell wants the metrics to say that something is wrong with the disk.
func (d *director) unwell() {
	d.t.Helper()
	if d.server.ailments() == 0 {
		d.t.Error("no metric tells of it")
	}
}

// ailments that the metrics tell of: a log that is broken now, and checkpoints that failed.
func (s *server) ailments() float64 {
	s.t.Helper()
	total := 0.0
	for _, name := range []string{"rookery_raftlog_broken", "rookery_shard_checkpoint_errors_total"} {
		n, err := s.measure(name)
		if err != nil {
			s.t.Fatal(err)
		}
		total += n
	}
	return total
}

// fill a file until there is no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		switch _, err := f.Write(make([]byte, size)); {
		case errors.Is(err, syscall.ENOSPC):
			size /= 2
		case err != nil:
			t.Fatal(err)
		}
	}
}

// hoard is a user who is away, and one who writes to it.
type hoard struct {
	user         string
	away, writer *rest
	kept         []string // ids
}

type hoards []*hoard

func newHoards(t *testing.T, s *server, n int) hoards {
	t.Helper()
	var users []string
	for i := range n {
		users = append(users, fmt.Sprint("away", i), fmt.Sprint("writer", i))
	}
	tokens := s.people(1, users...)
	var out hoards
	for i := range n {
		user := fmt.Sprint("away", i)
		out = append(out, &hoard{user: user, away: s.client(tokens[user+"/1"]), writer: s.client(tokens[fmt.Sprint("writer", i)+"/1"])})
	}
	return out
}

// untilRefused has all write until one is told that it cannot be.
func (all hoards) untilRefused(t *testing.T) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()
	var stored atomic.Int64
	var refused atomic.Bool
	var writing sync.WaitGroup
	for _, h := range all {
		writing.Go(func() {
			for !refused.Load() && ctx.Err() == nil {
				switch err := h.write(ctx); problemCode(err) {
				case "":
					if err != nil {
						t.Errorf("not answered: %v", err)
						return
					}
					stored.Add(1)
				case "unavailable":
					refused.Store(true)
				case "rate_limited", "mailbox_full":
					pause := time.NewTimer(50 * time.Millisecond)
					<-pause.C
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	writing.Wait()
	if !refused.Load() {
		t.Fatalf("nothing was refused after %d messages", stored.Load())
	}
	return stored.Load()
}

func (h *hoard) write(ctx context.Context) error {
	id := newID()
	payload := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(id, 1200)))
	err := h.writer.call(ctx, "POST", "/v1/messages", fmt.Sprintf(`{"id":%q,"to":{"user":%q},"payload":%q}`, id, h.user, payload), nil)
	if err == nil {
		h.kept = append(h.kept, id)
	}
	return err
}

// check that all is there, and take it away. What was answered as not known may
// be there as well.
func (all hoards) check(t *testing.T) {
	t.Helper()
	for _, h := range all {
		got, last := waiting(t, h.away)
		for _, id := range h.kept {
			if !slices.Contains(got, id) {
				t.Fatalf("lost: %s has %d messages, and not %s", h.user, len(got), id)
			}
		}
		if last > 0 {
			if err := h.away.ack(t.Context(), last); err != nil {
				t.Fatal(err)
			}
		}
		h.kept = nil
	}
}
