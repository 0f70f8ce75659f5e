//go:build !unix

package hostile

import "time"

func yieldProcessor() error { return nil }

func processorTime() time.Duration { return 0 }
