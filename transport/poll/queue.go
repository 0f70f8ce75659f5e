package poll

// chunkMax bounds the chunks that outgoing bytes are kept in.
const chunkMax = 64 << 10

// queue is what one connection has yet to write. Bytes are added in units,
// none of which may be cut once it has begun.
type queue struct {
	chunks [][]byte
	units  []uint32
	first  int // of units, that is not written whole
	cut    int // bytes of it that are written
	offset int // into the first chunk
	bytes  int
}

func (q *queue) add(bufs *Buffers, head, body []byte) {
	q.units = append(q.units, uint32(len(head)+len(body)))
	q.bytes += len(head) + len(body)
	q.fill(bufs, head, len(body))
	q.fill(bufs, body, 0)
}

// fill appends p; more says how much is known to follow.
func (q *queue) fill(bufs *Buffers, p []byte, more int) {
	for len(p) > 0 {
		size := 0
		if n := len(q.chunks); n > 0 {
			last := &q.chunks[n-1]
			if room := cap(*last) - len(*last); room > 0 {
				k := min(room, len(p))
				*last = append(*last, p[:k]...)
				p = p[k:]
				continue
			}
			size = 2 * cap(*last)
		}
		q.chunks = append(q.chunks, bufs.Get(min(max(size, len(p)+more), chunkMax)))
	}
}

// vector lists what is to be written next, at most cap(into) pieces.
func (q *queue) vector(into [][]byte) ([][]byte, int) {
	into = into[:0]
	total := 0
	for i, c := range q.chunks {
		if len(into) == cap(into) {
			break
		}
		if i == 0 {
			c = c[q.offset:]
		}
		into = append(into, c)
		total += len(c)
	}
	return into, total
}

// wrote takes n bytes off the front.
func (q *queue) wrote(bufs *Buffers, n int) {
	q.bytes -= n
	if q.bytes == 0 {
		q.reset(bufs)
		return
	}
	for rest := n + q.cut; ; q.first++ {
		if size := int(q.units[q.first]); rest < size {
			q.cut = rest
			break
		} else {
			rest -= size
		}
	}
	if q.first > 64 && q.first > len(q.units)/2 {
		q.units = q.units[:copy(q.units, q.units[q.first:])]
		q.first = 0
	}
	q.offset += n
	gone := 0
	for q.offset >= len(q.chunks[gone]) {
		q.offset -= len(q.chunks[gone])
		bufs.Put(q.chunks[gone])
		gone++
	}
	q.drop(gone)
}

func (q *queue) drop(n int) {
	kept := copy(q.chunks, q.chunks[n:])
	clear(q.chunks[kept:])
	q.chunks = q.chunks[:kept]
}

// discard drops the units that have not begun.
func (q *queue) discard(bufs *Buffers) {
	if q.cut == 0 {
		q.reset(bufs)
		return
	}
	rest := int(q.units[q.first]) - q.cut
	q.units, q.bytes = q.units[:q.first+1], rest
	end := q.offset + rest
	for i, c := range q.chunks {
		switch {
		case end <= 0:
			bufs.Put(c)
			q.chunks[i] = nil
		case end < len(c):
			q.chunks[i] = c[:end]
		}
		end -= len(c)
	}
	for n := len(q.chunks); q.chunks[n-1] == nil; n = len(q.chunks) {
		q.chunks = q.chunks[:n-1]
	}
}

// reset drops everything. What a burst has made large goes to the collector.
func (q *queue) reset(bufs *Buffers) {
	for i, c := range q.chunks {
		bufs.Put(c)
		q.chunks[i] = nil
	}
	if cap(q.chunks) > 64 || cap(q.units) > 1024 {
		*q = queue{}
		return
	}
	*q = queue{chunks: q.chunks[:0], units: q.units[:0]}
}
