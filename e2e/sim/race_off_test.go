//go:build !race

package sim

// few seeds are part of every test run; make simulate has more.
const few = enough
