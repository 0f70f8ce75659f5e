package conns

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateCheck is how often, at most, the files are looked at.
const certificateCheck = time.Second

// TLS makes a server's configuration from the files of a certificate chain and
// its key. They are read again when a handshake finds them changed; when they
// cannot be read then, or do not fit each other (one of two may have been
// replaced so far), the old pair goes on.
func TLS(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	p := &pair{certFile: certFile, keyFile: keyFile, log: log}
	if err := p.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.certificate(time.Now()), nil },
	}, nil
}

// pair is a certificate and its key on disk.
type pair struct {
	// Immutable.
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	cert    *tls.Certificate
	files   files // that cert was read from
	bad     files // that could not be used, and were reported
	checked time.Time
}

// files is what the certificate's and the key's looked like.
type files [2]os.FileInfo

func (f files) same(g files) bool {
	for i := range f {
		a, b := f[i], g[i]
		if a == nil || b == nil {
			if a != b {
				return false
			}
			continue
		}
		if !os.SameFile(a, b) || a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime()) {
			return false
		}
	}
	return true
}

func (p *pair) certificate(now time.Time) *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.checked) < certificateCheck {
		return p.cert
	}
	p.checked = now
	seen, err := p.look()
	if err == nil && seen.same(p.files) {
		return p.cert
	}
	if err == nil {
		err = p.loadLocked(seen)
	}
	switch {
	case err == nil:
		p.log.Info("certificate reloaded", "file", p.certFile)
	case !seen.same(p.bad): // once, though it is tried again every time
		p.bad = seen
		p.log.Error("certificate not reloaded; the old one goes on", "err", err)
	}
	return p.cert
}

func (p *pair) load() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen, err := p.look()
	if err != nil {
		return err
	}
	return p.loadLocked(seen)
}

// loadLocked reads the files, which were seen before: what is replaced
// meanwhile is read the next time.
func (p *pair) loadLocked(seen files) error {
	cert, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return fmt.Errorf("conns: certificate: %w", err)
	}
	p.cert, p.files, p.bad = &cert, seen, files{}
	return nil
}

func (p *pair) look() (files, error) {
	var f files
	var errs []error
	for i, name := range []string{p.certFile, p.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("conns: certificate: %w", err))
			continue
		}
		f[i] = info
	}
	return f, errors.Join(errs...)
}
