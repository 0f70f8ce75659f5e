//go:build !unix

package hostile

func yieldProcessor() error { return nil }
