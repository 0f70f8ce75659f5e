//go:build e2e && linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rookery-im/rookery/e2e/faultfs"
)

// A disk that is full, or fails, for a while: the node refuses, stays up, says so
// in /readyz and in a metric, and serves again once the disk is well; without a restart, but where
// a sync of Badger's files failed. Nothing acknowledged is lost, then or over a
// power cut right after.
func TestDiskFails(t *testing.T) {
	inLog := func(name string) bool { return strings.HasSuffix(name, ".seg") || name == "LOG" }
	inStore := func(name string) bool { return !inLog(name) }
	for _, c := range []struct {
		name    string
		begin   func(*faultDisk)
		restart bool
	}{
		{"no-room", func(f *faultDisk) { f.SetCapacity(f.Used() + 1<<20) }, false},
		{"log-sync", fails(faultfs.Sync, inLog, syscall.EIO), false},
		{"log-write", fails(faultfs.Write, inLog, syscall.EIO), false},
		{"log-write-no-room", fails(faultfs.Write, inLog, syscall.ENOSPC), false},
		{"store-sync", fails(faultfs.Sync, inStore, syscall.EIO), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, disk := onFaultDisk(t)
			stop := d.action()
			for round := range envInt(t, "E2E_DISK_ROUNDS", 2) {
				d.server.kill()
				d.server.extra = []string{"--checkpoint-every", "200ms"}
				d.server.restart()
				d.talkUntil("something is sent", d.more(&d.count.sents))
				c.begin(disk)
				d.talkUntil("the node is not ready", func() bool { return d.status("/readyz") == http.StatusServiceUnavailable })
				if d.status("/healthz") != http.StatusOK || !d.server.alive() {
					t.Fatal("the node did not stay up")
				}
				d.unwell()
				disk.mend()
				if c.restart {
					d.server.kill()
					d.server.restart()
				}
				d.server.waitReady()
				d.talkUntil("something is sent again", d.more(&d.count.sents))
				d.judge(fmt.Sprintf("round %d", round))
				d.life(round) // and a checkpoint, or several
				d.server.kill()
				disk.cut(faultfs.Some)
				d.server.restart()
				d.judge(fmt.Sprintf("cut %d", round))
			}
			d.settle()
			stop()
			d.judgeAtRest()
		})
	}
}

// fails makes an operation fail on some files.
func fails(op faultfs.Op, on func(name string) bool, errno syscall.Errno) func(*faultDisk) {
	return func(f *faultDisk) {
		f.SetFault(func(o faultfs.Op, name string) syscall.Errno {
			if o == op && on(name) {
				return errno
			}
			return 0
		})
	}
}

// mend ends whatever is wrong with the disk.
func (f *faultDisk) mend() {
	f.SetFault(nil)
	f.SetCapacity(0)
}

// more says whether a counter has grown since it was called.
func (d *director) more(counter *atomic.Int64) func() bool {
	was := counter.Load()
	return func() bool { return counter.Load() > was }
}

// talkUntil gives the phones something to say until it is so.
func (d *director) talkUntil(what string, is func() bool) {
	d.t.Helper()
	eventually(d.t, what, func() error {
		for _, p := range d.phones {
			p.more(1)
		}
		if !is() {
			return errors.New("not yet")
		}
		return nil
	})
}

func (d *director) status(path string) int {
	response, err := http.Get(d.server.url(path))
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// Each sync takes 300 ms, then one takes as long as a dying disk's: what is sent
// is late and nothing else, and a ping is answered all the while.
func TestSlowDisk(t *testing.T) {
	d, disk := onFaultDisk(t)
	stop := d.action()
	slow := atomic.Int64{}
	slow.Store(int64(300 * time.Millisecond))
	disk.SetFault(func(op faultfs.Op, name string) syscall.Errno {
		if op == faultfs.Sync && strings.HasSuffix(name, ".seg") {
			wait := time.NewTimer(time.Duration(slow.Load()))
			<-wait.C
		}
		return 0
	})
	worst := pingsWhile(t, d.server, func() {
		d.life(0)
		slow.Store(int64(3 * time.Second))
		sents := d.count.sents.Load()
		for _, p := range d.phones {
			p.more(2)
		}
		d.await("sents", &d.count.sents, sents+1)
	})
	disk.mend()
	if worst > time.Second {
		t.Errorf("a ping waited %v for the disk", worst)
	}
	t.Logf("the slowest of all pings took %v", worst)
	d.judge("slow")
	d.settle()
	stop()
	d.judgeAtRest()
}

// pingsWhile says how long the slowest ping took while f ran.
func pingsWhile(t *testing.T, s *server, f func()) time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	conn, _, err := websocket.Dial(ctx, s.ws(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	token := login(t, s, "pinger")
	if err := conn.Write(ctx, websocket.MessageText, []byte(helloText(token, 0))); err != nil {
		t.Fatal(err)
	}
	reading := conn.CloseRead(ctx)
	worst := make(chan time.Duration, 1)
	go func() {
		var most time.Duration
		for ctx.Err() == nil {
			began := time.Now()
			if conn.Ping(reading) != nil {
				break
			}
			most = max(most, time.Since(began))
			pause := time.NewTimer(10 * time.Millisecond)
			<-pause.C
		}
		worst <- most
	}()
	f()
	cancel()
	return <-worst
}

// login makes an account with one device and returns its token.
func login(t *testing.T, s *server, user string) string {
	t.Helper()
	d := &director{t: t, server: s}
	d.post("/v1/users", map[string]any{"user": user, "name": user, "password": password})
	var device struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(d.post("/v1/devices", map[string]any{"user": user, "password": password, "deviceName": "one"}), &device); err != nil {
		t.Fatal(err)
	}
	return device.Token
}

// A process that was stopped for a while goes on as if nothing had been.
func TestPausedProcess(t *testing.T) {
	d, _ := onFaultDisk(t)
	stop := d.action()
	d.life(0)
	pid := d.server.process.Process
	if err := pid.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	pause := time.NewTimer(time.Duration(envInt(t, "E2E_PAUSE", 6)) * time.Second)
	<-pause.C
	if err := pid.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	d.talkUntil("something is sent again", d.more(&d.count.sents))
	d.judge("after the pause")
	d.settle()
	stop()
	d.judgeAtRest()
}
