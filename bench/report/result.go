package report

import (
	"fmt"
	"time"

	"github.com/rookery-im/rookery/bench/load/latency"
	"github.com/rookery-im/rookery/bench/load/ledger"
	"github.com/rookery-im/rookery/bench/machine"
)

// Format is the version of the JSON. It grows when a name changes its meaning.
const Format = 1

// Result of a scenario. Names at this level are the published ones; which are
// there depends on the scenario. Times are milliseconds, or seconds where the
// name says so; CPU is seconds per million messages.
type Result struct {
	Format   int       `json:"format"`
	Scenario string    `json:"scenario"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`

	Rate                float64 `json:"rate,omitempty"`
	ServerCPUPerMillion float64 `json:"serverCpuPerMillion,omitempty"`
	ClientCPUPerMillion float64 `json:"clientCpuPerMillion,omitempty"`

	Missing    uint64 `json:"missing"`
	Duplicates uint64 `json:"duplicates"`
	OutOfOrder uint64 `json:"outOfOrder"`

	SentMs     *latency.Quantiles `json:"sentMs,omitempty"`
	DeliverMs  *latency.Quantiles `json:"deliverMs,omitempty"`
	ReceiptMs  *latency.Quantiles `json:"receiptMs,omitempty"`
	DiskSyncMs *DiskSync          `json:"diskSyncMs,omitempty"`

	StoreRate           float64 `json:"storeRate,omitempty"`
	DrainRate           float64 `json:"drainRate,omitempty"`
	DeliveriesPerSecond float64 `json:"deliveriesPerSecond,omitempty"`

	Sessions              int     `json:"sessions,omitempty"`
	BytesPerSession       float64 `json:"bytesPerSession,omitempty"`
	HeapBytesPerSession   float64 `json:"heapBytesPerSession,omitempty"`
	OtherBytesPerSession  float64 `json:"otherBytesPerSession,omitempty"`
	KernelBytesPerSession float64 `json:"kernelBytesPerSession,omitempty"`
	// Resident splits BytesPerSession.
	Resident *Resident `json:"resident,omitempty"`

	MaxPauseMs             float64 `json:"maxPauseMs,omitempty"`
	MaxStallMs             float64 `json:"maxStallMs,omitempty"`
	BytesWrittenPerMessage float64 `json:"bytesWrittenPerMessage,omitempty"`
	RecoverSeconds         float64 `json:"recoverSeconds,omitempty"`

	// saturate
	Maximum       float64 `json:"maximum,omitempty"`       // messages/s
	AcceptedShare float64 `json:"acceptedShare,omitempty"` // accepted rate over the maximum
	AcceptedP99Ms float64 `json:"acceptedP99Ms,omitempty"` // of what was accepted past the maximum, see Phase.Accepted
	P99At90Ms     float64 `json:"p99At90Ms,omitempty"`     // the same at 90 % of the maximum
	P99Ratio      float64 `json:"p99Ratio,omitempty"`      // the one over the other

	// join, of which p99Ratio is as well: of deliver, during the move over before it
	MoveSeconds   float64 `json:"moveSeconds,omitempty"`   // from the node's start until every group is where it ought to be
	MovedReplicas float64 `json:"movedReplicas,omitempty"` // of shards, that are where none was before
	MovedRatio    float64 `json:"movedRatio,omitempty"`    // to the least that evens out the load

	// LostConnections ended unasked; where a scenario has its clients come back,
	// they did, and sent again what had no answer.
	LostConnections int `json:"lostConnections"`

	// Window1 and OpenLoop are phases of pairs and devices.
	Window1  *Phase `json:"window1,omitempty"`
	Window8  *Phase `json:"window8,omitempty"`
	OpenLoop *Phase `json:"openLoop,omitempty"`
	// Phases are all that was measured, in order.
	Phases []Phase `json:"phases,omitempty"`

	// Tally is the account of all messages of the run.
	Tally ledger.Tally `json:"tally"`
	// Valid is false where the measurement itself is at fault, and Invalid says
	// why; Notes are what a reader must know besides.
	Valid    bool     `json:"valid"`
	Invalid  []string `json:"invalid,omitempty"`
	Notes    []string `json:"notes,omitempty"`
	Problems []string `json:"problems,omitempty"`

	Command    []string            `json:"command,omitempty"`
	Version    string              `json:"version,omitempty"`
	Node       Node                `json:"node"`
	Machine    machine.Machine     `json:"machine"`
	FileSystem *machine.FileSystem `json:"fileSystem,omitempty"`

	// Runs are all runs, where there were several; the figures above are then
	// medians, and Spread the least and the most of each.
	Runs   []Result              `json:"runs,omitempty"`
	Spread map[string][2]float64 `json:"spread,omitempty"`
}

// Resident memory by what it is, bytes of each session.
type Resident struct {
	Heap     float64 `json:"heap"`     // Go's, in use
	FreeHeap float64 `json:"freeHeap"` // Go's, in no use and not given back
	Stacks   float64 `json:"stacks"`
	Runtime  float64 `json:"runtime"` // what Go's runtime needs for itself
	Files    float64 `json:"files"`   // mapped: the program and what the store reads
	OffHeap  float64 `json:"offHeap"` // the rest: allocated outside of Go's heap, and what Go took and has not touched, which is negative
}

// Minus is the difference of two.
func (r Resident) Minus(o Resident) Resident {
	return Resident{r.Heap - o.Heap, r.FreeHeap - o.FreeHeap, r.Stacks - o.Stacks, r.Runtime - o.Runtime, r.Files - o.Files, r.OffHeap - o.OffHeap}
}

// Sum of all parts.
func (r Resident) Sum() float64 {
	return r.Heap + r.FreeHeap + r.Stacks + r.Runtime + r.Files + r.OffHeap
}

// Each is the part of one of n.
func (r Resident) Each(n float64) Resident {
	return Resident{r.Heap / n, r.FreeHeap / n, r.Stacks / n, r.Runtime / n, r.Files / n, r.OffHeap / n}
}

// Node that was measured.
type Node struct {
	Version         string             `json:"version"`
	Go              string             `json:"go"`
	Own             bool               `json:"own"`
	CheckpointEvery string             `json:"checkpointEvery,omitempty"`
	Lifted          []string           `json:"lifted,omitempty"`
	Set             []string           `json:"set,omitempty"`
	SendsPerSecond  float64            `json:"sendsPerSecond,omitempty"`
	Rates           map[string]float64 `json:"rates,omitempty"`
}

// DiskSync is how long the disk takes to make 4 KiB durable while nothing else
// writes, before and after the run together.
type DiskSync struct {
	P50    float64            `json:"p50"`
	P99    float64            `json:"p99"`
	Before *latency.Quantiles `json:"before,omitempty"`
	After  *latency.Quantiles `json:"after,omitempty"`
	// BusyCores is how busy others than the probe kept the machine meanwhile:
	// near 0, or it was not quiet.
	BusyCores float64 `json:"busyCores"`
}

// Phase is one stretch that was measured, warm-up and settling apart.
type Phase struct {
	Name     string  `json:"name"`
	Seconds  float64 `json:"seconds"`
	Messages uint64  `json:"messages"` // accepted in it
	Rate     float64 `json:"rate"`
	Offered  float64 `json:"offered,omitempty"` // a second, of an open loop
	// Overload says that more was offered than can be done, on purpose: a
	// generator that is late there flatters nobody.
	Overload bool `json:"overload,omitempty"`
	// SettleSeconds is how long what was open took when the sending had ended.
	SettleSeconds float64 `json:"settleSeconds,omitempty"`

	ServerCPUPerMillion float64 `json:"serverCpuPerMillion,omitempty"`
	ClientCPUPerMillion float64 `json:"clientCpuPerMillion,omitempty"`
	DeliveriesPerSecond float64 `json:"deliveriesPerSecond,omitempty"`

	SentMs    *latency.Quantiles `json:"sentMs,omitempty"`
	DeliverMs *latency.Quantiles `json:"deliverMs,omitempty"`
	ReceiptMs *latency.Quantiles `json:"receiptMs,omitempty"`
	AttemptMs *latency.Quantiles `json:"attemptMs,omitempty"`
	PingMs    *latency.Quantiles `json:"pingMs,omitempty"`
	HelloMs   *latency.Quantiles `json:"helloMs,omitempty"`
	// LateMs is how late the generator itself was.
	LateMs *latency.Quantiles `json:"lateMs,omitempty"`

	// Cores used, of Cores in the machine.
	ServerCores float64 `json:"serverCores"`
	ClientCores float64 `json:"clientCores"`
	OtherCores  float64 `json:"otherCores"` // by anybody else
	StealCores  float64 `json:"stealCores"`
	// ClientBusy is the share of time in which the generator's loops had work.
	ClientBusy float64 `json:"clientBusy"`

	ResidentBytes          int64   `json:"residentBytes,omitempty"`
	BytesWritten           int64   `json:"bytesWritten,omitempty"`
	BytesWrittenPerMessage float64 `json:"bytesWrittenPerMessage,omitempty"`
	LogBytes               float64 `json:"logBytes,omitempty"`
	Syncs                  float64 `json:"syncs,omitempty"`
	SyncMeanMs             float64 `json:"syncMeanMs,omitempty"`
	Checkpoints            float64 `json:"checkpoints"`
	Collections            float64 `json:"collections"`
	PauseMs                float64 `json:"pauseMs"` // all collections together
	MaxPauseMs             float64 `json:"maxPauseMs,omitempty"`

	Refused uint64            `json:"refused,omitempty"` // error frames for sends
	Shed    uint64            `json:"shed,omitempty"`    // not sent, since the client's outbox was full
	Codes   map[string]uint64 `json:"codes,omitempty"`

	// For charts.
	Series []Second                   `json:"series,omitempty"`
	Curves map[string][]latency.Point `json:"curves,omitempty"`
}

// Accepted is how long what was accepted waited for that: since it was to be sent,
// or, where it had been refused, since it was said again. To be refused is an
// answer, and how long the client then waits is its own choice.
func (p *Phase) Accepted() *latency.Quantiles {
	if p.AttemptMs != nil {
		return p.AttemptMs
	}
	return p.SentMs
}

// Second is one of a phase, warm-up and settling included: At is negative
// before what is measured.
type Second struct {
	At          float64 `json:"at"`
	Rate        float64 `json:"rate"`
	Deliveries  float64 `json:"deliveries"`
	ServerCores float64 `json:"serverCores"`
	ClientCores float64 `json:"clientCores"`
	Resident    int64   `json:"resident"`
}

// New result of a scenario.
func New(scenario string) *Result {
	return &Result{Format: Format, Scenario: scenario, Started: time.Now().UTC().Truncate(time.Second), Valid: true}
}

// Invalidate says why the figures must not be believed.
func (r *Result) Invalidate(format string, args ...any) {
	r.Valid = false
	r.Invalid = append(r.Invalid, fmt.Sprintf(format, args...))
}

// Note says something that a reader must know.
func (r *Result) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Account takes the audited tally.
func (r *Result) Account(t ledger.Tally) {
	r.Tally = t
	r.Missing, r.Duplicates, r.OutOfOrder = t.Missing, t.Duplicates, t.OutOfOrder
}

// Failed says what is wrong with the messages, which no figure makes good.
func (r *Result) Failed() error {
	if r.Tally.Wrong() == 0 {
		return nil
	}
	t := r.Tally
	return fmt.Errorf("%s: of %d messages sent and %d accepted: %d missing, %d duplicates, %d out of order, %d never sent, %d bad receipts, %d unanswered, %d without a receipt, %d corrupt",
		r.Scenario, t.Sent, t.Accepted, t.Missing, t.Duplicates, t.OutOfOrder, t.Phantoms, t.BadReceipts, t.Unanswered, t.Unreceipted, t.Corrupt)
}
