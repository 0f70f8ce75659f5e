//go:build mutant_nowindow

package core

const mutantNoWindow = true
