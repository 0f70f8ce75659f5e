package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed conf
var configs embed.FS

// peer is one that is measured.
type peer struct {
	name   string
	config string // in conf
	doc    string
	// command of the server in the foreground.
	command func(tools tools, config, data string) *exec.Cmd
	// version is a command that prints it.
	version func(tools tools) *exec.Cmd
	speak   func(users int) protocol
	// prepare makes users that exist before they connect.
	prepare func(s *server, users, recipients []int) error
	// stores says what becomes of a message for somebody who is away.
	stores storage
	// introduced says whether a user must have connected once to have a mailbox.
	introduced introduction
}

type storage uint8

const (
	storesNothing storage = iota
	storesMessages
)

type introduction uint8

const (
	notNeeded introduction = iota
	bySession
)

// tools are where the servers are.
type tools struct{ nats, mosquitto, erl string }

const xmppHost = "localhost"

func peers() []peer {
	natsCommand := func(t tools, config, _ string) *exec.Cmd { return exec.Command(t.nats, "-c", config) }
	natsVersion := func(t tools) *exec.Cmd { return exec.Command(t.nats, "-v") }
	streams := func(s *server, _, recipients []int) error { return prepareJetStream(s.address, recipients) }
	return []peer{
		{
			name: "nats", config: "nats.conf", doc: "NATS core: requests and replies, nothing stored",
			command: natsCommand, version: natsVersion, speak: func(int) protocol { return &natsCore{} },
		},
		{
			name: "jetstream", config: "jetstream.conf", doc: "NATS JetStream, a durable consumer per user, synced every two minutes (the default)",
			command: natsCommand, version: natsVersion, speak: func(int) protocol { return &jetStream{} }, prepare: streams, stores: storesMessages,
		},
		{
			name: "jetstream-sync", config: "jetstream-sync.conf", doc: "the same with sync_interval: always",
			command: natsCommand, version: natsVersion, speak: func(int) protocol { return &jetStream{} }, prepare: streams, stores: storesMessages,
		},
		{
			name: "mosquitto", config: "mosquitto.conf", doc: "MQTT 3.1.1, QoS 1, persistent sessions",
			command: func(t tools, config, _ string) *exec.Cmd { return exec.Command(t.mosquitto, "-c", config) },
			version: func(t tools) *exec.Cmd { return exec.Command(t.mosquitto, "-h") },
			speak:   func(users int) protocol { return newMQTT(users) }, stores: storesMessages, introduced: bySession,
		},
		{
			name: "ejabberd", config: "ejabberd.yml", doc: "XMPP over WebSocket, stream management, receipts, offline storage in Mnesia",
			command: ejabberd, version: func(tools) *exec.Cmd {
				return exec.Command("dpkg-query", "-W", "-f", "ejabberd ${Version}", "ejabberd")
			},
			speak: func(users int) protocol { return newXMPP(xmppHost, users) }, prepare: register, stores: storesMessages,
		},
	}
}

func findPeer(name string) (peer, error) {
	var names []string
	for _, p := range peers() {
		if p.name == name {
			return p, nil
		}
		names = append(names, p.name)
	}
	return peer{}, fmt.Errorf("there is no peer %q; there are %s", name, strings.Join(names, ", "))
}

// ejabberd is started as its package's ejabberdctl does in the foreground, but
// as the user who runs this, without a name on the network of Erlang nodes, and
// with data and logs in a folder of the run's.
func ejabberd(t tools, config, data string) *exec.Cmd {
	cmd := exec.Command(t.erl, "+K", "true", "+P", "250000", "+Q", "65536", "-noinput", "-mnesia", "dir", `"`+filepath.Join(data, "mnesia")+`"`, "-s", "ejabberd")
	cmd.Env = append(os.Environ(), "HOME="+data, "EJABBERD_CONFIG_PATH="+config, "EJABBERD_LOG_PATH="+filepath.Join(data, "ejabberd.log"),
		"ERL_CRASH_DUMP="+filepath.Join(data, "erl_crash.dump"))
	if found, err := filepath.Glob("/usr/lib/*/ejabberd-*/ebin"); err == nil && len(found) > 0 {
		cmd.Env = append(cmd.Env, "ERL_LIBS="+filepath.Dir(filepath.Dir(found[0])))
	}
	return cmd
}

// server is a peer that runs.
type server struct {
	peer    peer
	tools   tools
	dir     string
	config  string
	address string // of clients
	api     string // of administration, where there is one
	cmd     *exec.Cmd
	gone    chan struct{} // closed when the process has ended
}

const startPatience = 90 * time.Second

// startServer starts a peer with its data in a new folder within dir.
func startServer(ctx context.Context, p peer, t tools, dir string) (_ *server, err error) {
	s := &server{peer: p, tools: t}
	if s.dir, err = os.MkdirTemp(dir, "peer-"+p.name+"-"); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if s.address, err = freeAddress(); err != nil {
		return nil, err
	}
	if s.api, err = freeAddress(); err != nil {
		return nil, err
	}
	text, err := configs.ReadFile("conf/" + p.config)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	port := func(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
	filled := strings.NewReplacer("@PORT@", port(s.address), "@API@", port(s.api), "@DATA@", s.dir, "@HOST@", xmppHost).Replace(string(text))
	s.config = filepath.Join(s.dir, p.config)
	if err := os.WriteFile(s.config, []byte(filled), 0o600); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("server: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// start starts the process and waits until it takes connections.
func (s *server) start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "output.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	defer log.Close()
	s.cmd = s.peer.command(s.tools, s.config, s.dir)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Dir = log, log, s.dir
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	s.gone = make(chan struct{})
	go func() {
		_ = s.cmd.Wait() // how it ended is seen by whoever waits for gone
		close(s.gone)
	}()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		c, err := net.DialTimeout("tcp", s.address, time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-s.gone:
			return fmt.Errorf("server: %s has ended: %s", s.peer.name, s.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("server: %s takes no connections: %w; %s", s.peer.name, err, s.lastWords())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *server) lastWords() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "output.log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-1000):])
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// kill ends the process at once and waits for its end.
func (s *server) kill() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	<-s.gone
	return nil
}

// close ends the process, if it still runs, and removes its data.
func (s *server) close() error {
	var err error
	if s.gone != nil {
		err = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.gone:
		case <-time.After(15 * time.Second):
			err = s.kill()
		}
		if errors.Is(err, os.ErrProcessDone) {
			err = nil
		}
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// settings are the configuration's lines, for the report.
func (s *server) settings() (out []string) {
	text, err := configs.ReadFile("conf/" + s.peer.config)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimRight(line, "\n"); line != "" && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			out = append(out, line)
		}
	}
	return out
}

// versionOf is the first line that the peer says of itself.
func versionOf(p peer, t tools) string {
	out, err := p.version(t).CombinedOutput()
	if len(out) == 0 && err != nil {
		return p.name + " of an unknown version"
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// register makes accounts by ejabberd's HTTP API, some at a time.
func register(s *server, users, _ []int) error {
	const atOnce = 8
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}}
	defer client.CloseIdleConnections()
	work := make(chan int)
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	for range atOnce {
		wg.Go(func() {
			for u := range work {
				if err := registerOne(client, "http://"+s.api+"/api/register", u); err != nil {
					once.Do(func() { failed = err })
				}
			}
		})
	}
	for _, u := range users {
		work <- u
	}
	close(work)
	wg.Wait()
	return failed
}

func registerOne(client *http.Client, url string, u int) error {
	body, err := json.Marshal(map[string]string{"user": user(u), "host": xmppHost, "password": xmppPassword})
	if err != nil {
		return err
	}
	r, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(io.LimitReader(r.Body, 1000))
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("register: %s: %s", r.Status, text)
	}
	return err
}
