package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/load/ledger"
	"github.com/rookery-im/rookery/bench/load/pace"
	"github.com/rookery-im/rookery/bench/load/wire"
	"github.com/rookery-im/rookery/transport/poll"
)

// Bounds of an engine.
const (
	tick        = 10 * time.Millisecond // of what is looked at now and then
	quiet       = 100 * time.Millisecond
	problemsMax = 12
	lossesMax   = 3
	takesMax    = 4096 // of a schedule, before sockets are looked at again
	pingsOpen   = 1 << 14
)

// Engine is one loop with its connections and flows. All is owned by the
// goroutine of Run, which Do talks to by a channel.
type Engine struct {
	// Immutable.
	calls chan call
	ended chan struct{}
	loop  *poll.Loop
	start time.Time

	mu      sync.Mutex
	stopped bool // guarded by mu: the loop's descriptors have gone

	// The world, immutable after Setup.
	setup  Setup
	users  []user
	flows  []flow
	filler []byte

	book   ledger.Ledger
	conns  []conn
	owner  []int32 // of the poll table's slots, into conns
	dirty  []int32 // conns that have something to say
	queue  []int32 // conns that are to be dialled
	later  []redial
	rng    *rand.Rand
	frame  wire.Frame
	packet []byte // scratch of one masked message
	idText []byte

	trunk bool // stands

	connect    Connect
	handshakes int // under way
	live       int
	wanted     int
	dials      int
	lost       int
	retries    int
	firstDial  int64
	lastDrain  int64

	drive    *Drive
	driven   int64 // when the drive began
	schedule *pace.Schedule
	stalled  []int32 // flows that wait to go on after an error
	inFlight int     // limit of a conversation, from welcome
	sendRate float64 // from welcome

	probes   []int // their conns
	pingNext int64
	pingRef  uint32
	pings    []ping // by ref

	mark     int64
	report   Report
	counts   counts
	waitFrom int64 // while waiting, 0 otherwise
	idle     int64
	event    int64 // last time something came
	answered int64 // last time a send was answered
	arrived  int64 // last time a message was delivered
	problems []string
	losses   []string
}

// ping is one that was said.
type ping struct {
	at    int64 // when it was to be sent; 0 once answered
	probe int   // its conn
}

type counts struct{ shed, errors, acks, actions, frames uint64 }

type user struct {
	name  string
	first int // conn of the first device
	n     int
}

type call struct {
	order Order
	reply chan Reply
}

// NewEngine makes one; Run runs it.
func NewEngine() (*Engine, error) {
	if !poll.Supported {
		return nil, errors.New("load: it needs epoll, which this system has not")
	}
	e := &Engine{
		calls: make(chan call, 1), ended: make(chan struct{}), start: time.Now(), inFlight: 64, pings: make([]ping, pingsOpen),
	}
	e.report = newReport()
	var err error
	if e.loop, err = poll.New(poll.Config{}, e); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	return e, nil
}

func newReport() Report {
	return Report{
		Sent: latency.New(), Delivered: latency.New(), Receipted: latency.New(), Attempt: latency.New(), Late: latency.New(),
		PingLate: latency.New(), Hello: latency.New(), Ping: latency.New(), Codes: map[string]uint64{},
	}
}

// errEnded says that the engine runs no more.
var errEnded = errors.New("load: the engine has ended")

// Do tells the engine something and waits for its word, from any goroutine.
func (e *Engine) Do(ctx context.Context, o Order) (Reply, error) {
	c := call{o, make(chan Reply, 1)}
	select {
	case e.calls <- c:
	case <-e.ended:
		return Reply{}, errEnded
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	}
	e.wake()
	select {
	case r := <-c.reply:
		return r, r.err()
	case <-e.ended:
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	}
	select {
	case r := <-c.reply: // its last word
		return r, r.err()
	default:
		return Reply{}, errEnded
	}
}

// wake makes the loop look at its orders. A loop that has gone is left alone:
// its descriptors may be somebody else's by now.
func (e *Engine) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.stopped {
		e.loop.Wake()
	}
}

// now is the clock of intended times: Unix nanoseconds that never go back.
func (e *Engine) now() int64 { return e.start.UnixNano() + int64(time.Since(e.start)) }

// Run runs the loop until the order to stop, or the context ends.
func (e *Engine) Run(ctx context.Context) (err error) {
	unhook := context.AfterFunc(ctx, e.wake)
	defer func() {
		unhook()
		e.mu.Lock()
		e.stopped = true
		e.mu.Unlock()
		close(e.ended)
		err = errors.Join(err, e.loop.Stop())
	}()
	for {
		e.waitFrom = e.now()
		if err := e.loop.Wait(e.patience()); err != nil {
			return err
		}
		e.awake()
		if ctx.Err() != nil {
			return nil
		}
		select {
		case c := <-e.calls:
			if c.order.Stop {
				c.reply <- Reply{Status: e.status()}
				return nil
			}
			c.reply <- e.obey(c.order)
		default:
		}
		e.upkeep()
		e.take()
		e.ping()
		e.say()
		e.loop.Flush()
	}
}

// awake ends the time that counts as idle: at the first event, or with none.
func (e *Engine) awake() int64 {
	now := e.now()
	if e.waitFrom != 0 {
		e.idle += now - e.waitFrom
		e.waitFrom = 0
	}
	return now
}

// patience is how long the loop may wait.
func (e *Engine) patience() time.Duration {
	if len(e.calls) > 0 {
		return 0
	}
	wait := quiet
	if len(e.later) > 0 || len(e.stalled) > 0 || len(e.queue) > 0 {
		wait = tick
	}
	now := e.waitFrom
	if e.schedule != nil {
		wait = min(wait, time.Duration(e.driven-now)+e.schedule.Next())
	}
	if e.probing() {
		wait = min(wait, time.Duration(e.pingNext-now))
	}
	return max(wait, 0)
}

func (e *Engine) obey(o Order) Reply {
	var err error
	switch {
	case o.Setup != nil:
		err = e.prepare(*o.Setup)
	case o.Connect != nil:
		e.bringUp(*o.Connect)
	case o.Cut != nil:
		e.cut(*o.Cut)
	case o.Drive != nil:
		err = e.begin(*o.Drive)
	case o.Mark:
		hello := e.report.Hello // of connects, not of what is measured
		e.report = newReport()
		e.report.Hello = hello
		e.mark = e.now()
	case o.Halt:
		e.drive, e.schedule = nil, nil
	}
	r := Reply{Status: e.status()}
	if o.Report {
		e.overdue()
		rep := e.report
		rep.Tally = e.book.Audit()
		r.Report = &rep
		e.report = newReport() // the old one is the asker's now
		e.report.Hello.Add(rep.Hello)
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// prepare builds the world.
func (e *Engine) prepare(s Setup) error {
	if e.conns != nil {
		return errors.New("load: it is set up already")
	}
	if s.Payload < 16 {
		return fmt.Errorf("load: a payload of %d bytes holds no number; 16 are needed", s.Payload)
	}
	e.setup = s
	e.rng = rand.New(rand.NewPCG(s.Seed, uint64(s.Subnet)))
	e.filler = make([]byte, s.Payload)
	for i := range e.filler {
		e.filler[i] = byte(e.rng.Uint32())
	}
	for u, us := range s.Users {
		e.users = append(e.users, user{us.Name, len(e.conns), len(us.Devices)})
		for slot, d := range us.Devices {
			e.conns = append(e.conns, conn{user: int32(u), slot: uint8(slot), number: d.Number, token: d.Token})
		}
	}
	for _, token := range s.Probes {
		e.probes = append(e.probes, len(e.conns))
		e.conns = append(e.conns, conn{user: -1, token: token})
	}
	if err := e.prepareFlows(); err != nil {
		e.users, e.conns, e.flows, e.book, e.probes = nil, nil, nil, ledger.Ledger{}, nil
		return err
	}
	return nil
}

func (e *Engine) prepareFlows() error {
	back := map[[2]int]int{}
	for i, f := range e.setup.Flows {
		if f.User >= len(e.users) || f.To >= len(e.users) || f.User == f.To || f.Device >= e.users[f.User].n {
			return fmt.Errorf("load: flow %d is from or to nobody", i)
		}
		from, to := e.users[f.User], e.users[f.To]
		if from.n+to.n > ledger.ReceiversMax {
			return fmt.Errorf("load: flow %d is for %d devices, more than %d", i, from.n+to.n, ledger.ReceiversMax)
		}
		e.book.AddFlow(to.n, from.n, f.Device)
		c := from.first + f.Device
		e.flows = append(e.flows, flow{conn: int32(c), user: int32(f.User), to: int32(f.To), reverse: -1})
		for slot := range from.n {
			e.conns[from.first+slot].flows = append(e.conns[from.first+slot].flows, int32(i))
		}
		if r, ok := back[[2]int{f.To, f.User}]; ok {
			e.flows[i].reverse, e.flows[r].reverse = int32(r), int32(i)
		}
		back[[2]int{f.User, f.To}] = i
	}
	return nil
}

// payload of a message: its flow and number, so that what comes back can be
// told from what was sent, and filler.
func (e *Engine) payload(f int, number uint64) []byte {
	binary.BigEndian.PutUint64(e.filler, uint64(e.setup.FirstFlow)+uint64(f))
	binary.BigEndian.PutUint64(e.filler[8:], number)
	return e.filler
}

func (e *Engine) problem(format string, args ...any) {
	if len(e.problems) < problemsMax {
		e.problems = append(e.problems, fmt.Sprintf(format, args...))
	}
}

func (e *Engine) status() Status {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(heap)
	return Status{
		Now: e.now(), Wanted: e.wanted, Live: e.live, Dials: e.dials, Lost: e.lost, Retries: e.retries,
		FirstDial: e.firstDial, LastDrained: e.lastDrain, Driven: e.driven, LastAnswered: e.answered, LastDelivered: e.arrived, Open: e.book.Open(), LastEvent: e.event, Tally: e.book.Tally(),
		Shed: e.counts.shed, Errors: e.counts.errors, Acks: e.counts.acks, Actions: e.counts.actions, Frames: e.counts.frames,
		Idle: time.Duration(e.idle), Run: time.Since(e.start), CPU: processCPU(), Heap: heap[0].Value.Uint64(),
		SendsPerSecond: e.sendRate, Problems: append([]string(nil), e.problems...),
		Losses: append([]string(nil), e.losses...),
	}
}
