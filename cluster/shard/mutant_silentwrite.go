//go:build mutant_silentwrite

package shard

const mutantSilentWrite = true
