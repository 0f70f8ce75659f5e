package load

import (
	"errors"
	"time"

	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/load/ledger"
)

// Setup is the world of an engine. It is given once.
type Setup struct {
	// Targets are the nodes' addresses, host and port; devices take them in turn.
	Targets []string `json:"targets"`
	// Run and FirstFlow make ids: flow i of this engine is FirstFlow+i.
	Run       ledger.Run `json:"run"`
	FirstFlow uint32     `json:"firstFlow"`
	Users     []User     `json:"users"`
	Flows     []Flow     `json:"flows"`
	// Payload bytes of each message, at least 16.
	Payload int `json:"payload"`
	// Subnet is the second byte of the source addresses, 127.Subnet.x.y. No two
	// engines share one.
	Subnet byte   `json:"subnet"`
	Seed   uint64 `json:"seed"`
	// AckEach sends an ack for each message instead of one for all of a read.
	AckEach bool `json:"ackEach"`
	// StandIns is the path of the socket file where the node takes stand-ins,
	// which all devices but the probes then are: connections without a descriptor.
	StandIns string `json:"standIns,omitempty"`
	// Probes are tokens of devices that only ping, in turn, one every ProbeEvery.
	Probes     []string      `json:"probes,omitempty"`
	ProbeEvery time.Duration `json:"probeEvery,omitempty"`
}

// User with its devices, in the order of their numbers.
type User struct {
	Name    string   `json:"name"`
	Devices []Device `json:"devices"`
}

// Device of a user.
type Device struct {
	Number uint32 `json:"number"`
	Token  string `json:"token"`
}

// Flow is what one device sends to one user; both are indices into Users and
// their Devices.
type Flow struct {
	User   int `json:"user"`
	Device int `json:"device"`
	To     int `json:"to"`
}

// Span of users, from inclusive, to exclusive; all of them where To is 0.
type Span struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// Connect brings devices of a span of users up. It is over when Status says
// that as many are live as are wanted.
type Connect struct {
	Span
	// AtOnce bounds the handshakes under way.
	AtOnce int `json:"atOnce"`
	// Return brings a connection back that is lost later.
	Return bool `json:"return"`
}

// Drive makes the flows send, until Halt.
type Drive struct {
	// Window keeps that many sends of each flow unanswered: a closed loop.
	Window int `json:"window,omitempty"`
	// Limit is how many each flow sends in a closed loop; 0 sets none.
	Limit int `json:"limit,omitempty"`
	// Rate a second over all flows of the engine: an open loop.
	Rate float64 `json:"rate,omitempty"`
	// Shed drops what an open loop is to send while Backlog messages of the flow
	// have no answer, instead of letting them queue at the client without bound.
	Shed    bool `json:"shed,omitempty"`
	Backlog int  `json:"backlog,omitempty"`
	// Mix of what is done at each time of an open loop, as shares; only sends
	// where it is empty.
	Mix Mix `json:"mix"`
	// From and To bound the flows that send; all where To is 0.
	From int `json:"from,omitempty"`
	To   int `json:"to,omitempty"`
}

// Mix is how often each thing is done, relative to the others.
type Mix struct {
	Send    float64 `json:"send"`
	Read    float64 `json:"read"`
	Typing  float64 `json:"typing"`
	Watch   float64 `json:"watch"`
	Restart float64 `json:"restart"` // hang up and connect anew
}

func (m Mix) sum() float64 { return m.Send + m.Read + m.Typing + m.Watch + m.Restart }

// Cut closes the connections of a span of users at once.
type Cut struct{ Span }

// Order is one of the things an engine can be told; exactly one is set.
type Order struct {
	Setup   *Setup   `json:"setup,omitempty"`
	Connect *Connect `json:"connect,omitempty"`
	Drive   *Drive   `json:"drive,omitempty"`
	Cut     *Cut     `json:"cut,omitempty"`
	// Mark begins what is measured: latencies of what is to be sent from now on
	// are kept, those from before are forgotten.
	Mark bool `json:"mark,omitempty"`
	// Halt ends sending.
	Halt bool `json:"halt,omitempty"`
	// Report asks for the histograms.
	Report bool `json:"report,omitempty"`
	// Status asks for nothing but the status, which every order answers with.
	Status bool `json:"status,omitempty"`
	// Stop ends the engine.
	Stop bool `json:"stop,omitempty"`
}

// Reply answers an order.
type Reply struct {
	Error  string  `json:"error,omitempty"`
	Status Status  `json:"status"`
	Report *Report `json:"report,omitempty"`
}

func (r Reply) err() error {
	if r.Error == "" {
		return nil
	}
	return errors.New(r.Error)
}

// Status is how far an engine is. Times are Unix nanoseconds.
type Status struct {
	Now     int64 `json:"now"`
	Wanted  int   `json:"wanted"` // devices that are to be connected
	Live    int   `json:"live"`   // that are, and drained
	Dials   int   `json:"dials"`
	Lost    int   `json:"lost"`    // connections that ended unasked
	Retries int   `json:"retries"` // connections that had to be tried again
	// FirstDial and LastDrained are of the newest Connect.
	FirstDial   int64 `json:"firstDial"`
	LastDrained int64 `json:"lastDrained"`

	// Driven is when the newest drive began; LastAnswered and LastDelivered when
	// the last answer and the last message came.
	Driven        int64 `json:"driven"`
	LastAnswered  int64 `json:"lastAnswered"`
	LastDelivered int64 `json:"lastDelivered"`

	Open      int           `json:"open"` // messages that something is still to come of
	LastEvent int64         `json:"lastEvent"`
	Tally     ledger.Tally  `json:"tally"`
	Shed      uint64        `json:"shed"`    // not sent, by Drive.Shed
	Errors    uint64        `json:"errors"`  // error frames for sends
	Acks      uint64        `json:"acks"`    // frames sent
	Actions   uint64        `json:"actions"` // of a mix, other than sends
	Frames    uint64        `json:"frames"`  // received
	Idle      time.Duration `json:"idle"`    // waited for something to do, since the start
	Run       time.Duration `json:"run"`     // since the start
	CPU       time.Duration `json:"cpu"`     // of the engine's process
	Heap      uint64        `json:"heap"`    // of the engine's process, bytes
	// SendsPerSecond is the rate that welcome.limits states; 0 before a welcome.
	SendsPerSecond float64 `json:"sendsPerSecond"`
	// Problems are the first few things that went wrong, in words.
	Problems []string `json:"problems,omitempty"`
	// Losses are why the first few connections were lost that came back.
	Losses []string `json:"losses,omitempty"`
}

// Report is what was measured since Mark.
type Report struct {
	Sent      *latency.Histogram `json:"sent"`      // intended to sent
	Delivered *latency.Histogram `json:"delivered"` // intended to deliver at each device
	Receipted *latency.Histogram `json:"receipted"` // intended to the receipt that covers it
	Attempt   *latency.Histogram `json:"attempt"`   // the last writing to sent, where a message was refused before
	Late      *latency.Histogram `json:"late"`      // intended to written: the generator's own fault
	PingLate  *latency.Histogram `json:"pingLate"`  // the same of pings, which are there also in a closed loop
	Hello     *latency.Histogram `json:"hello"`     // hello to drained, all connections since the last Connect
	Ping      *latency.Histogram `json:"ping"`      // intended ping to pong
	Codes     map[string]uint64  `json:"codes"`     // error frames by code and reason
	Tally     ledger.Tally       `json:"tally"`     // audited
}
