// Package invariant is the one place that panics. A broken invariant is a bug
// in Rookery itself, never something that input, disk or network can cause.
package invariant

import "fmt"

// Check panics with the message where ok is false.
func Check(ok bool, format string, args ...any) {
	if !ok {
		panic("invariant broken: " + fmt.Sprintf(format, args...))
	}
}
