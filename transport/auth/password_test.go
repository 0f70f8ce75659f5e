package auth

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var home = netip.MustParseAddr("192.0.2.1")

// cheap are parameters for tests that are not about them.
var cheap = Params{Memory: 8, Time: 1, Threads: 1, Salt: 16, Hash: 32}

func passwords(t testing.TB, cfg PasswordsConfig) *Passwords {
	t.Helper()
	p, err := NewPasswords(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPasswords(t *testing.T) {
	ctx := t.Context()
	p := passwords(t, PasswordsConfig{Params: cheap})
	hash, err := p.Hash(ctx, home, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=8,t=1,p=1$") {
		t.Errorf("hash %s", hash)
	}
	other, _ := p.Hash(ctx, home, "correct horse")
	if other == hash {
		t.Error("two hashes share a salt")
	}
	for _, c := range []struct {
		name, hash, password string
		want                 bool
		err                  error
	}{
		{"right", hash, "correct horse", true, nil},
		{"wrong", hash, "correct horsf", false, nil},
		{"empty", hash, "", false, nil},
		{"nobody", "", "", false, nil},
		// Made by the reference implementation: echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32
		{"another's making", "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password", true, nil},
		{"not a hash", "secret", "secret", false, ErrHash},
		{"another function", strings.Replace(hash, "argon2id", "argon2i", 1), "correct horse", false, ErrHash},
		{"too much memory", strings.Replace(hash, "m=8", "m=4294967295", 1), "correct horse", false, ErrHash},
		{"no passes", strings.Replace(hash, "t=1", "t=0", 1), "correct horse", false, ErrHash},
		{"too many lanes", strings.Replace(hash, "p=1", "p=257", 1), "correct horse", false, ErrHash},
		{"cut", hash[:len(hash)-30], "correct horse", false, ErrHash},
	} {
		got, err := p.Verify(ctx, home, c.hash, c.password)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, got, err, c.want, c.err)
		}
	}
}

// A login for nobody must cost what a login for somebody costs.
// A wrong password is answered at once, but its place rests for three times as
// long as it took; a right one leaves it to the next.
func TestWrongPasswordsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		p := passwords(t, PasswordsConfig{Params: cheap, Workers: 1, Clock: func() time.Time { now = now.Add(10 * time.Millisecond); return now }})
		hash, err := p.Hash(t.Context(), home, "correct horse")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			hash, password string
			rest           time.Duration
		}{{hash, "wrong", 30 * time.Millisecond}, {"", "nobody's", 30 * time.Millisecond}, {hash, "correct horse", 0}} {
			begin := time.Now()
			if _, err := p.Verify(t.Context(), home, c.hash, c.password); err != nil {
				t.Fatal(err)
			}
			answered := time.Since(begin)
			if _, err := p.Hash(t.Context(), home, "the next"); err != nil {
				t.Fatal(err)
			}
			if rest := time.Since(begin); answered != 0 || rest != c.rest {
				t.Errorf("%q: answered after %v, the next after %v", c.password, answered, rest)
			}
		}
	})
}

func TestNobodyIsHashedToo(t *testing.T) {
	p := passwords(t, PasswordsConfig{Params: cheap})
	params, salt, hash, err := parsePHC(p.dummy)
	if err != nil || params != cheap || len(salt) != 16 || len(hash) != 32 {
		t.Errorf("the dummy is %+v, %v", params, err)
	}
}

func TestDefaultParamsAreOWASPs(t *testing.T) {
	p := passwords(t, PasswordsConfig{})
	if !strings.HasPrefix(p.dummy, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("defaults %s", p.dummy)
	}
}

func client(i byte) netip.Prefix { return Client(netip.AddrFrom4([4]byte{10, 0, 0, i})) }

// One client queues three, two others one each: the place goes round.
func TestPlacesGoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(1, 10, 3, NewMetrics(nil))
		if err := p.take(t.Context(), client(9)); err != nil {
			t.Fatal(err)
		}
		got := make(chan string)
		queue := func(c byte, name string) {
			go func() {
				if err := p.take(context.Background(), client(c)); err != nil {
					name = err.Error()
				}
				got <- name
			}()
			synctest.Wait()
		}
		queue(1, "a1")
		queue(1, "a2")
		queue(1, "a3")
		queue(2, "b1")
		queue(3, "c1")
		if err := p.take(t.Context(), client(1)); !errors.Is(err, ErrClientBusy) {
			t.Errorf("a fourth of one client: %v", err)
		}
		for _, want := range []string{"a1", "b1", "c1", "a2", "a3"} {
			p.give()
			if name := <-got; name != want {
				t.Errorf("the place went to %s, want %s", name, want)
			}
		}
		p.give()
		if p.free != 1 || p.waiting != 0 || len(p.lines) != 0 || p.turns.Len() != 0 {
			t.Errorf("left over: %+v", p)
		}
	})
}

func TestPlacesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(2, 3, 3, NewMetrics(nil))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		for i := range 2 {
			if err := p.take(ctx, client(byte(i))); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 {
			go func() { done <- p.take(ctx, client(byte(i))) }()
		}
		synctest.Wait()
		if err := p.take(ctx, client(7)); !errors.Is(err, ErrBusy) {
			t.Errorf("one too many: %v", err)
		}
		cancel()
		for range 3 {
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("given up: %v", err)
			}
		}
		p.give()
		p.give()
		if p.free != 2 || p.waiting != 0 || len(p.lines) != 0 || p.turns.Len() != 0 {
			t.Errorf("left over: %+v", p)
		}
	})
}

// A place given to somebody who gives up at that moment goes on to the next.
func TestPlaceGivenToOneWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(1, 10, 10, NewMetrics(nil))
		if err := p.take(t.Context(), client(9)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		left, next := make(chan error), make(chan error)
		go func() { left <- p.take(ctx, client(1)) }()
		synctest.Wait()
		go func() { next <- p.take(t.Context(), client(2)) }()
		synctest.Wait()
		p.mu.Lock() // the one who leaves cannot say so before the place is given
		cancel()
		p.giveLocked()
		p.mu.Unlock()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who left: %v", err)
		}
		synctest.Wait()
		select {
		case err := <-next:
			if err != nil {
				t.Errorf("the next: %v", err)
			}
			p.give()
		default:
			t.Fatal("the place is lost")
		}
		if p.free != 1 || p.waiting != 0 {
			t.Errorf("left over: free %d, waiting %d", p.free, p.waiting)
		}
	})
}

// Places are neither lost nor made when waiters give up as they are served.
func TestPlacesUnderRace(t *testing.T) {
	p := newPlaces(2, 64, 64, NewMetrics(nil))
	done := make(chan struct{})
	for i := range 16 {
		go func() {
			defer func() { done <- struct{}{} }()
			for j := range 200 {
				ctx, cancel := context.WithCancel(context.Background())
				go cancel()
				if p.take(ctx, client(byte(i*j))) == nil {
					p.give()
				}
				cancel()
			}
		}()
	}
	for range 16 {
		<-done
	}
	if p.free != 2 || p.waiting != 0 || len(p.lines) != 0 || p.turns.Len() != 0 {
		t.Errorf("left over: free %d, waiting %d", p.free, p.waiting)
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=8,t=1,p=256$c29tZXNhbHQ$")
	f.Fuzz(func(t *testing.T, s string) {
		p, salt, hash, err := parsePHC(s)
		if err != nil {
			return
		}
		if err := p.check(); err != nil {
			t.Fatalf("accepted %+v: %v", p, err)
		}
		if again, _, _, err := parsePHC(phc(p, salt, hash)); err != nil || again != p {
			t.Fatalf("written and read again: %+v, %v", again, err)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	p := passwords(b, PasswordsConfig{})
	for b.Loop() {
		if _, err := p.Hash(b.Context(), home, "correct horse"); err != nil {
			b.Fatal(err)
		}
	}
}
