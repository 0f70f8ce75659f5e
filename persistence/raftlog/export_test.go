package raftlog

// InLine makes the log do everything on the caller's goroutine, so that a
// simulated disk sees the same operations each time.
func InLine(c Config) Config {
	c.Spawn = func(f func()) { f() }
	return c
}
