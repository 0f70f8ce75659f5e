package settings

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes a configuration file.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rookery.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// shown is the value of a setting as text.
func shown(t *testing.T, e *Effective, name string) string {
	t.Helper()
	for _, s := range Settings() {
		if s.Name == name {
			return strings.Join(s.kind.show(&e.Config), ",")
		}
	}
	t.Fatalf("there is no setting %q", name)
	return ""
}

// Every setting has three spellings that mean the same, and the nearer to the
// person wins.
func TestSourcesAndPrecedence(t *testing.T) {
	for _, c := range []struct {
		name, setting, file string
		env, args           []string
		want, from          string
	}{
		{"nothing", "drain-timeout", "", nil, nil, "15s", "default"},
		{"file", "drain-timeout", "\ndrain-timeout: 20s", nil, nil, "20s", "FILE:2"},
		{"environment over file", "drain-timeout", "drain-timeout: 20s", []string{"ROOKERY_DRAIN_TIMEOUT=30s"}, nil, "30s", "ROOKERY_DRAIN_TIMEOUT"},
		{"flag over environment", "drain-timeout", "drain-timeout: 20s", []string{"ROOKERY_DRAIN_TIMEOUT=30s"}, []string{"--drain-timeout", "40s"}, "40s", "--drain-timeout"},
		{"flag, joined", "drain-timeout", "", nil, []string{"--drain-timeout=40s"}, "40s", "--drain-timeout"},
		{"flag, one hyphen", "drain-timeout", "", nil, []string{"-drain-timeout=40s"}, "40s", "--drain-timeout"},
		{"flag, one hyphen, parted", "drain-timeout", "", nil, []string{"-drain-timeout", "40s"}, "40s", "--drain-timeout"},
		{"the last of two flags", "drain-timeout", "", nil, []string{"--drain-timeout=40s", "--drain-timeout=50s"}, "50s", "--drain-timeout"},
		{"bare boolean", "ws-echo", "", nil, []string{"--ws-echo"}, "true", "--ws-echo"},
		{"bare boolean takes no value after it", "ws-echo", "", nil, []string{"--ws-echo", "--data", "d"}, "true", "--ws-echo"},
		{"boolean", "ws-echo", "ws-echo: true", nil, []string{"--ws-echo=false"}, "false", "--ws-echo"},
		{"boolean in the environment", "ws-echo", "", []string{"ROOKERY_WS_ECHO=1"}, nil, "true", "ROOKERY_WS_ECHO"},
		{"repeated list", "cors-origin", "", nil, []string{"--cors-origin=https://a", "--cors-origin", "https://b,https://c"}, "https://a,https://b,https://c", "--cors-origin"},
		{"list in the environment", "cors-origin", "", []string{"ROOKERY_CORS_ORIGIN=https://a, https://b"}, nil, "https://a,https://b", "ROOKERY_CORS_ORIGIN"},
		{"list in the file", "cors-origin", "cors-origin:\n  - https://a\n  - https://b", nil, nil, "https://a,https://b", "FILE:1"},
		{"a list replaces the whole list", "cors-origin", "cors-origin: [https://a, https://b]", nil, []string{"--cors-origin=*"}, "*", "--cors-origin"},
		{"an empty list", "cors-origin", "cors-origin: [https://a]", []string{"ROOKERY_CORS_ORIGIN="}, nil, "", "ROOKERY_CORS_ORIGIN"},
		{"empty is given", "public-url", "public-url: ws://a/", []string{"ROOKERY_PUBLIC_URL="}, nil, "", "ROOKERY_PUBLIC_URL"},
		{"a value that looks like a flag", "data", "", nil, []string{"--data", "-5"}, "-5", "--data"},
		{"a value that is a flag, joined", "data", "", nil, []string{"--data=--listen"}, "--listen", "--data"},
		{"numbers are text", "data", "data: 0123", nil, nil, "0123", "FILE:1"},
		{"quoted numbers are numbers", "shards", `shards: "0x10"`, nil, nil, "16", "FILE:1"},
		{"days", "time-to-live", "", nil, []string{"--time-to-live=1d12h"}, "36h", "--time-to-live"},
		{"rate", "rate-sends", "rate-sends: 0.5/7", nil, nil, "0.5/7", "FILE:1"},
		{"networks", "proxy-protocol-from", "", nil, []string{"--proxy-protocol-from=10.0.0.0/8,192.168.1.7,::1"}, "10.0.0.0/8,192.168.1.7/32,::1/128", "--proxy-protocol-from"},
		{"level", "log-level", "log-level: WARN", nil, nil, "warn", "FILE:1"},
		{"a node beside a service of its name", "data", "", []string{"ROOKERY_PORT=tcp://10.0.0.1:80", "ROOKERY_SERVICE_HOST=10.0.0.1", "ROOKERY_PORT_80_TCP_ADDR=10.0.0.1", "ROOKERY_ADMIN_SERVICE_PORT=1"}, nil, "./data", "default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args, file := c.args, ""
			if c.file != "" {
				file = write(t, c.file)
				args = append([]string{"--config", file}, args...)
			}
			e, err := Load(args, c.env)
			if err != nil {
				t.Fatal(err)
			}
			if got := shown(t, e, c.setting); got != c.want {
				t.Errorf("%s is %q, want %q", c.setting, got, c.want)
			}
			for _, s := range Settings() {
				if got, want := e.origin(s), strings.ReplaceAll(c.from, "FILE", file); s.Name == c.setting && got != want {
					t.Errorf("%s comes from %q, want %q", c.setting, got, want)
				}
			}
		})
	}
}

func TestConfigFileFromEnvironment(t *testing.T) {
	one, two := write(t, "shards: 1"), write(t, "shards: 2")
	for want, call := range map[string][]string{
		"1": {"ROOKERY_CONFIG=" + one}, "2": {"ROOKERY_CONFIG=" + one, "--config=" + two}, "64": {"ROOKERY_CONFIG=" + one, "--config="},
	} {
		e, err := Load(call[1:], call[:1])
		if err != nil {
			t.Fatal(err)
		}
		if got := shown(t, e, "shards"); got != want {
			t.Errorf("%v: shards %s, want %s", call, got, want)
		}
	}
}

// Faults come all at once, each under the name, and at the place, that it was
// given.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name      string
		args, env []string
		file      string
		want      []string
	}{
		{"unknown names", []string{"--drain-timout=3s", "--zebra"}, []string{"ROOKERY_DRAIN_TIMOUT=3s", "ROOKERY_ZEBRA=1"}, "drainTimeout: 3s\nzebra: 1\n", []string{
			"unknown flag --drain-timout; did you mean --drain-timeout?", "unknown flag --zebra",
			"unknown variable ROOKERY_DRAIN_TIMOUT; did you mean ROOKERY_DRAIN_TIMEOUT?", "unknown variable ROOKERY_ZEBRA",
			"FILE:1: unknown setting drainTimeout; did you mean drain-timeout?", "FILE:2: unknown setting zebra",
		}},
		{"an unknown flag takes its value along", []string{"--drain-timout", "3s", "--shards", "0"}, nil, "", []string{
			"unknown flag --drain-timout; did you mean --drain-timeout?", "--shards: 0 is not from 1 to 4096",
		}},
		{"values everywhere", []string{"--shards=x"}, []string{"ROOKERY_SHARDS=0"}, "shards: 5000", []string{
			`--shards: "x" is not a whole number`, "ROOKERY_SHARDS: 0 is not from 1 to 4096", "FILE:1: shards: 5000 is not from 1 to 4096",
		}},
		{"a file, from top to bottom", nil, nil, "shards: 0\nzebra: 1\nlog-level: loud\n", []string{
			"FILE:1: shards: 0 is not from 1 to 4096", "FILE:2: unknown setting zebra", `FILE:3: log-level: "loud" is none of debug, info, warn, error`,
		}},
		{"a file without an end", []string{"--config=/dev/zero"}, nil, "", []string{"/dev/zero: is larger than 256KiB"}},
		{"what does not go together", []string{"--tls-cert=c"}, []string{"ROOKERY_HEARTBEAT_MIN=1m"}, "in-flight: 3", []string{
			"--tls-cert, tls-key (default): one is given without the other",
			"ROOKERY_HEARTBEAT_MIN, heartbeat (default), heartbeat-max (default): 1m0s, 30s, 10m0s do not ascend",
			"in-flight-per-conversation (default), FILE:1: in-flight: 64 for one conversation are more than 3 in all",
			"--tls-cert: stat c: no such file or directory",
		}},
		{"what has a fault is not judged again", []string{"--heartbeat=x", "--heartbeat-min=40s"}, nil, "", []string{
			`--heartbeat: "x" is not a duration such as 90s, 15m or 30d`,
		}},
		{"arguments", []string{"extra", "--shards=1", "--", "--listen"}, nil, "", []string{`unexpected argument "extra"`, `unexpected argument "--listen"`}},
		{"values that are missing", []string{"--data", "--listen", "--shards"}, nil, "", []string{
			"--data: a value is missing", "--listen: a value is missing", "--shards: a value is missing",
		}},
		{"every item of a list", nil, []string{"ROOKERY_CORS_ORIGIN=a,https://b,c/"}, "", []string{
			`ROOKERY_CORS_ORIGIN: "a" is not an origin such as https://chat.example.org, or *`,
			`ROOKERY_CORS_ORIGIN: "c/" is not an origin such as https://chat.example.org, or *`,
		}},
		{"a secret in a URL", []string{"--public-url=wss://me:secret@a/"}, nil, "", []string{
			"--public-url: holds a user or password, which a setting never does",
		}},
		{"no such file", []string{"--config=/nowhere/rookery.yaml", "--shards=0"}, nil, "", []string{
			"--shards: 0 is not from 1 to 4096", "--config: open /nowhere/rookery.yaml: no such file or directory",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args, file := c.args, ""
			if c.file != "" {
				file = write(t, c.file)
				args = append([]string{"--config", file}, args...)
			}
			_, err := Load(args, c.env)
			var faults Faults
			if !errors.As(err, &faults) {
				t.Fatalf("got %v, want faults", err)
			}
			var got []string
			for _, f := range faults {
				got = append(got, f.Error())
			}
			want := strings.ReplaceAll(strings.Join(c.want, "\n"), "FILE", file)
			if strings.Join(got, "\n") != want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
			}
		})
	}
}

func TestHelpIsNoFault(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"--shards=x", "-help"}} {
		if _, err := Load(args, nil); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%v gives %v", args, err)
		}
	}
}

// Two settings that shared a field would silently undo each other.
func TestEverySettingHasAFieldOfItsOwn(t *testing.T) {
	for _, s := range Settings() {
		changed := false
		for _, text := range append(samples(s), "7", "7s", "7h", "7MiB", "7/7", "true", "debug", "/x", "wss://x/", "https://x", "10.0.0.0/8", "127.0.0.1:7") {
			c, standard := Default(), Default()
			if s.kind.read(&c, []string{text}) != nil || lines(s, &c) == lines(s, &standard) {
				continue
			}
			changed = true
			for _, other := range Settings() {
				if other.Name != s.Name && lines(other, &c) != lines(other, &standard) {
					t.Errorf("%s changes %s", s.Name, other.Name)
				}
			}
			break
		}
		if !changed {
			t.Errorf("%s: nothing changes it", s.Name)
		}
	}
}

// samples are words of what a setting says of its values.
func samples(s Setting) []string {
	return strings.FieldsFunc(s.kind.values, func(r rune) bool { return r == ' ' || r == ',' })
}
