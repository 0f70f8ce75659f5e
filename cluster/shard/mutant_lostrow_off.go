//go:build !mutant_lostrow

package shard

const mutantLostRow = false
