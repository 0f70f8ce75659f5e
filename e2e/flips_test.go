//go:build e2e && linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rookery-im/rookery/e2e/faultfs"
)

// One flipped bit, a file cut short, emptied or removed, in each kind of file,
// anywhere: the node names it and does not start, or says that it cannot read, or
// everything is there unchanged. Nothing is ever missing without a word.
func TestFlips(t *testing.T) {
	flips := envInt(t, "E2E_FLIPS", 100)
	seed := envSeed(t)
	random := rand.New(rand.NewPCG(seed, 1))
	f := &faultDisk{Disk: faultfs.New(seed), t: t, dir: t.TempDir()}
	f.mount()
	t.Cleanup(func() {
		if err := f.unmount(); err != nil {
			t.Error(err)
		}
	})
	s := newServerIn(t, filepath.Join(f.dir, "data"), "--checkpoint-every", "300ms")
	s.start()
	s.waitReady()
	kept := keepMessages(t, s, f)
	s.kill()
	f.cut(faultfs.Everything)

	undamaged, outcomes := f.Disk, tally{}
	s.args = append(s.args, "--checkpoint-every", "10m")
	for n := range flips {
		if err := f.unmount(); err != nil {
			t.Fatal(err)
		}
		f.Disk = undamaged.Clone(random.Uint64())
		h := nextHarm(f.Disk, n)
		what := h.damage(f.Disk, random)
		f.mount()
		outcome := kept.look(t, s, what)
		outcomes.add(h, outcome)
		if outcome == "" {
			t.Errorf("%s: messages are missing, and nobody said so", what)
		}
		if s.alive() {
			s.kill()
		}
		f.PowerCut(faultfs.Everything)
	}
	outcomes.report(t, flips)
}

// harm is what one file of a kind suffers.
type harm struct {
	kind string // the end of the name, or the name where it has none
	how  string
}

const (
	flipped   = "flipped"
	shortened = "cut short"
	emptied   = "emptied"
	removed   = "removed"
)

// nextHarm is the n-th: each kind of file in turn, and five bits flipped for every
// three of the rest.
func nextHarm(d *faultfs.Disk, n int) harm {
	kinds := map[string]bool{}
	for _, f := range d.Files() {
		if f.Size > 0 {
			kinds[kindOf(f)] = true
		}
	}
	sorted := slices.Sorted(maps.Keys(kinds))
	hows := []string{flipped, shortened, flipped, emptied, flipped, removed, flipped, flipped}
	return harm{sorted[n%len(sorted)], hows[n/len(sorted)%len(hows)]}
}

func kindOf(f faultfs.File) string {
	name := f.Path[len(f.Path)-1]
	if end := path.Ext(name); end != "" {
		return "*" + end
	}
	return strings.Join(f.Path[1:], "/") // without the folder that holds all
}

// damage does it to one such file, where there is something, mostly, and says so:
// logs are long, and zeros for the greater part.
func (h harm) damage(d *faultfs.Disk, random *rand.Rand) string {
	files := slices.DeleteFunc(d.Files(), func(f faultfs.File) bool { return f.Size == 0 || kindOf(f) != h.kind })
	for {
		f := files[random.IntN(len(files))]
		at, bit, name := random.Int64N(f.Size), uint(random.IntN(8)), strings.Join(f.Path, "/")
		if used := d.InUse(f.Path); len(used) > 0 && random.IntN(20) > 0 {
			at = min(used[random.IntN(len(used))]+random.Int64N(512), f.Size-1)
		}
		switch {
		case h.how == removed && d.Delete(f.Path):
			return name + " removed"
		case h.how == emptied && d.Cut(f.Path, 0):
			return name + " emptied"
		case h.how == shortened && d.Cut(f.Path, at):
			return fmt.Sprintf("%s cut to %d bytes", name, at)
		case h.how == flipped && d.Flip(f.Path, at, bit):
			return fmt.Sprintf("bit %d of byte %d of %s", bit, at, name)
		}
	}
}

// tally counts what came of each harm.
type tally map[harm]map[string]int

func (c tally) add(h harm, outcome string) {
	if c[h] == nil {
		c[h] = map[string]int{}
	}
	c[h][outcome]++
}

// report says it, and fails the test where it proves nothing.
func (c tally) report(t *testing.T, n int) {
	t.Helper()
	total, lines := map[string]int{}, []string{}
	for h, outcomes := range c {
		for outcome, count := range outcomes {
			total[outcome] += count
		}
		lines = append(lines, fmt.Sprintf("%-18s %-10s %v", h.kind, h.how, outcomes))
	}
	slices.Sort(lines)
	t.Logf("%d flips and cuts: %v\n%s", n, total, strings.Join(lines, "\n"))
	for _, kind := range []string{"*.seg", "log/LOG", "*.mem", "*.sst", "store/MANIFEST", "identity"} {
		if c[harm{kind, flipped}] == nil {
			t.Errorf("no bit of a %s was flipped", kind)
		}
	}
	if total["refused"] == 0 || total["unchanged"] == 0 {
		t.Error("every one ended alike: nothing was proved")
	}
}

// keptMessages are what an account that is never connected has to find.
type keptMessages struct {
	token  string
	bodies []string
}

// keepMessages stores some, over several checkpoints, before and after a start
// that makes a table of what there is, and after the last.
func keepMessages(t *testing.T, s *server, f *faultDisk) *keptMessages {
	t.Helper()
	sender := login(t, s, "alice")
	k := &keptMessages{token: login(t, s, "bob")}
	for i := range 120 {
		body := fmt.Sprintf(`{"id":"01935b3e-0000-7000-8000-%012d","to":{"user":"bob"},"payload":"%s"}`, i+1,
			strings.Repeat(fmt.Sprintf("%04d", i), 1+i*i%300))
		if _, err := k.call(s, "POST", "/v1/messages", sender, body); err != nil {
			t.Fatal(err)
		}
		if i%40 == 39 { // a checkpoint comes in between
			pause := time.NewTimer(400 * time.Millisecond)
			<-pause.C
		}
		if i == 79 {
			s.kill()
			s.restart()
			eventually(t, "there is a table", f.hasTable)
		}
	}
	for i := range 5 {
		if _, err := k.call(s, "POST", "/v1/messages", sender,
			fmt.Sprintf(`{"id":"01935b3e-0000-7000-8000-%012d","to":{"user":"bob"},"payload":"bGFzdA=="}`, i+500)); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if k.bodies, err = k.list(s); err != nil || len(k.bodies) != 125 {
		t.Fatalf("%d messages, %v", len(k.bodies), err)
	}
	return k
}

func (f *faultDisk) hasTable() error {
	if !slices.ContainsFunc(f.Files(), func(f faultfs.File) bool { return kindOf(f) == "*.sst" }) {
		return errors.New("none yet")
	}
	return nil
}

func (k *keptMessages) list(s *server) ([]string, error) {
	answer, err := k.call(s, "GET", "/v1/messages?limit=256", k.token, "")
	if err != nil {
		return nil, err
	}
	var page struct{ Messages []json.RawMessage }
	if err := json.Unmarshal(answer, &page); err != nil {
		return nil, err
	}
	var out []string
	for _, m := range page.Messages {
		out = append(out, string(m))
	}
	return out, nil
}

func (k *keptMessages) call(s *server, method, path, token, body string) ([]byte, error) {
	request, err := http.NewRequest(method, s.url(path), strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s %s", method, path, response.Status, answer)
	}
	return answer, nil
}

// look starts the server and says what it makes of its data: refused (it ended
// and said damaged), unavailable (it runs and does not serve this), unchanged;
// nothing where it serves something else.
func (k *keptMessages) look(t *testing.T, s *server, what string) string {
	t.Helper()
	mark := s.logged()
	s.start()
	var got []string
	var failed error
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) && s.alive() {
		if got, failed = k.list(s); failed == nil {
			if slices.Equal(got, k.bodies) {
				return "unchanged"
			}
			return ""
		}
		if said := s.logged()[len(mark):]; strings.Contains(said, "damaged") && strings.Contains(failed.Error(), "503") {
			return "unavailable"
		}
		tick := time.NewTimer(20 * time.Millisecond)
		<-tick.C
	}
	said := s.logged()[len(mark):]
	for _, word := range []string{"damaged", "is missing", "no identity", "lost", "the format is newer"} {
		if !s.alive() && strings.Contains(said, word) {
			return "refused"
		}
	}
	t.Errorf("%s: neither served nor refused by name: %v\n%s", what, failed, said)
	return "unnamed"
}
