package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

var at = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// one of each kind that is kept
var all = []talk.Event{
	talk.Named{User: "bob", Name: "Bob"},
	talk.Arrived{Conversation: "bob", ID: "1", From: "bob", Device: 2, Order: 1, Time: 1 << 40, Body: talk.Body{Text: "hello\nthere"}},
	talk.Arrived{Conversation: "bob", ID: "2", From: "bob", Device: 2, Order: 2, Time: 1<<63 + 1, Body: talk.Body{Kind: "image", Size: 12000}},
	talk.Queued{Conversation: "bob", ID: "3", Text: "as \x1b typed", At: at},
	talk.Settled{Conversation: "bob", ID: "3", Order: 1, Time: 3 << 40},
	talk.Queued{Conversation: "bob", ID: "4", Text: "too large", At: at},
	talk.Settled{Conversation: "bob", ID: "4", Refusal: "too large"},
	talk.Dropped{Conversation: "bob", ID: "4"},
	talk.Receipt{Conversation: "bob", By: "bob", Delivered: 7, ReadUpTo: 3, Undelivered: []talk.Range{{First: 4, Last: 5}}},
	talk.ReadHere{Conversation: "bob", Order: 2},
	talk.Drafted{Conversation: "bob", Text: "half a se"},
	talk.Drafted{Text: "to nobody yet"},
}

func open(t *testing.T, path string) (*File, []talk.Event, int) {
	t.Helper()
	var got []talk.Event
	h, damaged, err := Open(path, func(e talk.Event) { got = append(got, e) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h, got, damaged
}

func write(t *testing.T, h *File, events ...talk.Event) {
	t.Helper()
	for _, e := range events {
		if err := h.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

// What was written comes back as it was, for nobody else's eyes.
func TestKeeps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	h, _, _ := open(t, path)
	write(t, h, all...)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	_, got, damaged := open(t, path)
	if !reflect.DeepEqual(got, all) || damaged != 0 {
		t.Errorf("%d damaged, got\n%v\nwant\n%v", damaged, got, all)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// A crash may cut the last line at any byte: what was before it stays, and
// what comes after it is whole.
func TestTornEnd(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "history")
	h, _, _ := open(t, whole)
	write(t, h, all[1], all[2])
	h.Close()
	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	second := strings.LastIndex(strings.TrimSuffix(string(text), "\n"), "\n") + 1
	for cut := 0; cut < len(text); cut++ {
		path := filepath.Join(t.TempDir(), "history")
		if err := os.WriteFile(path, text[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		h, before, damaged := open(t, path)
		if damaged != 0 {
			t.Fatalf("cut at %d: %d damaged", cut, damaged)
		}
		if cut >= second && len(before) != 1 {
			t.Fatalf("cut at %d: %d events left, want the first", cut, len(before))
		}
		write(t, h, all[3])
		h.Close()
		_, after, damaged := open(t, path)
		if len(after) != len(before)+1 || damaged != 0 {
			t.Fatalf("cut at %d: %d events, %d damaged after one more was written to %d", cut, len(after), damaged, len(before))
		}
	}
}

// Damage in the middle costs the line it is in.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	h, _, _ := open(t, path)
	write(t, h, all[1], all[2], all[3])
	h.Close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	lines[2] = "{\"is\":\"message\",\"with\":\"\x00\xff\n"
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	_, got, damaged := open(t, path)
	if len(got) != 2 || damaged != 1 {
		t.Errorf("%d events, %d damaged", len(got), damaged)
	}
}

// Somebody who can write the file still cannot make the terminal obey.
func TestCleansAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	text := `{"is":"rookery-chat-history","version":1}
{"is":"message","with":"bob","id":"1","from":"bob","order":1,"time":1,"text":"\u001b[2Jhi\u202e","kind":"\u001b]0;x\u0007image"}
{"is":"message","with":"b\u001b[2J","id":"2","from":"bob","order":1,"time":1}
{"is":"message","with":"bob","id":"2","from":"\u001b[2J","order":1,"time":1}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, got, damaged := open(t, path)
	if damaged != 2 || len(got) != 1 {
		t.Fatalf("%d events, %d damaged", len(got), damaged)
	}
	if b := got[0].(talk.Arrived).Body; b.Text != "hi" || b.Kind != "image" {
		t.Errorf("%+q", []string{string(b.Text), b.Kind})
	}
}

func TestForeignFile(t *testing.T) {
	for _, text := range []string{"hello\n", "hello", `{"is":"rookery-chat-history","version":2}` + "\n"} {
		path := filepath.Join(t.TempDir(), "history")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Open(path, func(talk.Event) {}); err == nil {
			t.Errorf("%q was taken for a history", text)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("it was changed: %q, %v", b, err)
		}
	}
}

// The file stays bounded however long one talks, and says the same.
func TestRewrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	h, _, _ := open(t, path)
	m := talk.New("alice")
	rewritten := 0
	for i := range uint64(9000) {
		e := talk.Arrived{Conversation: "bob", ID: fmt.Sprint(i), From: "bob", Order: i + 1, Time: i << 16, Body: talk.Body{Text: "a line that takes up some room, and some more room, and a bit more of it still, so that files grow"}}
		for _, effect := range append(m.Step(e), m.Read("bob")...) {
			if s, ok := effect.(talk.Save); ok {
				write(t, h, s.Event)
			}
		}
		if h.Grown() {
			rewritten++
			if err := h.Rewrite(m.Events()); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(t, h, all[10])
	m.Step(all[10])
	h.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if rewritten == 0 || info.Size() > 2*rewriteFrom || info.Mode().Perm() != 0o600 {
		t.Errorf("rewritten %d times, %d bytes, mode %v", rewritten, info.Size(), info.Mode())
	}
	again := talk.New("alice")
	_, got, damaged := open(t, path)
	for _, e := range got {
		again.Step(e)
	}
	if damaged != 0 || !reflect.DeepEqual(again.Events(), m.Events()) {
		t.Error("what was read is not what was known")
	}
}

// full is a disk on which only so many bytes still fit.
type full struct {
	disk
	left int
}

func (d *full) Write(b []byte) (int, error) {
	n, err := d.disk.Write(b[:min(len(b), d.left)])
	d.left -= n
	if n < len(b) && err == nil {
		err = syscall.ENOSPC
	}
	return n, err
}

// A full disk costs the line that did not fit, and none of those after it.
func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	h, _, _ := open(t, path)
	write(t, h, all[1])
	f := h.f
	h.f = &full{f, 10}
	if err := h.Append(all[2]); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a failed write was not reported: %v", err)
	}
	h.f = f
	write(t, h, all[3])
	h.Close()
	_, got, damaged := open(t, path)
	if len(got) != 2 || damaged != 0 {
		t.Errorf("%d events, %d damaged", len(got), damaged)
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range all {
		b, err := encode(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decode(b)
		if err != nil {
			return
		}
		again, err := encode(e)
		if err != nil {
			t.Fatalf("%#v was read and cannot be written: %v", e, err)
		}
		back, err := decode(again)
		if err != nil || fmt.Sprint(back) != fmt.Sprint(e) {
			t.Fatalf("%#v, written and read again: %#v, %v", e, back, err)
		}
	})
}
