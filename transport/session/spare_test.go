package session

import (
	"testing"

	"github.com/rookery-im/rookery/internal/limits"
)

// Buffers are kept up to a bound, and none once nobody has needed them for a while.
func TestSpareIsBoundedAndGoes(t *testing.T) {
	var p spare
	for range 2 * limits.Spares {
		p.keepBuffer(make([]byte, 5, 1024))
		p.pending.give(&pending{})
		p.chains.give(&chain{blocked: [16]byte{1}, isBlocked: true})
	}
	p.keepBuffer(make([]byte, 0, limits.SpareBytes))
	if got := len(p.out.free); got != limits.SpareBytes/1024 || p.bytes != limits.SpareBytes {
		t.Errorf("%d buffers of %d bytes are kept", got, p.bytes)
	}
	if len(p.pending.free) != limits.Spares || len(p.chains.free) != limits.Spares {
		t.Errorf("%d and %d records are kept", len(p.pending.free), len(p.chains.free))
	}
	if b := p.buffer(); len(b) != 0 || cap(b) != 1024 || p.bytes != limits.SpareBytes-1024 {
		t.Errorf("a buffer of %d bytes, room for %d; %d are left", len(b), cap(b), p.bytes)
	}
	if c := p.newChain(); *c != (chain{}) {
		t.Errorf("a chain that was used: %v", c)
	}
	// What every round needs stays.
	for range 40 {
		for range 100 {
			p.pending.take()
		}
		for range 100 {
			p.pending.give(&pending{})
		}
		p.trim()
	}
	if n := len(p.pending.free); n != 100 {
		t.Errorf("%d are kept of which 100 are needed", n)
	}
	if len(p.out.free) != 0 || p.bytes != 0 || len(p.chains.free) != 0 {
		t.Errorf("%d buffers (%d bytes) and %d chains are kept for nobody", len(p.out.free), p.bytes, len(p.chains.free))
	}
}
