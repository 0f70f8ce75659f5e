//go:build e2e

package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// frame is what the server sends, in JSON, as docs/protocol.md has it.
type frame struct {
	Ref      uint32        `json:"ref"`
	Welcome  *welcomeFrame `json:"welcome"`
	Sent     *sentFrame    `json:"sent"`
	Deliver  *deliverFrame `json:"deliver"`
	Receipt  *receiptFrame `json:"receipt"`
	Presence *struct {
		User     string `json:"user"`
		Online   bool   `json:"online"`
		LastSeen string `json:"lastSeen"`
	} `json:"presence"`
	Typing *struct {
		From         deviceID     `json:"from"`
		Conversation conversation `json:"conversation"`
		On           bool         `json:"on"`
	} `json:"typing"`
	Signal *struct {
		From  deviceID `json:"from"`
		Bytes []byte   `json:"bytes"`
	} `json:"signal"`
	DeviceEvent *struct {
		Seq uint64 `json:"seq,string"`
	} `json:"deviceEvent"`
	Drained *struct {
		Seq uint64 `json:"seq,string"`
	} `json:"drained"`
	Pong   *struct{}   `json:"pong"`
	Error  *errorFrame `json:"error"`
	GoAway *struct {
		Reason           string `json:"reason"`
		ReconnectAfterMs uint32 `json:"reconnectAfterMs"`
	} `json:"goAway"`

	text string
}

type conversation struct {
	User string `json:"user"`
}

type deviceID struct {
	User   string `json:"user"`
	Device uint32 `json:"device"`
}

type welcomeFrame struct {
	User      string                     `json:"user"`
	Device    uint32                     `json:"device"`
	Session   string                     `json:"session"`
	Heartbeat string                     `json:"heartbeat"`
	Limits    map[string]json.RawMessage `json:"limits"`
	Time      uint64                     `json:"time,string"`
}

type sentFrame struct {
	ID           string       `json:"id"`
	Conversation conversation `json:"conversation"`
	Order        uint64       `json:"order,string"`
	Time         uint64       `json:"time,string"`
	Duplicate    bool         `json:"duplicate"`
}

type deliverFrame struct {
	Seq          uint64       `json:"seq,string"`
	ID           string       `json:"id"`
	From         deviceID     `json:"from"`
	Conversation conversation `json:"conversation"`
	Order        uint64       `json:"order,string"`
	Time         uint64       `json:"time,string"`
	Kind         string       `json:"kind"`
	ReplyTo      string       `json:"replyTo"`
	Payload      []byte       `json:"payload"`
}

type receiptFrame struct {
	Seq           uint64       `json:"seq,string"`
	Conversation  conversation `json:"conversation"`
	By            string       `json:"by"`
	DeliveredUpTo uint64       `json:"deliveredUpTo,string"`
	ReadUpTo      uint64       `json:"readUpTo,string"`
}

type errorFrame struct {
	ID           string     `json:"id"`
	Code         string     `json:"code"`
	Reason       string     `json:"reason"`
	Message      string     `json:"message"`
	Retryable    bool       `json:"retryable"`
	RetryAfterMs int        `json:"retryAfterMs"`
	Missing      []deviceID `json:"missing"`
	Extra        []deviceID `json:"extra"`
}

// parseFrames splits one WebSocket message.
func parseFrames(message string) ([]frame, error) {
	var frames []frame
	for line := range strings.Lines(message) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		f := frame{text: line}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			return nil, fmt.Errorf("frame %q: %w", line, err)
		}
		frames = append(frames, f)
	}
	return frames, nil
}

// seq of the frame in the mailbox; 0 where it has none.
func (f *frame) seq() uint64 {
	switch {
	case f.Deliver != nil:
		return f.Deliver.Seq
	case f.Receipt != nil:
		return f.Receipt.Seq
	case f.DeviceEvent != nil:
		return f.DeviceEvent.Seq
	}
	return 0
}

// What a client sends. The texts stand here once, so that they can be
// compared with docs/protocol.md.

func helloText(token string, acked uint64) string {
	return fmt.Sprintf(`{"ref":1,"hello":{"token":%q,"client":"e2e/1","acked":"%d"}}`, token, acked)
}

func sendText(ref int, id, to, text string) string {
	return fmt.Sprintf(`{"ref":%d,"send":{"id":%q,"to":{"user":%q},"kind":"TEXT","payload":%q}}`, ref, id, to, base64.StdEncoding.EncodeToString([]byte(text)))
}

func ackText(ref int, seq uint64) string {
	return fmt.Sprintf(`{"ref":%d,"ack":{"seq":"%d"}}`, ref, seq)
}

func readText(ref int, peer string, order uint64) string {
	return fmt.Sprintf(`{"ref":%d,"read":{"conversation":{"user":%q},"order":"%d"}}`, ref, peer, order)
}

// longest that any single condition may take on a busy two-core machine.
const patience = 30 * time.Second
