package control

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/cluster/shard"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

var (
	_ shard.Machine = (*Control)(nil)
	_ Group         = (*shard.Group)(nil)
)

type rows map[string][]byte

func (r rows) Put(key, value []byte) { r[string(key)] = value }
func (r rows) Delete(key []byte)     { delete(r, string(key)) }
func (r rows) Scan(prefix, from []byte, fn func(key, value []byte) bool) error {
	for _, key := range slices.Sorted(maps.Keys(r)) {
		if strings.HasPrefix(key, string(prefix)) && key >= string(from) && !fn([]byte(key), r[key]) {
			return nil
		}
	}
	return nil
}

const clusterID = "0d3f2a52-64b9-4dfb-9f0f-3a5a2c1f7f10"

// member is a node as it describes itself; i is not its number, unless it joins
// in turn.
func member(i int) Member {
	return Member{
		Node: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), Incarnation: 1, Roles: []string{RoleData, RoleGateway},
		Peer: fmt.Sprintf("10.0.0.%d:7947", i), Gossip: fmt.Sprintf("10.0.0.%d:7946", i), Clients: fmt.Sprintf("ws://10.0.0.%d:8080/v1/ws", i),
	}
}

// node is a Control with a group that does what the test says.
type node struct {
	t        *testing.T
	c        *Control
	rows     rows
	now      time.Time
	term     uint64
	refuse   error // of Propose
	proposed []byte
	reading  bool
	token    uint64
	log      [][]byte
}

func newNode(t *testing.T, r rows) *node {
	n := &node{t: t, rows: r, now: time.UnixMilli(1_700_000_000_000), term: 1}
	c, err := New(Config{Store: r, Cluster: clusterID, Self: member(1), Now: func() time.Time { return n.now }, Random: rand.NewChaCha8([32]byte{1})})
	if err != nil {
		t.Fatal(err)
	}
	n.c = c
	c.Attach(n)
	return n
}

func (n *node) Propose(token uint64, data []byte) error {
	if n.refuse != nil {
		return n.refuse
	}
	if n.proposed != nil || n.reading {
		n.t.Error("two proposals at once")
	}
	n.proposed, n.token = data, token
	return nil
}

func (n *node) Read(token uint64) error {
	if n.proposed != nil || n.reading {
		n.t.Error("two at once")
	}
	n.reading, n.token = true, token
	return nil
}

// commit does what is in flight, and what follows from it.
func (n *node) commit() {
	n.t.Helper()
	for n.proposed != nil || n.reading {
		data := n.proposed
		n.proposed = nil
		if n.reading {
			n.reading = false
			n.c.Confirmed(n.token)
			continue
		}
		n.apply(n.term, data)
		n.log = append(n.log, data)
		n.c.Committed(n.token)
	}
}

func (n *node) apply(term uint64, data []byte) {
	n.t.Helper()
	if err := n.c.Apply(1, term, data); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) lead() {
	n.t.Helper()
	n.c.Lead(n.term)
	n.commit()
	if !n.c.Ready() {
		n.t.Fatalf("not ready: %v", n.c.Err())
	}
}

// errUnanswered is an error that no operation gives.
var errUnanswered = errors.New("no answer")

func (n *node) redeem(code, user string) *error {
	answer := errUnanswered
	n.c.Redeem(code, user, func(err error) {
		if !errors.Is(answer, errUnanswered) {
			n.t.Error("answered twice")
		}
		answer = err
	})
	return &answer
}

func (n *node) invite() string {
	n.t.Helper()
	var code string
	n.c.CreateInvite(0, func(c string, _ time.Time, err error) {
		if err != nil {
			n.t.Fatal(err)
		}
		code = c
	})
	n.commit()
	if code == "" {
		n.t.Fatal("no invite")
	}
	return code
}

func want(t *testing.T, what string, got *error, want error) {
	t.Helper()
	if !errors.Is(*got, want) || (want == nil && *got != nil) {
		t.Errorf("%s: %v, want %v", what, *got, want)
	}
}

// The first leader founds the cluster; none after it may do so again.
func TestClusterIsFoundedOnce(t *testing.T) {
	n := newNode(t, rows{})
	n.c.Lead(1)
	if n.c.Ready() {
		t.Error("ready before the cluster is durable")
	}
	n.commit()
	first := n.c.View()
	key, ok := first.Signing()
	if !n.c.Ready() || first.Cluster == "" || first.Shards != DefaultShards || !ok {
		t.Fatalf("ready %v, keys %+v", n.c.Ready(), first)
	}
	if again, ok := first.Lookup(key.ID); !ok || !bytes.Equal(again.Public, key.Public) {
		t.Error("the signing key does not verify")
	}

	later := newNode(t, n.rows)
	if k := later.c.View(); k.Cluster != first.Cluster {
		t.Error("the keys are not to be seen before leading")
	}
	later.term = 2
	later.lead()
	if k, _ := later.c.View().Signing(); k.ID != key.ID || later.c.View().Cluster != first.Cluster || len(later.log) != 0 {
		t.Errorf("founded again: %+v", later.c.View())
	}
}

// Every user's place hangs on the number of shards: a node that thinks
// otherwise must not serve.
func TestOtherNumberOfShards(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	c, err := New(Config{Store: n.rows, Shards: 32, Cluster: clusterID, Self: member(1)})
	if err != nil {
		t.Fatal(err)
	}
	other := &node{t: t, c: c, rows: n.rows, term: 2}
	c.Attach(other)
	c.Lead(2)
	other.commit()
	if c.Ready() || c.Err() == nil {
		t.Errorf("ready %v, error %v", c.Ready(), c.Err())
	}
	want(t, "redeem", other.redeem("X", "alice"), ErrUnavailable)
}

func TestInviteIsForOneName(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	code := n.invite()
	for key := range n.rows {
		if strings.Contains(key, code) {
			t.Error("the code itself is stored")
		}
	}
	// Decided together, in order: the second name must see the first one's claim
	// before it is committed.
	blocker := n.redeem("NONE", "zoe")
	alice, bob, twice := n.redeem(code, "alice"), n.redeem(code, "bob"), n.redeem(strings.ToLower(code)+" ", "alice")
	want(t, "before the commit", alice, errUnanswered)
	n.commit()
	want(t, "unknown code", blocker, ErrInviteUnknown)
	want(t, "alice", alice, nil)
	want(t, "bob", bob, ErrInviteUsed)
	want(t, "alice again", twice, nil)

	n.now = n.now.Add(InviteLife)
	again := n.redeem(code, "alice")
	late := n.redeem(code, "bob")
	n.commit()
	want(t, "alice, much later", again, nil)
	want(t, "bob, much later", late, ErrInviteUsed)
}

func TestInviteExpires(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	code := n.invite()
	before := len(n.rows)
	n.now = n.now.Add(InviteLife)
	late := n.redeem(code, "alice")
	n.commit()
	want(t, "redeem", late, ErrInviteExpired)
	n.now = n.now.Add(keptUsed)
	n.invite() // clears the old one away
	if len(n.rows) != before {
		t.Errorf("%d rows, had %d", len(n.rows), before)
	}
	var err error
	n.c.CreateInvite(InviteLifeMax+1, func(_ string, _ time.Time, e error) { err = e })
	if err == nil {
		t.Error("an invite for ever")
	}
}

// The state runs ahead of the log. When the proposal is dropped, alice's claim
// never happened, and the invite is bob's.
func TestDroppedProposalLeavesNoTrace(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(n *node)
		want error
	}{
		{"dropped", func(n *node) { n.c.Dropped(n.token) }, ErrUnavailable},
		{"leadership lost", func(n *node) { n.c.Follow(); n.term++; n.c.Lead(n.term) }, ErrUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, rows{})
			n.lead()
			code := n.invite()
			alice := n.redeem(code, "alice")
			n.proposed = nil
			c.lose(n)
			n.commit()
			want(t, "alice", alice, c.want)
			bob := n.redeem(code, "bob")
			n.commit()
			want(t, "bob", bob, nil)
		})
	}
}

// The lost batch may commit after all, under its own term, before the next Lead.
func TestLostProposalThatCommits(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	code := n.invite()
	n.redeem(code, "alice")
	lost := n.proposed
	n.proposed = nil
	n.c.Follow()
	if n.c.Ready() {
		t.Error("ready without leading")
	}
	want(t, "while following", n.redeem(code, "bob"), ErrUnavailable)
	n.apply(n.term, lost)
	n.term++
	n.lead()
	bob := n.redeem(code, "bob")
	n.commit()
	want(t, "bob", bob, ErrInviteUsed)
}

// An entry whose batch was made in another term has no effect.
func TestBatchOfAnotherTermIsRefused(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	data, err := proto.Marshal(&storepb.Batch{Term: n.term, Mutations: []*storepb.Mutation{
		{Op: &storepb.Mutation_Row{Row: &storepb.Row{Key: []byte("izzz"), Value: []byte("x")}}}}})
	if err != nil {
		t.Fatal(err)
	}
	before := len(n.rows)
	n.apply(n.term+1, data)
	if len(n.rows) != before {
		t.Error("it was applied")
	}
	if err := n.c.Apply(1, n.term, []byte("\xff")); err == nil {
		t.Error("garbage was applied")
	}
}

// What was written by keys before the last stays valid until it expires.
func TestRotatedKeyStillVerifies(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	old, _ := n.c.View().Signing()
	var err = errUnanswered
	n.c.RotateKey(func(e error) { err = e })
	if k, _ := n.c.View().Signing(); k.ID != old.ID {
		t.Error("a key signs before it is durable")
	}
	n.commit()
	now, ok := n.c.View().Signing()
	if err != nil || !ok || now.ID == old.ID {
		t.Errorf("error %v, key %q, was %q", err, now.ID, old.ID)
	}
	if _, ok := n.c.View().Lookup(old.ID); !ok {
		t.Error("the old key is gone")
	}
	later := newNode(t, n.rows)
	if k, _ := later.c.View().Signing(); k.ID != now.ID {
		t.Error("after a restart the old key signs again")
	}
}

// Applying the whole log again, over any state, gives the same rows.
func TestReplayGivesTheSameRows(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	for _, user := range []string{"alice", "bob"} {
		n.redeem(n.invite(), user)
		n.commit()
	}
	n.now = n.now.Add(InviteLifeMax)
	n.invite()
	ahead := maps.Clone(n.rows)
	for _, start := range []rows{{}, ahead} {
		again := newNode(t, start)
		for _, data := range n.log {
			again.apply(1, data)
		}
		if !maps.EqualFunc(start, n.rows, bytes.Equal) {
			t.Errorf("%d rows, want %d", len(start), len(n.rows))
		}
	}
}

// Leading cannot be entered while the group takes nothing; later it can.
func TestTickEntersLater(t *testing.T) {
	n := newNode(t, rows{})
	n.refuse = shard.ErrOverloaded
	n.c.Lead(1)
	n.c.Tick()
	if n.c.Ready() || n.c.Err() != nil {
		t.Fatalf("ready %v, error %v", n.c.Ready(), n.c.Err())
	}
	n.refuse = nil
	n.c.Tick()
	n.c.Tick()
	n.commit()
	if !n.c.Ready() {
		t.Error("not ready")
	}
}

func TestQueueIsBounded(t *testing.T) {
	n := newNode(t, rows{})
	n.lead()
	n.redeem("A", "alice") // in flight
	var last *error
	for range MaxQueue {
		last = n.redeem("A", "alice")
	}
	want(t, "the last that fits", last, errUnanswered)
	want(t, "one too many", n.redeem("A", "alice"), ErrUnavailable)
}

func TestDamagedRowIsReported(t *testing.T) {
	n := newNode(t, rows{})
	n.rows[string(prefix(0))+"i short"] = nil
	n.c.Lead(1)
	if n.c.Ready() || n.c.Err() == nil {
		t.Errorf("ready %v, error %v", n.c.Ready(), n.c.Err())
	}
	if _, err := New(Config{Store: n.rows, Cluster: clusterID, Self: member(1)}); err == nil {
		t.Error("opened on a damaged row")
	}
}
