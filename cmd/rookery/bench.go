package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/rookery-im/rookery/bench"
)

// measure is `rookery bench`.
func measure(ctx context.Context, args []string, std streams) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this binary: %w", err)
	}
	allowed, err := raiseDescriptorLimit()
	if err != nil {
		return err
	}
	err = bench.Run(ctx, bench.Program{
		Binary: binary, Version: version(), Command: os.Args, Descriptors: allowed, In: std.in, Out: std.out, Err: std.err,
	}, args)
	var wrong *bench.UsageError
	if errors.As(err, &wrong) {
		return &usageError{err}
	}
	return err
}
