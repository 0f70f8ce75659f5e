package core

import (
	"time"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// Input is something that happened. The types of this file are inputs.
type Input interface{ input() }

// Tick says that the time Next asked for has come.
type Tick struct{}

// Queue puts a message into the outbox. Call is what Answer repeats: the
// message's fate for one who waits; 0 where the fate is to be an event.
type Queue struct {
	Send *clientpb.Send
	Call uint64
}

// Abandon says that the caller no longer waits for the fate.
type Abandon struct{ Call uint64 }

// Fetch asks for the next event, and says that the one before is taken.
type Fetch struct{}

// Unfetch takes Fetch back.
type Unfetch struct{}

// Take says that the event handed over last is taken.
type Take struct{}

// Return gives the event handed over last back: it is the next again.
type Return struct{}

// Read, Typing, Watch and Signal are to be said.
type (
	Read struct {
		Conversation *clientpb.Conversation
		Order        uint64
	}
	Typing struct {
		Conversation *clientpb.Conversation
		On           bool
	}
	Watch  struct{ Users []string }
	Signal struct {
		To    *clientpb.Conversation
		Bytes []byte
	}
)

// Wake ends a rest.
type Wake struct{}

// Token is a token that was asked for by Ask.
type Token struct {
	User   string
	Device uint32 // 0 where it is not known
	Token  string
	Life   time.Duration // by the clock of who gave it; 0 where it is not known
}

// NoToken says that Ask failed.
type NoToken struct {
	Means   Means
	Refused bool // whoever gives tokens said no, for good
	Gone    bool // the device is not linked any more
	After   time.Duration
	Err     error
}

// Nodes are those that Look asked for, the best first.
type Nodes struct{ Places []Place }

// Dialled says that the connection is open; Frame and the like follow.
type Dialled struct{ Conn uint64 }

// Frames came in one message.
type Frames struct {
	Conn   uint64
	Frames []*clientpb.ServerFrame
}

// Heard says that the server lives, by a ping.
type Heard struct{ Conn uint64 }

// Lost says that the connection ended, or could not be opened. Code is the
// close code, 0 where there was none.
type Lost struct {
	Conn uint64
	Code int
	Err  error
}

// Close ends the machine, in good order.
type Close struct{}

// Broken says that a Write failed.
type Broken struct{ Err error }

func (Tick) input()    {}
func (Queue) input()   {}
func (Abandon) input() {}
func (Fetch) input()   {}
func (Unfetch) input() {}
func (Take) input()    {}
func (Return) input()  {}
func (Read) input()    {}
func (Typing) input()  {}
func (Watch) input()   {}
func (Signal) input()  {}
func (Wake) input()    {}
func (Token) input()   {}
func (NoToken) input() {}
func (Nodes) input()   {}
func (Dialled) input() {}
func (Frames) input()  {}
func (Heard) input()   {}
func (Lost) input()    {}
func (Close) input()   {}
func (Broken) input()  {}
