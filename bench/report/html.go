package report

import (
	"fmt"
	"io"
)

// HTML writes a page.
func HTML(w io.Writer, r *Result) error {
	_, err := fmt.Fprintf(w, "<!doctype html><title>%s</title>", r.Scenario)
	return err
}
