//go:build !mutant_keepstate

package host

const mutantKeepState = false
