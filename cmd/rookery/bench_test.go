package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rookery-im/rookery/bench/report"
	"github.com/rookery-im/rookery/transport/poll"
)

// becomeRookery has this test's binary be the program: the bench starts itself
// anew as a node, and as workers.
const becomeRookery = "BECOME_ROOKERY"

func TestMain(m *testing.M) {
	if os.Getenv(becomeRookery) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// benchRun runs a scenario against a node of its own and gives its JSON. Here
// other tests run beside it: that the generator was late is no failure.
func benchRun(t *testing.T, args ...string) (*report.Result, string) {
	t.Helper()
	if !poll.Supported {
		t.Skip("no epoll here: nothing can be measured")
	}
	t.Setenv(becomeRookery, "1")
	dir := t.TempDir()
	result := filepath.Join(dir, "result.json")
	args = append(append([]string{"bench"}, args...), "--self", "--dir", dir, "--allow-tmpfs", "--disk-probe", "50ms", "--json", result, "--html", filepath.Join(dir, "page.html"))
	var out bytes.Buffer
	// A file, not a buffer: workers write to it beside us.
	progress, err := os.Create(filepath.Join(dir, "progress"))
	if err != nil {
		t.Fatal(err)
	}
	defer progress.Close()
	code := run(t.Context(), args, streams{strings.NewReader(""), &out, progress})
	said, err := os.ReadFile(progress.Name())
	if err != nil {
		t.Fatal(err)
	}
	if code != 0 && !bytes.Contains(said, []byte("NOT VALID")) {
		t.Fatalf("exit code %d\n%s\n%s", code, said, out.String())
	}
	data, err := os.ReadFile(result)
	if err != nil {
		t.Fatal(err)
	}
	var r report.Result
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if err := r.Failed(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if page, err := os.ReadFile(filepath.Join(dir, "page.html")); err != nil || !bytes.Contains(page, []byte("</html>")) {
		t.Errorf("the page: %d bytes, %v", len(page), err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "rookery-bench-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return &r, string(said)
}

// The whole way, for a second: a node, users in pairs, the account, the report.
func TestBenchPairs(t *testing.T) {
	r, progress := benchRun(t, "pairs", "--users", "40", "--warm", "200ms", "--during", "1s", "--checkpoints", "0")
	if r.Scenario != "pairs" || r.Rate == 0 || r.ServerCPUPerMillion == 0 || r.ClientCPUPerMillion == 0 || r.Window1 == nil || r.Window1.Rate == 0 {
		t.Errorf("figures are missing: %+v", r)
	}
	if r.SentMs == nil || r.DeliverMs == nil || r.ReceiptMs == nil || r.DiskSyncMs == nil || r.MaxStallMs == 0 {
		t.Errorf("latencies are missing: %+v", r)
	}
	if n := r.Tally; n.Sent < 100 || n.Accepted != n.Sent || n.Delivered != n.Sent || n.Receipted != n.Sent {
		t.Errorf("the account: %+v", n)
	}
	if w := r.Phases[1]; w.Syncs == 0 || w.LogBytes == 0 || w.ResidentBytes == 0 || w.SentMs.Count < int64(w.Messages) {
		t.Errorf("of the node: %+v", w)
	}
	if !strings.Contains(progress, "limit lifted: rate of sends") {
		t.Errorf("what was lifted is not said:\n%s", progress)
	}
}

// Two processes generate the load, and the node is killed in between: all that
// was stored is there.
func TestBenchKill(t *testing.T) {
	r, progress := benchRun(t, "offline", "--users", "20", "--messages", "20", "--kill", "--workers", "2")
	if r.Tally.Sent != 400 || r.Tally.Delivered != 400 || r.StoreRate == 0 || r.DrainRate == 0 || r.RecoverSeconds == 0 {
		t.Errorf("got %+v", r)
	}
	if !strings.Contains(progress, "2 processes") || !strings.Contains(progress, "killed") {
		t.Errorf("got\n%s", progress)
	}
}

// Sessions without descriptors: more than this process may open would do. Each
// stands, weighs something, and gets its message.
func TestBenchStandIn(t *testing.T) {
	r, progress := benchRun(t, "idle", "--stand-in", "--sessions", "600", "--sample", "400", "--rest", "200ms", "--serve-flag", "--hibernate-after=1s")
	if r.Sessions != 600 || r.Tally.Sent != 400 || r.Tally.Delivered != 400 || r.Tally.Receipted != 400 {
		t.Errorf("got %+v, %d sessions", r.Tally, r.Sessions)
	}
	if r.BytesPerSession == 0 || r.Resident == nil || r.Resident.Heap == 0 || r.MaxPauseMs == 0 || r.MaxStallMs == 0 {
		t.Errorf("figures are missing: %+v, %+v", r, r.Resident)
	}
	if sum := r.Resident.Sum(); math.Abs(sum-r.BytesPerSession) > 1 {
		t.Errorf("the parts are %v, the whole %v", sum, r.BytesPerSession)
	}
	if !strings.Contains(progress, "limit lifted: descriptors") || !slices.ContainsFunc(r.Node.Lifted, func(s string) bool { return strings.Contains(s, "stand-ins") }) {
		t.Errorf("what was lifted is not said: %v\n%s", r.Node.Lifted, progress)
	}
	if !slices.ContainsFunc(r.Notes, func(s string) bool { return strings.Contains(s, "400 of the 600") }) {
		t.Errorf("that it was a sample is not said: %v", r.Notes)
	}
}

// Several devices each, and phones that come and go.
func TestBenchMixed(t *testing.T) {
	r, _ := benchRun(t, "mixed", "--users", "40", "--rate", "400", "--warm", "200ms", "--during", "1s", "--checkpoints", "0", "--restart", "30")
	if r.Tally.Sent < 50 || r.Tally.Delivered != r.Tally.Sent {
		t.Errorf("got %+v", r.Tally)
	}
}

// Wrong calls are refused before anything is started.
func TestBenchCalls(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"nothing"}, 2, "no scenario"},
		{[]string{"pairs", "--runs", "0", "--payload", "3"}, 2, "payload"},
		{[]string{"pairs", "left", "over"}, 2, "left"},
		{[]string{"compare", "a"}, 2, "two files"},
		{[]string{"pairs", "--serve-flag", "--ws-echo"}, 2, "--self"},
		{[]string{"idle", "--stand-in"}, 2, "--self"},
		{[]string{"pairs", "--self", "--dir", t.TempDir(), "--users", "3"}, 2, "even"},
		{[]string{"pairs", "--admin", filepath.Join(t.TempDir(), "nobody.sock")}, 1, "nobody.sock"},
		{nil, 0, ""},
		{[]string{"pairs", "--help"}, 0, "window"},
	} {
		t.Setenv(becomeRookery, "1")
		var out, problems bytes.Buffer
		code := run(t.Context(), append([]string{"bench"}, c.args...), streams{strings.NewReader(""), &out, &problems})
		if code != c.code || !strings.Contains(problems.String(), c.want) {
			t.Errorf("%v: code %d, %q", c.args, code, problems.String())
		}
	}
}

// Memory is no disk: it is refused unless told, and stamped.
func TestBenchRefusesMemory(t *testing.T) {
	const memory = "/dev/shm"
	if _, err := os.Stat(memory); err != nil {
		t.Logf("no %s here", memory)
		return
	}
	var out, problems bytes.Buffer
	code := run(t.Context(), []string{"bench", "pairs", "--self", "--dir", memory}, streams{strings.NewReader(""), &out, &problems})
	if code != 1 || !strings.Contains(problems.String(), "--allow-tmpfs") {
		t.Errorf("code %d, %q", code, problems.String())
	}
}

// A cluster is left alone, and then has a load on all its nodes that is accounted for.
func TestBenchCluster(t *testing.T) {
	r, progress := benchRun(t, "empty", "--nodes", "3", "--serve-flag", "--shards=4", "--warm", "0s", "--during", "1s")
	if len(r.Phases) != 1 || r.Phases[0].ServerCores == 0 || r.Phases[0].ResidentBytes == 0 {
		t.Errorf("got %+v\n%s", r.Phases, progress)
	}
	if !slices.Contains(r.Node.Set, "3 nodes") {
		t.Errorf("that they are three is not said: %v", r.Node.Set)
	}
	r, progress = benchRun(t, "pairs", "--nodes", "3", "--serve-flag", "--shards=4", "--users", "24", "--windows", "1", "--open", "0", "--warm", "100ms", "--during", "300ms")
	if r.Tally.Sent == 0 || r.Tally.Delivered != r.Tally.Sent || r.Tally.Receipted != r.Tally.Sent {
		t.Errorf("got %+v\n%s", r.Tally, progress)
	}
}
