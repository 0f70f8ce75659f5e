package main

import (
	"context"
	"errors"
	"io"

	"github.com/rookery-im/rookery/cmd/rookery/chat"
)

// runChat is `rookery chat`.
func runChat(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	err := chat.Run(ctx, args, stdin, stdout, stderr)
	if errors.Is(err, chat.ErrUsage) {
		return &usageError{err}
	}
	return err
}
