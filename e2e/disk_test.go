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

// diskFaults are how a disk may fail.
var diskFaults = []struct {
	name    string
	begin   func(*faultDisk)
	restart bool // the node has to start anew
}{
	{"no-room", func(f *faultDisk) { f.SetCapacity(f.Used() + 1<<20) }, false},
	{"log-sync", fails(faultfs.Sync, inLog, syscall.EIO), false},
	{"log-write", fails(faultfs.Write, inLog, syscall.EIO), false},
	{"log-write-no-room", fails(faultfs.Write, inLog, syscall.ENOSPC), false},
	{"store-sync", fails(faultfs.Sync, inStore, syscall.EIO), true},
}

func inLog(name string) bool   { return strings.HasSuffix(name, ".seg") || name == "LOG" }
func inStore(name string) bool { return !inLog(name) }

// A disk that is full, or fails, for a while: the node refuses, stays up, says so
// in /readyz and in a metric, and serves again once the disk is well; without a restart, but where
// a sync of Badger's files failed. Nothing acknowledged is lost, then or over a
// power cut right after.
func TestDiskFails(t *testing.T) {
	for _, c := range diskFaults {
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

// Each sync takes 300 ms, then 2 s: what is sent is late and nothing else, and a
// ping is answered all the while. Where one takes 12 s, as on a dying disk, the
// sender is told within 5 s that nobody knows yet.
func TestSlowDisk(t *testing.T) {
	d, disk := onFaultDisk(t)
	stop := d.action()
	tokens := d.server.people(1, "late", "other")
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
		slow.Store(int64(2 * time.Second)) // a send waits for two at most, and is given up after 5 s
		sents := d.count.sents.Load()
		for _, p := range d.phones {
			p.more(2)
		}
		d.await("sents", &d.count.sents, sents+1)
		slow.Store(int64(12 * time.Second))
		d.toldInTime(tokens, func() { slow.Store(0) })
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

// toldInTime wants an answer in the middle of a sync that does not end, and the
// message to be accepted once, when the disk is well.
func (d *director) toldInTime(tokens map[string]string, mend func()) {
	d.t.Helper()
	late := d.server.client(tokens["late/1"])
	body := fmt.Sprintf(`{"id":%q,"to":{"user":"other"},"payload":"aGk="}`, newID())
	for range 2 { // the first may have been just in time for a sync that has ended
		began := time.Now()
		err := late.call(d.t.Context(), "POST", "/v1/messages", body, nil)
		if took := time.Since(began); took > 8*time.Second {
			d.t.Errorf("a send was answered after %v: %v", took, err)
		}
		if err != nil && problemCode(err) != "unavailable" {
			d.t.Errorf("the answer is %v", err)
		}
		if err != nil {
			break
		}
		body = fmt.Sprintf(`{"id":%q,"to":{"user":"other"},"payload":"aGk="}`, newID())
	}
	mend()
	eventually(d.t, "the message is accepted", func() error { return late.call(d.t.Context(), "POST", "/v1/messages", body, nil) })
	page, err := d.server.client(tokens["other/1"]).poll(d.t.Context(), 0, "0s")
	if err != nil {
		d.t.Fatal(err)
	}
	if n := strings.Count(fmt.Sprintf("%s", page.Messages), "deliver"); n < 1 || n > 2 {
		d.t.Errorf("%d messages wait: %s", n, page.Messages)
	}
}

// pingsWhile says how long the slowest ping took while f ran. A connection that the
// server ends is followed by another.
func pingsWhile(t *testing.T, s *server, f func()) time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	token := login(t, s, "pinger")
	var most time.Duration
	count := 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			n, slowest := pings(ctx, s, token)
			count, most = count+n, max(most, slowest)
			pause := time.NewTimer(1500 * time.Millisecond) // sooner is too often
			<-pause.C
		}
	}()
	f()
	cancel()
	<-ended
	if count < 20 {
		t.Errorf("%d pings were answered", count)
	}
	return most
}

// pings over one connection, as long as it lasts.
func pings(ctx context.Context, s *server, token string) (count int, slowest time.Duration) {
	conn, _, err := websocket.Dial(ctx, s.ws(), nil)
	if err != nil {
		return 0, 0
	}
	defer conn.CloseNow()
	if conn.Write(ctx, websocket.MessageText, []byte(helloText(token, 0))) != nil {
		return 0, 0
	}
	go func() { // answers to pings are found by whoever reads
		for {
			if _, _, err := conn.Read(ctx); err != nil {
				return
			}
		}
	}()
	for ; ; count++ {
		began := time.Now()
		limit, cancel := context.WithTimeout(ctx, patience)
		err := conn.Ping(limit)
		cancel()
		if err != nil {
			return count, slowest
		}
		slowest = max(slowest, time.Since(began))
		pause := time.NewTimer(10 * time.Millisecond)
		<-pause.C
	}
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
