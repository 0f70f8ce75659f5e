//go:build !mutant_lostdeliver

package host

const mutantLostDeliver = false
