package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// badgerLog passes Badger's messages on. Its informational chatter is debug
// here. Errors are counted too: Badger retries a failed flush for ever and says
// so nowhere else. Badger names the key of a value it cannot read: keys hold
// user names but no secrets.
type badgerLog struct {
	log *slog.Logger
	m   *Metrics
}

func (b badgerLog) say(level slog.Level, format string, args []any) {
	if b.log.Enabled(context.Background(), level) {
		b.log.Log(context.Background(), level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

func (b badgerLog) Errorf(format string, args ...any) {
	b.m.BadgerLog.WithLabelValues("error").Inc()
	b.say(slog.LevelError, format, args)
}

func (b badgerLog) Warningf(format string, args ...any) {
	b.m.BadgerLog.WithLabelValues("warning").Inc()
	b.say(slog.LevelWarn, format, args)
}

func (b badgerLog) Infof(format string, args ...any)  { b.say(slog.LevelDebug, format, args) }
func (b badgerLog) Debugf(format string, args ...any) {}
