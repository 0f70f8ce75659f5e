//go:build e2e

package hostile

import (
	"time"

	"github.com/rookery-im/rookery/internal/limits"
)

const usual = 4 * time.Second

// What the lobby lets stand, and a few that are on their way in or out.
const (
	lobby      = limits.Lobby + 600
	lobbyOfOne = limits.LobbyPerAddress + 200
)

// What each attack may cost, with some air for the collector.
var bounds = []bound{
	{"half-open", 10_000, 1, usual, 200, lobby},
	{"half-open-one-address", 10_000, 1, usual, 100, lobbyOfOne},
	{"slow-request-line", 4000, 1, usual, 200, lobby},
	{"slow-headers", 4000, 1, usual, 200, lobby},
	{"slow-body", 4000, 1, usual, 200, lobby},
	{"keep-alive", 4000, 1, usual, 200, lobby},
	{"no-hello", 8000, 1, usual, 200, 0},
	{"slow-frame", 4000, 1, usual, 100, 0},
	{"slow-payload-stranger", 2000, 1, usual, 100, 0},
	{"slow-payload", 1500, 1500, usual, 300, 0},
	{"tiny-fragments", 0, 8, usual, 100, 0},
	{"endless-message", 0, 16, usual, 100, 0},
	{"ping-flood", 0, 16, usual, 100, 0},
	{"violations", 0, 1, usual, 100, 0},
	{"connection-churn", 0, 16, usual, 100, 0},
	{"offers", 0, 1, usual, 100, 0},
	{"never-reads", 0, 600, 10 * time.Second, 2*limits.Unread>>20 + 200, 0}, // twice: the collector lets garbage grow as large as what is used
	{"bad-json", 0, 16, usual, 200, 0},
	{"bad-protobuf", 0, 16, usual, 200, 0},
	{"broken-hello", 0, 1, usual, 200, 0},
	{"hello-again", 0, 16, usual, 100, 0},
	{"takeover", 0, 1, usual, 100, 0},
	{"foreign-tokens", 0, 16, usual, 100, 0},
	{"frame-flood", 0, 16, usual, 100, 0},
	{"typing-flood", 0, 16, usual, 100, 0},
	{"signal-flood", 0, 16, usual, 100, 0},
	{"watch-flood", 0, 16, usual, 200, 0},
	{"many-conversations", 0, 16, usual, 200, 0},
	{"send-flood", 0, 16, usual, 200, 0},
	{"beyond", 0, 16, usual, 100, 0},
	{"registrations", 0, 1, usual, 200, 0},
	{"logins", 0, 1, usual, 200, 0},
	{"refreshes", 0, 16, usual, 100, 0},
	{"profiles", 0, 16, usual, 100, 0},
	{"blocks", 0, 16, usual, 100, 0},
	{"giant-bodies", 0, 16, usual, 200, 0},
}
