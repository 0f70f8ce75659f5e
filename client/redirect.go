package client

import (
	"errors"
	"net/http"
)

var (
	errInClear   = errors.New("a redirect leads from https to http")
	errRedirects = errors.New("more than 10 redirects")
)

// redirecting is a client that follows redirects as far as is wise, where the
// application has not said how far. Without it the WebSocket's handshake would
// follow them for ever, and passwords and tokens would go out in clear where a
// server of https says so.
func redirecting(h *http.Client) *http.Client {
	if h.CheckRedirect != nil {
		return h
	}
	with := *h // the application's own stays as it is
	with.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		switch {
		case len(via) >= 10:
			return errRedirects
		case via[len(via)-1].URL.Scheme == "https" && r.URL.Scheme != "https":
			return errInClear
		}
		return nil
	}
	return &with
}
