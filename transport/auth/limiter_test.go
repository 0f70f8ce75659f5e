package auth

import (
	"net/netip"
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	c := &clock{now: time.Unix(1000, 0)}
	l, err := NewLimiter[string](LimiterConfig{PerSecond: 5, Burst: 50, Keys: 3, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	spend := func(key string, n int) (taken int) {
		for range n {
			if ok, _ := l.Allow(key); ok {
				taken++
			}
		}
		return taken
	}
	if got := spend("a", 60); got != 50 {
		t.Errorf("a burst of %d", got)
	}
	if got := spend("b", 1); got != 1 {
		t.Error("one key's bucket is another's")
	}
	if ok, wait := l.Allow("a"); ok || wait != 200*time.Millisecond {
		t.Errorf("empty: %v, wait %v", ok, wait)
	}
	c.now = c.now.Add(199 * time.Millisecond)
	if got := spend("a", 1); got != 0 {
		t.Error("a token comes early")
	}
	c.now = c.now.Add(time.Millisecond)
	if got := spend("a", 2); got != 1 {
		t.Errorf("%d tokens after 200 ms", got)
	}
	c.now = c.now.Add(-time.Hour)
	if got := spend("a", 10); got != 0 {
		t.Errorf("a clock that goes back gives %d tokens", got)
	}
	c.now = c.now.Add(24 * time.Hour)
	if got := spend("a", 100); got != 50 {
		t.Errorf("a day fills %d tokens", got)
	}

	// The table is bounded, and what is in use stays.
	for i := range 100 {
		spend(string(rune('A'+i)), 1)
		if ok, _ := l.Allow("a"); ok {
			t.Fatal("the bucket in use was forgotten")
		}
	}
	if l.Len() != 3 {
		t.Errorf("%d buckets", l.Len())
	}
}

func TestClient(t *testing.T) {
	for _, c := range []struct{ addr, want string }{
		{"192.0.2.7", "192.0.2.7/32"},
		{"::ffff:192.0.2.7", "192.0.2.7/32"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"2001:db8:1:2:ffff::", "2001:db8:1:2::/64"},
		{"fe80::1%eth0", "fe80::/64"},
	} {
		if got := Client(netip.MustParseAddr(c.addr)); got.String() != c.want {
			t.Errorf("Client(%s) = %v, want %s", c.addr, got, c.want)
		}
	}
	if got := Client(netip.Addr{}); got != (netip.Prefix{}) {
		t.Errorf("no address: %v", got)
	}
}
