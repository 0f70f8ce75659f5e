//go:build race

package sim

// few seeds are part of a run under the race detector, which takes ten times as long
// and has little to find where everything runs on one goroutine.
const few = 4
