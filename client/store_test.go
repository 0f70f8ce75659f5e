package client_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rookery-im/rookery/client"
	"github.com/rookery-im/rookery/client/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Opener {
		s := client.NewMemoryStore()
		return func() (client.Store, error) { return s, nil }
	})
}

func TestFileStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener {
		path := filepath.Join(t.TempDir(), "store")
		return func() (client.Store, error) { return client.OpenFileStore(path) }
	})
}

func newFile(t *testing.T) (string, *client.FileStore) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store")
	return path, reopen(t, path)
}

func reopen(t *testing.T, path string) *client.FileStore {
	t.Helper()
	s, err := client.OpenFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s client.Store, key, value string) {
	t.Helper()
	if err := s.Apply(t.Context(), []client.Record{{Key: key, Value: []byte(value)}}); err != nil {
		t.Fatal(err)
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// The file has the token in it.
func TestFileIsTheOwnersAlone(t *testing.T) {
	path, s := newFile(t)
	for i := range 3000 { // past a compaction, which makes a new file
		put(t, s, "k", fmt.Sprintf("%0200d", i))
	}
	for _, name := range []string{path, path + ".lock"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
	if got := size(t, path); got > 1<<20 {
		t.Errorf("one record of 200 bytes lies in %d bytes: nothing was compacted", got)
	}
}

// Two clients with one store would take each other's place in the mailbox.
func TestFileIsLocked(t *testing.T) {
	path, s := newFile(t)
	if _, err := client.OpenFileStore(path); !errors.Is(err, client.ErrStoreLocked) {
		t.Errorf("opened twice in one process: %v", err)
	}
	if out := inChild(t, path); out != "locked" {
		t.Errorf("another process: %s", out)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out := inChild(t, path); out != "opened" {
		t.Errorf("another process, after Close: %s", out)
	}
	reopen(t, path)
}

// inChild opens the store in a process of its own.
func inChild(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), "ROOKERY_TEST_STORE="+path)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var word string
	if _, err := fmt.Sscan(string(out), &word); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return word
}

// TestChild is the other process of TestFileIsLocked, and nothing by itself.
func TestChild(t *testing.T) {
	path := os.Getenv("ROOKERY_TEST_STORE")
	if path == "" {
		return
	}
	s, err := client.OpenFileStore(path)
	switch {
	case errors.Is(err, client.ErrStoreLocked):
		fmt.Println("locked")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println("opened")
		s.Close()
	}
}

// A crash in the middle of a write takes that write and nothing else.
func TestTornEnd(t *testing.T) {
	path, s := newFile(t)
	put(t, s, "a", "1")
	before := size(t, path)
	put(t, s, "b", "2")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	for cut := before; cut < int64(len(whole)); cut++ {
		for name, torn := range map[string][]byte{
			"cut":   whole[:cut],
			"zeros": append(append([]byte{}, whole[:cut]...), make([]byte, int64(len(whole))-cut)...),
		} {
			if err := os.WriteFile(path, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := client.OpenFileStore(path)
			if err != nil {
				t.Fatalf("%s at %d: %v", name, cut, err)
			}
			records, err := s.Load(t.Context())
			if err != nil || len(records) != 1 || records[0].Key != "a" {
				t.Fatalf("%s at %d: %v %v", name, cut, records, err)
			}
			put(t, s, "c", "3")
			s.Close()
			s = reopen(t, path)
			if records, err := s.Load(t.Context()); err != nil || len(records) != 2 {
				t.Fatalf("%s at %d, then written on: %v %v", name, cut, records, err)
			}
			s.Close()
		}
	}
}

// Once closed in good order, no flipped bit goes unnoticed.
func TestDamageIsReported(t *testing.T) {
	path, s := newFile(t)
	put(t, s, "a", "1")
	put(t, s, "b", "2")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const mark = 16 // the batch that Close writes: there is nothing in it to lose
	for i := range len(whole) - mark {
		flipped := append([]byte{}, whole...)
		flipped[i] ^= 0x10
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := client.OpenFileStore(path)
		if !errors.Is(err, client.ErrStoreDamaged) {
			t.Errorf("bit flipped in byte %d of %d: %v", i, len(whole), err)
		}
		if err == nil {
			s.Close()
		}
	}
}

func TestOtherFilesAreLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letter")
	const text = "Dear Bob,\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.OpenFileStore(path); !errors.Is(err, client.ErrStoreDamaged) {
		t.Error(err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("%q %v", got, err)
	}
}

// A process that is being started holds what it inherited until it runs its
// own program. It must not hold the lock of a store that was closed.
func TestLockIsNotInherited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	stop := make(chan struct{})
	var starter sync.WaitGroup
	starter.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = exec.Command("true").Run()
			}
		}
	})
	for range 300 {
		s, err := client.OpenFileStore(path)
		if err != nil {
			t.Error(err)
			break
		}
		if err := s.Close(); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	starter.Wait()
}
