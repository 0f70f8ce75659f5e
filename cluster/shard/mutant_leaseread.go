//go:build mutant_leaseread

package shard

const mutantLeaseRead = true
