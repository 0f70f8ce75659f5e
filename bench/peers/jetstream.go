package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// jetStream is NATS with a stream on disk and a durable consumer for each user,
// which pushes and wants an ack for each message.
//
// A message is accepted by the publish ack. Its recipient acks it to its
// consumer and then sends a receipt to the sender, which is a plain message of
// core NATS: that one is not stored.
//
// Subjects besides those of core: a.N.NUMBER takes N's publish acks, d.N is
// where N's consumer delivers.
type jetStream struct{ scratch []byte }

const (
	streamName = "box"
	ackWait    = 30 * time.Second
	ackPending = 1000 // the server's own default
)

func (*jetStream) answers() answers { return byServer }

func (*jetStream) forget(int) {}

func (*jetStream) round(*fleet, int) {}

func (p *jetStream) hello(f *fleet, i int) {
	f.write(i, fmt.Appendf(nil, "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"bench\",\"version\":\"1\",\"protocol\":1}\r\n"+
		"SUB d.%d %c\r\nSUB r.%d %c\r\nSUB a.%d.* %c\r\nPING\r\n", i, sidMessages, i, sidReceipts, i, sidAnswers))
}

func (p *jetStream) send(f *fleet, i int, number uint64) {
	b := fmt.Appendf(p.scratch[:0], "PUB u.%d a.%d.%d %d\r\n", f.partner[i], i, number, len(f.filler))
	b = append(f.appendPayload(b, i, number), '\r', '\n')
	f.write(i, b)
	p.scratch = b
}

func (p *jetStream) consume(f *fleet, i int, b []byte) (int, error) {
	return natsConsume(f, i, b, func(m natsMessage) error {
		switch m.sid {
		case sidMessages:
			from, fresh := f.delivered(i, m.payload)
			b := fmt.Appendf(p.scratch[:0], "PUB %s 4\r\n+ACK\r\n", m.reply)
			if fresh {
				b = fmt.Appendf(b, "PUB r.%d %d\r\n%s\r\n", from, keySize, m.payload[:keySize])
			}
			f.write(i, b)
			p.scratch = b
		case sidReceipts:
			f.receipt(m.payload)
		case sidAnswers:
			number, err := strconv.ParseUint(string(m.subject[bytes.LastIndexByte(m.subject, '.')+1:]), 10, 64)
			if err != nil {
				return fmt.Errorf("%w: a publish ack at %s", errNATS, m.subject)
			}
			if bytes.Contains(m.payload, []byte(`"error"`)) {
				f.refused(i, number, string(m.payload))
				return nil
			}
			f.accepted(i, number)
		}
		return nil
	})
}

// prepareJetStream makes the stream and a durable consumer for each of some
// users, many requests under way at once.
func prepareJetStream(target string, users []int) error {
	c, err := net.Dial("tcp", target)
	if err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(3 * time.Minute)); err != nil {
		return fmt.Errorf("jetstream: %w", err)
	}
	in, out := bufio.NewReader(c), bufio.NewWriter(c)
	request := func(subject string, body any) error {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "PUB $JS.API.%s x %d\r\n%s\r\n", subject, len(data), data)
		return err
	}
	answer := func() error {
		if err := out.Flush(); err != nil {
			return fmt.Errorf("jetstream: %w", err)
		}
		return natsAnswer(in, out)
	}
	fmt.Fprint(out, "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB x 1\r\n")
	if err := request("STREAM.CREATE."+streamName, map[string]any{
		"name": streamName, "subjects": []string{"u.>"}, "storage": "file", "retention": "limits", "num_replicas": 1, "max_msgs": -1, "max_bytes": -1, "max_consumers": 65536, "discard": "old",
	}); err != nil {
		return err
	}
	if err := answer(); err != nil {
		return err
	}
	const window = 64
	for k := range len(users) + window {
		if k >= window {
			if err := answer(); err != nil {
				return err
			}
		}
		if k < len(users) {
			u := users[k]
			if err := request(fmt.Sprintf("CONSUMER.DURABLE.CREATE.%s.c%d", streamName, u), map[string]any{
				"stream_name": streamName,
				"config": map[string]any{
					"durable_name": fmt.Sprintf("c%d", u), "deliver_subject": fmt.Sprintf("d.%d", u), "filter_subject": fmt.Sprintf("u.%d", u),
					"deliver_policy": "all", "ack_policy": "explicit", "ack_wait": ackWait.Nanoseconds(), "max_ack_pending": ackPending, "max_deliver": -1,
				},
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// natsAnswer reads up to the next message, and gives the error in it.
func natsAnswer(in *bufio.Reader, out *bufio.Writer) error {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("jetstream: %w", err)
		}
		switch {
		case strings.HasPrefix(line, "PING"):
			fmt.Fprint(out, "PONG\r\n")
			if err := out.Flush(); err != nil {
				return fmt.Errorf("jetstream: %w", err)
			}
		case strings.HasPrefix(line, "-ERR"):
			return fmt.Errorf("jetstream: %s", strings.TrimSpace(line))
		case strings.HasPrefix(line, "MSG "):
			fields := strings.Fields(line)
			size, err := strconv.Atoi(fields[len(fields)-1])
			if err != nil {
				return fmt.Errorf("jetstream: %w", err)
			}
			body := make([]byte, size+2)
			for n := 0; n < len(body); {
				k, err := in.Read(body[n:])
				if err != nil {
					return fmt.Errorf("jetstream: %w", err)
				}
				n += k
			}
			if bytes.Contains(body, []byte(`"error"`)) {
				return fmt.Errorf("jetstream: %s", bytes.TrimSpace(body))
			}
			return nil
		}
	}
}
