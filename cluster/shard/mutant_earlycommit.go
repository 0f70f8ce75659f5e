//go:build mutant_earlycommit

package shard

const mutantEarlyCommit = true
