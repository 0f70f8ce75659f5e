package raftlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// position is a place in the log: a byte of a segment, stamps not counted; see
// fileOffset.
type position struct{ seg, off uint32 }

func (p position) before(q position) bool {
	return p.seg < q.seg || p.seg == q.seg && p.off < q.off
}

const (
	// sector is the least that storage writes at once.
	sector = 512
	word   = 8

	headBytes = 16
	footBytes = 8
	footMagic = 0x6b6f6f52 // "Rook"; keeps the last word of a frame from being zero
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frames stamps and checks the frames of one log.
type frames struct{ log uint64 } // the log's random id

// seed makes checksums differ between logs, segments and places. The finalizer
// is that of splitmix64.
func (f frames) seed(at position) uint32 {
	z := f.log ^ (uint64(at.seg)<<32 | uint64(at.off))
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return uint32(z ^ z>>31)
}

func padded(n int) int     { return (n + word - 1) &^ (word - 1) }
func frameBytes(n int) int { return headBytes + padded(n) + footBytes }

// openFrame reserves a head at the end of buf.
func openFrame(buf []byte) []byte { return append(buf, make([]byte, headBytes)...) }

// closeFrame pads the body of the frame that begins at start and reserves its
// tail; stamp fills head and tail once the place is known.
func closeFrame(buf []byte, start int) []byte {
	body := len(buf) - start - headBytes
	binary.LittleEndian.PutUint32(buf[start+4:], uint32(body))
	return append(buf, make([]byte, padded(body)-body+footBytes)...)
}

// stamp completes the frames in buf, which will be written at that place.
func (f frames) stamp(buf []byte, at, synced position) {
	for len(buf) > 0 {
		n := frameBytes(int(binary.LittleEndian.Uint32(buf[4:])))
		frame := buf[:n]
		binary.LittleEndian.PutUint32(frame[8:], synced.seg)
		binary.LittleEndian.PutUint32(frame[12:], synced.off)
		head := crc32.Update(f.seed(at), castagnoli, frame[4:headBytes])
		binary.LittleEndian.PutUint32(frame, head)
		foot := frame[n-footBytes:]
		binary.LittleEndian.PutUint32(foot, crc32.Update(head, castagnoli, frame[headBytes:n-footBytes]))
		binary.LittleEndian.PutUint32(foot[4:], footMagic)
		buf = buf[n:]
		at.off += uint32(n)
	}
}

// head is the checked head of a frame.
type head struct {
	body   int // bytes, without padding
	synced position
}

// readHead returns false where the head does not check.
func (f frames) readHead(b []byte, at position) (head, bool) {
	if len(b) < headBytes {
		return head{}, false
	}
	if binary.LittleEndian.Uint32(b) != crc32.Update(f.seed(at), castagnoli, b[4:headBytes]) {
		return head{}, false
	}
	h := head{
		body: int(binary.LittleEndian.Uint32(b[4:])),
		synced: position{
			seg: binary.LittleEndian.Uint32(b[8:]),
			off: binary.LittleEndian.Uint32(b[12:]),
		},
	}
	return h, h.body > 0 && h.synced.seg > 0
}

// readFrame returns the body of the frame at the beginning of b, and the
// frame's size. It returns false where the frame does not check.
func (f frames) readFrame(b []byte, at position) (head, []byte, bool) {
	h, ok := f.readHead(b, at)
	if !ok || h.body > len(b) || frameBytes(h.body) > len(b) {
		return h, nil, false
	}
	n := frameBytes(h.body)
	foot := b[n-footBytes : n]
	sum := crc32.Update(binary.LittleEndian.Uint32(b), castagnoli, b[headBytes:n-footBytes])
	if binary.LittleEndian.Uint32(foot) != sum || binary.LittleEndian.Uint32(foot[4:]) != footMagic {
		return h, nil, false
	}
	return h, b[headBytes : headBytes+h.body], true
}

// torn reports whether the bad frame at off of a segment may be one that did
// not reach the disk in full. Then some sector's part of it is missing, and
// missing means zero. Only the last word of the part is looked at, because a
// sector may be on its way to the disk while the frame is still being copied
// into it from the front. No word at the edge of a frame is zero when written;
// a body may hold zeros, which costs certainty only for that frame.
func (f frames) torn(seg []byte, off int, seq uint32) bool {
	if off+word <= len(seg) && isZero(seg[off:off+word]) {
		return true
	}
	end := off + headBytes
	if h, ok := f.readHead(seg[off:], position{seq, uint32(off)}); ok {
		end = off + frameBytes(h.body)
	}
	if end > len(seg) {
		return false // nothing is ever written there
	}
	for off < end {
		next := min((off/sector+1)*sector, end)
		if isZero(seg[next-word : next]) {
			return true
		}
		off = next
	}
	return false
}

// claims returns the furthest synced position that any frame in b claims,
// whether or not its body checks. b begins at a frame boundary's alignment.
func (f frames) claims(b []byte, at position) position {
	var furthest position
	for len(b) >= headBytes {
		if binary.LittleEndian.Uint64(b) != 0 {
			h, ok := f.readHead(b, at)
			if ok && !at.before(h.synced) && furthest.before(h.synced) {
				furthest = h.synced
			}
		}
		b = b[word:]
		at.off += word
	}
	return furthest
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

const (
	formatVersion = 2
	segmentMagic  = "RookSeg\n"
	segmentHeader = payload // the first frame is never in the header's sector
)

// segmentInfo is what a segment's header says.
type segmentInfo struct {
	log  uint64
	seq  uint32
	size uint32
}

func (s segmentInfo) encode() []byte {
	b := make([]byte, 0, 64)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, formatVersion)
	b = binary.LittleEndian.AppendUint32(b, s.seq)
	b = binary.LittleEndian.AppendUint64(b, s.log)
	b = binary.LittleEndian.AppendUint32(b, s.size)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

const segmentInfoBytes = 32

// decodeSegmentInfo returns the reason why b is no header of the log's segment
// seq, or "".
func decodeSegmentInfo(b []byte, log uint64, seq uint32) (info segmentInfo, reason string) {
	if len(b) < sector {
		return info, "the file is shorter than a segment's header"
	}
	sum := crc32.Checksum(b[:segmentInfoBytes-4], castagnoli)
	if string(b[:8]) != segmentMagic || binary.LittleEndian.Uint32(b[segmentInfoBytes-4:]) != sum {
		return info, "the segment's header does not check"
	}
	if !isZero(b[segmentInfoBytes:sector]) {
		return info, "the segment's header does not end in zeros"
	}
	info = segmentInfo{
		seq:  binary.LittleEndian.Uint32(b[12:]),
		log:  binary.LittleEndian.Uint64(b[16:]),
		size: binary.LittleEndian.Uint32(b[24:]),
	}
	switch version := binary.LittleEndian.Uint32(b[8:]); {
	case version != formatVersion:
		return info, fmt.Sprintf("format %d, this program reads %d", version, formatVersion)
	case info.log != log:
		return info, "the segment belongs to another log"
	case info.seq != seq:
		return info, fmt.Sprintf("the header says segment %d", info.seq)
	case int(info.size) != len(b):
		return info, fmt.Sprintf("the file has %d bytes, its header says %d", len(b), info.size)
	}
	return info, ""
}
