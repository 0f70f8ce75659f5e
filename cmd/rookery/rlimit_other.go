//go:build !unix

package main

// raiseDescriptorLimit has nothing to raise here.
func raiseDescriptorLimit() (uint64, error) { return 0, nil }
