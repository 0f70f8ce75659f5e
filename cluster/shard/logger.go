package shard

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/rookery-im/rookery/internal/invariant"
)

// raftLogger passes on what Raft has to say. Elections of 64 groups are many
// lines: all but warnings and errors are for debugging.
type raftLogger struct{ log *slog.Logger }

func (l raftLogger) at(level slog.Level, msg func() string) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, msg())
	}
}

func (l raftLogger) plain(level slog.Level, v []any) {
	l.at(level, func() string { return fmt.Sprint(v...) })
}

func (l raftLogger) format(level slog.Level, format string, v []any) {
	l.at(level, func() string { return fmt.Sprintf(format, v...) })
}

// warning is how loud one of Raft's is. Each restart has each group not stand at once,
// as changes of the configuration are still to be applied again: no news.
func warning(format string) slog.Level {
	if strings.Contains(format, "cannot campaign") {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

func (l raftLogger) Debug(v ...any)                   { l.plain(slog.LevelDebug, v) }
func (l raftLogger) Debugf(format string, v ...any)   { l.format(slog.LevelDebug, format, v) }
func (l raftLogger) Info(v ...any)                    { l.plain(slog.LevelDebug, v) }
func (l raftLogger) Infof(format string, v ...any)    { l.format(slog.LevelDebug, format, v) }
func (l raftLogger) Warning(v ...any)                 { l.plain(slog.LevelWarn, v) }
func (l raftLogger) Warningf(format string, v ...any) { l.format(warning(format), format, v) }
func (l raftLogger) Error(v ...any)                   { l.plain(slog.LevelError, v) }
func (l raftLogger) Errorf(format string, v ...any)   { l.format(slog.LevelError, format, v) }
func (l raftLogger) Fatal(v ...any)                   { invariant.Check(false, "raft: %s", fmt.Sprint(v...)) }
func (l raftLogger) Fatalf(format string, v ...any) {
	invariant.Check(false, "raft: %s", fmt.Sprintf(format, v...))
}
func (l raftLogger) Panic(v ...any) { invariant.Check(false, "raft: %s", fmt.Sprint(v...)) }
func (l raftLogger) Panicf(format string, v ...any) {
	invariant.Check(false, "raft: %s", fmt.Sprintf(format, v...))
}
