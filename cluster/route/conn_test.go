package route

import "testing"

func TestConnOfEveryKind(t *testing.T) {
	for _, c := range []struct {
		node uint16
		life uint64
		own  uint64
	}{{1, 1, 0}, {1, 1, 1}, {0xffff, 63, ownMask}, {0x8001, 0xffff_ffff_ffff_ffff, 5}, {2, 64, ownMask + 7}} {
		s := NewStamp(c.node, c.life)
		if s.Node() != c.node {
			t.Errorf("stamp of node %d is of %d", c.node, s.Node())
		}
		seen := map[Conn]bool{}
		for _, id := range []Conn{s.Connection(c.own), s.Stream(c.own), s.Request(c.own)} {
			if Node(id) != c.node || Own(id) != c.own&ownMask || !s.Ours(id) || seen[id] || !sameLife(id, c.life) {
				t.Errorf("%s of %+v", Name(id), c)
			}
			seen[id] = true
			for _, other := range []Stamp{NewStamp(c.node+1, c.life), NewStamp(c.node, c.life+1), {}} {
				if other.Ours(id) {
					t.Errorf("%s is taken for one of node %d", Name(id), other.Node())
				}
			}
		}
		if IsStream(s.Connection(c.own)) || IsRequest(s.Connection(c.own)) || !IsStream(s.Stream(c.own)) || IsRequest(s.Stream(c.own)) || !IsRequest(s.Request(c.own)) || IsStream(s.Request(c.own)) {
			t.Errorf("kinds of %+v", c)
		}
	}
}
