//go:build mutant_ignoregap

package session

const mutantIgnoreGap = true
