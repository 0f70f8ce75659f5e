package main

import (
	"errors"
	"flag"
	"io"
	"os"

	"github.com/rookery-im/rookery/cmd/rookery/settings"
)

// config prints the configuration that serve would run with.
func config(args []string, stdout io.Writer) error {
	defaults := settings.Switch{Name: "defaults", Doc: "print a file to begin with: every setting at its default, commented out"}
	e, err := settings.Load(args, os.Environ(), defaults)
	if errors.Is(err, flag.ErrHelp) {
		settings.WriteHelp(stdout, "rookery config", "Prints the configuration in force as a file, with where each value comes from. Starts nothing.", defaults)
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
	_, err = io.WriteString(stdout, text)
	return err
}
