package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/rookery-im/rookery/bench"
)

// benchGarbage lets the generator's heap grow further between collections than
// a node's may: it shares the processors with what it measures.
const benchGarbage = 400

// measure is `rookery bench`.
func measure(ctx context.Context, args []string, std streams) error {
	if len(args) > 0 && args[0] == bench.NodeCommand {
		return runNode(ctx, args[1:], std, standInsToo)
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this binary: %w", err)
	}
	allowed, err := raiseDescriptorLimit()
	if err != nil {
		return err
	}
	debug.SetGCPercent(benchGarbage)
	err = bench.Run(ctx, bench.Program{
		Binary: binary, Version: version(), Command: os.Args, Descriptors: allowed, In: std.in, Out: std.out, Err: std.err,
	}, args)
	var wrong *bench.UsageError
	if errors.As(err, &wrong) {
		return &usageError{err}
	}
	return err
}
