package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"github.com/rookery-im/rookery/cmd/rookery/certs"
	"github.com/rookery-im/rookery/persistence/datadir"
)

const tlsUsage = `Makes what the nodes of a cluster on several machines know each other by.

Usage:
  rookery tls init --data DIR [--ca DIR]    an authority and a key for a new cluster, and for its first node
  rookery tls node --data DIR [--ca DIR]    for one more node, or the next certificate of one that there is

The authority, ca-key.pem above all, stays in the folder that --ca names (./ca), away
from the nodes. What a node needs is put into DIR/tls: cluster.key, ca.pem, node.pem
and node-key.pem, for cluster-key, node-ca, node-cert and node-key. The data directory
is made here, since a certificate names its node: move it to the node's machine before
the first start. The node must not be running.
`

// tlsFiles is `rookery tls`.
func tlsFiles(_ context.Context, args []string, std streams) error {
	if len(args) == 0 {
		return &usageError{fmt.Errorf("tls init, or tls node?\n\n%s", tlsUsage)}
	}
	f := flag.NewFlagSet("rookery tls", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	data, ca := f.String("data", "", ""), f.String("ca", "./ca", "")
	what := args[0]
	err := f.Parse(args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp) || what == "help" || what == "--help" || what == "-h":
		fmt.Fprint(std.out, tlsUsage)
		return nil
	case err != nil:
		return &usageError{err}
	case f.NArg() > 0:
		return &usageError{fmt.Errorf("unexpected argument %q", f.Arg(0))}
	case *data == "":
		return &usageError{errors.New("--data: a directory is needed")}
	}
	switch what {
	case "init":
		err = initTLS(*data, *ca)
	case "node":
		err = nodeTLS(*data, *ca, datadir.Joins)
	default:
		return &usageError{fmt.Errorf("there is no `tls %s`\n\n%s", what, tlsUsage)}
	}
	if err != nil {
		return err
	}
	at := filepath.Join(*data, "tls")
	fmt.Fprintf(std.out, "%s is ready. Start the node with\n\n  --data %s --cluster-key %s --node-cert %s --node-key %s --node-ca %s\n",
		at, *data, filepath.Join(at, "cluster.key"), filepath.Join(at, "node.pem"), filepath.Join(at, "node-key.pem"), filepath.Join(at, "ca.pem"))
	return nil
}

// initTLS makes an authority for the cluster that the node of a folder has, or
// will create.
func initTLS(data, ca string) error {
	if _, err := os.Lstat(filepath.Join(ca, "ca.pem")); err == nil {
		return fmt.Errorf("%s has an authority already; `rookery tls node` makes certificates with it", ca)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, err := datadir.Open(data)
	if err != nil {
		return err
	}
	cluster := dir.Cluster()
	if cluster == "" {
		cluster = uuid.NewString()
	}
	err = dir.Prepare(cluster, datadir.Creates)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	authority, err := certs.NewAuthority(cluster, time.Now())
	if err != nil {
		return err
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("draw the cluster's key: %w", err)
	}
	cert, private, err := authority.PEM()
	if err != nil {
		return err
	}
	err = writeFiles(ca, map[string][]byte{
		"ca.pem": cert, "ca-key.pem": private, "cluster.key": []byte(base64.StdEncoding.EncodeToString(key) + "\n"),
	})
	if err != nil {
		return err
	}
	return nodeTLS(data, ca, datadir.Creates)
}

// nodeTLS makes the certificate of the node of a folder.
func nodeTLS(data, ca string, origin datadir.Origin) error {
	authority, err := certs.ReadAuthority(filepath.Join(ca, "ca.pem"), filepath.Join(ca, "ca-key.pem"))
	if err != nil {
		return fmt.Errorf("%w (`rookery tls init` makes an authority)", err)
	}
	cluster, err := authority.Cluster()
	if err != nil {
		return err
	}
	dir, err := datadir.Open(data)
	if err != nil {
		return err
	}
	node := dir.Node()
	if dir.Cluster() == cluster && dir.Origin() != "" {
		origin = dir.Origin()
	}
	err = dir.Prepare(cluster, origin)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	cert, key, err := authority.Node(node, time.Now())
	if err != nil {
		return err
	}
	files := map[string][]byte{"node.pem": cert, "node-key.pem": key}
	for _, name := range []string{"ca.pem", "cluster.key"} {
		if files[name], err = os.ReadFile(filepath.Join(ca, name)); err != nil {
			return fmt.Errorf("read the authority: %w", err)
		}
	}
	return writeFiles(filepath.Join(data, "tls"), files)
}

// writeFiles that only their owner may read.
func writeFiles(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	for name, data := range files {
		if err := renameio.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	// The names as well: a node that has lost its certificate to a power cut does
	// not start.
	for _, folder := range []string{dir, filepath.Dir(dir)} {
		if err := syncFolder(folder); err != nil {
			return fmt.Errorf("sync %s: %w", folder, err)
		}
	}
	return nil
}

func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
