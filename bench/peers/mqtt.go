package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// mqtt is MQTT 3.1.1 with persistent sessions. A message is published with QoS
// 1 and accepted by PUBACK; its recipient sends PUBACK to the server and a
// receipt to the sender, which is a message of QoS 0 and is not stored.
//
// Topics: u/N is user N's, r/N takes the receipts for what N has sent.
type mqtt struct {
	scratch []byte
	next    []uint16        // packet identifier of a user's next message
	unacked [][]mqttPublish // by user, in order
}

type mqttPublish struct {
	packet uint16
	number uint64
}

// Control packets (MQTT 3.1.1, section 2.2.1), with their fixed flags.
const (
	mqttConnect   = 0x10
	mqttConnAck   = 0x20
	mqttPublish0  = 0x30
	mqttPublish1  = 0x32
	mqttPubAck    = 0x40
	mqttSubscribe = 0x82
	mqttSubAck    = 0x90
)

const (
	mqttWaits stepOf = iota // for CONNACK
	mqttSubscribes
)

var errMQTT = errors.New("not what an MQTT server says")

func newMQTT(users int) *mqtt {
	return &mqtt{next: make([]uint16, users), unacked: make([][]mqttPublish, users)}
}

func (*mqtt) answers() answers { return byServer }

func (p *mqtt) forget(i int) { p.unacked[i] = nil }

func (*mqtt) round(*fleet, int) {}

// appendPacket frames a body by its type and length (section 2.2.3).
func mqttAppend(dst []byte, kind byte, size int) []byte {
	dst = append(dst, kind)
	for {
		b := byte(size & 0x7f)
		if size >>= 7; size > 0 {
			dst = append(dst, b|0x80)
			continue
		}
		return append(dst, b)
	}
}

func mqttText(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

func (p *mqtt) hello(f *fleet, i int) {
	const keepAlive = 0 // none
	body := append(mqttText(nil, "MQTT"), 4, 0)
	body = binary.BigEndian.AppendUint16(body, keepAlive)
	body = mqttText(body, user(i))
	f.write(i, append(mqttAppend(nil, mqttConnect, len(body)), body...))
}

func (p *mqtt) subscribe(f *fleet, i int) {
	body := binary.BigEndian.AppendUint16(nil, 1)
	body = append(mqttText(body, fmt.Sprintf("u/%d", i)), 1)
	body = append(mqttText(body, fmt.Sprintf("r/%d", i)), 0)
	f.write(i, append(mqttAppend(nil, mqttSubscribe, len(body)), body...))
}

func (p *mqtt) publish(dst []byte, kind byte, box byte, to int, packet uint16, size int) []byte {
	var topic [16]byte
	t := strconv.AppendInt(append(topic[:0], box, '/'), int64(to), 10)
	n := 2 + len(t) + size
	if kind == mqttPublish1 {
		n += 2
	}
	dst = mqttAppend(dst, kind, n)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t)))
	dst = append(dst, t...)
	if kind == mqttPublish1 {
		dst = binary.BigEndian.AppendUint16(dst, packet)
	}
	return dst
}

func (p *mqtt) send(f *fleet, i int, number uint64) {
	p.next[i]++
	if p.next[i] <= 1 {
		p.next[i] = 2 // 0 is no identifier, and 1 is of the subscription
	}
	packet := p.next[i]
	p.unacked[i] = append(p.unacked[i], mqttPublish{packet, number})
	b := p.publish(p.scratch[:0], mqttPublish1, 'u', int(f.partner[i]), packet, len(f.filler))
	b = f.appendPayload(b, i, number)
	f.write(i, b)
	p.scratch = b
}

// mqttSplit takes the first packet off b; n is 0 where more is needed.
func mqttSplit(b []byte) (kind byte, body []byte, n int, err error) {
	if len(b) < 2 {
		return 0, nil, 0, nil
	}
	size, shift := 0, 0
	for k := 1; k < len(b); k++ {
		size |= int(b[k]&0x7f) << shift
		shift += 7
		if b[k]&0x80 == 0 {
			if len(b) < k+1+size {
				return 0, nil, 0, nil
			}
			return b[0], b[k+1 : k+1+size], k + 1 + size, nil
		}
		if k == 4 {
			return 0, nil, 0, fmt.Errorf("%w: a length of five bytes", errMQTT)
		}
	}
	return 0, nil, 0, nil
}

func (p *mqtt) consume(f *fleet, i int, b []byte) (int, error) {
	n := 0
	for {
		kind, body, k, err := mqttSplit(b[n:])
		if err != nil || k == 0 {
			return n, err
		}
		n += k
		if err := p.packet(f, i, kind, body); err != nil {
			return n, err
		}
	}
}

func (p *mqtt) packet(f *fleet, i int, kind byte, body []byte) error {
	switch {
	case kind == mqttConnAck:
		if len(body) != 2 || body[1] != 0 {
			return fmt.Errorf("%w: connect was refused: %x", errMQTT, body)
		}
		if body[0]&1 != 0 { // the session is known, its subscriptions with it
			f.ready(i)
			return nil
		}
		f.conns[i].step = mqttSubscribes
		p.subscribe(f, i)
	case kind == mqttSubAck:
		if len(body) != 4 || body[2] != 1 || body[3] != 0 {
			return fmt.Errorf("%w: subscribe was refused: %x", errMQTT, body)
		}
		f.ready(i)
	case kind == mqttPubAck:
		if len(body) < 2 {
			return fmt.Errorf("%w: a short PUBACK", errMQTT)
		}
		p.acked(f, i, binary.BigEndian.Uint16(body))
	case kind&0xf0 == mqttPublish0:
		return p.published(f, i, kind, body)
	default:
		return fmt.Errorf("%w: packet %x", errMQTT, kind)
	}
	return nil
}

func (p *mqtt) acked(f *fleet, i int, packet uint16) {
	for k, m := range p.unacked[i] {
		if m.packet == packet {
			p.unacked[i] = append(p.unacked[i][:k], p.unacked[i][k+1:]...)
			f.accepted(i, m.number)
			return
		}
	}
	f.stray(i, "a PUBACK of what is not open")
}

func (p *mqtt) published(f *fleet, i int, kind byte, body []byte) error {
	qos := kind >> 1 & 3
	at := 2
	if len(body) >= 2 {
		at += int(binary.BigEndian.Uint16(body))
	}
	head := at
	if qos > 0 {
		head += 2
	}
	if len(body) < head || at < 3 {
		return fmt.Errorf("%w: a short PUBLISH", errMQTT)
	}
	payload := body[head:]
	if body[2] == 'r' {
		f.receipt(payload)
		return nil
	}
	from, fresh := f.delivered(i, payload)
	b := p.scratch[:0]
	if qos > 0 {
		b = append(mqttAppend(b, mqttPubAck, 2), body[at], body[at+1])
	}
	if fresh {
		b = p.publish(b, mqttPublish0, 'r', from, 0, keySize)
		b = append(b, payload[:keySize]...)
	}
	f.write(i, b)
	p.scratch = b
	return nil
}
