package conns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The PROXY protocol, by which a proxy that ends TLS says on whose behalf it
// connects, in one header before everything else. Versions 1 and 2:
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
const (
	proxyTextMax   = 107 // bytes of a version 1 header, its end included
	proxyBinaryMax = 536 // bytes after the fixed part of version 2 that we put up with
	proxyPatience  = 5 * time.Second
)

var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// ErrProxy is a connection from a proxy that does not begin with a valid header.
var ErrProxy = errors.New("conns: not a PROXY protocol header")

// proxied is a connection from a proxy. Whoever asks first for the address or
// for bytes reads the header, exactly, so that nothing has to be kept of it
// and the descriptor can be detached.
type proxied struct {
	net.Conn
	once   sync.Once
	remote net.Addr // what the header says
	err    error
}

// fromProxy wraps a connection where it comes from a configured network.
func fromProxy(conn net.Conn, networks []netip.Prefix) net.Conn {
	if len(networks) == 0 {
		return conn
	}
	addr, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return conn
	}
	for _, n := range networks {
		if n.Contains(addr.Addr().Unmap().WithZone("")) {
			return &proxied{Conn: conn}
		}
	}
	return conn
}

func (p *proxied) header() {
	p.once.Do(func() {
		p.remote = p.Conn.RemoteAddr()
		if p.err = p.SetReadDeadline(time.Now().Add(proxyPatience)); p.err != nil {
			return
		}
		addr, err := readProxy(p.Conn)
		if err == nil {
			err = p.SetReadDeadline(time.Time{})
		}
		if p.err = err; err == nil && addr.IsValid() {
			p.remote = net.TCPAddrFromAddrPort(addr)
		}
	})
}

// RemoteAddr is the address that the proxy speaks for.
func (p *proxied) RemoteAddr() net.Addr {
	p.header()
	return p.remote
}

// Read reads what follows the header.
func (p *proxied) Read(b []byte) (int, error) {
	if p.header(); p.err != nil {
		return 0, p.err
	}
	return p.Conn.Read(b)
}

// SyscallConn is the socket's own.
func (p *proxied) SyscallConn() (syscall.RawConn, error) {
	sc, ok := p.Conn.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("conns: %T has no descriptor", p.Conn)
	}
	return sc.SyscallConn()
}

// NetConn is the connection beneath.
func (p *proxied) NetConn() net.Conn { return p.Conn }

// CloseWrite ends our half of the stream.
func (p *proxied) CloseWrite() error {
	if half, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return p.Close()
}

// readProxy reads a header, and not a byte more. The address is zero where the
// proxy speaks for itself, or for something that has none.
func readProxy(r io.Reader) (netip.AddrPort, error) {
	// The shortest header of version 1 is longer than version 2's signature.
	head := make([]byte, len(proxySignature), proxyTextMax)
	if _, err := io.ReadFull(r, head); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", ErrProxy, err)
	}
	if bytes.Equal(head, proxySignature) {
		return readProxyBinary(r)
	}
	if !bytes.HasPrefix(head, []byte("PROXY ")) {
		return netip.AddrPort{}, ErrProxy
	}
	for !bytes.HasSuffix(head, []byte("\r\n")) {
		if len(head) == proxyTextMax {
			return netip.AddrPort{}, ErrProxy
		}
		head = head[:len(head)+1]
		if _, err := io.ReadFull(r, head[len(head)-1:]); err != nil {
			return netip.AddrPort{}, fmt.Errorf("%w: %w", ErrProxy, err)
		}
	}
	return parseProxyText(string(head[:len(head)-2]))
}

// parseProxyText takes "PROXY TCP4 from to fromPort toPort".
func parseProxyText(line string) (netip.AddrPort, error) {
	f := strings.Split(line, " ")
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return netip.AddrPort{}, ErrProxy
	}
	addr, err := netip.ParseAddrPort(net.JoinHostPort(f[2], f[4]))
	if err != nil || addr.Addr().Is4() != (f[1] == "TCP4") || addr.Addr().Zone() != "" {
		return netip.AddrPort{}, ErrProxy
	}
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), nil
}

func readProxyBinary(r io.Reader) (netip.AddrPort, error) {
	var fixed [4]byte // version and command, family, length
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", ErrProxy, err)
	}
	length := int(binary.BigEndian.Uint16(fixed[2:]))
	if fixed[0]>>4 != 2 || fixed[0]&0xf > 1 || length > proxyBinaryMax {
		return netip.AddrPort{}, ErrProxy
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", ErrProxy, err)
	}
	if fixed[0]&0xf == 0 { // LOCAL: the proxy looks whether we live
		return netip.AddrPort{}, nil
	}
	var size int
	switch fixed[1] {
	case 0x11:
		size = net.IPv4len
	case 0x21:
		size = net.IPv6len
	default:
		return netip.AddrPort{}, nil
	}
	if length < 2*size+4 {
		return netip.AddrPort{}, ErrProxy
	}
	addr, _ := netip.AddrFromSlice(body[:size])
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(body[2*size:])), nil
}
