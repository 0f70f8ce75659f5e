package callout

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddresses(t *testing.T) {
	for _, good := range []string{"https://issuer.example/a?b=c", "https://10.0.0.1:8443", "http://127.0.0.1:1/", "http://127.8.8.8/", "http://[::1]:80/x", "http://localhost/"} {
		if _, err := Parse(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "issuer.example", "//issuer.example/", "https:///x", "https://:443/", "ftp://127.0.0.1/", "file:///etc/hosts", "HTTP//x",
		"http://issuer.example/", "http://10.0.0.1/", "http://0.0.0.0/", "http://localhost.issuer.example/", "http://127.0.0.1.issuer.example/",
		"http://2130706433/", "https://u@issuer.example/", "https://u:p@issuer.example/", "https://issuer.example/#x", "https://issuer.example/%zz",
	} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		} else if bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: the error repeats it", bad)
		}
	}
}

// http goes to this machine even where a name leads elsewhere.
func TestPlainStaysHere(t *testing.T) {
	u := &url.URL{Scheme: "http", Host: "192.0.2.1:80"}
	request, err := http.NewRequestWithContext(t.Context(), "GET", u.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Do(Client(u, time.Second, SameHost), request, 1); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("%v", err)
	}
}

// A server that is not who it says is not talked to.
func TestCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }))
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	u, err := Parse(server.URL + "/?key=hush")
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), "GET", u.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Do(Client(u, 5*time.Second, RefuseRedirects), request, 1); err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "hush") {
		t.Errorf("%v", err)
	}
}
