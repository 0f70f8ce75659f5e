// Command rookery is the whole of Rookery in one binary.
//
//	rookery serve --data DIR --listen ADDR --admin ADDR    run a node
//	rookery chat                                           chat in this terminal
//	rookery ctl status                                     ask a running node
//	rookery tls init --data DIR                            certificates for a cluster
//	rookery config                                         print the configuration in force
//	rookery bench SCENARIO --self                          measure a node
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
	"strings"
	"syscall"

	"github.com/rookery-im/rookery/cmd/rookery/ctl"
)

// streams are a command's standard input, output and error.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// command is what `rookery NAME` does. Whatever it is called wrongly by is a
// usageError.
type command struct {
	name, args, doc string
	run             func(ctx context.Context, args []string, std streams) error
}

func commands() []command {
	return []command{
		{"serve", "[flags]", "run a node (rookery serve --help lists the flags)", serve},
		{"chat", "[flags]", "chat in this terminal", func(ctx context.Context, args []string, std streams) error {
			return runChat(ctx, args, std.in, std.out, std.err)
		}},
		{"ctl", "[--admin ADDR] COMMAND", "ask a running node: status, node list, node remove, invite, key", control},
		{"tls", "init|node --data DIR", "make what nodes on several machines know each other by", tlsFiles},
		{"config", "[flags]", "print the configuration that serve would run with", config},
		{"bench", "SCENARIO [flags]", "measure a node (rookery bench lists the scenarios)", measure},
		{"version", "", "print the version", printVersion},
	}
}

// control is `rookery ctl`.
func control(ctx context.Context, args []string, std streams) error {
	err := ctl.Run(ctx, args, std.out)
	if errors.Is(err, ctl.ErrUsage) {
		return &usageError{err}
	}
	return err
}

// usage lists the commands.
func usage() string {
	var b strings.Builder
	b.WriteString("Rookery: messaging for millions, self-hosted.\n\nUsage:\n")
	call := func(c command) string { return strings.TrimSpace(c.name + " " + c.args) }
	widest := 0
	for _, c := range commands() {
		widest = max(widest, len(call(c)))
	}
	for _, c := range commands() {
		fmt.Fprintf(&b, "  rookery %-*s   %s\n", widest, call(c), c.doc)
	}
	b.WriteString("\nThe quick start, the protocol and all settings are in README.md, docs/protocol.md\nand docs/configuration.md.\n")
	return b.String()
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// run is main without the process: the exit code is 2 for a wrong call and 1
// for everything else that fails.
func run(ctx context.Context, args []string, std streams) int {
	if len(args) == 0 {
		fmt.Fprint(std.err, usage())
		return 2
	}
	name := args[0]
	switch name {
	case "help", "--help", "-h":
		fmt.Fprint(std.out, usage())
		return 0
	case "--version":
		name = "version"
	}
	for _, c := range commands() {
		if c.name == name {
			return exitCode(c.run(ctx, args[1:], std), std.err)
		}
	}
	fmt.Fprintf(std.err, "rookery: there is no command %q\n\n%s", name, usage())
	return 2
}

// exitCode tells what a command ended with.
func exitCode(err error, stderr io.Writer) int {
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

func printVersion(_ context.Context, _ []string, std streams) error {
	fmt.Fprintln(std.out, "rookery", version())
	return nil
}

// version as the build recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
