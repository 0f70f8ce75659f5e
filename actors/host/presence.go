package host

import "slices"

// presence is who watches whom: for each watched user of the shard the
// sessions that are told. It dies with the term.
type presence struct {
	watchers map[string][]watcher
}

type watcher struct {
	conn  uint64
	user  string
	shown bool // it is told of changes
}

func newPresence() presence { return presence{watchers: make(map[string][]watcher)} }

// add a session; false where the user has as many as may be.
func (p presence) add(of string, w watcher, limit int) bool {
	list := p.watchers[of]
	for i := range list {
		if list[i].conn == w.conn {
			list[i].shown = w.shown
			return true
		}
	}
	if len(list) >= limit {
		return false
	}
	p.watchers[of] = append(list, w)
	return true
}

// watches says whether a session is among a user's.
func (p presence) watches(of string, conn uint64) bool {
	return slices.ContainsFunc(p.watchers[of], func(w watcher) bool { return w.conn == conn })
}

// hide has a user's sessions, or all where user is empty, told of no change,
// and returns them.
func (p presence) hide(of, user string) []watcher {
	var out []watcher
	list := p.watchers[of]
	for i := range list {
		if user == "" || list[i].user == user {
			list[i].shown = false
			out = append(out, list[i])
		}
	}
	return out
}

// drop takes out those that match, in their order, and returns them.
func (p presence) drop(of string, match func(watcher) bool) []watcher {
	var out []watcher
	list := p.watchers[of]
	kept := list[:0]
	for _, w := range list {
		if match(w) {
			out = append(out, w)
		} else {
			kept = append(kept, w)
		}
	}
	clear(list[len(kept):])
	if len(kept) == 0 {
		delete(p.watchers, of)
	} else {
		p.watchers[of] = kept
	}
	return out
}
