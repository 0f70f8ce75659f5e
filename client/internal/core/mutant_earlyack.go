//go:build mutant_earlyack

package core

const mutantEarlyAck = true
