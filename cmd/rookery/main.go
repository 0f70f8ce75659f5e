// Command rookery is the whole of Rookery in one binary.
//
//	rookery serve --data DIR --listen ADDR --admin ADDR    run a node
//	rookery config                                         print the configuration in force
//	rookery version                                        say which this is
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

const usage = `Rookery: messaging for millions, self-hosted.

Usage:
  rookery serve [flags]     run a node (rookery serve --help lists the flags)
  rookery config [flags]    print the configuration that serve would run with
  rookery version           print the version

The quick start, the protocol and all settings are in README.md, docs/protocol.md
and docs/configuration.md.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process: the exit code is 2 for a wrong call and 1
// for everything else that fails.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	var err error
	switch args[0] {
	case "serve":
		err = serve(ctx, args[1:], stdout, stderr)
	case "config":
		err = config(args[1:], stdout)
	case "version", "--version":
		fmt.Fprintln(stdout, "rookery", version())
	case "help", "--help", "-h":
		fmt.Fprint(stdout, usage)
	default:
		fmt.Fprintf(stderr, "rookery: there is no command %q\n\n%s", args[0], usage)
		return 2
	}
	var wrong *usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, "rookery:", err)
		return 2
	case err != nil:
		fmt.Fprintln(stderr, "rookery:", err)
		return 1
	}
	return 0
}

// usageError is a fault in how the command was called.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// version as the build recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
