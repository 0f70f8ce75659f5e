package control

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// Why an operation did not happen, as far as is known.
var (
	// ErrUnavailable: it did not happen, and may later.
	ErrUnavailable = errors.New("control: group 0 is not available")
	// ErrUnknown: it may have happened. All operations can be repeated but
	// CreateInvite, whose first code is then known to nobody.
	ErrUnknown = errors.New("control: leadership was lost; it is unknown whether it happened")
)

// Store is where the rows are.
type Store interface {
	Put(key, value []byte)
	Delete(key []byte)
	Scan(prefix, from []byte, fn func(key, value []byte) bool) error
}

// Group is group 0, as package shard has it.
type Group interface {
	Propose(token uint64, data []byte) error
	Read(token uint64) error
}

// MaxQueue is how many operations wait; later ones are refused.
const MaxQueue = 1024

// DefaultShards of a new cluster.
const DefaultShards = 64

// Config of a Control. Store is required.
type Config struct {
	Store Store
	// Shards of the cluster if it has to be created; in any case the number
	// that this node runs with. DefaultShards where zero.
	Shards uint32
	Now    func() time.Time
	Random io.Reader
	Logger *slog.Logger
}

// Validate reports everything that is wrong.
func (c Config) Validate() error {
	if c.Store == nil {
		return errors.New("control: no store")
	}
	return nil
}

// operation is decided on the loop and answered once.
type operation struct {
	decide func(*draft) error
	done   func(error)
	err    error // what decide said; the answer, if the decision holds
}

// Control is the machine of group 0. Its methods belong to the loop, except
// Keys, Ready and Err.
type Control struct {
	// immutable
	config Config

	// owned by the loop
	group   Group
	term    uint64 // led; 0 while following
	state   *state // ahead of the log; nil while following
	queue   []operation
	flying  []operation // decided, and waiting for token
	token   uint64
	entered bool // a cluster and a key are there, as of this term

	// atomic
	keys  atomic.Pointer[Keys]
	ready atomic.Bool
	err   atomic.Pointer[error]
}

// New makes the machine. What the store has of an earlier life is to be seen at
// once; it may be old until Ready.
func New(config Config) (*Control, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if config.Shards == 0 {
		config.Shards = DefaultShards
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Random == nil {
		config.Random = rand.Reader
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Control{config: config}
	if err := c.publish(); err != nil {
		return nil, err
	}
	return c, nil
}

// Tick tries again what leading needs and what was refused. Call it now and then.
func (c *Control) Tick() {
	if c.state != nil && !c.entered && len(c.flying) == 0 {
		c.enter()
	}
}

// Attach gives it the group that it is the machine of.
func (c *Control) Attach(g Group) { c.group = g }

// Keys is what is known now. Any goroutine.
func (c *Control) Keys() *Keys { return c.keys.Load() }

// Ready says whether there are a cluster and a key, and this node leads group
// 0. Any goroutine.
func (c *Control) Ready() bool { return c.ready.Load() }

// Err says what is wrong with group 0's state, if anything. Any goroutine.
func (c *Control) Err() error {
	if err := c.err.Load(); err != nil {
		return *err
	}
	return nil
}

// CreateInvite makes an invite with which one user can register. Life is
// InviteLife where zero. The code is told to done and kept nowhere.
func (c *Control) CreateInvite(life time.Duration, done func(code string, expires time.Time, err error)) {
	if life == 0 {
		life = InviteLife
	}
	if life < 0 || life > InviteLifeMax {
		done("", time.Time{}, fmt.Errorf("control: an invite for %v; at most %v", life, InviteLifeMax))
		return
	}
	code, err := c.draw(15)
	if err != nil {
		done("", time.Time{}, err)
		return
	}
	text := base32.StdEncoding.EncodeToString(code)
	expires := c.config.Now().Add(life).Truncate(time.Millisecond)
	c.enqueue(operation{
		decide: func(d *draft) error { return d.addInvite(text, uint64(expires.UnixMilli())) },
		done: func(err error) {
			if err != nil {
				done("", time.Time{}, err)
				return
			}
			done(text, expires, nil)
		},
	})
}

// Redeem takes an invite for a user. The same user may do it again.
func (c *Control) Redeem(code, user string, done func(error)) {
	code = strings.ToUpper(strings.TrimSpace(code))
	if user == "" {
		done(errors.New("control: redeem for nobody"))
		return
	}
	c.enqueue(operation{decide: func(d *draft) error { return d.redeem(code, user) }, done: done})
}

// CheckInvite says whether Redeem would do, and changes nothing.
func (c *Control) CheckInvite(code, user string, done func(error)) {
	code = strings.ToUpper(strings.TrimSpace(code))
	c.enqueue(operation{decide: func(d *draft) error { _, err := d.good(code, user); return err }, done: done})
}

// RotateKey makes a new signing key. Tokens of the older ones stay good.
func (c *Control) RotateKey(done func(error)) {
	c.enqueue(operation{decide: c.newKey, done: done})
}

func (c *Control) enqueue(op operation) {
	if c.state == nil || c.Err() != nil || len(c.queue) >= MaxQueue {
		op.done(ErrUnavailable)
		return
	}
	c.queue = append(c.queue, op)
	c.flush()
}

// enter creates what a new cluster lacks, and opens for everybody.
func (c *Control) enter() {
	c.enqueue(operation{decide: c.found, done: c.open})
}

// flush decides all that wait, unless something is in flight.
func (c *Control) flush() {
	if len(c.flying) > 0 || len(c.queue) == 0 || c.state == nil {
		return
	}
	c.flying, c.queue = c.queue, nil
	d := &draft{state: c.state, now: uint64(c.config.Now().UnixMilli())}
	for i := range c.flying {
		op := &c.flying[i]
		op.err = op.decide(d)
	}
	c.token++
	if err := c.submit(d); err != nil {
		c.config.Logger.Warn("group 0 takes nothing", "error", err)
		c.abandon(ErrUnavailable)
	}
}

func (c *Control) submit(d *draft) error {
	if d.err != nil {
		return d.err
	}
	if len(d.rows) == 0 {
		return c.group.Read(c.token)
	}
	data, err := proto.Marshal(&storepb.Batch{Term: c.term, Now: d.now, Mutations: d.rows})
	if err != nil {
		return fmt.Errorf("control: encode batch: %w", err)
	}
	return c.group.Propose(c.token, data)
}

// abandon gives up what is in flight, and the state that was decided with it.
// What waited behind it fails as well: it would most likely fail next.
func (c *Control) abandon(err error) {
	flying, queue := c.flying, c.queue
	c.flying, c.queue = nil, nil
	if c.state != nil {
		c.reload()
	}
	for _, op := range flying {
		op.done(err)
	}
	for _, op := range queue {
		op.done(ErrUnavailable)
	}
}

func (c *Control) reload() {
	s, err := load(c.config.Store)
	if err != nil {
		c.fail(err)
		return
	}
	c.state = s
}

// fail makes group 0 unusable on this node, and says so.
func (c *Control) fail(err error) {
	c.state = nil
	c.ready.Store(false)
	c.err.CompareAndSwap(nil, &err)
	c.config.Logger.Error("group 0 is unusable", "error", err)
}

func (c *Control) draw(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.config.Random, b); err != nil {
		return nil, fmt.Errorf("control: draw: %w", err)
	}
	return b, nil
}

func (c *Control) newKey(d *draft) error {
	id, err := c.draw(8)
	if err != nil {
		return err
	}
	seed, err := c.draw(ed25519.SeedSize)
	if err != nil {
		return err
	}
	d.addKey(hex.EncodeToString(id), seed)
	return nil
}

// found creates what a new cluster lacks.
func (c *Control) found(d *draft) error {
	if d.cluster == nil {
		id, err := uuid.NewRandomFromReader(c.config.Random)
		if err != nil {
			return fmt.Errorf("control: draw cluster id: %w", err)
		}
		d.found(id.String(), c.config.Shards)
	}
	if len(d.keys) == 0 {
		return c.newKey(d)
	}
	return nil
}

// publish shows everybody what the rows say.
func (c *Control) publish() error {
	s, err := load(c.config.Store)
	if err != nil {
		return err
	}
	v, err := s.view()
	if err != nil {
		return err
	}
	c.keys.Store(v)
	return nil
}
