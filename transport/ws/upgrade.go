package ws

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	gobwas "github.com/gobwas/ws"

	"github.com/rookery-im/rookery/internal/fault"
)

// Subprotocol is the encoding a connection has agreed to.
type Subprotocol uint8

// The encodings of the one schema. JSON is what a client gets that offers none.
const (
	JSON Subprotocol = iota
	Protobuf
)

// The subprotocols' names in the handshake.
const (
	NameJSON     = "rookery.v1.json"
	NameProtobuf = "rookery.v1.protobuf"
)

// version of the protocol: there is one (RFC 6455, section 4.1).
const version = "13"

// String is the subprotocol's name in the handshake.
func (s Subprotocol) String() string {
	if s == Protobuf {
		return NameProtobuf
	}
	return NameJSON
}

// Opcode is how messages of this subprotocol travel.
func (s Subprotocol) Opcode() Opcode {
	if s == Protobuf {
		return Binary
	}
	return Text
}

// ErrSubprotocol is the refusal of a client that offers only what is unknown here.
var ErrSubprotocol = errors.New("Sec-WebSocket-Protocol: must name " + NameProtobuf + " or " + NameJSON + ", or be absent")

// Negotiate picks the first subprotocol offered that is known here. The name is
// empty, and JSON spoken, where none is offered at all.
func Negotiate(offers []string) (Subprotocol, string, error) {
	offered := false
	for _, line := range offers {
		for name := range strings.SplitSeq(line, ",") {
			switch strings.TrimSpace(name) {
			case NameJSON:
				return JSON, NameJSON, nil
			case NameProtobuf:
				return Protobuf, NameProtobuf, nil
			case "":
			default:
				offered = true
			}
		}
	}
	if offered {
		return JSON, "", ErrSubprotocol
	}
	return JSON, "", nil
}

// Bearer is the token of an Authorization header, or "".
func Bearer(h http.Header) string {
	scheme, token, ok := strings.Cut(strings.TrimSpace(h.Get("Authorization")), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// Handshake is a connection that has been upgraded and belongs to the caller.
type Handshake struct {
	Conn        net.Conn
	Leftover    []byte // frames that arrived together with the request
	Subprotocol Subprotocol
	Token       string // of the Authorization header; may be empty
}

// Upgrade takes the connection from net/http and answers the opening handshake.
// On an error everything has been answered, and the connection is closed where
// it was taken.
func Upgrade(w http.ResponseWriter, r *http.Request, timeout time.Duration) (*Handshake, error) {
	name, err := judge(w, r)
	if err != nil {
		return nil, err
	}
	u := gobwas.HTTPUpgrader{Timeout: timeout}
	if name != "" {
		// The engine would parse the offers once more, and call a malformed one
		// an error of ours.
		u.Header = http.Header{"Sec-Websocket-Protocol": {name}}
	}
	conn, rw, _, err := u.Upgrade(r, w)
	if err != nil {
		if conn != nil {
			err = errors.Join(err, conn.Close())
		}
		return nil, fmt.Errorf("websocket: handshake: %w", err)
	}
	left, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("websocket: bytes after the handshake: %w", err), conn.Close())
	}
	// The reader is net/http's: keeping a part of it would pin all of it.
	sub := JSON
	if name == NameProtobuf {
		sub = Protobuf
	}
	return &Handshake{Conn: conn, Leftover: slices.Clone(left), Subprotocol: sub, Token: Bearer(r.Header)}, nil
}

// nonceLen is the length of a decoded Sec-WebSocket-Key (RFC 6455, section 4.1).
const nonceLen = 16

// judge refuses a request that is no opening handshake (RFC 6455, section
// 4.2.1), in the shape of every other error, and gives the subprotocol's name.
func judge(w http.ResponseWriter, r *http.Request) (string, error) {
	refuse := func(status int, detail string) (string, error) {
		if status == http.StatusUpgradeRequired {
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Sec-WebSocket-Version", version)
		}
		Refuse(w, status, fault.InvalidArgument, detail)
		return "", errors.New("websocket: " + detail)
	}
	versions, keys := r.Header.Values("Sec-WebSocket-Version"), r.Header.Values("Sec-WebSocket-Key")
	switch {
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		return refuse(http.StatusUpgradeRequired, "Upgrade: this is a WebSocket endpoint")
	case r.Method != http.MethodGet || !r.ProtoAtLeast(1, 1):
		return refuse(http.StatusBadRequest, "Upgrade: a WebSocket begins with GET, in HTTP/1.1")
	case !slices.ContainsFunc(r.Header.Values("Connection"), asksForUpgrade):
		return refuse(http.StatusBadRequest, "Connection: must name Upgrade")
	case len(versions) != 1:
		return refuse(http.StatusBadRequest, "Sec-WebSocket-Version: must be given once")
	case versions[0] != version:
		return refuse(http.StatusUpgradeRequired, "Sec-WebSocket-Version: must be "+version)
	case len(keys) != 1:
		return refuse(http.StatusBadRequest, "Sec-WebSocket-Key: must be given once")
	}
	if nonce, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(nonce) != nonceLen {
		return refuse(http.StatusBadRequest, "Sec-WebSocket-Key: must be 16 bytes in base64")
	}
	_, name, err := Negotiate(r.Header.Values("Sec-WebSocket-Protocol"))
	if err != nil {
		Refuse(w, http.StatusBadRequest, fault.InvalidArgument, err.Error())
	}
	return name, err
}

func asksForUpgrade(value string) bool {
	for token := range strings.SplitSeq(value, ",") {
		if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
			return true
		}
	}
	return false
}
