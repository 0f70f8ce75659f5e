package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-im/rookery/client/internal/core"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
)

const (
	readLimit    = 8 << 20          // one message of the server's; it writes at most 2 MiB at once
	batchBytes   = 64 << 10         // frames that are put into one message
	batchFrames  = 256              // and how many
	linkQueue    = 4096             // frames that wait to be written; past it, what is not stored is dropped
	dialTimeout  = 15 * time.Second // TCP, TLS and the upgrade
	closeTimeout = 2 * time.Second  // for what was said last, and the closing handshake
)

// socket is a WebSocket as a link sees it. Tests have others.
type socket interface {
	Read(ctx context.Context) ([]byte, error)
	Write(ctx context.Context, b []byte) error
	Close(reason string)
	CloseNow()
}

// dialer opens a socket; heard is called for each ping.
type dialer func(ctx context.Context, url string, heard func()) (socket, error)

// link is one connection: a goroutine that dials and reads, and one that writes.
type link struct {
	// immutable
	id     uint64
	enc    Encoding
	post   func(context.Context, core.Input)
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{}

	mu      sync.Mutex
	queue   []*clientpb.ClientFrame
	leaving string      // close in good order once the queue is empty
	limit   *time.Timer // ends what does not leave in time
}

func newLink(ctx context.Context, id uint64, enc Encoding, post func(context.Context, core.Input)) *link {
	l := &link{id: id, enc: enc, post: post, wake: make(chan struct{}, 1)}
	l.ctx, l.cancel = context.WithCancel(ctx)
	return l
}

// run is the connection's life.
func (l *link) run(dial dialer, url string) {
	defer l.ended()
	dialling, cancel := context.WithTimeout(l.ctx, dialTimeout)
	s, err := dial(dialling, url, func() { l.post(l.ctx, core.Heard{Conn: l.id}) })
	cancel()
	if err != nil {
		l.post(l.ctx, core.Lost{Conn: l.id, Err: fmt.Errorf("connect: %w", err)})
		return
	}
	defer s.CloseNow()
	l.post(l.ctx, core.Dialled{Conn: l.id})
	var writer sync.WaitGroup
	writer.Go(func() { l.write(s) })
	code, err := l.read(s)
	l.post(l.ctx, core.Lost{Conn: l.id, Code: code, Err: err})
	l.cancel()
	writer.Wait()
}

// read until the connection ends.
func (l *link) read(s socket) (int, error) {
	for {
		data, err := s.Read(l.ctx)
		if err != nil {
			var closed websocket.CloseError
			if errors.As(err, &closed) {
				return int(closed.Code), fmt.Errorf("the server closed: %d %s", closed.Code, closed.Reason)
			}
			return 0, fmt.Errorf("read: %w", err)
		}
		frames, err := l.enc.parse(data)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		l.post(l.ctx, core.Frames{Conn: l.id, Frames: frames})
	}
}

// ended stops what was started for leaving.
func (l *link) ended() {
	l.cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limit != nil {
		l.limit.Stop()
	}
}

// say queues a frame. It does not block.
func (l *link) say(f *clientpb.ClientFrame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= linkQueue && (f.GetTyping() != nil || f.GetSignalTo() != nil) {
		return
	}
	l.queue = append(l.queue, f)
	l.nudge()
}

// leave closes the connection once what was said is out, in bounded time.
func (l *link) leave(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leaving = reason
	l.limit = time.AfterFunc(closeTimeout, l.cancel)
	l.nudge()
}

func (l *link) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// write what is queued, as few messages as it takes.
func (l *link) write(s socket) {
	defer l.cancel() // the reader ends with the writer
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.wake:
		}
		l.mu.Lock()
		batch, leaving := l.queue, l.leaving
		l.queue = nil
		l.mu.Unlock()
		if err := l.writeAll(l.ctx, s, batch); err != nil {
			s.CloseNow() // the reader says why
			<-l.ctx.Done()
			return
		}
		if leaving != "" {
			s.Close(leaving)
			return
		}
	}
}

func (l *link) writeAll(ctx context.Context, s socket, frames []*clientpb.ClientFrame) error {
	var message []byte
	count := 0
	for _, f := range frames {
		longer, err := l.enc.appendFrame(message, f)
		if err != nil {
			return err
		}
		// One large frame may fill a message by itself, as the server bounds it.
		if count > 0 && (len(longer) > batchBytes || count >= batchFrames) {
			if err := s.Write(ctx, message); err != nil {
				return err
			}
			if longer, err = l.enc.appendFrame(nil, f); err != nil {
				return err
			}
			count = 0
		}
		message = longer
		count++
	}
	if count == 0 {
		return nil
	}
	return s.Write(ctx, message)
}

// webSocket is the real socket.
type webSocket struct {
	conn *websocket.Conn
	typ  websocket.MessageType
}

// dialWebSocket is the dialer of all but tests.
func dialWebSocket(enc Encoding, h *http.Client) dialer {
	return func(ctx context.Context, url string, heard func()) (socket, error) {
		conn, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{
			HTTPClient:     h,
			Subprotocols:   []string{enc.subprotocol()},
			OnPingReceived: func(context.Context, []byte) bool { heard(); return true },
		})
		if err != nil {
			if resp != nil && resp.Body != nil {
				resp.Body.Close()
			}
			return nil, err
		}
		if got := conn.Subprotocol(); got != enc.subprotocol() {
			_ = conn.CloseNow()
			return nil, fmt.Errorf("%w: asked for %s, and the answer is %q; what is between may have lost the header", ErrProtocol, enc.subprotocol(), got)
		}
		conn.SetReadLimit(readLimit)
		return &webSocket{conn: conn, typ: enc.messageType()}, nil
	}
}

func (w *webSocket) Read(ctx context.Context) ([]byte, error) {
	_, data, err := w.conn.Read(ctx)
	return data, err
}

func (w *webSocket) Write(ctx context.Context, b []byte) error {
	return w.conn.Write(ctx, w.typ, b)
}

func (w *webSocket) Close(reason string) { _ = w.conn.Close(websocket.StatusNormalClosure, reason) }
func (w *webSocket) CloseNow()           { _ = w.conn.CloseNow() }
