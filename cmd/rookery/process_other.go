//go:build !unix

package main

// keepPrivate relies on the data directory's own permissions here.
func keepPrivate() {}

// raiseDescriptorLimit has nothing to raise here.
func raiseDescriptorLimit() (uint64, error) { return 0, nil }
