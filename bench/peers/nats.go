package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// natsCore is NATS without JetStream: nothing is stored, and nobody says that a
// message was taken. A message is a request, and its receipt is the reply.
//
// Subjects: u.N is user N's, r.N takes the receipts for what N has sent.
type natsCore struct{ scratch []byte }

func (*natsCore) answers() answers { return byReceipt }

func (*natsCore) forget(int) {}

func (*natsCore) round(*fleet, int) {}

// Subscriptions of every client.
const (
	sidMessages = '1'
	sidReceipts = '2'
	sidAnswers  = '3'
)

func (p *natsCore) hello(f *fleet, i int) {
	f.write(i, fmt.Appendf(nil, "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"bench\",\"version\":\"1\",\"protocol\":1}\r\n"+
		"SUB u.%d %c\r\nSUB r.%d %c\r\nPING\r\n", i, sidMessages, i, sidReceipts))
}

func (p *natsCore) send(f *fleet, i int, number uint64) {
	b := fmt.Appendf(p.scratch[:0], "PUB u.%d r.%d %d\r\n", f.partner[i], i, len(f.filler))
	b = append(f.appendPayload(b, i, number), '\r', '\n')
	f.write(i, b)
	p.scratch = b
}

func (p *natsCore) consume(f *fleet, i int, b []byte) (int, error) {
	return natsConsume(f, i, b, func(m natsMessage) error {
		switch m.sid {
		case sidMessages:
			f.delivered(i, m.payload)
			b := fmt.Appendf(p.scratch[:0], "PUB %s %d\r\n%s\r\n", m.reply, keySize, m.payload[:min(keySize, len(m.payload))])
			f.write(i, b)
			p.scratch = b
		case sidReceipts:
			f.receipt(m.payload)
		}
		return nil
	})
}

// natsMessage is a MSG: its parts point into what was read.
type natsMessage struct {
	subject, reply, payload []byte
	sid                     byte
}

var (
	crlf        = []byte("\r\n")
	natsMSG     = []byte("MSG ")
	natsPING    = []byte("PING")
	natsPONG    = []byte("PONG")
	natsError   = []byte("-ERR")
	natsPongOut = []byte("PONG\r\n")
)

var errNATS = errors.New("not what a NATS server says")

// natsConsume reads whole operations, until more bytes are needed.
func natsConsume(f *fleet, i int, b []byte, each func(natsMessage) error) (int, error) {
	n := 0
	for {
		end := bytes.Index(b[n:], crlf)
		if end < 0 {
			return n, nil
		}
		line := b[n : n+end]
		next := n + end + 2
		switch {
		case bytes.HasPrefix(line, natsMSG):
			m, size, err := natsHeader(line)
			if err != nil {
				return n, err
			}
			if len(b) < next+size+2 {
				return n, nil
			}
			m.payload = b[next : next+size]
			next += size + 2
			if err := each(m); err != nil {
				return n, err
			}
		case bytes.HasPrefix(line, natsPING):
			f.write(i, natsPongOut)
		case bytes.HasPrefix(line, natsPONG):
			f.ready(i)
		case bytes.HasPrefix(line, natsError):
			return n, fmt.Errorf("%w: %s", errNATS, line)
		}
		n = next
	}
}

// natsHeader reads "MSG subject sid [reply] size".
func natsHeader(line []byte) (m natsMessage, size int, err error) {
	var fields [5][]byte
	k := 0
	for rest := line; len(rest) > 0 && k < len(fields); k++ {
		fields[k], rest, _ = bytes.Cut(rest, []byte(" "))
	}
	if k < 4 || len(fields[2]) != 1 {
		return m, 0, fmt.Errorf("%w: %.80q", errNATS, line)
	}
	m.subject, m.sid = fields[1], fields[2][0]
	if k == 5 {
		m.reply = fields[3]
	}
	if size, err = strconv.Atoi(string(fields[k-1])); err != nil || size < 0 {
		return m, 0, fmt.Errorf("%w: %.80q", errNATS, line)
	}
	return m, size, nil
}
