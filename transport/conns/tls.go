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
	version fileVersions // of what was read, or failed to be
	checked time.Time
}

type fileVersion struct {
	modified time.Time
	size     int64
}

type fileVersions [2]fileVersion

func (p *pair) certificate(now time.Time) *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.checked) < certificateCheck {
		return p.cert
	}
	p.checked = now
	v, err := p.look()
	if err == nil && v == p.version {
		return p.cert
	}
	if err == nil {
		err = p.loadLocked()
	}
	if err != nil {
		p.log.Error("certificate not reloaded; the old one goes on", "err", err)
		p.version = v
		return p.cert
	}
	p.log.Info("certificate reloaded", "file", p.certFile)
	return p.cert
}

func (p *pair) load() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.loadLocked()
}

func (p *pair) loadLocked() error {
	v, err := p.look() // before reading: what is replaced meanwhile is read next time
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return fmt.Errorf("conns: certificate: %w", err)
	}
	p.cert, p.version = &cert, v
	return nil
}

func (p *pair) look() (fileVersions, error) {
	var v fileVersions
	var errs []error
	for i, name := range []string{p.certFile, p.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("conns: certificate: %w", err))
			continue
		}
		v[i] = fileVersion{info.ModTime(), info.Size()}
	}
	return v, errors.Join(errs...)
}
