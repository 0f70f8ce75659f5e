package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"sync"

	"github.com/rookery-im/rookery/cmd/rookery/heap"
	"github.com/rookery-im/rookery/cmd/rookery/node"
	"github.com/rookery-im/rookery/cmd/rookery/settings"
)

// serve runs a node until the context ends, then drains it.
func serve(ctx context.Context, args []string, std streams) error {
	return runNode(ctx, args, std, descriptorsOnly)
}

// carriage is what carries connections.
type carriage bool

const (
	descriptorsOnly carriage = false
	standInsToo     carriage = true
)

func runNode(ctx context.Context, args []string, std streams, c carriage) error {
	e, err := settings.Load(args, os.Environ())
	if errors.Is(err, flag.ErrHelp) {
		settings.WriteHelp(std.out, "rookery serve", "Runs a node until SIGTERM or SIGINT, then drains it.")
		return nil
	}
	if err != nil {
		return &usageError{err}
	}
	cfg := e.Config.Node
	cfg.Version = version()
	cfg.Log = logger(std.err, e.Config)
	cfg.Log.Info("starting", "version", cfg.Version, "settings", strings.Join(e.Changed(), " "))
	keepPrivate()
	allowed, err := raiseDescriptorLimit()
	if err != nil {
		cfg.Log.Warn("the descriptor limit stays as it is", "err", err)
	}
	wanted := cfg.Connections
	if cfg.Connections = connections(allowed, wanted); cfg.Connections < wanted {
		cfg.Log.Warn("fewer connections than wanted: the limit of descriptors leaves room for no more",
			"wanted", wanted, "connections", cfg.Connections, "descriptors", allowed)
	}
	if c == standInsToo {
		cfg.StandIns, cfg.Connections = true, 0
	}
	n, err := node.Start(cfg)
	if err != nil {
		return err
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { heap.Keep(background, e.Config.HeapFloor) })
	defer running.Wait()
	defer cancel()
	greet(std.out, n, allowed, cfg)
	select {
	case <-ctx.Done():
		cfg.Log.Info("draining", "timeout", cfg.DrainTimeout)
		return n.Drain()
	case <-n.Removed():
		cfg.Log.Info("the cluster has removed this node, for good: its data directory is of no use any more")
		return n.Drain()
	case <-n.Done():
		return n.Err()
	}
}

// logger writes to w as the settings say.
func logger(w io.Writer, c settings.Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// connections is how many there may be: what is wanted, but no more than the
// descriptors allow with some left for files and for requests. Wanting 0 is
// wanting what they allow; 0, no bound, where there is no limit of descriptors.
func connections(descriptors uint64, wanted int) int {
	const reserve = 512
	if descriptors == 0 || descriptors > math.MaxInt32 {
		return wanted
	}
	allowed := int(max(descriptors/2, descriptors-min(descriptors, reserve))) //nolint:gosec // bounded above
	if wanted == 0 {
		return allowed
	}
	return min(wanted, allowed)
}

// greet says where the node is and, where anybody may register, shows a first
// exchange to paste; in one write.
func greet(w io.Writer, n *node.Node, descriptors uint64, cfg node.Config) {
	scheme, ws := "http", "ws"
	if n.TLS() {
		scheme, ws = "https", "wss"
	}
	var text strings.Builder
	defer func() { _, _ = io.WriteString(w, text.String()) }() // nobody may be looking
	fmt.Fprintf(&text, `Rookery is up.

  clients  %[2]s://%[3]s/v1/ws     REST  %[1]s://%[3]s/v1     admin  %[4]s
  %[5]d descriptors: about %[6]d connections

`, scheme, ws, n.Addr(), n.AdminAddr(), descriptors, cfg.Connections)
	if cfg.Registration != "open" || cfg.Issuer.Name != "" {
		return
	}
	fmt.Fprintf(&text, `Talk: run  rookery chat --server %[1]s://%[3]s  in two terminals.

Or by hand: register and log in two users,

  for u in alice bob; do
    curl -s %[1]s://%[3]s/v1/users   -H 'Content-Type: application/json' -d '{"user":"'$u'","name":"'$u'","password":"correct horse"}'; echo
    curl -s %[1]s://%[3]s/v1/devices -H 'Content-Type: application/json' -d '{"user":"'$u'","password":"correct horse","deviceName":"phone"}'; echo
  done

then connect each with any WebSocket tool, for example  npx wscat -c %[2]s://%[3]s/v1/ws  and paste, with the tokens from above,

  {"ref":1,"hello":{"token":"TOKEN","client":"demo/1"}}
  {"ref":2,"send":{"id":"01935b3e-0000-7000-8000-000000000001","to":{"user":"bob"},"payload":"aGVsbG8="}}

Bob sees a deliver, and says {"ack":{"seq":"1"}}. The rest is in docs/protocol.md. Ctrl-C drains and stops.

`, scheme, ws, n.Addr())
}
