package keyset

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Why there is no key.
var (
	// ErrUnknown: the set, as read after the key was first asked for, does not hold it.
	ErrUnknown = errors.New("the issuer has no such key")
	// ErrUndecided: there is no set, or it is about to be read again.
	ErrUndecided = errors.New("the issuer's keys are being read")
	// ErrNone: no set could be read yet, or the last one is too old.
	ErrNone = errors.New("there is no key set of the issuer")
)

// The defaults of Config.
const (
	DefaultMaxStale = 24 * time.Hour
	fileEvery       = 10 * time.Second
	urlEvery        = 5 * time.Minute
	fileGap         = time.Second
	urlGap          = 5 * time.Second
)

// The bounds of what Cache-Control asks for, and of the pause after failures.
const (
	ageMin   = time.Minute
	ageMax   = 15 * time.Minute
	pauseMax = time.Minute
)

// What is remembered of keys that the set does not hold.
const (
	strangersMax  = 1024
	strangersKept = time.Minute
)

// Config of a Source.
type Config struct {
	// From is a path, or a URL: https, or http to a loopback address.
	From string
	// Every is how often the set is read; 10 s for a file, 5 min for a URL that
	// says nothing of it, where zero.
	Every time.Duration
	// MinGap is the least time between two readings on demand; 1 s for a file,
	// 5 s for a URL where zero.
	MinGap time.Duration
	// MaxStale is how long the last good set is used; DefaultMaxStale where zero.
	MaxStale time.Duration
	Now      func() time.Time // time.Now where nil
	Log      *slog.Logger     // discarded where nil
	Metrics  *Metrics
}

func (c *Config) fill() {
	file := !IsURL(c.From)
	pick := func(value *time.Duration, ofFile, ofURL time.Duration) {
		switch {
		case *value != 0:
		case file:
			*value = ofFile
		default:
			*value = ofURL
		}
	}
	pick(&c.Every, fileEvery, urlEvery)
	pick(&c.MinGap, fileGap, urlGap)
	pick(&c.MaxStale, DefaultMaxStale, DefaultMaxStale)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.From == "" {
		faults = append(faults, errors.New("keyset: From is empty"))
	}
	if _, err := newReader(c.From); err != nil {
		faults = append(faults, fmt.Errorf("keyset: From: %w", err))
	}
	if c.Every < 0 || c.MinGap < 0 || c.MaxStale < 0 {
		faults = append(faults, fmt.Errorf("keyset: Every %v, MinGap %v or MaxStale %v is negative", c.Every, c.MinGap, c.MaxStale))
	}
	return errors.Join(faults...)
}

// IsURL says whether keys come from a URL, rather than from a file.
func IsURL(from string) bool { return strings.Contains(from, "://") }

// Source is the newest key set. All methods but Run are for any goroutine.
type Source struct {
	// immutable
	cfg    Config
	reader reader
	kick   chan struct{} // ask Run to read before the time

	mu        sync.Mutex
	keys      Keys
	at        time.Time // when keys was last read, or found unchanged
	begun     uint64    // readings
	ended     uint64    // the newest reading that has ended
	good      uint64    // the newest reading that succeeded
	strangers map[string]stranger

	// Owned by Run, and before it by New.
	passed string // what was said of keys that are passed over
	lost   bool   // said that there is no set any more
}

// stranger is a key that was asked for and is not in the set.
type stranger struct {
	begun uint64 // readings when it was first asked for
	at    time.Time
}

// New makes a Source. A file is read at once, and must be good; a URL is read
// by Run.
func New(ctx context.Context, cfg Config) (*Source, error) {
	cfg.fill()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r, err := newReader(cfg.From)
	if err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, reader: r, kick: make(chan struct{}, 1), strangers: map[string]stranger{}}
	if !IsURL(cfg.From) {
		if _, err := s.load(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Run reads the set, again and again, until the context ends.
func (s *Source) Run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		began := s.cfg.Now()
		wait, err := s.load(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait = min(s.cfg.MinGap<<min(failures, 8), pauseMax, s.cfg.Every)
			failures++
			s.logFailure(err, wait)
		default:
			failures = 0
			s.lost = false
		}
		if !s.pause(ctx, wait, began) {
			return
		}
	}
}

// pause waits until the set is due, or asked for and MinGap has passed since
// the last reading began. It is false when the context ended.
func (s *Source) pause(ctx context.Context, wait time.Duration, began time.Time) bool {
	due := time.NewTimer(wait)
	defer due.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-due.C:
		return true
	case <-s.kick:
	}
	gap := time.NewTimer(s.cfg.MinGap - s.cfg.Now().Sub(began))
	defer gap.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-due.C:
	case <-gap.C:
	}
	return true
}

// load reads the set once, and says when to do so again.
func (s *Source) load(ctx context.Context) (time.Duration, error) {
	s.mu.Lock()
	s.begun++
	begun := s.begun
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.ended = begun
		s.mu.Unlock()
	}()
	data, fresh, err := s.reader.read(ctx)
	if err != nil {
		s.cfg.Metrics.reads.WithLabelValues("failed").Inc()
		return 0, fmt.Errorf("read the key set: %w", err)
	}
	keys, passed, err := Parse(data)
	if err != nil {
		s.cfg.Metrics.reads.WithLabelValues("unusable").Inc()
		return 0, fmt.Errorf("read the key set: %w", err)
	}
	s.cfg.Metrics.reads.WithLabelValues("ok").Inc()
	s.cfg.Metrics.keys.Set(float64(len(keys)))
	s.take(keys, passed, begun)
	if fresh < 0 {
		return s.cfg.Every, nil
	}
	return min(max(fresh, ageMin), ageMax), nil
}

func (s *Source) take(keys Keys, passed []string, begun uint64) {
	s.mu.Lock()
	before, now := s.keys, s.cfg.Now()
	keys.adopt(before)
	s.keys, s.at, s.good = keys, now, begun
	s.mu.Unlock()
	s.cfg.Metrics.read.Set(float64(now.Unix()))
	// A log that does not flow must not hold up whoever has a token to check.
	s.logChanges(before, keys, strings.Join(passed, "; "))
}

// logFailure says what went wrong, and once that nothing is left.
func (s *Source) logFailure(err error, retry time.Duration) {
	s.mu.Lock()
	at, left := s.at, s.currentLocked(s.cfg.Now()) != nil
	s.mu.Unlock()
	s.cfg.Log.Warn("the issuer's key set could not be read", "err", err, "retry", retry, "lastRead", at)
	if !left && !s.lost {
		s.lost = true
		s.cfg.Log.Error("no token of the issuer's can be checked: there is no key set that is not too old", "lastRead", at)
	}
}

// logChanges names keys by their ids, which are in every token.
func (s *Source) logChanges(before, keys Keys, passed string) {
	if passed != s.passed {
		s.passed = passed
		if passed != "" {
			s.cfg.Log.Warn("keys of the issuer are passed over", "keys", passed)
		}
	}
	for id, key := range keys {
		if before[id] != key {
			s.cfg.Log.Info("the issuer has a new key", "key", id)
		}
	}
	for id := range before {
		if keys[id] == nil {
			s.cfg.Log.Info("the issuer has withdrawn a key", "key", id)
		}
	}
}

// currentLocked is the set, or nil where there is none or it is too old.
func (s *Source) currentLocked(now time.Time) Keys {
	if now.Sub(s.at) > s.cfg.MaxStale {
		return nil
	}
	return s.keys
}

// Ready is ErrNone where no token can be checked.
func (s *Source) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.currentLocked(s.cfg.Now()) == nil {
		return ErrNone
	}
	return nil
}

// Trusts says whether a key that Lookup gave is still in the set.
func (s *Source) Trusts(key *Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.currentLocked(s.cfg.Now())[key.ID] == key
}

// Lookup finds a key. The error is ErrUnknown or ErrUndecided.
func (s *Source) Lookup(id string) (*Key, error) {
	if id == "" || len(id) > maxKeyID {
		return nil, ErrUnknown
	}
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := s.currentLocked(now)[id]; key != nil {
		return key, nil
	}
	s.cfg.Metrics.unknown.Inc()
	who, met := s.strangers[id]
	switch {
	case met && s.good > who.begun && s.currentLocked(now) != nil && now.Sub(who.at) < strangersKept:
		return nil, ErrUnknown
	case !met || s.good > who.begun: // the first time, or again after a while
		who = s.meetLocked(id, now)
	}
	if s.begun > who.begun && s.ended < s.begun {
		return nil, ErrUndecided // the reading under way will tell
	}
	select {
	case s.kick <- struct{}{}:
	default: // it is to be read anyway
	}
	return nil, ErrUndecided
}

// meetLocked remembers a stranger. Where there are too many those go that were
// judged already, else any: a flood of ids costs who asks a further try.
func (s *Source) meetLocked(id string, now time.Time) stranger {
	if len(s.strangers) >= strangersMax {
		for other, who := range s.strangers {
			if s.good > who.begun {
				delete(s.strangers, other)
			}
		}
	}
	for other := range s.strangers {
		if len(s.strangers) < strangersMax {
			break
		}
		delete(s.strangers, other)
	}
	s.strangers[id] = stranger{begun: s.begun, at: now}
	return s.strangers[id]
}
