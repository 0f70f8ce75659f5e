package lint

import (
	"strings"
	"testing"
)

// Each ban against the fault it is for: a rule that never fires looks just
// like a house in order.
func TestBansFire(t *testing.T) {
	cases := []struct {
		name, path, text string
		want             string // part of the fault; empty where it is allowed
	}{
		{"actor engine outside its host", "cluster/shard/a.go", `import "github.com/asynkron/protoactor-go/actor"`, "only [actors/host] may"},
		{"actor engine in its host", "actors/host/a.go", `import "github.com/asynkron/protoactor-go/actor"`, ""},
		{"protoactor's cluster, even in the host", "actors/host/a.go", `import "github.com/asynkron/protoactor-go/cluster"`, "adr/0004"},
		{"Badger outside the store", "actors/host/a.go", `import "github.com/dgraph-io/badger/v4"`, "only [persistence/store] may"},
		{"Raft in a machine", "cluster/control/a.go", `import "go.etcd.io/raft/v3/raftpb"`, "Machine gets bytes"},
		{"gobwas/ws in a test elsewhere", "e2e/a_test.go", `import "github.com/gobwas/ws"`, "only [transport/ws] may"},
		{"system calls in an actor", "actors/host/a.go", `import "golang.org/x/sys/unix"`, "system calls"},
		{"an unknown dependency", "transport/ws/a.go", `import "example.com/left-pad"`, "no row of internal/lint"},
		{"a test library in the binary", "transport/ws/a.go", `import "pgregory.net/rapid"`, "tests only"},
		{"a test library in a test", "transport/ws/a_test.go", `import "pgregory.net/rapid"`, ""},

		{"transport knows the store", "transport/session/a.go", `import "` + module + `/persistence/store"`, "wire it in cmd"},
		{"persistence knows actors", "persistence/store/a.go", `import "` + module + `/actors/user"`, "wire it in cmd"},
		{"the binary knows everything", "cmd/rookery/node/a.go", `import "` + module + `/actors/user"`, ""},
		{"a core knows its shell", "actors/user/a.go", `import "` + module + `/actors/host"`, "pure core"},
		{"a shell knows its core", "actors/host/a.go", `import "` + module + `/actors/user"`, ""},
		{"a leaf with behaviour", "internal/limits/a.go", `import "` + module + `/transport/ws"`, "leaves"},
		{"the SDK pulls in internals", "client/a.go", `import "` + module + `/internal/limits"`, "strangers"},
		{"a folder nobody described", "plugins/a.go", `import "` + module + `/proto/rookery/client/v1"`, "no row"},

		{"a clock in a core", "actors/user/a.go", "import \"time\"\nfunc f() { time.Now() }", "as an input"},
		{"a duration in a core", "actors/user/a.go", "import \"time\"\nconst d = time.Second", ""},
		{"I/O in a core", "persistence/mailbox/a.go", `import "os"`, "no I/O"},
		{"a goroutine in a core", "actors/user/a.go", "func f() { go f() }", "a goroutine in a core"},
		{"a lock in a core", "actors/user/a.go", `import "sync/atomic"`, "single-threaded"},
		{"a sleep in a test", "transport/ws/a_test.go", "import \"time\"\nfunc f() { time.Sleep(1) }", "wait for a condition"},
		{"a renamed sleep in a test", "transport/ws/a_test.go", "import clock \"time\"\nfunc f() { clock.Sleep(1) }", "wait for a condition"},
		{"a sleep in a bubble's time", "transport/ws/a_test.go", "import \"time\"\nimport \"testing/synctest\"\nfunc f() { time.Sleep(1); synctest.Wait() }", ""},
		{"the package logger", "transport/ws/a.go", `import "log"`, "slog.Logger"},
		{"slog is not log", "transport/ws/a.go", `import "log/slog"`, ""},
		{"a library that exits", "transport/ws/a.go", "import \"os\"\nfunc f() { os.Exit(1) }", "only cmd"},
		{"init", "transport/ws/a.go", "func init() {}", "constructor"},
		{"panic", "transport/ws/a.go", `func f() { panic("no") }`, "internal/invariant"},
		{"a grab bag", "internal/util/a.go", "", "domain noun"},
		{"a long file", "transport/ws/a.go", strings.Repeat("\n", fileLines+1), "split it"},

		{"package state, written", "transport/ws/a.go", "var n int\nfunc f() { n++ }", "writes package variable n"},
		{"package state, in a map", "transport/ws/a.go", "var m = map[int]int{}\nfunc f() { m[1] = 2 }", "writes package variable m"},
		{"package state, guarded", "transport/ws/a.go", "import \"sync\"\nvar mu sync.Mutex", "guards state"},
		{"package state, atomic", "transport/ws/a.go", "import \"sync/atomic\"\nvar p atomic.Pointer[int]", "guards state"},
		{"a local of the same name", "transport/ws/a.go", "var n = 1\nfunc f() { n := 2; n++ }", ""},
		{"a table", "transport/ws/a.go", "var m = map[int]int{1: 2}\nfunc f() int { return m[1] }", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			name := c.path[strings.LastIndex(c.path[:strings.LastIndex(c.path, "/")], "/")+1 : strings.LastIndex(c.path, "/")]
			s, err := parseSource(c.path, []byte("package "+name+"\n"+c.text))
			if err != nil {
				t.Fatal(err)
			}
			faults := append(checkImports(s), checkHabits(s)...)
			faults = append(faults, checkState([]*source{s})...)
			got := strings.Join(faults, "\n")
			if c.want == "" && got != "" {
				t.Errorf("allowed, but reported:\n%s", got)
			}
			if c.want != "" && !strings.Contains(got, c.want) {
				t.Errorf("want a fault with %q, got %q", c.want, got)
			}
		})
	}
}
