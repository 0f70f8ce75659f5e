//go:build mutant_applyreads

package host

const mutantApplyReads = true
