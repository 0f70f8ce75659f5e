package chat

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/rookery-im/rookery/client"
	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
)

// reasons of errors, in the words of somebody who only wants to chat. The
// first that matches is taken.
var reasons = []struct {
	err  error
	says string
}{
	{client.ErrUnlinked, "this device was unlinked"},
	{client.ErrDisplaced, "this device is connected from elsewhere"},
	{client.ErrProtocol, "this program and the server do not understand each other"},
	{client.ErrStoreLocked, "this account is open in another rookery chat"},
	{client.ErrStoreDamaged, "the stored device is damaged"},
	{client.ErrStore, "the stored device cannot be written"},
	{client.ErrQueueFull, "too many lines wait to be sent"},
	{client.ErrOtherUser, "the stored device belongs to another user"},
	{client.ErrPayloadTooLarge, "too long"},
	{client.ErrMailboxFull, "too many messages wait there already, or for a device of yours"},
	{client.ErrRateLimited, "too many at once"},
	{client.ErrNotFound, "nobody has that name"},
	{client.ErrUnauthenticated, "the login is not valid (any more)"},
	{client.ErrInternal, "the server made a mistake"},
	{client.ErrUnavailable, "the server cannot take it now"},
	{syscall.ECONNREFUSED, "nobody listens there"},
	{syscall.ECONNRESET, "the connection broke"},
	{syscall.EPIPE, "the connection broke"},
	{syscall.ENETUNREACH, "no network"},
	{syscall.EHOSTUNREACH, "no way to the server"},
	{syscall.ENOSPC, "no space left on this disk"},
	{io.EOF, "the connection broke"},
	{io.ErrUnexpectedEOF, "the connection broke"},
	{net.ErrClosed, "the connection broke"},
	{context.DeadlineExceeded, "no answer in time"},
	{os.ErrDeadlineExceeded, "no answer in time"},
}

// explain says what an error means to a person, safe to print.
func explain(err error) string {
	if err == nil {
		return ""
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "there is no host called " + string(plain.Name(dns.Name))
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.says
		}
	}
	var server *client.Error
	if errors.As(err, &server) && server.Message != "" {
		return string(plain.Clean(server.Message).OneLine())
	}
	return string(plain.Clean(strings.TrimSpace(err.Error())).OneLine())
}

// advice says what a person can do about an error that ends a client.
func advice(err error) string {
	switch {
	case errors.Is(err, client.ErrUnlinked):
		return "start rookery chat again to link this device anew"
	case errors.Is(err, client.ErrUnauthenticated):
		return "start rookery chat again: it will ask for the password"
	case errors.Is(err, client.ErrDisplaced):
		return "close the other one, then start this again"
	case errors.Is(err, client.ErrProtocol):
		return "one of the two may be too old"
	case errors.Is(err, client.ErrStore):
		return "make room, then start rookery chat again"
	default:
		return "start rookery chat again"
	}
}
