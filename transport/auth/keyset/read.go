package keyset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rookery-im/rookery/transport/auth/callout"
)

// fetchTimeout bounds one fetch, redirects and body included.
const fetchTimeout = 10 * time.Second

// unsaid is how long a set is fresh that says nothing of it.
const unsaid time.Duration = -1

// reader reads the bytes of a set, and how long they are good for, or unsaid.
type reader interface {
	read(ctx context.Context) ([]byte, time.Duration, error)
}

func newReader(from string) (reader, error) {
	if !IsURL(from) {
		return file(from), nil
	}
	u, err := callout.Parse(from)
	if err != nil {
		return nil, err
	}
	return &remote{url: u.String(), client: callout.Client(u, fetchTimeout, callout.SameHost)}, nil
}

type file string

func (f file) read(context.Context) ([]byte, time.Duration, error) {
	at, err := os.Open(string(f))
	if err != nil {
		return nil, 0, err
	}
	defer at.Close()
	data, err := io.ReadAll(io.LimitReader(at, maxBytes+1))
	return data, unsaid, err
}

type remote struct {
	url    string
	client *http.Client
}

func (r *remote) read(ctx context.Context) ([]byte, time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return nil, 0, errors.New("the request cannot be made")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "rookery")
	response, body, err := callout.Do(r.client, request, maxBytes)
	if err != nil {
		return nil, 0, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("status %d", response.StatusCode)
	}
	return body, freshness(response.Header), nil
}

// freshness is what Cache-Control and Age say; what may not be kept is good
// for no time at all.
func freshness(h http.Header) time.Duration {
	fresh := unsaid
	for _, directive := range strings.Split(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err == nil {
				fresh = time.Duration(seconds) * time.Second //nolint:gosec // 31 bits
			}
		}
	}
	if age, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil && fresh > 0 {
		fresh = max(0, fresh-time.Duration(age)*time.Second) //nolint:gosec // 31 bits
	}
	return fresh
}
