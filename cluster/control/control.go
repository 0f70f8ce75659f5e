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
	ErrUnknown = errors.New("control: the leader of group 0 was lost; it is unknown whether it happened")
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
	// Cluster is the id of the cluster if it has to be created, a UUID.
	Cluster string
	// Self is this node: the creator of the cluster if it has to be created.
	Self Member
	// Space is the version of the key space that the rows lie in.
	Space uint32
	// Changed is told each view that is committed, on the loop, and in New the one
	// that the rows hold.
	Changed func(*View)
	Now     func() time.Time
	Random  io.Reader
	Logger  *slog.Logger
}

// Validate reports everything that is wrong.
func (c Config) Validate() error {
	var errs []error
	if c.Store == nil {
		errs = append(errs, errors.New("control: no store"))
	}
	if _, err := uuid.Parse(c.Cluster); err != nil {
		errs = append(errs, fmt.Errorf("control: cluster %q is not a UUID", c.Cluster))
	}
	return errors.Join(append(errs, c.Self.Validate())...)
}

// operation is decided on the loop and answered once.
type operation struct {
	decide func(*draft) error
	done   func(error)
	err    error // what decide said; the answer, if the decision holds
}

// Control is the machine of group 0. Its methods belong to the loop, except
// View, Ready and Err.
type Control struct {
	// immutable
	config Config
	prefix []byte

	// owned by the loop
	group   Group
	applied *state // what is committed, but for invites
	term    uint64 // led; 0 while following
	state   *state // ahead of the log; nil while following
	queue   []operation
	flying  []operation // decided, and waiting for token
	token   uint64
	entered bool // a cluster and a key are there, as of this term

	// atomic
	view  atomic.Pointer[View]
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
	if config.Changed == nil {
		config.Changed = func(*View) {}
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
	c := &Control{config: config, prefix: prefix(config.Space)}
	var err error
	if c.applied, err = load(config.Store, c.prefix); err != nil {
		return nil, err
	}
	c.applied.invites = nil
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

// View is what is committed, as far as this node knows. Any goroutine.
func (c *Control) View() *View { return c.view.Load() }

// Leads says whether this node leads group 0, and operations are of use.
func (c *Control) Leads() bool { return c.state != nil }

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

// Admit takes a node in, or takes over how it describes itself since its last
// start. It can be said again. Done is told how the cluster knows the node.
func (c *Control) Admit(m Member, done func(Member, error)) {
	var known Member
	c.enqueue(operation{
		decide: func(d *draft) (err error) { known, err = d.admit(m); return err },
		done:   func(err error) { done(known, err) },
	})
}

// Vouch says that a node is a member, or that it is none, with ErrNoMember.
func (c *Control) Vouch(node string, done func(error)) {
	c.enqueue(operation{decide: func(d *draft) error { return d.vouch(node) }, done: done})
}

// MarkReady says of a member that it is up: replicas may be placed on it.
func (c *Control) MarkReady(node string, done func(error)) {
	c.enqueue(operation{decide: func(d *draft) error { return d.ready(node) }, done: done})
}

// MarkLost says of a member that it has been gone for so long that others are to
// take over what it holds.
func (c *Control) MarkLost(number uint16, done func(error)) {
	c.enqueue(operation{decide: func(d *draft) error { return d.lose(number) }, done: done})
}

// Leave has a member go: the replicas that it holds move away.
func (c *Control) Leave(number uint16, done func(error)) {
	c.enqueue(operation{decide: func(d *draft) error { return d.leave(number) }, done: done})
}

// Remove takes a member out for good, whatever it holds.
func (c *Control) Remove(number uint16, done func(error)) {
	c.enqueue(operation{decide: func(d *draft) error { return d.remove(number) }, done: done})
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
	d.finish()
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
	s, err := load(c.config.Store, c.prefix)
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
		if err := d.found(c.config.Cluster, c.config.Shards, c.config.Self); err != nil {
			return err
		}
	}
	if len(d.keys) == 0 {
		return c.newKey(d)
	}
	return nil
}

// publish shows everybody what is committed.
func (c *Control) publish() error {
	v, err := c.applied.view()
	if err != nil {
		return err
	}
	c.view.Store(v)
	c.config.Changed(v)
	return nil
}
