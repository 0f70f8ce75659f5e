package certs

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rookery-im/rookery/cluster/peer"
)

func done(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func authority(t *testing.T, cluster string) *Authority {
	t.Helper()
	a, err := NewAuthority(cluster, time.Now())
	done(t, err)
	return a
}

type files struct{ cert, key, ca string }

func write(t *testing.T, f files, cert, key, ca []byte) {
	t.Helper()
	for file, data := range map[string][]byte{f.cert: cert, f.key: key, f.ca: ca} {
		done(t, os.WriteFile(file, data, 0o600))
	}
}

// pair of a node of the authority, with the certificate of perhaps another one.
func pair(t *testing.T, a, ca *Authority, node string) (files, error) {
	t.Helper()
	dir := t.TempDir()
	f := files{filepath.Join(dir, "node.pem"), filepath.Join(dir, "node-key.pem"), filepath.Join(dir, "ca.pem")}
	cert, key, err := a.Node(node, time.Now())
	done(t, err)
	root, _, err := ca.PEM()
	done(t, err)
	write(t, f, cert, key, root)
	_, err = Load(f.cert, f.key, f.ca)
	return f, err
}

func load(t *testing.T, f files) *Pair {
	t.Helper()
	p, err := Load(f.cert, f.key, f.ca)
	done(t, err)
	return p
}

// talk lets two ends shake hands, and says whom the server has heard.
func talk(t *testing.T, client, server *Pair) (string, error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	c, s := tls.Client(a, client.Config()), tls.Server(b, server.Config())
	failed := make(chan error, 1)
	go func() {
		err := c.Handshake()
		if err == nil {
			_, err = c.Read(make([]byte, 1)) // in TLS 1.3 it hears only then that it was refused
		}
		failed <- err
		a.Close()
	}()
	if err := s.Handshake(); err != nil {
		b.Close()
		return "", errors.Join(err, <-failed)
	}
	who := s.ConnectionState()
	if _, err := s.Write([]byte{1}); err != nil {
		return "", err
	}
	if err := <-failed; err != nil {
		return "", err
	}
	return who.PeerCertificates[0].URIs[0].String(), nil
}

// Two nodes of one cluster know each other by name, wherever they are; one of
// another cluster is turned away.
func TestNodesOfOneCluster(t *testing.T) {
	here, elsewhere := authority(t, "c1"), authority(t, "c1")
	one, err := pair(t, here, here, "n1")
	done(t, err)
	two, err := pair(t, here, here, "n2")
	done(t, err)
	stranger, err := pair(t, elsewhere, elsewhere, "n1")
	done(t, err)
	p := load(t, one)
	if p.Cluster != "c1" || p.Node != "n1" {
		t.Errorf("it names %s, %s", p.Cluster, p.Node)
	}
	if who, err := talk(t, p, load(t, two)); err != nil || who != peer.NodeURI("c1", "n1") {
		t.Errorf("heard %q, %v", who, err)
	}
	if who, err := talk(t, load(t, stranger), load(t, two)); err == nil {
		t.Errorf("heard %q of another authority", who)
	}
}

func TestCertificatesThatAreNotVouchedFor(t *testing.T) {
	here, elsewhere := authority(t, "c1"), authority(t, "c1")
	if _, err := pair(t, elsewhere, here, "n1"); err == nil {
		t.Error("another authority's was taken")
	}
	if _, err := pair(t, here, here, ""); !errors.Is(err, ErrCert) {
		t.Errorf("one that names nobody: %v", err)
	}
}

// A certificate that is renewed is used without a restart; one that is broken is not.
func TestRenewed(t *testing.T) {
	here := authority(t, "c1")
	f, err := pair(t, here, here, "n1")
	done(t, err)
	p := load(t, f)
	first, err := p.now()
	done(t, err)
	cert, key, err := here.Node("n1", time.Now())
	done(t, err)
	later := time.Now().Add(time.Hour)
	for file, data := range map[string][]byte{f.cert: cert, f.key: key} {
		done(t, os.WriteFile(file, data, 0o600))
		done(t, os.Chtimes(file, later, later))
	}
	second, err := p.now()
	done(t, err)
	if string(first.Certificate[0]) == string(second.Certificate[0]) {
		t.Error("the old one is used")
	}
	done(t, os.WriteFile(f.cert, []byte("nonsense"), 0o600))
	third, err := p.now()
	if err != nil || third != second {
		t.Errorf("with a broken file: %v", err)
	}
}

// What the authority's files hold is the same authority.
func TestAuthorityIsReadAgain(t *testing.T) {
	here := authority(t, "c1")
	cert, key, err := here.PEM()
	done(t, err)
	dir := t.TempDir()
	f := files{cert: filepath.Join(dir, "ca.pem"), key: filepath.Join(dir, "ca-key.pem")}
	done(t, os.WriteFile(f.cert, cert, 0o600))
	done(t, os.WriteFile(f.key, key, 0o600))
	again, err := ReadAuthority(f.cert, f.key)
	done(t, err)
	if cluster, err := again.Cluster(); err != nil || cluster != "c1" {
		t.Errorf("cluster %q, %v", cluster, err)
	}
	if _, err := pair(t, again, here, "n1"); err != nil {
		t.Error(err)
	}
	node, err := pair(t, here, here, "n1")
	done(t, err)
	if _, err := ReadAuthority(node.cert, node.key); !errors.Is(err, ErrCert) {
		t.Errorf("a node passes for an authority: %v", err)
	}
}
