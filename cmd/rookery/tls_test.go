package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/cmd/rookery/node"
	"github.com/rookery-im/rookery/persistence/datadir"
)

func rookery(t *testing.T, args ...string) string {
	t.Helper()
	var out, faults bytes.Buffer
	if code := run(t.Context(), args, streams{out: &out, err: &faults}); code != 0 {
		t.Fatalf("rookery %s: %d %s", strings.Join(args, " "), code, faults.String())
	}
	return out.String()
}

// Three nodes with what `rookery tls` makes, and a key, are one cluster, which
// `rookery ctl` tells of at any of them; one with the certificate of another
// does not start, nor does one that is to join without being told whom.
func TestClusterUnderTLS(t *testing.T) {
	root := t.TempDir()
	ca := filepath.Join(root, "ca")
	data := func(name string) string { return filepath.Join(root, name) }
	rookery(t, "tls", "init", "--data", data("1"), "--ca", ca)
	for _, name := range []string{"2", "3"} {
		rookery(t, "tls", "node", "--data", data(name), "--ca", ca)
	}
	place := func(folder string, join ...string) node.Config {
		tls := filepath.Join(data(folder), "tls")
		cfg := node.DefaultConfig()
		cfg.Data, cfg.Listen, cfg.Admin, cfg.Shards = data(folder), "127.0.0.1:0", "127.0.0.1:0", 2
		cfg.Place.Gossip, cfg.Place.Join = "127.0.0.1:0", join
		cfg.Place.Key, cfg.Place.CA = filepath.Join(tls, "cluster.key"), filepath.Join(tls, "ca.pem")
		cfg.Place.Cert, cfg.Place.CertKey = filepath.Join(tls, "node.pem"), filepath.Join(tls, "node-key.pem")
		return cfg
	}
	start := func(cfg node.Config) *node.Node {
		t.Helper()
		n, err := node.Start(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Drain(); err != nil {
				t.Error(err)
			}
		})
		return n
	}
	first := start(place("1"))
	until(t, func() bool { return first.Ready() == nil })
	seed := ""
	status := func(n *node.Node) (s node.Status) {
		t.Helper()
		if err := json.Unmarshal([]byte(rookery(t, "ctl", "--admin", n.AdminAddr(), "status", "--json")), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	until(t, func() bool { s := status(first); seed = s.Members[0].Gossip; return seed != "" })

	if _, err := node.Start(place("2")); !errors.Is(err, datadir.ErrOrigin) {
		t.Errorf("one that is to join creates a cluster: %v", err)
	}
	wrong := place("2", seed)
	wrong.Place.Cert, wrong.Place.CertKey = place("3").Place.Cert, place("3").Place.CertKey
	var fault *node.Fault
	if _, err := node.Start(wrong); !errors.As(err, &fault) {
		t.Errorf("with the certificate of another: %v", err)
	}
	wiped := place("2", seed)
	wiped.Data = data("wiped")
	if _, err := node.Start(wiped); !errors.As(err, &fault) || !strings.Contains(err.Error(), "`rookery tls node --data "+wiped.Data+"`") {
		t.Errorf("in a folder that was emptied: %v", err)
	}
	if _, err := os.Lstat(wiped.Data); err == nil {
		t.Error("what is refused for its certificate has an identity")
	}

	start(place("2", seed))
	third := start(place("3", seed))
	until(t, func() bool { return third.Ready() == nil })
	until(t, func() bool {
		text := rookery(t, "ctl", "--admin", third.AdminAddr(), "node", "list")
		return strings.Count(text, " ready ") == 3
	})
	if text := rookery(t, "ctl", "--admin", third.AdminAddr(), "status"); !strings.Contains(text, "Losing a node now would lose") {
		t.Errorf("status: %s", text)
	}
	if text := rookery(t, "ctl", "invite", "--admin", third.AdminAddr()); !strings.Contains(text, "good until") {
		t.Errorf("invite: %s", text)
	}
}

func until(t *testing.T, is func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline:
			t.Fatal("it never comes to that")
		case <-tick.C:
		}
	}
}

// An authority is never replaced by accident, and a folder never goes over to
// another cluster.
func TestTLSIsMadeOnce(t *testing.T) {
	root := t.TempDir()
	rookery(t, "tls", "init", "--data", filepath.Join(root, "1"), "--ca", filepath.Join(root, "ca"))
	rookery(t, "tls", "node", "--data", filepath.Join(root, "1"), "--ca", filepath.Join(root, "ca")) // its next certificate
	for name, args := range map[string][]string{
		"init again":           {"tls", "init", "--data", filepath.Join(root, "2"), "--ca", filepath.Join(root, "ca")},
		"node, no authority":   {"tls", "node", "--data", filepath.Join(root, "2"), "--ca", filepath.Join(root, "none")},
		"nothing":              {"tls"},
		"no folder":            {"tls", "init"},
		"another":              {"tls", "more", "--data", "x"},
		"ctl, nobody there":    {"ctl", "--admin", filepath.Join(root, "no.sock"), "status"},
		"ctl, another command": {"ctl", "statue"},
	} {
		var out, faults bytes.Buffer
		if code := run(t.Context(), args, streams{out: &out, err: &faults}); code == 0 || faults.Len() == 0 {
			t.Errorf("%s: %d %q", name, code, faults.String())
		}
	}
	rookery(t, "tls", "init", "--data", filepath.Join(root, "3"), "--ca", filepath.Join(root, "other"))
	var out, faults bytes.Buffer
	if code := run(t.Context(), []string{"tls", "node", "--data", filepath.Join(root, "1"), "--ca", filepath.Join(root, "other")}, streams{out: &out, err: &faults}); code == 0 {
		t.Error("a folder of one cluster was prepared for another")
	}
}
