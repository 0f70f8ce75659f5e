package storetest

import "testing"

// The reference has to keep the contract it is the measure of.
func TestMemoryConforms(t *testing.T) {
	Conform(t, func(Cleaner) Subject {
		m := new(Memory)
		return Subject{m, m}
	})
}
