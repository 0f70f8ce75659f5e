package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"

	"github.com/rookery-im/rookery/cmd/rookery/node"
)

// serve runs a node until the context ends, then drains it.
func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, logs, err := serveFlags(args, stderr)
	if err != nil {
		return err
	}
	cfg.Log = logs.logger(stderr)
	keepPrivate()
	allowed, err := raiseDescriptorLimit()
	if err != nil {
		cfg.Log.Warn("the descriptor limit stays as it is", "err", err)
	}
	cfg.Connections = connections(allowed)
	n, err := node.Start(cfg)
	if err != nil {
		return err
	}
	greet(stdout, n, allowed, cfg.Connections)
	select {
	case <-ctx.Done():
		cfg.Log.Info("draining", "timeout", cfg.DrainTimeout)
		return n.Drain()
	case <-n.Done():
		return n.Err()
	}
}

// logFlags say how to log.
type logFlags struct {
	level  slog.Level
	format string
}

func (l logFlags) logger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: l.level}
	if l.format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func serveFlags(args []string, stderr io.Writer) (node.Config, logFlags, error) {
	cfg := node.DefaultConfig()
	logs := logFlags{format: "text"}
	fs := flag.NewFlagSet("rookery serve", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&cfg.Data, "data", "./data", "directory for everything that is kept")
	fs.StringVar(&cfg.Listen, "listen", "127.0.0.1:8080", "address of WebSocket and REST")
	fs.StringVar(&cfg.Admin, "admin", "127.0.0.1:9090", "address, or path of a socket file, of metrics, pprof and administration")
	fs.StringVar(&cfg.Registration, "registration", "open", "who may register: open, invite or closed")
	fs.DurationVar(&cfg.TokenLife, "token-life", cfg.TokenLife, "how long a token lasts")
	fs.DurationVar(&cfg.TimeToLive, "time-to-live", cfg.TimeToLive, "how long a message may wait, and a device stay away")
	fs.DurationVar(&cfg.DrainTimeout, "drain-timeout", cfg.DrainTimeout, "how long an orderly end may take")
	fs.DurationVar(&cfg.CheckpointEvery, "checkpoint-every", cfg.CheckpointEvery, "how often the state is written out, so that a restart has less log to replay")
	fs.DurationVar(&cfg.Session.Heartbeat, "heartbeat", cfg.Session.Heartbeat, "heartbeat where a client wishes none")
	fs.StringVar(&cfg.TLSCert, "tls-cert", "", "certificate file; TLS is on where it is given, and it is read again when it changes")
	fs.StringVar(&cfg.TLSKey, "tls-key", "", "key file of the certificate")
	fs.Func("cors-origin", "origin that browsers may call the REST API from, or *; may be repeated", func(s string) error {
		cfg.Origins = append(cfg.Origins, strings.Split(s, ",")...)
		return nil
	})
	fs.BoolVar(&cfg.Echo, "ws-echo", false, "serve GET /v1/ws/echo")
	shards := fs.Uint("shards", uint(cfg.Shards), "number of shards, when the data directory is new")
	fs.Func("log-level", "debug, info, warn or error (default info)", func(s string) error { return logs.level.UnmarshalText([]byte(s)) })
	fs.StringVar(&logs.format, "log-format", logs.format, "text or json")
	rate := func(name, what string, per *float64, burst *int) {
		fs.Func(name, fmt.Sprintf("%s a second, and burst, such as %g/%d (the default)", what, *per, *burst), func(s string) error {
			_, err := fmt.Sscanf(s, "%g/%d", per, burst)
			return err
		})
	}
	rate("rate-sends", "sends of a device", &cfg.Session.Limits.Sends.PerSecond, &cfg.Session.Limits.Sends.Burst)
	rate("rate-login", "registrations and logins of an address or user", &cfg.Login.PerSecond, &cfg.Login.Burst)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return cfg, logs, err
		}
		return cfg, logs, &usageError{err}
	}
	cfg.Shards = uint32(*shards) //nolint:gosec // validated
	cfg.Version = version()
	err := cfg.Validate()
	if fs.NArg() > 0 {
		err = errors.Join(fmt.Errorf("unexpected argument %q", fs.Arg(0)), err)
	}
	if logs.format != "text" && logs.format != "json" {
		err = errors.Join(fmt.Errorf("log-format: %q is neither text nor json", logs.format), err)
	}
	if err != nil {
		return cfg, logs, &usageError{err}
	}
	return cfg, logs, nil
}

// connections is how many the descriptors allow, with some left for files and
// for requests; 0, no bound, where there is no limit of descriptors.
func connections(descriptors uint64) int {
	const reserve = 512
	if descriptors == 0 || descriptors > math.MaxInt32 {
		return 0
	}
	return int(max(descriptors/2, descriptors-min(descriptors, reserve))) //nolint:gosec // bounded above
}

// greet says where the node is and shows a first exchange to paste.
func greet(w io.Writer, n *node.Node, descriptors uint64, conns int) {
	scheme, ws := "http", "ws"
	if n.TLS() {
		scheme, ws = "https", "wss"
	}
	fmt.Fprintf(w, `Rookery is up.

  clients  %[2]s://%[3]s/v1/ws     REST  %[1]s://%[3]s/v1     admin  %[4]s
  %[5]d descriptors: about %[6]d connections

A first exchange: register and log in two users,

  for u in alice bob; do
    curl -s %[1]s://%[3]s/v1/users   -H 'Content-Type: application/json' -d '{"user":"'$u'","name":"'$u'","password":"correct horse"}'; echo
    curl -s %[1]s://%[3]s/v1/devices -H 'Content-Type: application/json' -d '{"user":"'$u'","password":"correct horse","deviceName":"phone"}'; echo
  done

then connect each with any WebSocket tool, for example  npx wscat -c %[2]s://%[3]s/v1/ws  and paste, with the tokens from above,

  {"ref":1,"hello":{"token":"TOKEN","client":"demo/1"}}
  {"ref":2,"send":{"id":"01935b3e-0000-7000-8000-000000000001","to":{"user":"bob"},"payload":"aGVsbG8="}}

Bob sees a deliver, and says {"ack":{"seq":"1"}}. The rest is in docs/protocol.md. Ctrl-C drains and stops.

`, scheme, ws, n.Addr(), n.AdminAddr(), descriptors, conns)
}
