//go:build !unix

package hostile

import "time"

func processorTime() time.Duration { return 0 }
