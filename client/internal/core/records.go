package core

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"

	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

// The records of a store.
const (
	keyDevice = "device" // JSON of device
	keyCursor = "cursor" // decimal seq
	keyOut    = "out/"   // + 16 hex digits of the position: the send, and its fate once it is known; both delimited protobuf
	keyRead   = "read/"  // + lane: decimal order
	keySeen   = "seen/"  // + slot: sender, NUL, id
)

// device is the identity of a store.
type device struct {
	User    string    `json:"user"`
	Device  uint32    `json:"device,omitempty"`
	Token   string    `json:"token,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	Issued  time.Time `json:"issued,omitzero"`
}

func (d device) record() Record {
	value, err := json.Marshal(d)
	if err != nil { // strings, a number and times of our own making
		value = []byte("{}")
	}
	return Record{Key: keyDevice, Value: value}
}

func outKey(pos uint64) string { return fmt.Sprintf("%s%016x", keyOut, pos) }

// pendingValue is a send, and its fate where there is one.
func pendingValue(s *clientpb.Send, fate *clientpb.ServerFrame) ([]byte, error) {
	var b bytes.Buffer
	if _, err := protodelim.MarshalTo(&b, s); err != nil {
		return nil, fmt.Errorf("encode a message: %w", err)
	}
	if fate != nil {
		if _, err := protodelim.MarshalTo(&b, fate); err != nil {
			return nil, fmt.Errorf("encode a fate: %w", err)
		}
	}
	return b.Bytes(), nil
}

func parsePending(value []byte) (*clientpb.Send, *clientpb.ServerFrame, error) {
	r := bytes.NewReader(value)
	s := &clientpb.Send{}
	if err := protodelim.UnmarshalFrom(r, s); err != nil {
		return nil, nil, fmt.Errorf("decode a message: %w", err)
	}
	fate := &clientpb.ServerFrame{}
	err := protodelim.UnmarshalFrom(r, fate)
	if errors.Is(err, io.EOF) {
		return s, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("decode a fate: %w", err)
	}
	return s, fate, nil
}

// write records. With sync also without any: what was written before.
func (m *Machine) write(sync bool, records ...Record) {
	if sync && len(records) == 0 && !m.dirty {
		return
	}
	m.dirty = !sync
	if sync {
		m.outbox.loose = 0
	}
	m.do(Write{Records: records, Sync: sync})
}

// load takes up what a store holds. Keys that are not known are left alone:
// a newer version wrote them.
func (m *Machine) load(records []Record) error {
	for _, r := range records {
		if err := m.loadRecord(r); err != nil {
			return fmt.Errorf("record %q: %w", r.Key, err)
		}
	}
	m.inbox.received = m.inbox.cursor
	return nil
}

func (m *Machine) loadRecord(r Record) error {
	switch prefix, rest, _ := strings.Cut(r.Key, "/"); prefix + "/" {
	case keyDevice + "/":
		return json.Unmarshal(r.Value, &m.device)
	case keyCursor + "/":
		seq, err := strconv.ParseUint(string(r.Value), 10, 64)
		m.inbox.cursor = seq
		return err
	case keyOut:
		return m.loadPending(rest, r.Value)
	case keyRead:
		order, err := strconv.ParseUint(string(r.Value), 10, 64)
		if err == nil {
			m.reads.by[rest] = &read{order: order}
		}
		return err
	case keySeen:
		m.inbox.remember(string(r.Value))
	}
	return nil
}

func (m *Machine) loadPending(rest string, value []byte) error {
	pos, err := strconv.ParseUint(rest, 16, 64)
	if err != nil {
		return err
	}
	send, fate, err := parsePending(value)
	if err != nil {
		return err
	}
	e := &entry{pos: pos, send: send}
	m.outbox.next = max(m.outbox.next, pos)
	if fate == nil {
		m.outbox.add(e)
		return nil
	}
	e.settled = true
	m.settledEvent(e, Fate{ID: send.GetId(), To: send.GetTo(), Sent: fate.GetSent(), Refusal: fate.GetError()})
	return nil
}
