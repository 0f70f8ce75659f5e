// Package callout makes HTTP clients for services that the operator named: an
// issuer's key set, the webhook of registration. It is where the rules for
// going out stand: https, or http to this machine only; certificates are
// checked; an answer is waited for, and read, for a bounded time; a redirect
// leads nowhere but, where the caller allows it, elsewhere on the same host.
package callout

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"
)

// Redirects says which are followed.
type Redirects uint8

// None, or those that stay with the scheme, host and port that were named.
const (
	RefuseRedirects Redirects = iota
	SameHost
)

// redirectsMax bounds a chain of them.
const redirectsMax = 3

// Why a call came to nothing.
var (
	ErrRedirect = errors.New("it redirects, which is not followed")
	ErrLong     = errors.New("its answer is too long")
)

// Parse reads an address, and says what keeps it from being called.
func Parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, errors.New("not a URL") // the parser's error repeats it
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("must begin with https://, or http:// for this machine itself")
	case u.Hostname() == "":
		return nil, errors.New("has no host")
	case u.User != nil:
		return nil, errors.New("must hold no user or password")
	case u.Fragment != "":
		return nil, errors.New("must hold no #fragment")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, errors.New("http is for a loopback address only; use https")
	}
	return u, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// Client makes a client for calls to u. It keeps no connection and starts no
// goroutine that outlives a call.
func Client(u *url.URL, timeout time.Duration, r Redirects) *http.Client {
	dialer := &net.Dialer{Timeout: timeout}
	transport := &http.Transport{
		DisableKeepAlives:      true,
		TLSHandshakeTimeout:    timeout,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: 32 << 10,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		Proxy:                  http.ProxyFromEnvironment,
	}
	if u.Scheme == "http" {
		// A name such as localhost says nothing of where it leads.
		dialer.Control = onlyLoopback
		transport.Proxy = nil
	}
	transport.DialContext = dialer.DialContext
	return &http.Client{
		Timeout: timeout, Transport: transport,
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if r == SameHost && len(via) <= redirectsMax && next.URL.Scheme == u.Scheme && next.URL.Host == u.Host {
				return nil
			}
			return ErrRedirect
		},
	}
}

func onlyLoopback(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().Unmap().IsLoopback() {
		return errors.New("http is for a loopback address only")
	}
	return nil
}

// Do sends a request and reads the whole answer, at most most bytes of it. The
// error names no URL: its query may hold a secret.
func Do(client *http.Client, request *http.Request, most int64) (*http.Response, []byte, error) {
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, plain(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("read the answer: %w", plain(err))
	case int64(len(body)) > most:
		return nil, nil, fmt.Errorf("%w: more than %d bytes", ErrLong, most)
	}
	return response, body, nil
}

// plain is the error without the URL around it.
func plain(err error) error {
	var late interface{ Timeout() bool }
	if errors.As(err, &late) && late.Timeout() {
		return fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	}
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}
