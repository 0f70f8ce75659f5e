//go:build !mutant_skipsync

package shard

const mutantSkipSync = false
