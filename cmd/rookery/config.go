package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"slices"

	"github.com/rookery-im/rookery/cmd/rookery/settings"
)

// config prints the configuration that serve would run with.
func config(_ context.Context, args []string, std streams) error {
	defaults := settings.Switch{Name: "defaults", Doc: "print a file to begin with: every setting at its default, commented out"}
	environ := os.Environ()
	if slices.Contains(args, "--"+defaults.Name) {
		environ = nil // defaults are theirs whatever is set here
	}
	e, err := settings.Load(args, environ, defaults)
	if errors.Is(err, flag.ErrHelp) {
		settings.WriteHelp(std.out, "rookery config", "Prints the configuration in force as a file, with where each value comes from. Starts nothing.", defaults)
		return nil
	}
	if err != nil {
		return &usageError{err}
	}
	text, err := e.YAML()
	if e.Switch(defaults.Name) {
		text, err = settings.Template()
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(std.out, text)
	return err
}
