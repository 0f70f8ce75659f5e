package hostile

import (
	"context"
	"strings"

	"github.com/rookery-im/rookery/internal/limits"
)

const (
	requestLine = "GET /v1/ws"
	headers     = requestLine + " HTTP/1.1\r\nHost: rookery\r\n"
	bodyBegins  = "POST /v1/users HTTP/1.1\r\nHost: rookery\r\nContent-Type: application/json\r\nContent-Length: 500000\r\n\r\n{"
)

// Attacks is all of them, by name.
func Attacks() []Attack {
	long := strings.Repeat("x-y: z\r\n", limits.Name)
	return []Attack{
		{"half-open", "limits.Lobby and ReadHeaderTimeout", halfOpen(manyAddresses)},
		{"half-open-one-address", "limits.LobbyPerAddress and ReadHeaderTimeout", halfOpen(oneAddress)},
		{"slow-request-line", "limits.Lobby and ReadHeaderTimeout", slowHTTP(requestLine, long)},
		{"slow-headers", "limits.Lobby and ReadHeaderTimeout", slowHTTP(headers, long)},
		{"slow-body", "limits.Lobby and ReadTimeout; places are taken with the body read", slowHTTP(bodyBegins, long)},
		{"keep-alive", "limits.Lobby", keepAlive},
		{"no-hello", "limits.HelloTimeout and limits.Unauthenticated", noHello},
		{"slow-frame", "limits.HelloTimeout", slowFrame},
		{"slow-payload-stranger", "limits.Greeting", slowPayload(nobody)},
		{"slow-payload", "limits.Unfinished and limits.PartialTimeout", slowPayload(device)},
		{"tiny-fragments", "limits.Message: a fragment of nothing costs nothing", tinyFragments},
		{"endless-message", "limits.Message", endless},
		{"ping-flood", "limits.PendingHigh: no more is read", pingFlood},
		{"violations", "one connection each", violations},
		{"connection-churn", "one record each", churn},
		{"offers", "MaxHeaderBytes, and no extensions", offers},

		{"never-reads", "limits.PendingHigh, limits.Unread and limits.SlowConsumer", neverReads},
		{"bad-json", "limits.Message and limits.JSONDepth", flood(16, badJSON)},
		{"bad-protobuf", "limits.Message", badProtobuf},
		{"broken-hello", "limits.Greeting", brokenHello},
		{"hello-again", "the connection ends", flood(16, helloAgain)},
		{"takeover", "one session of a device", takeover},
		{"foreign-tokens", "a connection for each", foreignTokens},
		{"frame-flood", "limits.PendingHigh, and the rate of frames", flood(16, frameFlood)},
		{"typing-flood", "the rate of typing", flood(16, typingFlood)},
		{"signal-flood", "the rate of signals, limits.Signal", flood(16, signalFlood)},
		{"watch-flood", "limits.Watched, limits.Watchers and the rate of watches", flood(16, watchFlood)},
		{"many-conversations", "limits.Chains, limits.InFlight and the rate of sends", flood(16, manyConversations)},
		{"send-flood", "limits.InFlightPerConversation, limits.InFlight, limits.SenderShare", flood(16, sendFlood)},
		{"beyond", "nothing is kept of it", flood(16, beyond)},

		{"registrations", "auth.AccountsPerSecond, and two hashes at once", calls(32, registrations)},
		{"logins", "auth.AccountsPerSecond, and two hashes at once", calls(32, logins)},
		{"refreshes", "the rate of requests of a device", calls(16, refreshes)},
		{"profiles", "the rate of requests of a device", calls(16, profiles)},
		{"blocks", "limits.Blocks, and the rate of requests of a device", calls(16, blocks)},
		{"giant-bodies", "limits.Body", calls(16, giants)},
	}
}

// Run an attack until the context ends.
func (a Attack) run(ctx context.Context, f *Field) (*Score, error) {
	s := &Score{}
	return s, a.Run(ctx, f, s)
}
