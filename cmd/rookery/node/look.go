package node

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/persistence/datadir"
	"github.com/rookery-im/rookery/transport/auth/keyset"
)

// Look reports what in the configuration does not fit this machine: files that
// cannot be read, and a data directory that is another node's or nobody's. Each is
// a *Fault. It makes nothing, and listens nowhere.
func (c Config) Look() error {
	var errs []error
	fault := func(settings, problem string, args ...any) {
		errs = append(errs, &Fault{strings.Split(settings, ","), fmt.Sprintf(problem, args...)})
	}
	files := map[string]string{
		"tls-cert": c.TLSCert, "tls-key": c.TLSKey, "registration-webhook-secret-file": c.Webhook.SecretFile,
		"cluster-key": c.Place.Key, "node-cert": c.Place.Cert, "node-key": c.Place.CertKey, "node-ca": c.Place.CA,
	}
	if !keyset.IsURL(c.Issuer.Keys) {
		files["issuer-keys"] = c.Issuer.Keys
	}
	for _, setting := range slices.Sorted(maps.Keys(files)) {
		if err := readable(files[setting]); err != nil {
			fault(setting, "%v", err)
		}
	}
	at, err := datadir.Look(c.Data)
	if err != nil {
		return errors.Join(errs...) // the start tells it in full
	}
	founds := len(c.Place.Join) == 0 && len(c.Place.Roles) > 0
	if !at.Begun && founds && !c.Place.forData() {
		fault("roles,join", "%s is for the first node of a cluster, which needs the role %s; one that is to join a cluster needs an address to join", c.Data, control.RoleData)
	}
	p := c.Place
	if info, err := os.Stat(p.Key); err == nil && !info.Mode().IsRegular() {
		p.Key = ""
	}
	if len(errs) == 0 && !p.alone() {
		if s, err := p.read(); err != nil {
			errs = append(errs, err)
		} else if s.tls != nil && (s.tls.Node != at.Node || at.Cluster != "" && s.tls.Cluster != at.Cluster) {
			errs = append(errs, notCertified(s, c.Data, at.Node, at.Cluster))
		}
	}
	return errors.Join(errs...)
}

// readable says why a file that is named cannot be read.
func readable(file string) error {
	if file == "" {
		return nil
	}
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a folder, and no file", file)
	case !info.Mode().IsRegular():
		return nil // a pipe can be read once: the start does it
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	return f.Close()
}

// notCertified is the fault of a certificate that is another node's.
func notCertified(s *site, data, node, cluster string) error {
	is := "this is node " + node
	if cluster != "" {
		is += " of cluster " + cluster
	}
	if node == "" {
		is = "nobody is at home in " + data
	}
	return &Fault{[]string{"node-cert"}, fmt.Sprintf("it is for node %s of cluster %s, and %s. `rookery tls node --data %s` makes the certificate of the node of an "+
		"empty folder, or of a member; where the folder of %s is gone, `rookery ctl node remove %s` takes it out of the cluster",
		s.tls.Node, s.tls.Cluster, is, data, s.tls.Node, s.tls.Node)}
}
