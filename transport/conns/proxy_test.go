package conns

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/rookery-im/rookery/transport/ws"
)

// binaryProxy makes a header of version 2.
func binaryProxy(command, family byte, body string) string {
	return string(proxySignature) + string([]byte{0x20 | command, family, byte(len(body) >> 8), byte(len(body))}) + body
}

const (
	ports = "\x30\x39\x00\x50" // 12345, 80
	from4 = "\xc0\x00\x02\x07\x7f\x00\x00\x01" + ports
	from6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + ports
)

var proxyHeaders = []struct {
	name, header, want string // "": the proxy's own address; "-": refused
}{
	{"text, 4", "PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r\n", "192.0.2.7:12345"},
	{"text, 6", "PROXY TCP6 2001:db8::1 2001:db8::2 12345 80\r\n", "[2001:db8::1]:12345"},
	{"text, unknown", "PROXY UNKNOWN\r\n", ""},
	{"text, unknown with addresses", "PROXY UNKNOWN ffff:f...f:ffff ffff 65535 65535\r\n", ""},
	{"binary, 4", binaryProxy(1, 0x11, from4), "192.0.2.7:12345"},
	{"binary, 6, with a TLV", binaryProxy(1, 0x21, from6+"\x04\x00\x01x"), "[2001:db8::1]:12345"},
	{"binary, local", binaryProxy(0, 0, ""), ""},
	{"binary, Unix socket", binaryProxy(1, 0x31, strings.Repeat("x", 216)), ""},
	{"no header", "GET / HTTP/1.1\r\nHost: here\r\n", "-"},
	{"text, wrong family", "PROXY TCP4 2001:db8::1 2001:db8::2 12345 80\r\n", "-"},
	{"text, no port", "PROXY TCP4 192.0.2.7 127.0.0.1\r\n", "-"},
	{"text, endless", "PROXY TCP4 " + strings.Repeat("1", 200), "-"},
	{"text, cut off", "PROXY TCP4 192.0.2.7", "-"},
	{"binary, version 3", strings.Replace(binaryProxy(1, 0x11, from4), "\x21", "\x31", 1), "-"},
	{"binary, short addresses", binaryProxy(1, 0x21, from4), "-"},
	{"binary, endless", binaryProxy(1, 0x11, strings.Repeat("x", 600)), "-"},
	{"binary, cut off", binaryProxy(1, 0x11, from4)[:20], "-"},
}

func TestReadProxy(t *testing.T) {
	for _, c := range proxyHeaders {
		r := strings.NewReader(c.header + "rest")
		if c.want == "-" {
			r = strings.NewReader(c.header)
		}
		addr, err := readProxy(r)
		if c.want == "-" {
			if !errors.Is(err, ErrProxy) {
				t.Errorf("%s: %v, %v", c.name, addr, err)
			}
			continue
		}
		got := ""
		if addr.IsValid() {
			got = addr.String()
		}
		if rest, _ := io.ReadAll(r); err != nil || got != c.want || string(rest) != "rest" {
			t.Errorf("%s: %q, %v, then %q", c.name, got, err, rest)
		}
	}
}

func FuzzReadProxy(f *testing.F) {
	for _, c := range proxyHeaders {
		f.Add([]byte(c.header))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		if _, err := readProxy(r); err != nil && !errors.Is(err, ErrProxy) {
			t.Error(err)
		}
		if took := len(b) - r.Len(); took > 16+proxyBinaryMax {
			t.Errorf("%d bytes were read", took)
		}
	})
}

// Whoever comes through a proxy counts by his own address, and still goes by epoll.
func TestThroughAProxy(t *testing.T) {
	carriers(t, func(t *testing.T, cfg Config) {
		cfg.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		n := start(t, cfg, &scribe{})
		c := n.dialRaw()
		c.raw([]byte("PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r\n" + request(Path)))
		c.raw(frame(ws.Text, "early"))
		c.response()
		opened := n.next("opened")
		if opened.info.Remote.String() != "192.0.2.7:12345" || onWire(opened.id) != cfg.Portable {
			t.Errorf("%+v", opened)
		}
		if got := n.next("message"); got.data != "early" {
			t.Errorf("%+v", got)
		}
		n.on(func() { n.conns.Close(opened.id, 1012, "") })
		c.expectClose(1012)
		n.next("closed")

		bare := n.dialRaw()
		bare.raw([]byte(request(Path)))
		if op, b, err := bare.read(); err == nil {
			t.Errorf("%v %q without a header", op, b)
		}
	})
}

// A header from elsewhere is not believed: it is no HTTP either.
func TestProxyHeaderFromElsewhere(t *testing.T) {
	n := start(t, Config{Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, &scribe{})
	c := n.dialRaw()
	c.raw([]byte("PROXY TCP4 192.0.2.7 127.0.0.1 12345 80\r\n" + request(Path)))
	if res := c.response(); res.StatusCode != 400 {
		t.Errorf("%v", res.Status)
	}
	n.silent()
}
