package conns

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rookery-im/rookery/transport/ws"
)

// writePair writes a self-signed certificate for 127.0.0.1 and its key.
func writePair(t *testing.T, dir string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "rookery"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Two writes within the file system's resolution of time must differ.
	stamp := time.Unix(1_700_000_000+serial, 0)
	if err := os.Chtimes(certFile, stamp, stamp); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

func quietLog() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// TLS connections take the goroutines, and behave the same to their last frame.
func TestExchangeOverTLS(t *testing.T) {
	n := start(t, Config{}, &scribe{})
	certFile, keyFile := writePair(t, t.TempDir(), 1)
	cfg, err := TLS(certFile, keyFile, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	n.conns.Register(mux)
	srv := &http.Server{Handler: mux, TLSConfig: cfg, ReadHeaderTimeout: patience}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.ServeTLS(n.conns.Listen(tcp), "", "") }()
	t.Cleanup(func() { _ = srv.Close(); <-ended })

	conn, err := tls.Dial("tcp", tcp.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // the test's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{t, conn, bufio.NewReader(conn)}
	c.raw([]byte(request(Path, "Sec-WebSocket-Protocol: rookery.v1.json")))
	if res := c.response(); res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res.Status)
	}
	id := n.next("opened").id
	if !onWire(id) {
		t.Error("TLS is carried by epoll?")
	}
	n.on(func() { n.conns.Authenticated(id) })
	big := text(200_000)
	c.send(big)
	if got := n.next("message"); got.data != big {
		t.Error("not what was sent")
	}
	n.on(func() { n.conns.Send(id, []byte(big)); n.conns.Close(id, 4103, "unlinked") })
	c.expect(ws.Text, big)
	c.expectClose(4103)
	n.next("closed")
	n.eventually("nobody is left", func() bool { return n.conns.Len() == 0 })
}

func TestCertificateIsReloaded(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := writePair(t, dir, 1)
	p := &pair{certFile: certFile, keyFile: keyFile, log: quietLog()}
	if err := p.load(); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	serial := func() int64 {
		t.Helper()
		leaf, err := x509.ParseCertificate(p.certificate(now).Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	serial() // the files are looked at
	writePair(t, dir, 2)
	if got := serial(); got != 1 {
		t.Errorf("%d: looked at again within a second", got)
	}
	now = now.Add(time.Second)
	if got := serial(); got != 2 {
		t.Errorf("%d: not reloaded", got)
	}
	// Half of a new pair: the old one goes on, until the rest has come.
	other := t.TempDir()
	newCert, newKey := writePair(t, other, 3)
	for _, move := range []struct {
		from, to string
		want     int64
	}{{newCert, certFile, 2}, {newKey, keyFile, 3}} {
		if err := os.Rename(move.from, move.to); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
		if got := serial(); got != move.want {
			t.Errorf("%d, want %d", got, move.want)
		}
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	if got := serial(); got != 3 {
		t.Errorf("%d: the file is gone, the certificate need not be", got)
	}
}

func TestTLSWithoutFiles(t *testing.T) {
	if _, err := TLS("/nowhere/cert.pem", "/nowhere/key.pem", quietLog()); err == nil {
		t.Error("made of nothing")
	}
}
