package raftlog

import "encoding/binary"

// After the header, each sector of a segment ends in a stamp, which says in
// which segment's life it was written last: a file that is used again still
// holds what it held as another segment.
//
//	stamp   segment u32, check u32 over log id, segment and place
const (
	stampBytes = 8
	payload    = sector - stampBytes // of frames in a sector
)

// fileOffset is where in its file the byte of a segment is that frames know by
// this offset: stamps are not counted by frames.
func fileOffset(off uint32) int64 {
	return int64(off/payload)*sector + int64(off%payload)
}

// fileBytes is the size of a file that has room for so many bytes.
func fileBytes(n int) int { return (n + payload - 1) / payload * sector }

// room is how many bytes a file of that size has room for.
func room(fileBytes uint32) uint32 { return fileBytes / sector * payload }

// stampOf is the stamp of a sector, by its number, in a segment.
func (f frames) stampOf(seq, number uint32) uint64 {
	return uint64(f.seed(position{^seq, number}))<<32 | uint64(seq)
}

// image appends to dst what the file holds once data was written at that place:
// with stamps, and zeros up to the end of the page, so that a page is never
// read from the disk only because a part of it is written.
func (f frames) image(dst, data []byte, at position, fileBytes int64) []byte {
	begin := fileOffset(at.off)
	for len(data) > 0 {
		number := at.off / payload
		n := min(len(data), int((number+1)*payload-at.off))
		dst = append(dst, data[:n]...)
		data, at.off = data[n:], at.off+uint32(n)
		dst = appendZeros(dst, int((number+1)*payload-at.off))
		dst = binary.LittleEndian.AppendUint64(dst, f.stampOf(at.seg, number))
		at.off = (number + 1) * payload
	}
	end := begin + int64(len(dst))
	return appendZeros(dst, int(min((end+page-1)/page*page, fileBytes)-end))
}

func appendZeros(dst []byte, n int) []byte { return append(dst, make([]byte, n)...) }

// view takes the stamps out of a segment's file, in place. A sector that was not
// written in this segment's life reads as zeros. bad is the offset of the first
// sector whose stamp is none at all, or the end: what is there was changed.
func (f frames) view(file []byte, seq uint32) (content []byte, bad uint32) {
	sectors := uint32(len(file) / sector)
	bad = sectors * payload
	for n := uint32(1); n < sectors; n++ {
		from := file[n*sector : (n+1)*sector]
		stamp := binary.LittleEndian.Uint64(from[payload:])
		to := file[n*payload : (n+1)*payload]
		switch {
		case stamp == f.stampOf(seq, n):
			copy(to, from)
		case stamp == 0, uint32(stamp) < seq && stamp == f.stampOf(uint32(stamp), n):
			clear(to)
		default:
			bad = min(bad, n*payload)
			copy(to, from)
		}
	}
	return file[:sectors*payload], bad
}

// stamped reports whether a sector, by its number, ends in this segment's stamp.
func (f frames) stamped(b []byte, seq, number uint32) bool {
	return binary.LittleEndian.Uint64(b[payload:]) == f.stampOf(seq, number)
}
