package history

import (
	"fmt"
	"io"
	"sync"
)

// Device is one device of one user.
type Device struct {
	User string
	N    uint32
}

func (d Device) String() string { return fmt.Sprintf("%s/%d", d.User, d.N) }

// Event is something that a device did or learned.
type Event interface{ device() Device }

// The events. Conn numbers a device's connections.
type (
	// Connecting: hello is about to be written, with this hello.acked.
	Connecting struct {
		Device Device
		Conn   int
		Acked  uint64
	}
	// Resuming: a stream, or the first of several polls, is about to be asked for,
	// beginning after this seq. Unlike hello.acked that says nothing of storage.
	Resuming struct {
		Device Device
		Conn   int
		After  uint64
	}
	// Drained: all that was stored for the device when this connection began has
	// been sent, says the server.
	Drained struct {
		Device Device
		Conn   int
	}
	// Sending: a send is about to be written, perhaps again.
	Sending struct {
		Device  Device
		ID, To  string
		Payload string
	}
	// Sent: the server accepted the message.
	Sent struct {
		Device      Device
		ID, To      string
		Order, Time uint64
		Duplicate   bool
	}
	// Refused: the answer to a send was an error.
	Refused struct {
		Device    Device
		ID, Code  string
		Retryable bool
	}
	// Delivered: a message arrived. Peer is the conversation as this user sees it.
	Delivered struct {
		Device      Device
		Conn        int
		Seq         uint64
		ID          string
		From        Device
		Peer        string
		Order, Time uint64
		Payload     string
	}
	// Acking: an ack is about to be written.
	Acking struct {
		Device Device
		Seq    uint64
	}
	// Acked: an ack is answered, and on disk.
	Acked struct {
		Device Device
		Seq    uint64
	}
	// Reading: a read is about to be written.
	Reading struct {
		Device Device
		Peer   string
		Order  uint64
	}
	// Receipt arrived.
	Receipt struct {
		Device          Device
		Conn            int
		Seq             uint64
		Peer, By        string
		Delivered, Read uint64
	}
)

func (e Connecting) device() Device { return e.Device }
func (e Resuming) device() Device   { return e.Device }
func (e Drained) device() Device    { return e.Device }
func (e Sending) device() Device    { return e.Device }
func (e Sent) device() Device       { return e.Device }
func (e Refused) device() Device    { return e.Device }
func (e Delivered) device() Device  { return e.Device }
func (e Acking) device() Device     { return e.Device }
func (e Acked) device() Device      { return e.Device }
func (e Reading) device() Device    { return e.Device }
func (e Receipt) device() Device    { return e.Device }

// Recorder collects the events of all devices; safe for concurrent use.
type Recorder struct {
	mu     sync.Mutex
	events []Event
}

// Add appends an event.
func (r *Recorder) Add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// Events are what was recorded so far.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[:len(r.events):len(r.events)]
}

// Write prints the events, one a line, for whoever has to find a bug in them.
func Write(w io.Writer, events []Event) error {
	for i, e := range events {
		if _, err := fmt.Fprintf(w, "%6d %-12s %T%+v\n", i, e.device(), e, e); err != nil {
			return err
		}
	}
	return nil
}
