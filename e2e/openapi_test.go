//go:build e2e

package e2e

import (
	"errors"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/rookery-im/rookery/e2e/openapitest"
)

const openAPIFile = "../docs/openapi.yaml"

// witness of docs/openapi.yaml; it fails the test for every exchange that
// departs from the document.
func witness(t *testing.T) *openapitest.Witness {
	t.Helper()
	spec, err := openapitest.Load(t.Context(), openAPIFile)
	if err != nil {
		t.Fatal(err)
	}
	return openapitest.NewWitness(spec, func(x *openapitest.Exchange, faults []error) {
		t.Errorf("not as docs/openapi.yaml has it: %v\n%s", errors.Join(faults...), x)
	})
}

// witnessed is the URL of a proxy before the server, so that whatever is said
// in REST, by whichever client, is held to docs/openapi.yaml. WebSockets pass.
func witnessed(t *testing.T, address string) string {
	t.Helper()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: address})
			r.Out.Host = r.In.Host
		},
		// A connection kept open would be one more for the server to end.
		Transport: witness(t).Through(&http.Transport{DisableKeepAlives: true}),
		// Where the server is down, so is this: a client sees its connection break.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(t.Output(), "proxy: ", 0),
	}
	front := httptest.NewServer(proxy)
	t.Cleanup(front.Close)
	return front.URL
}
