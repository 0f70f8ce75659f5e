//go:build mutant_anyterm

package host

const mutantAnyTerm = true
