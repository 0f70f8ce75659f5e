package keyset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// script is a reader that a test drives.
type script struct {
	mu    sync.Mutex
	data  []byte
	fresh time.Duration
	err   error
	takes time.Duration
	reads []time.Time
}

func (s *script) set(data []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data, s.err = data, err
}

func (s *script) read(ctx context.Context) ([]byte, time.Duration, error) {
	s.mu.Lock()
	s.reads = append(s.reads, time.Now())
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	case <-time.After(s.takes):
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data, s.fresh, s.err
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.reads)
}

var errDown = errors.New("down")

// running is a Source of a URL whose reader is the script's, within synctest.
func running(t *testing.T, r *script, change func(*Config)) *Source {
	t.Helper()
	cfg := Config{From: "https://issuer.example/keys"}
	if change != nil {
		change(&cfg)
	}
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.reader = r
	var ended sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	ended.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); ended.Wait() })
	return s
}

func lookup(t *testing.T, s *Source, id string, want error) *Key {
	t.Helper()
	key, err := s.Lookup(id)
	if err != want || (key != nil) != (want == nil) {
		t.Fatalf("%s: %v, %v; want %v", id, key, err, want)
	}
	return key
}

// From the first use of a new key on its tokens are good within one reading,
// and never called bad; those of a withdrawn key are bad from the next reading.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := okp(t, "one", ""), okp(t, "two", "")
		r := &script{data: set(one), fresh: unsaid, takes: time.Second}
		s := running(t, r, nil)
		synctest.Wait()
		lookup(t, s, "one", ErrUndecided) // the first reading is under way
		if s.Ready() != ErrNone {
			t.Error("ready without a set")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		first := lookup(t, s, "one", nil)
		if s.Ready() != nil {
			t.Errorf("not ready: %v", s.Ready())
		}

		time.Sleep(time.Minute)
		r.set(set(one, two), nil)
		lookup(t, s, "two", ErrUndecided) // which asks for it
		synctest.Wait()
		lookup(t, s, "two", ErrUndecided) // being read
		time.Sleep(time.Second)
		synctest.Wait()
		lookup(t, s, "two", nil)
		if lookup(t, s, "one", nil) != first || !s.Trusts(first) {
			t.Error("a key that was read again is another one")
		}

		r.set(set(two), nil)
		time.Sleep(urlEvery)
		lookup(t, s, "one", nil) // being read
		time.Sleep(time.Second)
		synctest.Wait()
		if s.Trusts(first) {
			t.Error("a withdrawn key is trusted")
		}
		lookup(t, s, "one", ErrUndecided)
		time.Sleep(urlGap + time.Second)
		synctest.Wait()
		lookup(t, s, "one", ErrUnknown)

		r.set(set(two, okp(t, "one", "")), nil) // the id again, with other numbers
		time.Sleep(urlEvery + 3*time.Second)
		synctest.Wait()
		if s.Trusts(first) {
			t.Error("a key is trusted for its id")
		}
		lookup(t, s, "one", nil)
		second := lookup(t, s, "two", nil)
		r.set(set(okp(t, "two", "")), nil) // other numbers in place of those that were there
		time.Sleep(urlEvery + 3*time.Second)
		synctest.Wait()
		if s.Trusts(second) || lookup(t, s, "two", nil).same(second) {
			t.Error("a key stays trusted for its id")
		}
	})
}

// Ids that nobody has make the source be read once in MinGap, however many
// there are, and do not keep a key that has just come into use from its place.
func TestFloodOfUnknownKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &script{data: set(okp(t, "one", "")), fresh: unsaid}
		s := running(t, r, nil)
		synctest.Wait()
		const seconds = 60
		for i := range seconds * 10 {
			for j := range 50 {
				if _, err := s.Lookup(fmt.Sprint("stranger", i, j)); err == nil {
					t.Fatal("a stranger is known")
				}
			}
			if i == 300 {
				r.set(set(okp(t, "two", "")), nil)
			}
			if _, err := s.Lookup("two"); i > 300 && i < 300+10*int(urlGap/time.Second) && err == ErrUnknown {
				t.Fatalf("%d00 ms after it came into use the key is called unknown", i-300)
			}
			if i == 300+10*int(urlGap/time.Second)+1 {
				lookup(t, s, "two", nil)
			}
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if n, most := r.count(), 1+seconds/int(urlGap/time.Second); n > most {
			t.Errorf("read %d times, at most %d", n, most)
		}
		for i := 1; i < len(r.reads); i++ {
			if gap := r.reads[i].Sub(r.reads[i-1]); gap < urlGap {
				t.Errorf("readings %v apart", gap)
			}
		}
		if len(s.strangers) > strangersMax {
			t.Errorf("%d strangers remembered", len(s.strangers))
		}
	})
}

// A token with a key that does not exist is called bad after one reading, and
// stays so without more of them; later it is looked for again.
func TestUnknownKeyIsDecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &script{data: set(okp(t, "one", "")), fresh: unsaid}
		s := running(t, r, nil)
		synctest.Wait()
		lookup(t, s, "gone", ErrUndecided)
		time.Sleep(urlGap)
		synctest.Wait()
		lookup(t, s, "gone", ErrUnknown)
		before := r.count()
		for range 100 {
			lookup(t, s, "gone", ErrUnknown)
			time.Sleep(100 * time.Millisecond)
		}
		if r.count() != before {
			t.Errorf("read %d times more for a key that is known to be unknown", r.count()-before)
		}
		r.set(set(okp(t, "gone", "")), nil)
		time.Sleep(strangersKept)
		lookup(t, s, "gone", ErrUndecided)
		synctest.Wait()
		lookup(t, s, "gone", nil)
		lookup(t, s, "", ErrUnknown)
		lookup(t, s, strings.Repeat("x", maxKeyID+1), ErrUnknown)
	})
}

// While the source fails the last good set is used, until it is too old; and
// nothing that might be good is called bad.
func TestStaleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &script{data: set(okp(t, "one", "")), fresh: unsaid}
		var log bytes.Buffer
		s := running(t, r, func(c *Config) {
			c.MaxStale = time.Hour
			c.Log = slog.New(slog.NewTextHandler(&log, nil))
		})
		synctest.Wait()
		one := lookup(t, s, "one", nil)
		r.set(nil, errDown)
		time.Sleep(time.Hour)
		synctest.Wait()
		lookup(t, s, "one", nil)
		lookup(t, s, "two", ErrUndecided)
		time.Sleep(pauseMax)
		synctest.Wait()
		lookup(t, s, "one", ErrUndecided)
		if s.Trusts(one) || s.Ready() != ErrNone {
			t.Errorf("trusted, ready: %v", s.Ready())
		}
		if !strings.Contains(log.String(), "down") || strings.Count(log.String(), "too old") != 1 {
			t.Errorf("the log: %s", log.String())
		}
		if n := r.count(); n > 70 {
			t.Errorf("a source that is down was read %d times in an hour", n)
		}
		r.set([]byte(`{"keys":[]}`), nil) // an answer, but no set
		time.Sleep(pauseMax)
		synctest.Wait()
		lookup(t, s, "one", ErrUndecided)
		r.set(set(okp(t, "one", "")), nil)
		time.Sleep(pauseMax)
		synctest.Wait()
		lookup(t, s, "one", nil)
	})
}

func TestHowOften(t *testing.T) {
	for fresh, want := range map[time.Duration]time.Duration{
		unsaid: urlEvery, 0: ageMin, time.Second: ageMin, 10 * time.Minute: 10 * time.Minute, 24 * time.Hour: ageMax,
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &script{data: set(okp(t, "one", "")), fresh: fresh}
			running(t, r, nil)
			time.Sleep(want - time.Millisecond)
			synctest.Wait()
			if r.count() != 1 {
				t.Errorf("fresh for %v: read %d times", fresh, r.count())
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if r.count() != 2 {
				t.Errorf("fresh for %v: not read after %v", fresh, want)
			}
		})
	}
	for header, want := range map[string]time.Duration{
		"": unsaid, "public": unsaid, "max-age=60": time.Minute, `Public, Max-Age="60"`: time.Minute, "max-age=-1": unsaid,
		"max-age=99999999999999": unsaid, "no-store": 0, "max-age=60, no-cache": 0, "s-maxage=5": unsaid,
	} {
		if got := freshness(http.Header{"Cache-Control": {header}}); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
	for age, want := range map[string]time.Duration{"20": 40 * time.Second, "70": 0, "x": time.Minute} {
		if got := freshness(http.Header{"Cache-Control": {"max-age=60"}, "Age": {age}}); got != want {
			t.Errorf("age %s: %v, want %v", age, got, want)
		}
	}
}

// One reading each of servers that do as they should not.
func TestServers(t *testing.T) {
	good := set(okp(t, "one", ""))
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(good) }))
	defer other.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") == "" || r.Header.Get("User-Agent") != "rookery" {
			t.Errorf("headers %v", r.Header)
		}
		w.Header().Set("Cache-Control", "max-age=600")
		_, _ = w.Write(good)
	})
	mux.Handle("/moved", http.RedirectHandler("/good", http.StatusFound))
	mux.Handle("/away", http.RedirectHandler(other.URL, http.StatusFound))
	mux.Handle("/round", http.RedirectHandler("/round", http.StatusFound))
	mux.Handle("/scheme", http.RedirectHandler("file:///etc/hosts", http.StatusFound))
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(good)
	})
	mux.HandleFunc("/partial", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "9999")
		_, _ = w.Write(good)
	})
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(good)
		for range 1000 {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
				return // cut off, as it should be
			}
		}
		t.Error("64 MB were read")
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, want := range map[string]string{
		"/good": "", "/moved": "", "/away": "redirects", "/round": "redirects", "/scheme": "redirects", "/broken": "status 500",
		"/partial": "unexpected EOF", "/huge": "too long", "/missing": "status 404",
	} {
		s, err := New(t.Context(), Config{From: server.URL + path + "?secret=hush"})
		if err != nil {
			t.Fatal(err)
		}
		wait, err := s.load(t.Context())
		switch {
		case want == "" && (err != nil || wait != 10*time.Minute):
			t.Errorf("%s: %v, %v", path, wait, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush")):
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A server that answers nothing, or a byte now and then, is given up.
func TestSlowServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it takes connections into its backlog, and nothing more
	r, err := newReader("http://" + l.Addr().String() + "/keys")
	if err != nil {
		t.Fatal(err)
	}
	r.(*remote).client.Timeout = 50 * time.Millisecond
	if _, _, err := r.read(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silence: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("at the end: %v", err)
	}
}

// A key that is narrowed to one algorithm is another key.
func TestNarrowedKey(t *testing.T) {
	wide := rs(t, 2048, "rsa", "")
	before, _, err := Parse(set(wide))
	if err != nil {
		t.Fatal(err)
	}
	after, _, err := Parse(set(strings.TrimSuffix(wide, "}") + `,"alg":"PS256"}`))
	if err != nil {
		t.Fatal(err)
	}
	after.adopt(before)
	if after["rsa"] == before["rsa"] || after["rsa"].Fits("RS256") {
		t.Error("the key is still for every algorithm")
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	if _, err := New(t.Context(), Config{From: path}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("no file: %v", err)
	}
	write := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte(`{}`))
	if _, err := New(t.Context(), Config{From: path}); !errors.Is(err, ErrSet) {
		t.Fatalf("no set: %v", err)
	}
	write(set(okp(t, "one", "")))
	synctest.Test(t, func(t *testing.T) {
		s, err := New(t.Context(), Config{From: path})
		if err != nil {
			t.Fatal(err)
		}
		lookup(t, s, "one", nil) // at once
		var ended sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		ended.Go(func() { s.Run(ctx) })
		defer func() { cancel(); ended.Wait() }()
		synctest.Wait()
		write([]byte(`{"keys":[`)) // somebody is in the middle of writing it
		time.Sleep(fileEvery)
		synctest.Wait()
		lookup(t, s, "one", nil)
		write(set(okp(t, "two", "")))
		time.Sleep(fileEvery)
		synctest.Wait()
		lookup(t, s, "two", nil)
		lookup(t, s, "one", ErrUndecided)
	})
}

func TestConfigFaults(t *testing.T) {
	for from, want := range map[string]string{
		"": "empty", "ftp://x/": "https://", "http://issuer.example/keys": "loopback", "http://10.0.0.1/": "loopback",
		"https://u:p@issuer.example/": "password", "https://": "host", "https://x/#a": "fragment", "://": "URL", "file:///x": "https://",
	} {
		if err := (Config{From: from}).Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", from, err, want)
		}
	}
	for _, from := range []string{"https://issuer.example/keys", "http://127.0.0.1:80/", "http://[::1]/", "http://localhost:8/", "/etc/keys.json", "keys.json"} {
		if err := (Config{From: from}).Validate(); err != nil {
			t.Errorf("%q: %v", from, err)
		}
	}
	if err := (Config{From: "x", Every: -1}).Validate(); err == nil {
		t.Error("a negative period")
	}
}
