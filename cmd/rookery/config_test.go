package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// call runs a command as the process would.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
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

// A node does what variables and file say, logs what is not as usual, and ends
// in order.
func TestServeTakesItsConfigurationFromEverywhere(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "rookery.yaml")
	text := "registration: closed\nlog-format: json\npublic-url: wss://chat.example.org/v1/ws\nproxy-protocol-from: [192.0.2.0/24]\nshards: 2\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ROOKERY_DATA", filepath.Join(folder, "data"))
	t.Setenv("ROOKERY_LISTEN", "127.0.0.1:0")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out, in := io.Pipe()
	var logs bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--config", file, "--admin", filepath.Join(folder, "admin.sock")}, in, &logs)
		in.Close()
	}()
	greeting := make([]byte, 4096)
	n, err := out.Read(greeting)
	if err != nil {
		t.Fatalf("it does not come up: %v\n%s", err, logs.String())
	}
	_, rest, _ := strings.Cut(string(greeting[:n]), "REST  ")
	base, _, _ := strings.Cut(rest, " ")
	answer, err := http.Post(base+"/users", "application/json", strings.NewReader(`{"user":"alice","name":"Alice","password":"correct horse"}`))
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("registration is closed, and answers %s", answer.Status)
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d: %s", code, logs.String())
	}
	first, _, _ := strings.Cut(logs.String(), "\n")
	for _, want := range []string{`"settings":"config=` + file, "registration=closed", "listen=127.0.0.1:0", "proxy-protocol-from=192.0.2.0/24"} {
		if !strings.Contains(first, want) {
			t.Errorf("the first line lacks %s: %s", want, first)
		}
	}
	if strings.Contains(first, "drain-timeout") {
		t.Errorf("the first line tells of a default: %s", first)
	}
}
