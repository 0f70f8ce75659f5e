package client

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

func TestURLs(t *testing.T) {
	for url, want := range map[string]string{
		"http://127.0.0.1:8080":           "ws://127.0.0.1:8080/v1/ws",
		"https://chat.example.org/":       "wss://chat.example.org/v1/ws",
		"ws://127.0.0.1:8080/v1/ws":       "ws://127.0.0.1:8080/v1/ws",
		"wss://example.org/chat":          "wss://example.org/chat/v1/ws",
		"":                                "",
		"chat.example.org":                "",
		"ftp://chat.example.org":          "",
		"http://alice:secret@example.org": "",
		"http://example.org/?q=1":         "",
		"http://exa mple.org":             "",
		"http://alice:secret@exa mple":    "",
	} {
		b, err := parseBase(url)
		switch {
		case want == "" && err == nil:
			t.Errorf("%q was taken", url)
		case want == "":
			if !strings.Contains(err.Error(), "URL") || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: %v", url, err)
			}
		case err != nil || b.webSocket() != want || !strings.HasPrefix(b.rest("/v1/users"), "http"):
			t.Errorf("%q: %q, %q, %v", url, b.webSocket(), b.rest("/v1/users"), err)
		}
	}
}

// Bounds are told apart, and what was refused leaves nothing behind.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		s.setDown(true)
		c := connectTo(t, s, Config{QueueLimit: 2})
		defer c.Close()
		ids := []string{"01935b3e-7c1a-7000-8000-000000000001", "01935b3e-7c1a-7000-8000-000000000002"}
		for _, id := range ids {
			if _, err := c.Queue(t.Context(), Draft{ID: id, To: With("bob")}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Queue(t.Context(), Draft{ID: ids[0], To: With("bob")}); !errors.Is(err, ErrAlreadyExists) {
			t.Error("an id twice:", err)
		}
		if _, err := c.Send(t.Context(), Text("bob", "three")); !errors.Is(err, ErrQueueFull) {
			t.Error("above the limit:", err)
		}
		if n := len(c.Unsent()); n != 2 || c.Status().Unsent != 2 {
			t.Errorf("%d unsent", n)
		}
		// Fates that nobody fetches count as well.
		s.setDown(false)
		c.Wake()
		conn := s.greet()
		for range 2 {
			for range 2 {
				conn.say(sentFrame(conn.hear().GetSend().GetId()))
			}
			synctest.Wait()
			for range 2 {
				if _, err := c.Queue(t.Context(), Text("bob", "more")); err != nil && !errors.Is(err, ErrQueueFull) {
					t.Error(err)
				}
			}
		}
		if _, err := c.Queue(t.Context(), Text("bob", "more")); !errors.Is(err, ErrQueueFull) || !strings.Contains(err.Error(), "fetched") {
			t.Error("fates that nobody fetched:", err)
		}
		nextOf[*Settled](t, c)
		nextOf[*Settled](t, c)
		if _, err := c.Queue(t.Context(), Text("bob", "more")); err != nil {
			t.Error("after one was fetched:", err)
		}
	})
}

// Of what is not stored the oldest goes, and what is stored never.
func TestEphemeraAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeServer(t)
		c := connectTo(t, s, Config{})
		defer c.Close()
		conn := s.greet()
		conn.say(deliverFrame(1, "one"))
		for range 1000 {
			conn.say(&clientpb.ServerFrame{Body: &clientpb.ServerFrame_Typing{Typing: &clientpb.TypingNotice{From: &clientpb.Device{User: "bob", Device: 1}}}})
		}
		conn.say(deliverFrame(2, "two"))
		synctest.Wait()
		typing, messages := 0, 0
		for messages < 2 {
			e, err := c.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			switch e.(type) {
			case *Typing:
				typing++
			case *Message:
				messages++
			}
		}
		if typing == 0 || typing > 256 {
			t.Errorf("%d of 1000 were kept", typing)
		}
	})
}

// After a write that failed nobody knows what the file holds: nothing more is
// written, and what was there is there when it is opened again.
func TestFileFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := OpenFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), []Record{{Key: "a", Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	s.file.Close() // as a disk that is pulled out
	for range 2 {
		if err := s.Apply(t.Context(), []Record{{Key: "b", Value: []byte("2")}}); err == nil {
			t.Fatal("written to nowhere")
		}
		if err := s.Sync(t.Context()); err == nil {
			t.Fatal("synced to nowhere")
		}
	}
	if err := s.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Error(err)
	}
	again, err := OpenFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	records, err := again.Load(t.Context())
	if err != nil || len(records) != 1 || records[0].Key != "a" {
		t.Errorf("%v %v", records, err)
	}
}
