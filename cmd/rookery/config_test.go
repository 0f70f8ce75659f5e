package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// call runs a command as the process would.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, streams{nil, &out, &errs})
	return code, out.String(), errs.String()
}

func TestConfigCommand(t *testing.T) {
	t.Setenv("ROOKERY_DRAIN_TIMEOUT", "7s")
	file := filepath.Join(t.TempDir(), "rookery.yaml")
	if err := os.WriteFile(file, []byte("shards: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, printed, stderr := call(t, "config", "--config", file, "-listen", ":1")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"\ndrain-timeout: 7s\n", "\nshards: 3\n", "\nlisten: :1\n"} {
		if !strings.Contains(printed, want) {
			t.Errorf("lacks %q:\n%s", want, printed)
		}
	}
	if code, out, _ := call(t, "config", "--defaults"); code != 0 || !strings.Contains(out, "\n#shards: 64\n") {
		t.Errorf("--defaults: exit code %d, %s", code, out)
	}
	for _, command := range []string{"serve", "config"} {
		if code, out, stderr := call(t, command, "--help"); code != 0 || stderr != "" || !strings.Contains(out, "--drain-timeout") {
			t.Errorf("%s --help: exit code %d, %s%s", command, code, out, stderr)
		}
		code, out, stderr := call(t, command, "--shards=0", "--drain-timout=3s")
		want := "rookery: 2 faults in the configuration:\n  unknown flag --drain-timout; did you mean --drain-timeout?\n  --shards: 0 is not from 1 to 4096\n"
		if code != 2 || out != "" || stderr != want {
			t.Errorf("%s: exit code %d, %s%s", command, code, out, stderr)
		}
	}
}

// Whoever calls it wrongly, or asks, sees what there is.
func TestUsageNamesEveryCommand(t *testing.T) {
	code, asked, _ := call(t, "help")
	_, _, told := call(t, "srve")
	if code != 0 || !strings.HasPrefix(told, "rookery: there is no command \"srve\"\n\n") || !strings.HasSuffix(told, asked) {
		t.Errorf("help gives %d, %s\na wrong command gives %s", code, asked, told)
	}
	for _, c := range commands() {
		if !strings.Contains(asked, "\n  rookery "+c.name+" ") || !strings.Contains(asked, "   "+c.doc+"\n") {
			t.Errorf("%s is not named in\n%s", c.name, asked)
		}
	}
}

// start runs serve until it greets. It gives where REST is, and stop, which
// gives the exit code and all that was logged.
func start(t *testing.T, args ...string) (base string, stop func() (int, string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	var logs bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"serve"}, args...), streams{nil, in, &logs})
		in.Close()
	}()
	greeting := make([]byte, 4096)
	n, err := out.Read(greeting)
	if err != nil {
		cancel()
		t.Fatalf("it does not come up: exit code %d\n%s", <-ended, logs.String())
	}
	_, rest, _ := strings.Cut(string(greeting[:n]), "REST  ")
	base, _, _ = strings.Cut(rest, " ")
	return base, func() (int, string) {
		cancel()
		return <-ended, logs.String()
	}
}

// A node does what variables and file say, logs what is not as usual, and ends
// in order.
func TestServeTakesItsConfigurationFromEverywhere(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "rookery.yaml")
	text := "registration: closed\nlog-format: json\npublic-url: wss://chat.example.org/v1/ws\nshards: 2\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ROOKERY_DATA", filepath.Join(folder, "data"))
	t.Setenv("ROOKERY_LISTEN", "127.0.0.1:0")
	base, stop := start(t, "--config", file, "--admin", filepath.Join(folder, "admin.sock"))
	answer, err := http.Post(base+"/users", "application/json", strings.NewReader(`{"user":"alice","name":"Alice","password":"correct horse"}`))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("registration is closed, and answers %s", answer.Status)
	}
	code, logs := stop()
	if code != 0 {
		t.Errorf("exit code %d: %s", code, logs)
	}
	first, _, _ := strings.Cut(logs, "\n")
	for _, want := range []string{`"settings":"config=` + file, "registration=closed", "listen=127.0.0.1:0", "public-url=wss://chat.example.org/v1/ws"} {
		if !strings.Contains(first, want) {
			t.Errorf("the first line lacks %s: %s", want, first)
		}
	}
	if strings.Contains(first, "drain-timeout") {
		t.Errorf("the first line tells of a default: %s", first)
	}
}

// A proxy that is believed must say for whom it connects; others may not.
func TestProxiesAreBelievedWhereConfigured(t *testing.T) {
	for networks, c := range map[string]struct{ bare, header string }{
		"127.0.0.0/8":  {bare: "HTTP/1.1 400 Bad Request", header: "HTTP/1.1 200 OK"},
		"192.0.2.0/24": {bare: "HTTP/1.1 200 OK", header: "HTTP/1.1 400 Bad Request"},
	} {
		folder := t.TempDir()
		base, stop := start(t, "--listen=127.0.0.1:0", "--data", folder+"/data", "--admin", folder+"/admin", "--shards=1", "--proxy-protocol-from="+networks)
		address, _, _ := strings.Cut(strings.TrimPrefix(base, "http://"), "/")
		const request = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
		for what, want := range map[string]string{request: c.bare, "PROXY TCP4 203.0.113.7 127.0.0.1 1 2\r\n" + request: c.header} {
			if got := exchange(t, address, what); got != want {
				t.Errorf("proxies in %s: %q is answered %q, want %q", networks, what, got, want)
			}
		}
		if code, logs := stop(); code != 0 {
			t.Errorf("exit code %d: %s", code, logs)
		}
	}
}

// exchange sends a text and gives the first line of the answer, or "".
func exchange(t *testing.T, address, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(c) // a refusal may be a reset
	first, _, _ := strings.Cut(string(answer), "\r\n")
	return first
}

func TestConnectionsKeepToDescriptors(t *testing.T) {
	for _, c := range []struct {
		descriptors uint64
		wanted, got int
	}{
		{20_000, 0, 19_488}, {20_000, 100, 100}, {20_000, 50_000, 19_488}, {600, 0, 300}, {0, 0, 0}, {0, 7, 7}, {1 << 40, 0, 0},
	} {
		if got := connections(c.descriptors, c.wanted); got != c.got {
			t.Errorf("of %d descriptors, %d wanted: %d, want %d", c.descriptors, c.wanted, got, c.got)
		}
	}
}

// What does not fit this machine is told by its setting, all of it at once, by
// config as well, and before a data directory is made.
func TestConfigLooksAtThisMachine(t *testing.T) {
	folder := t.TempDir()
	data, nowhere := filepath.Join(folder, "data"), filepath.Join(folder, "nowhere")
	for _, c := range []struct {
		args   []string
		faults []string
	}{
		{[]string{"--gossip=127.0.0.1:0", "--cluster-key", nowhere, "--tls-cert", nowhere, "--tls-key", folder}, []string{
			"--cluster-key: stat " + nowhere, "--tls-cert: stat " + nowhere, "--tls-key: " + folder + " is a folder",
		}},
		{[]string{"--gossip=127.0.0.1:0", "--node-cert", nowhere, "--node-key", nowhere, "--node-ca", nowhere}, []string{
			"--node-cert: stat ", "--node-key: stat ", "--node-ca: stat ",
		}},
		{[]string{"--registration=webhook", "--registration-webhook=http://127.0.0.1:1/", "--registration-webhook-secret-file", nowhere}, []string{
			"--registration-webhook-secret-file: stat ",
		}},
		{[]string{"--issuer=x", "--issuer-keys", nowhere}, []string{"--issuer-keys: stat "}},
		{[]string{"--roles=gateway"}, []string{"--roles, join (default): " + data + " is for the first node of a cluster, which needs the role data"}},
	} {
		for _, command := range []string{"config", "serve"} {
			code, out, stderr := call(t, append([]string{command, "--data", data}, c.args...)...)
			if code != 2 || out != "" || strings.Count(stderr, "--") != len(c.faults) {
				t.Errorf("%s %v: exit code %d, %s%s", command, c.args, code, out, stderr)
			}
			for _, fault := range c.faults {
				if !strings.Contains(stderr, fault) {
					t.Errorf("%s %v lacks %q: %s", command, c.args, fault, stderr)
				}
			}
			if _, err := os.Lstat(data); err == nil {
				t.Fatalf("%s %v made a data directory", command, c.args)
			}
		}
	}
}
