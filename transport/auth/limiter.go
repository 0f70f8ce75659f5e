package auth

import (
	"container/list"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The default rate of logins and registrations, per address and per user.
const (
	AccountsPerSecond = 5
	AccountsBurst     = 50
)

// LimiterConfig configures a Limiter.
type LimiterConfig struct {
	// Name is the limiter's in the metrics.
	Name string
	// PerSecond and Burst of each key's bucket; AccountsPerSecond and
	// AccountsBurst where zero.
	PerSecond float64
	Burst     int
	// Keys is how many buckets are kept; 65,536 where zero. Past it the one
	// used longest ago is forgotten, that is, full again.
	Keys int
	// Now is the clock; time.Now where nil.
	Now     func() time.Time
	Metrics *Metrics
}

func (c *LimiterConfig) fill() {
	if c.PerSecond == 0 {
		c.PerSecond = AccountsPerSecond
	}
	if c.Burst == 0 {
		c.Burst = AccountsBurst
	}
	if c.Keys == 0 {
		c.Keys = 1 << 16
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
}

// Validate reports every fault of the configuration.
func (c LimiterConfig) Validate() error {
	var faults []error
	if !(c.PerSecond > 0) {
		faults = append(faults, fmt.Errorf("auth: limiter %q: PerSecond %v is not above zero", c.Name, c.PerSecond))
	}
	if c.Burst < 1 {
		faults = append(faults, fmt.Errorf("auth: limiter %q: Burst %d is below one", c.Name, c.Burst))
	}
	if c.Keys < 1 {
		faults = append(faults, fmt.Errorf("auth: limiter %q: Keys %d is below one", c.Name, c.Keys))
	}
	return errors.Join(faults...)
}

// Limiter is a bounded table of token buckets, one for each key.
type Limiter[K comparable] struct {
	// immutable
	cfg       LimiterConfig
	refused   prometheus.Counter
	forgotten prometheus.Counter

	mu      sync.Mutex
	buckets map[K]*list.Element // of *bucket[K]
	used    *list.List          // most recently used first
}

type bucket[K comparable] struct {
	key    K
	tokens float64
	at     time.Time // when tokens was right
}

// NewLimiter makes a Limiter.
func NewLimiter[K comparable](cfg LimiterConfig) (*Limiter[K], error) {
	cfg.fill()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Limiter[K]{
		cfg:       cfg,
		refused:   cfg.Metrics.limited.WithLabelValues(cfg.Name),
		forgotten: cfg.Metrics.forgotten.WithLabelValues(cfg.Name),
		buckets:   make(map[K]*list.Element),
		used:      list.New(),
	}, nil
}

// Allow takes one token of the key's bucket. Where there is none it is false,
// and says how long until there is one.
func (l *Limiter[K]) Allow(key K) (bool, time.Duration) {
	now := l.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucketLocked(key, now)
	if gone := now.Sub(b.at); gone > 0 { // a clock that went back gives nothing
		b.tokens = min(float64(l.cfg.Burst), b.tokens+gone.Seconds()*l.cfg.PerSecond)
	}
	b.at = now
	if b.tokens < 1 {
		l.refused.Inc()
		return false, time.Duration((1 - b.tokens) / l.cfg.PerSecond * float64(time.Second))
	}
	b.tokens--
	return true, 0
}

func (l *Limiter[K]) bucketLocked(key K, now time.Time) *bucket[K] {
	if e, ok := l.buckets[key]; ok {
		l.used.MoveToFront(e)
		return e.Value.(*bucket[K])
	}
	if len(l.buckets) >= l.cfg.Keys {
		oldest := l.used.Back()
		delete(l.buckets, l.used.Remove(oldest).(*bucket[K]).key)
		l.forgotten.Inc()
	}
	b := &bucket[K]{key: key, tokens: float64(l.cfg.Burst), at: now}
	l.buckets[key] = l.used.PushFront(b)
	return b
}

// Len is how many buckets are kept.
func (l *Limiter[K]) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buckets)
}

// Client is the part of an address that stands for one client: the whole of
// an IPv4 address, the /64 of an IPv6 one, because a host is given that many.
// An address that is not known (a socket file) is one client.
func Client(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
