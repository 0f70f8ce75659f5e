package settings

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// try reads a text as a setting and gives how it is then shown, or the fault.
func try(t *testing.T, name, text string) string {
	t.Helper()
	for _, s := range Settings() {
		if s.Name != name {
			continue
		}
		c := Default()
		texts := []string{text}
		if s.kind.list {
			texts = split(text)
		}
		if err := s.kind.read(&c, texts); err != nil {
			return "fault: " + err.Error()
		}
		return lines(s, &c)
	}
	t.Fatalf("there is no setting %q", name)
	return ""
}

func TestValues(t *testing.T) {
	const noDuration, noSize, noRate = " is not a duration such as 90s, 15m or 30d", " is not a size such as 65536, 64KiB or 64MiB",
		" is not a rate such as 256/1024, so many a second and so many at once"
	for _, c := range []struct{ setting, text, want string }{
		{"time-to-live", "90s", "1m30s"},
		{"time-to-live", "1h", "1h"},
		{"time-to-live", "1h0m30s", "1h0m30s"},
		{"time-to-live", "60m", "1h"},
		{"time-to-live", "10h", "10h"},
		{"time-to-live", "100m", "1h40m"},
		{"time-to-live", "24h", "1d"},
		{"time-to-live", "1.5d", "36h"},
		{"time-to-live", "1d12h30m", "36h30m"},
		{"time-to-live", "41d1ms", "984h0m0.001s"},
		{"time-to-live", "106751d", "106751d"},
		{"time-to-live", "106752d", `fault: "106752d"` + noDuration},
		{"time-to-live", "106751d24h", `fault: "106751d24h"` + noDuration},
		{"time-to-live", "5", `fault: "5"` + noDuration},
		{"time-to-live", "", `fault: ""` + noDuration},
		{"time-to-live", "d", `fault: "d"` + noDuration},
		{"time-to-live", "1d-1h", `fault: "1d-1h"` + noDuration},
		{"time-to-live", "NaNd", `fault: "NaNd"` + noDuration},
		{"time-to-live", "0x1p3d", `fault: "0x1p3d"` + noDuration},
		{"time-to-live", "1h1d", `fault: "1h1d"` + noDuration},
		{"time-to-live", "-1d", "fault: -1d is below 1ms"},
		{"time-to-live", "0", "fault: 0s is below 1ms"},
		{"drain-timeout", "0s", "fault: 0s is not above 0"},
		{"heartbeat", "25h", "fault: 25h is not from 1s to 1d"},

		{"disk-reserve", "1048576", "1MiB"},
		{"disk-reserve", "1048577", "1048577"},
		{"disk-reserve", "1048577B", "1048577"},
		{"disk-reserve", "1025KiB", "1025KiB"},
		{"disk-reserve", "3 GiB", "3GiB"},
		{"disk-reserve", "8589934592GiB", `fault: "8589934592GiB"` + noSize},
		{"disk-reserve", "9223372036854775808", `fault: "9223372036854775808"` + noSize},
		{"disk-reserve", "1MB", `fault: "1MB"` + noSize},
		{"disk-reserve", "1.5GiB", `fault: "1.5GiB"` + noSize},
		{"disk-reserve", "-1MiB", `fault: "-1MiB"` + noSize},
		{"disk-reserve", "MiB", `fault: "MiB"` + noSize},
		{"disk-reserve", "0", "fault: 0 is not from 1MiB to 1024GiB"},

		{"rate-sends", "256/1024", "256/1024"},
		{"rate-sends", "0.1/1", "0.1/1"},
		{"rate-sends", "1e6/5", "1e+06/5"},
		{"rate-sends", "256", `fault: "256"` + noRate},
		{"rate-sends", "256/1024x", `fault: "256/1024x"` + noRate},
		{"rate-sends", "Inf/1", `fault: "Inf/1"` + noRate},
		{"rate-sends", "NaN/1", `fault: "NaN/1"` + noRate},
		{"rate-sends", "1/2147483648", `fault: "1/2147483648"` + noRate},
		{"rate-sends", "0/5", `fault: "0/5" is not above 0`},
		{"rate-sends", "5/-1", `fault: "5/-1" is not above 0`},

		{"shards", "0x40", "64"},
		{"shards", "-1", `fault: "-1" is not a whole number`},
		{"shards", "1.0", `fault: "1.0" is not a whole number`},
		{"shards", "99999999999", `fault: "99999999999" is too large`},
		{"shards", "4097", "fault: 4097 is not from 1 to 4096"},

		{"ws-echo", "T", "true"},
		{"ws-echo", "yes", `fault: "yes" is neither true nor false`},
		{"registration", "Open", `fault: "Open" is none of open, invite, closed, webhook`},
		{"log-level", "Error", "error"},
		{"log-level", "info+2", "info+2"},
		{"log-level", "loud", `fault: "loud" is none of debug, info, warn, error`},

		{"listen", ":0", ":0"},
		{"listen", "[::1]:http", "[::1]:http"},
		{"listen", "8080", `fault: "8080" is not an address such as 127.0.0.1:8080`},
		{"listen", "localhost", `fault: "localhost" is not an address such as 127.0.0.1:8080`},
		{"listen", "localhost:", `fault: "localhost:" is not an address such as 127.0.0.1:8080`},
		{"listen", ":65536", `fault: ":65536": there is no port 65536`},
		{"listen", "/run/rookery.sock", `fault: "/run/rookery.sock" is not an address such as 127.0.0.1:8080`},
		{"admin", "/run/rookery.sock", "/run/rookery.sock"},
		{"admin", "rookery.sock", `fault: "rookery.sock" is not an address such as 127.0.0.1:9090, or a path with a /`},
		{"public-url", "wss://a/v1/ws", "wss://a/v1/ws"},
		{"public-url", "https://a/v1/ws", `fault: "https://a/v1/ws" is not a URL such as wss://chat.example.org/v1/ws`},
		{"cors-origin", "*", "*"},
		{"cors-origin", "https://a, http://b:1", "https://a, http://b:1"},
		{"cors-origin", "https://a/", `fault: "https://a/" is not an origin such as https://chat.example.org, or *`},
		{"cors-origin", "https://a,", `fault: "" is not an origin such as https://chat.example.org, or *`},
		{"proxy-protocol-from", "::1, 10.0.0.0/8", "::1/128, 10.0.0.0/8"},
		{"proxy-protocol-from", "10.0.0.1/8", `fault: "10.0.0.1/8" is an address within a network; the network is 10.0.0.0/8, the address alone 10.0.0.1`},
		{"proxy-protocol-from", "fe80::1%eth0", `fault: "fe80::1%eth0" is not a network such as 10.0.0.0/8`},
		{"proxy-protocol-from", "proxy.local", `fault: "proxy.local" is not a network such as 10.0.0.0/8`},

		{"data", "", "fault: a directory is needed"},
		{"data", "a\nb", `fault: "a\nb" holds control characters`},
		{"data", "a\xff", `fault: "a\xff" is not UTF-8`},
		{"data", strings.Repeat("x", 100) + "\x00", `fault: "` + strings.Repeat("x", 80) + `"... holds control characters`},
	} {
		if got := try(t, c.setting, c.text); got != c.want {
			t.Errorf("%s=%q gives %s, want %s", c.setting, c.text, got, c.want)
		}
	}
}

// What is shown must be read as what it was.
func TestDurationsAndSizesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]time.Duration{1, time.Millisecond, time.Second, time.Minute, time.Hour, day}).Draw(t, "unit")
		d := time.Duration(rapid.Int64Range(-100_000, 100_000).Draw(t, "duration")) * unit
		if got, err := parseDuration(formatDuration(d)); err != nil || got != d {
			t.Fatalf("%v is shown as %s and read as %v, %v", d, formatDuration(d), got, err)
		}
		f := size[int64]()
		n := rapid.Int64Min(0).Draw(t, "size") >> rapid.IntRange(0, 62).Draw(t, "smaller")
		n = n >> 10 << rapid.IntRange(0, 10).Draw(t, "rounder")
		if got, err := f.parse(f.format(n)); err != nil || got != n {
			t.Fatalf("%d is shown as %s and read as %d, %v", n, f.format(n), got, err)
		}
	})
}
