package host

import "github.com/rookery-im/rookery/internal/slab"

// A wheel holds the timers of a shard: one per row at most, a 24-byte record
// without pointers each, armed and cancelled in constant time. Level n has 64
// slots of 64^n ticks; a timer moves down a level when its slot comes up, so a
// timer in a week is looked at four times. A timer never fires early.
type wheel struct {
	tick  uint64 // the last tick that was worked off
	heads [wheelLevels * wheelSlots]uint32
	nodes slab.Slab[timer]
	armed int
}

type timer struct {
	due        uint64 // in ticks
	key        uint32
	prev, next uint32
	slot       uint32
}

const (
	wheelTick   = 64 // milliseconds
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	wheelLevels = 6 // 64 ms * 64^6 is 139 years
)

func newWheel(now uint64) *wheel {
	return &wheel{tick: now / wheelTick}
}

// arm makes a timer that fires with key at due, or soon after; never within
// the call to advance that is under way.
func (w *wheel) arm(due uint64, key uint32) uint32 {
	id, t := w.nodes.Take()
	*t = timer{due: max((due+wheelTick-1)/wheelTick, w.tick+1), key: key}
	w.link(id)
	w.armed++
	return id
}

// cancel forgets an armed timer.
func (w *wheel) cancel(id uint32) {
	w.unlink(id)
	w.release(id)
}

// due of an armed timer, milliseconds.
func (w *wheel) due(id uint32) uint64 { return w.nodes.At(id).due * wheelTick }

func (w *wheel) release(id uint32) {
	w.nodes.Give(id)
	w.armed--
}

// link puts a timer into the slot of the lowest level whose span it is within.
func (w *wheel) link(id uint32) {
	t := w.nodes.At(id)
	level, shift := uint32(0), uint(0)
	for level < wheelLevels-1 && (t.due>>shift)-(w.tick>>shift) >= wheelSlots {
		level++
		shift += wheelBits
	}
	at := t.due >> shift
	if at-(w.tick>>shift) >= wheelSlots { // past the top level: comes round again
		at = (w.tick >> shift) + wheelSlots - 1
	}
	t.slot = level*wheelSlots + uint32(at%wheelSlots)
	t.prev, t.next = 0, w.heads[t.slot]
	if t.next != 0 {
		w.nodes.At(t.next).prev = id
	}
	w.heads[t.slot] = id
}

func (w *wheel) unlink(id uint32) {
	t := w.nodes.At(id)
	if t.next != 0 {
		w.nodes.At(t.next).prev = t.prev
	}
	if t.prev != 0 {
		w.nodes.At(t.prev).next = t.next
	} else {
		w.heads[t.slot] = t.next
	}
}

// advance fires what is due up to now, at most budget timers; the rest fire at
// the next call. A fired timer is gone before its key is handed to fire.
func (w *wheel) advance(now uint64, budget int, fire func(key uint32)) {
	target := now / wheelTick
	for {
		slot := w.tick % wheelSlots
		for w.heads[slot] != 0 {
			if budget == 0 {
				return
			}
			budget--
			id := w.heads[slot]
			key := w.nodes.At(id).key
			w.cancel(id)
			fire(key)
		}
		if w.tick >= target {
			return
		}
		if w.armed == 0 {
			w.tick = target
			return
		}
		w.tick++
		w.cascade()
	}
}

// cascade moves the timers of the slots that begin at this tick down.
func (w *wheel) cascade() {
	for level := uint32(1); level < wheelLevels; level++ {
		shift := uint(level * wheelBits)
		if w.tick&(1<<shift-1) != 0 {
			return
		}
		slot := level*wheelSlots + uint32(w.tick>>shift%wheelSlots)
		id := w.heads[slot]
		w.heads[slot] = 0
		for id != 0 {
			next := w.nodes.At(id).next
			w.link(id)
			id = next
		}
	}
}
