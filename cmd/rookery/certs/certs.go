// Package certs is the TLS between the nodes of a cluster: an authority that is
// the cluster's own, and a certificate for each node that names cluster and node
// by a URI (see peer.NodeURI). Certificates name no host: nodes may move.
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rookery-im/rookery/cluster/peer"
)

// host that every node's certificate names, for TLS wants one. Who it is really
// is in the URI.
const host = "node.rookery.internal"

// Lives of certificates.
const (
	AuthorityLife = 20 * 365 * 24 * time.Hour
	NodeLife      = 5 * 365 * 24 * time.Hour
	before        = time.Hour // that a certificate is good before it is made: clocks differ
)

// ErrCert: a file does not hold what it should.
var ErrCert = errors.New("certs: not as it should be")

// Authority signs the certificates of one cluster's nodes.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// NewAuthority makes one for a cluster.
func NewAuthority(cluster string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certs: draw key: %w", err)
	}
	uri, err := url.Parse(peer.NodeURI(cluster, ""))
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Rookery cluster " + cluster}, URIs: []*url.URL{uri},
		NotBefore: now.Add(-before), NotAfter: now.Add(AuthorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &Authority{cert: template, key: key}
	if a.cert, err = a.sign(template, key.Public()); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Authority) sign(template *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("certs: draw serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("certs: sign: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certs: sign: %w", err)
	}
	return cert, nil
}

// Cluster that it is of.
func (a *Authority) Cluster() (string, error) {
	cluster, _, err := names(a.cert)
	return cluster, err
}

// Node makes the certificate of a node and its key, in PEM.
func (a *Authority) Node(node string, now time.Time) (cert, key []byte, err error) {
	cluster, err := a.Cluster()
	if err != nil {
		return nil, nil, err
	}
	uri, err := url.Parse(peer.NodeURI(cluster, node))
	if err != nil {
		return nil, nil, fmt.Errorf("certs: %w", err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("certs: draw key: %w", err)
	}
	signed, err := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "Rookery node " + node}, URIs: []*url.URL{uri}, DNSNames: []string{host},
		NotBefore: now.Add(-before), NotAfter: now.Add(NodeLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, private.Public())
	if err != nil {
		return nil, nil, err
	}
	key, err = keyPEM(private)
	return certPEM(signed), key, err
}

// PEM of the authority and its key.
func (a *Authority) PEM() (cert, key []byte, err error) {
	key, err = keyPEM(a.key)
	return certPEM(a.cert), key, err
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("certs: encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ReadAuthority takes its files.
func ReadAuthority(certFile, keyFile string) (*Authority, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("certs: authority: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%w: %s is not an authority's", ErrCert, certFile)
	}
	return &Authority{cert: pair.Leaf, key: key}, nil
}

// names are the cluster and node of a certificate's URI; node is empty where it
// is the authority's.
func names(cert *x509.Certificate) (cluster, node string, err error) {
	for _, u := range cert.URIs {
		if node := strings.TrimPrefix(u.Path, "/"); u.Host != "" && u.String() == peer.NodeURI(u.Host, node) {
			return u.Host, node, nil
		}
	}
	return "", "", fmt.Errorf("%w: the certificate names no cluster and node", ErrCert)
}

// Pair is a node's certificate, as it stands in its files: they are read again
// when they change, for a certificate that is renewed.
type Pair struct {
	Cluster, Node string // that it names

	cert, key string
	pool      *x509.CertPool

	mu      sync.Mutex
	current *tls.Certificate
	changed [2]time.Time
}

// Load a node's certificate, its key, and the authority that vouches for all.
func Load(cert, key, authority string) (*Pair, error) {
	ca, err := os.ReadFile(authority)
	if err != nil {
		return nil, fmt.Errorf("node-ca: %w", err)
	}
	p := &Pair{cert: cert, key: key, pool: x509.NewCertPool()}
	if !p.pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("node-ca: %w: %s holds no certificate", ErrCert, authority)
	}
	if err := p.reload(); err != nil {
		return nil, fmt.Errorf("node-cert: %w", err)
	}
	leaf := p.current.Leaf
	if p.Cluster, p.Node, err = names(leaf); err != nil || p.Node == "" {
		return nil, fmt.Errorf("node-cert: %s: %w", cert, errors.Join(err, ErrCert))
	}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: p.pool, DNSName: host, KeyUsages: usage[:1]}); err != nil {
		return nil, fmt.Errorf("node-cert: %s is not vouched for by %s: %w", cert, authority, err)
	}
	return p, nil
}

// reload the pair if its files have changed.
func (p *Pair) reload() error {
	var changed [2]time.Time
	for i, file := range []string{p.cert, p.key} {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		changed[i] = info.ModTime()
	}
	if p.current != nil && changed == p.changed {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		return err
	}
	p.current, p.changed = &pair, changed
	return nil
}

// now is the pair as it is now; the last good one where it cannot be read.
func (p *Pair) now() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.reload(); err != nil && p.current == nil {
		return nil, err
	}
	return p.current, nil
}

// Config is TLS for both ends of a link.
func (p *Pair) Config() *tls.Config {
	return &tls.Config{
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.now() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return p.now() },
		RootCAs:              p.pool, ClientCAs: p.pool, ClientAuth: tls.RequireAndVerifyClientCert,
		ServerName: host, MinVersion: tls.VersionTLS13,
	}
}
