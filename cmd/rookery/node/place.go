package node

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/cmd/rookery/certs"
	"github.com/rookery-im/rookery/internal/limits"
)

// Place is where a node stands in a cluster: how it finds the other nodes, and
// how they reach it. A node that names no address and nobody to join is alone,
// and listens for no other.
type Place struct {
	// Gossip and Peer are addresses to listen on, IP address and port. Where one
	// is empty it is a free port, beside the other.
	Gossip, Peer string
	// Advertise is the host by which others reach both; where empty, the one that
	// they listen on.
	Advertise string
	// Join are gossip addresses of nodes of the cluster. A node that has any never
	// creates a cluster.
	Join []string
	// Roles in the cluster, of control.RoleData and control.RoleGateway.
	Roles []string
	// Zone is what fails together with the node.
	Zone string
	// Key is a file with the key that gossip is encrypted with; Cert, CertKey and
	// CA are files of the TLS between nodes. Beyond loopback all are needed.
	Key, Cert, CertKey, CA string
	// ReplaceAfter is how long a member may be gone until others take over what it
	// holds; 0 is for ever.
	ReplaceAfter time.Duration
}

func defaultPlace() Place {
	return Place{Roles: []string{control.RoleData, control.RoleGateway}, ReplaceAfter: limits.ReplaceAfter}
}

// alone says whether the node has nothing to do with others.
func (p Place) alone() bool { return p.Gossip == "" && p.Peer == "" && len(p.Join) == 0 }

// forClients says whether the node takes clients.
func (p Place) forClients() bool { return slices.Contains(p.Roles, control.RoleGateway) }

// forData says whether the node may keep data.
func (p Place) forData() bool { return slices.Contains(p.Roles, control.RoleData) }

// check names every fault, by the settings that it is of.
func (p Place) check(check func(ok bool, settings, problem string, args ...any)) {
	check(len(p.Roles) > 0, "roles", "one is needed")
	for i, r := range p.Roles {
		check(!slices.Contains(p.Roles[:i], r), "roles", "%s is named twice", r)
	}
	check(len(p.Zone) <= maxZone, "zone", "is longer than %d bytes", maxZone)
	check(p.ReplaceAfter >= 0, "replace-after", "%v is below 0", p.ReplaceAfter)
	check(len(p.Join) <= limits.Seeds, "join", "%d addresses are more than %d", len(p.Join), limits.Seeds)
	if p.alone() {
		check(p.Advertise == "", "advertise,gossip,join", "there is nothing to advertise: no address of gossip is given, and nobody to join")
		return
	}
	tls := 0
	for _, file := range []string{p.Cert, p.CertKey, p.CA} {
		if file != "" {
			tls++
		}
	}
	check(tls == 0 || tls == 3, "node-cert,node-key,node-ca", "all three are needed, or none")
	safe := tls == 3 && p.Key != ""
	for _, a := range []struct{ setting, address string }{{"gossip", p.Gossip}, {"peer", p.Peer}} {
		p.checkBind(check, a.setting, a.address, safe)
	}
	_, port := splitHost(p.Gossip)
	check(p.Gossip == "" || p.Gossip != p.Peer || port == "0", "gossip,peer", "%s is taken by the one, and cannot be the other's: each needs a TCP port of its own", p.Gossip)
	if p.Gossip == "" {
		beyond := slices.ContainsFunc(p.Join, func(a string) bool { return !loopback(a) })
		check(!beyond, "gossip,join", "an address of this node that the others reach is needed where one of theirs is not on this machine")
	}
	if p.Advertise != "" {
		host, port := splitHost(p.Advertise)
		check(host != "", "advertise", "%q names no host", p.Advertise)
		ip, err := netip.ParseAddr(host)
		check(safe || err != nil || ip.IsLoopback(), "advertise,cluster-key,node-cert,node-key,node-ca",
			"%s is not a loopback address: between machines a key of the cluster and TLS are needed (rookery tls init makes them)", host)
		_, gossip := splitHost(p.Gossip)
		_, peer := splitHost(p.Peer)
		check(port == "" || port == gossip || port == peer, "advertise", "port %s is neither that of gossip nor that of peer: the host alone is enough", port)
	}
}

const maxZone = 64

func (p Place) checkBind(check func(ok bool, settings, problem string, args ...any), setting, address string, safe bool) {
	if address == "" {
		return
	}
	bind, err := netip.ParseAddrPort(address)
	check(err == nil, setting, "%q is not an IP address and port such as 127.0.0.1:7946", address)
	if err != nil {
		return
	}
	check(bind.Addr().IsLoopback() || safe, setting+",cluster-key,node-cert,node-key,node-ca",
		"%s is not a loopback address: between machines a key of the cluster and TLS are needed (rookery tls init makes them)", address)
	check(!bind.Addr().IsUnspecified() || p.Advertise != "", setting+",advertise", "%s is every address of this machine: name the host that others reach it by", address)
}

// loopback says whether an address is certainly of this machine.
func loopback(address string) bool {
	host, _ := splitHost(address)
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// splitHost takes the port off an address, if there is one.
func splitHost(address string) (host, port string) {
	if h, p, err := net.SplitHostPort(address); err == nil {
		return h, p
	}
	return strings.Trim(address, "[]"), ""
}

// site is a Place with its files read and its names looked up.
type site struct {
	gossip, peer string // to listen on
	host         string // by which others reach both, an IP address
	key          []byte
	tls          *certs.Pair // nil on loopback
}

func (p Place) survey() (*site, error) {
	s := &site{gossip: p.Gossip, peer: p.Peer}
	beside := func(other string) string {
		host, _ := splitHost(other)
		if host == "" {
			host = "127.0.0.1"
		}
		return net.JoinHostPort(host, "0")
	}
	if s.gossip == "" {
		s.gossip = beside(s.peer)
	}
	if s.peer == "" {
		s.peer = beside(s.gossip)
	}
	s.host, _ = splitHost(s.gossip)
	if p.Advertise != "" {
		var err error
		if s.host, err = lookUp(p.Advertise); err != nil {
			return nil, err
		}
	}
	read, err := p.read()
	if err != nil {
		return nil, err
	}
	s.key, s.tls = read.key, read.tls
	return s, nil
}

// read the files.
func (p Place) read() (*site, error) {
	s := &site{}
	var keyErr, tlsErr error
	if p.Key != "" {
		s.key, keyErr = readKey(p.Key)
	}
	if p.Cert != "" {
		s.tls, tlsErr = certs.Load(p.Cert, p.CertKey, p.CA)
	}
	return s, errors.Join(keyErr, tlsErr)
}

func lookUp(advertise string) (string, error) {
	host, _ := splitHost(advertise)
	if _, err := netip.ParseAddr(host); err == nil {
		return host, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), limits.AnswerTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return "", fmt.Errorf("advertise: %w", err)
	}
	return ips[0].Unmap().String(), nil
}

// readKey reads the key of the cluster: 32 bytes, in base64.
func readKey(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cluster-key: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("cluster-key: %s does not hold 32 bytes in base64", file)
	}
	return key, nil
}

// self is this node as it describes itself to the cluster, all addresses but
// those of its links known.
func (n *Node) self() control.Member {
	return control.Member{
		Node: n.dir.Node(), Incarnation: n.dir.Incarnation(), Version: short(n.cfg.Version), Zone: n.cfg.Place.Zone, Roles: n.cfg.Place.Roles,
	}
}

// short is what of a version everybody is told: gossip has no room for more.
func short(version string) string { return version[:min(len(version), maxZone)] }

// introduce this node to its cluster, now that clients can connect.
func (n *Node) introduce() error {
	self := n.self()
	host := "127.0.0.1"
	if n.cluster.site != nil {
		host = n.cluster.site.host
	}
	self.Clients = n.clientsAt(host)
	if !n.conns.Post(func() { n.cluster.begin(self) }) {
		return errBusy
	}
	return nil
}

// clientsAt is where clients connect, as other nodes tell them.
func (n *Node) clientsAt(host string) string {
	if n.cfg.PublicURL != "" {
		return n.cfg.PublicURL
	}
	scheme := "ws"
	if n.TLS() {
		scheme = "wss"
	}
	at, err := netip.ParseAddrPort(n.listen.Addr().String())
	if err != nil {
		return ""
	}
	if !at.Addr().IsUnspecified() {
		host = at.Addr().String()
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(at.Port()))) + "/v1/ws"
}
