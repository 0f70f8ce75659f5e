package lint

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// direction says what of ours a folder may import. The folder itself is
// always allowed; the first row that matches rules.
type direction struct {
	folder string
	may    []string
	why    string
}

var directions = []direction{
	{"internal", []string{"proto", "internal"}, "leaves know nothing that has behaviour: anything may import them"},
	{"proto", []string{"proto"}, "schemas are read by clients too"},
	{"cmd", []string{"..."}, "cmd is the only wiring"},
	{"transport", []string{"proto", "internal"}, "sockets know nothing of actors or disks: cmd hands them an interface"},
	{"actors", []string{"proto", "internal"}, "actors know nothing of sockets or engines: their host takes interfaces"},
	{"cluster", []string{"proto", "internal"}, "placement and Raft groups know nothing of users: they carry bytes"},
	{"persistence", []string{"proto", "internal"}, "a store knows nothing of who asks"},
	{"client", []string{"proto"}, "what strangers import must not pull in a server"},
	{"bench", []string{"client", "proto", "internal", "transport/poll", "transport/ws"}, "a load generator measures the server from outside"},
	{"e2e/sim", []string{"..."}, "a simulation wires what cmd wires, without sockets and processes"},
	{"e2e", nil, "end-to-end tests see what a stranger sees"},
	{"examples", nil, "examples are clients without any code of ours"},
}

// bridges are the imports across folders that the table above forbids and
// that are wanted all the same, each with its reason.
var bridges = []struct{ from, to, why string }{
	{"cluster/shard", "persistence/raftlog", "the Raft loop hands whole updates and checkpoints to the log; copying its types would only rename them"},
	{"actors", "persistence/mailbox", "keys and records are pure, and what an actor remembers is written in them"},
}

// cores are single-threaded and pure: Step(input) gives effects. They may
// import proto, internal and each other.
var cores = []string{"actors/user", "actors/group", "client/internal/core", "cluster/placement", "persistence/mailbox", "cmd/rookery/chat/plain", "cmd/rookery/chat/talk", "cmd/rookery/chat/screen"}

// confined third parties: prefix of the import path, the folders that may
// know it, and why. Longest prefix rules. A third party that is not here may
// not be imported at all.
var confined = []struct {
	prefix  string
	folders []string
	why     string
}{
	{"github.com/asynkron/protoactor-go/actor", []string{"actors/host"}, "cores stay plain Go, and one folder knows how actors are hosted"},
	{"github.com/asynkron/protoactor-go", nil, "its cluster and remote packages may activate an actor twice and lose batches: docs/adr/0004-no-protoactor-cluster-remote.md"},
	{"github.com/hashicorp/memberlist", []string{"cluster/membership"}, "gossip only discovers and suspects; nothing else may believe it"},
	{"google.golang.org/grpc", []string{"cluster/peer"}, "peer links own acknowledgement and identity; nobody else opens a stream"},
	{"go.etcd.io/raft/v3", []string{"cluster/shard", "persistence/raftlog", "cmd/rookery/node", "e2e/sim"}, "Raft's types stop at the group and its log, which cmd joins: a Machine gets bytes"},
	{"github.com/dgraph-io/badger/v4", []string{"persistence/store"}, "who reads Badger directly decides from a state that may be partly ahead"},
	{"github.com/tidwall/btree", []string{"persistence"}, "it is the store's overlay"},
	{"github.com/gobwas/ws", []string{"transport/ws"}, "frames are parsed in one place, by one set of limits"},
	{"github.com/coder/websocket", []string{"client", "e2e"}, "servers speak WebSocket by transport/ws only; this is for clients"},
	{"github.com/google/renameio/v2", []string{"client", "cmd"}, "files that are replaced whole: a client's store, the terminal's history"},
	{"charm.land", []string{"cmd/rookery/chat"}, "the screen is the chat's"},
	{"github.com/charmbracelet/x", []string{"cmd/rookery/chat"}, "the screen is the chat's"},
	{"golang.org/x/term", []string{"cmd"}, "passwords are asked for by commands"},
	{"go.yaml.in/yaml/v3", []string{"cmd/rookery/settings"}, "settings are read in one place, from wherever they come"},
	{"github.com/agnivade/levenshtein", []string{"cmd/rookery/settings"}, "it names the setting that was meant"},
	{"github.com/go-jose/go-jose/v4", []string{"transport/auth"}, "key sets are read where tokens are checked"},
	{"github.com/getkin/kin-openapi", []string{"e2e", "transport/api"}, "tests hold the server to docs/openapi.yaml"},
	{"github.com/hanwen/go-fuse/v2", []string{"e2e/faultfs"}, "a file system that forgets is mounted by tests"},
	{"github.com/HdrHistogram/hdrhistogram-go", []string{"bench"}, "latencies are recorded by the load generator"},
	{"gonum.org/v1/plot", []string{"bench"}, "charts are the report's"},
	{"golang.org/x/sys/unix", []string{"transport/poll", "persistence", "cmd", "e2e", "bench/hostile"}, "system calls: sockets in transport/poll, files in persistence, the descriptor limit in cmd, hosts of its own in e2e, how attackers are scheduled in bench/hostile"},
	{"golang.org/x/crypto/argon2", []string{"transport/auth"}, "passwords are hashed where the number at once is bounded"},
	{"github.com/golang-jwt/jwt/v5", []string{"transport/auth"}, "tokens are made and checked in one place, with one pinned algorithm"},
	{"github.com/rs/cors", []string{"transport/api"}, "CORS belongs to the REST API"},
	{"github.com/cespare/xxhash/v2", []string{"cluster/placement", "persistence"}, "identity to shard is decided in one place, checksums where bytes are written"},
	{"github.com/prometheus/client_golang", []string{"transport", "actors/host", "cluster", "persistence/raftlog", "persistence/store", "cmd"}, "shells count; cores return what happened"},
	{"github.com/prometheus/client_model", []string{"cmd", "transport", "cluster", "persistence", "actors/host"}, "tests read what was counted"},
	{"github.com/google/uuid", []string{"..."}, "message ids"},
	{"github.com/planetscale/vtprotobuf", []string{"proto"}, "generated code calls it"},
	{"google.golang.org/protobuf", []string{"..."}, "the schemas' runtime"},
	{"go.uber.org/goleak", []string{"..."}, "leak checks of tests"},
	{"pgregory.net/rapid", []string{"..."}, "property tests"},
}

// onlyTests are third parties that may not reach the binary.
var onlyTests = []string{"github.com/getkin/kin-openapi", "go.uber.org/goleak", "pgregory.net/rapid", "github.com/prometheus/client_model", "github.com/prometheus/client_golang/prometheus/testutil"}

// stdlib says whether an import path is of Go itself.
func stdlib(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return !strings.Contains(first, ".")
}

// checkImports returns what a file imports against the rules.
func checkImports(s *source) []string {
	var faults []string
	for _, p := range s.imports() {
		switch {
		case stdlib(p):
			faults = append(faults, checkStdlib(s, p)...)
		case p == module || strings.HasPrefix(p, module+"/"):
			faults = append(faults, checkOurs(s, strings.TrimPrefix(p, module+"/"))...)
		default:
			faults = append(faults, checkThirdParty(s, p)...)
		}
	}
	return faults
}

func checkOurs(s *source, to string) []string {
	if s.dir == to {
		return nil // an external test of the package itself
	}
	if slices.Contains(cores, s.dir) && !under(to, "proto", "internal") && !slices.Contains(cores, to) && !s.test {
		return []string{fmt.Sprintf("%s imports %s: %s is a pure core and may import proto, internal and other cores; declare the interface it needs in the core and let its shell implement it", s.path, to, s.dir)}
	}
	for _, d := range directions {
		if !under(s.dir, d.folder) {
			continue
		}
		if under(to, d.folder) || under(to, d.may...) {
			return nil
		}
		for _, b := range bridges {
			if under(s.dir, b.from) && under(to, b.to) {
				return nil
			}
		}
		return []string{fmt.Sprintf("%s imports %s, but %s may import only %v of ours: %s. Declare an interface beside its user and wire it in cmd", s.path, to, d.folder, d.may, d.why)}
	}
	return []string{fmt.Sprintf("%s: folder %s has no row in internal/lint: say what it may import", s.path, s.dir)}
}

func checkThirdParty(s *source, p string) []string {
	if !s.test {
		for _, prefix := range onlyTests {
			if p == prefix || strings.HasPrefix(p, prefix+"/") {
				return []string{fmt.Sprintf("%s imports %s, which is for tests only", s.path, p)}
			}
		}
	}
	best := -1
	for i, c := range confined {
		if (p == c.prefix || strings.HasPrefix(p, c.prefix+"/")) && (best < 0 || len(c.prefix) > len(confined[best].prefix)) {
			best = i
		}
	}
	if best < 0 {
		return []string{fmt.Sprintf("%s imports %s, which no row of internal/lint allows: a new dependency needs its reason here and in docs/adr/0006-dependencies.md", s.path, p)}
	}
	c := confined[best]
	if !under(s.dir, c.folders...) {
		return []string{fmt.Sprintf("%s imports %s, which only %v may: %s", s.path, p, c.folders, c.why)}
	}
	return nil
}

func TestImports(t *testing.T) {
	for _, s := range tree(t) {
		for _, fault := range checkImports(s) {
			t.Error(fault)
		}
	}
}

// A dependency without its reason is one that nobody can drop.
func TestEveryDependencyIsExplained(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile("../../docs/adr/0006-dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	required := map[string]bool{}
	for line := range strings.Lines(string(mod)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) < 2 || !strings.HasPrefix(fields[1], "v") || strings.Contains(line, "// indirect") {
			continue
		}
		required[fields[0]] = true
		if !strings.Contains(string(table), "`"+fields[0]+"`") {
			t.Errorf("go.mod requires %s, but docs/adr/0006-dependencies.md does not say why", fields[0])
		}
	}
	for line := range strings.Lines(string(table)) {
		if cells := strings.Split(line, "`"); strings.HasPrefix(line, "| `") && !required[cells[1]] {
			t.Errorf("docs/adr/0006-dependencies.md explains %s, which go.mod no longer requires", cells[1])
		}
	}
}
