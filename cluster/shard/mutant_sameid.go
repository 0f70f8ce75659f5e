//go:build mutant_sameid

package shard

const mutantSameID = true
