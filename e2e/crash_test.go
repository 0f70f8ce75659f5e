//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rookery-im/rookery/e2e/history"
)

// kill -9, again and again, while devices send, read, ack, hang up and come
// back: nothing acknowledged lost, nothing twice, nothing out of order, no
// receipt early or lost. E2E_SEED replays the choices of a run (the machine's
// timing stays its own), E2E_ROUNDS makes it longer.
func TestCrashes(t *testing.T) {
	seed, rounds := envSeed(t), envInt(t, "E2E_ROUNDS", 30)
	rng := rand.New(rand.NewPCG(seed, 0))

	s := startServer(t)
	d := &director{t: t, server: s, rng: rng}
	d.cast(6, 2)
	d.castListeners()
	stop := d.action()
	for round := range rounds {
		d.round(round)
		d.judge(fmt.Sprintf("round %d", round))
	}
	d.settle()
	stop()
	d.judgeAtRest()
	d.report(rounds)
}

// envSeed is E2E_SEED, or one of this moment; it is printed.
func envSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("E2E_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("E2E_SEED=%d", seed)
	return seed
}

// envInt is a number of the environment, or its default.
func envInt(t *testing.T, name string, normal int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return normal
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// director kills and restarts the server under the phones.
type director struct {
	t       *testing.T
	server  *server
	rng     *rand.Rand
	phones  []*phone
	rest    []*restPhone
	devices []history.Device
	seen    history.Recorder
	judged  *history.Judge // once the cast is complete
	heard   int            // events that it has heard

	checkpoints int // lives that were seen to write one

	count counters
	told  atomic.Int64
}

// cast registers users and links their devices.
func (d *director) cast(users, devices int) {
	var names []string
	for i := range users {
		names = append(names, fmt.Sprintf("user%d", i))
	}
	for i, user := range names {
		d.post("/v1/users", map[string]any{"user": user, "name": user, "password": password})
		peers := append(append([]string{}, names[:i]...), names[i+1:]...)
		for n := range devices {
			me, token := d.link(user, fmt.Sprint(n))
			p := newPhone(d.server, me, token, peers, d.rng.Uint64(), &d.seen, &d.count)
			p.problem = d.problem
			d.phones = append(d.phones, p)
		}
	}
}

// link a device.
func (d *director) link(user, name string) (me history.Device, token string) {
	d.t.Helper()
	var login struct {
		Device uint32 `json:"device"`
		Token  string `json:"token"`
	}
	answer := d.post("/v1/devices", map[string]any{"user": user, "password": password, "deviceName": name})
	if err := json.Unmarshal(answer, &login); err != nil {
		d.t.Fatal(err)
	}
	me = history.Device{User: user, N: login.Device}
	d.devices = append(d.devices, me)
	return me, login.Token
}

// castListeners gives every user a device more, which has no WebSocket: one
// listens to a stream of events, the next polls.
func (d *director) castListeners() {
	for i, p := range slices.Clone(d.phones) {
		if p.me.N != 1 {
			continue
		}
		me, token := d.link(p.me.User, "listener")
		r := newRestPhone(d.server, me, token, listening(i/2%2), p.peers, d.rng.Uint64(), &d.seen, &d.count)
		r.problem = d.problem
		d.rest = append(d.rest, r)
	}
}

// problem takes what a phone should never see; the first few say enough.
func (d *director) problem(format string, args ...any) {
	if n := d.told.Add(1); n <= 12 {
		d.t.Errorf(format, args...)
	} else {
		d.t.Fail()
	}
}

func (d *director) post(path string, body any) []byte {
	d.t.Helper()
	response, err := http.Post(d.server.url(path), "application/json", bytes.NewBufferString(compact(body)))
	if err != nil {
		d.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusCreated {
		d.t.Fatalf("POST %s: %s %s %v", path, response.Status, answer, err)
	}
	return answer
}

// action starts the phones; what it returns stops them.
func (d *director) action() (stop func()) {
	ctx, cancel := context.WithCancel(d.t.Context())
	var running sync.WaitGroup
	for _, p := range d.phones {
		running.Go(func() { p.run(ctx) })
	}
	for _, p := range d.rest {
		running.Go(func() { p.run(ctx) })
	}
	stop = func() {
		cancel()
		running.Wait()
	}
	d.t.Cleanup(stop)
	return stop
}

// round gives every phone something to say, kills the server at a moment
// chosen by the seed, and starts it again.
func (d *director) round(round int) {
	d.t.Helper()
	// Some lives write checkpoints all the time, some never come to it: then
	// all of it is replayed from the log.
	writes := d.writesCheckpoints()
	d.server.extra = []string{"--checkpoint-every", []string{"50ms", "400ms", "10m"}[d.rng.IntN(3)]}
	if d.rng.IntN(3) == 0 { // some lives refuse sends for a while
		d.server.extra = append(d.server.extra, "--rate-sends", "30/5")
	}
	total, sents := 0, d.count.sents.Load()
	for _, p := range d.phones {
		n := 2 + d.rng.IntN(16)
		total += n
		p.more(n)
	}
	for _, p := range d.rest {
		p.more(2 + d.rng.IntN(8))
	}
	switch round % 8 {
	case 3: // while they come back
		welcomes := d.count.welcomes.Load()
		d.server.kill()
		d.server.start()
		d.await("welcomes", &d.count.welcomes, welcomes+1+d.rng.Int64N(int64(len(d.phones))))
	case 5: // while it delivers
		d.await("delivers", &d.count.delivers, d.count.delivers.Load()+1+d.rng.Int64N(int64(2*total)))
	case 7: // while it starts, and again
		d.server.kill()
		d.server.start()
		moment := time.NewTimer(time.Duration(d.rng.IntN(250)) * time.Millisecond)
		<-moment.C
	default: // while it accepts
		d.await("sents", &d.count.sents, sents+1+d.rng.Int64N(int64(total*3/4)))
		if writes && d.rng.IntN(4) == 0 {
			d.awaitCheckpoint()
		}
	}
	d.server.kill()
	d.server.restart()
}

// writesCheckpoints says whether this life of the server does, by the flags that it
// was started with.
func (d *director) writesCheckpoints() bool {
	return slices.Contains(d.server.extra, "50ms") || slices.Contains(d.server.extra, "400ms")
}

// awaitCheckpoint waits until this life of the server has written one.
func (d *director) awaitCheckpoint() {
	d.t.Helper()
	eventually(d.t, "a checkpoint", func() error {
		n, err := d.server.measure("rookery_shard_checkpoints_total")
		if err == nil && n == 0 {
			err = errors.New("none")
		}
		return err
	})
	d.checkpoints++
}

// await waits until a counter has come to n.
func (d *director) await(what string, counter *atomic.Int64, n int64) {
	d.t.Helper()
	eventually(d.t, fmt.Sprintf("%d %s", n, what), func() error {
		if got := counter.Load(); got < n {
			return fmt.Errorf("%d so far", got)
		}
		return nil
	})
}

// settle waits until nothing is missing any more, as long as there is news: on a
// busy machine it takes a listener long to catch up with what it has not acked.
func (d *director) settle() {
	d.t.Helper()
	for _, p := range d.phones {
		p.settle()
	}
	for _, p := range d.rest {
		p.settle()
	}
	deadline, quiet := time.NewTimer(10*patience), time.NewTimer(patience)
	defer deadline.Stop()
	defer quiet.Stop()
	look := time.NewTicker(300 * time.Millisecond)
	defer look.Stop()
	events := 0
	// A phone at rest says nothing before it hears something, and hearing ends its
	// rest: so what is complete with all at rest before and after stays complete.
	for !d.atRest() || len(d.missing()) > 0 || !d.atRest() {
		if n := len(d.seen.Events()); n > events {
			events = n
			quiet.Reset(patience)
		}
		select {
		case <-look.C:
		case <-quiet.C:
			return // the judge says what is missing
		case <-deadline.C:
			return
		}
	}
}

func (d *director) atRest() bool {
	return !slices.ContainsFunc(d.phones, func(p *phone) bool { return !p.rested.Load() }) &&
		!slices.ContainsFunc(d.rest, func(p *restPhone) bool { return !p.rested.Load() })
}

// broken returns the promises that are broken by now.
func (d *director) broken() []error {
	if d.judged == nil {
		d.judged = history.NewJudge(d.devices)
	}
	events := d.seen.Events()
	faults := d.judged.Hear(events[d.heard:])
	d.heard = len(events)
	return faults
}

// missing returns those, and what is missing if all is at rest.
func (d *director) missing() []error {
	d.broken()
	return d.judged.Rest()
}

// judge ends the test where a promise is broken.
func (d *director) judge(when string) {
	d.t.Helper()
	d.sentence(when, d.broken())
}

func (d *director) judgeAtRest() {
	d.t.Helper()
	d.sentence("at rest", d.missing())
}

// sentence ends the test where there are faults, and leaves the history.
func (d *director) sentence(when string, faults []error) {
	d.t.Helper()
	if len(faults) == 0 {
		return
	}
	for i, fault := range faults {
		if i == 20 {
			d.t.Errorf("... and %d more", len(faults)-i)
			break
		}
		d.t.Errorf("%s: %v", when, fault)
	}
	path := filepath.Join(os.TempDir(), "rookery-history.txt")
	if dir := os.Getenv("E2E_LOGS"); dir != "" {
		path = filepath.Join(dir, "history.txt")
	}
	if file, err := os.Create(path); err == nil {
		defer file.Close()
		if err := history.Write(file, d.seen.Events()); err == nil {
			d.t.Logf("the history stands in %s", path)
		}
	}
	d.t.FailNow()
}

func (d *director) report(rounds int) {
	duplicates, refused := 0, 0
	for _, e := range d.seen.Events() {
		switch e := e.(type) {
		case history.Sent:
			if e.Duplicate {
				duplicates++
			}
		case history.Refused:
			refused++
		}
	}
	d.t.Logf("%d kills, %d devices: %d sent (%d duplicates, %d refused for now), %d delivered, %d connections, %d lives seen to write a checkpoint",
		rounds, len(d.devices), d.count.sents.Load(), duplicates, refused, d.count.delivers.Load(), d.count.welcomes.Load(), d.checkpoints)
	if duplicates == 0 {
		d.t.Error("no send was ever a duplicate: the kills came at moments that prove nothing")
	}
	if refused == 0 && rounds >= 50 {
		d.t.Error("no send was ever refused: nothing was proved of the order after an error")
	}
}
