package host

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/rookery-im/rookery/actors/user"
)

// Against a Go map: rows come and go, with short ids, long ones and
// attachments, and the index finds exactly those that are there.
func TestRowsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRows()
		model := map[string][]user.Attachment{}
		id := rapid.Custom(func(t *rapid.T) string {
			n := rapid.IntRange(0, 60).Draw(t, "n")
			if n%3 == 0 {
				return fmt.Sprintf("%d@%s", n, strings.Repeat("x", 40))
			}
			return fmt.Sprintf("+49%d", n)
		})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				k := id.Draw(t, "id")
				if _, ok := model[k]; ok {
					t.Skip()
				}
				n := r.add(k)
				var list []user.Attachment
				for i := range rapid.IntRange(0, 3).Draw(t, "attachments") {
					list = append(list, user.Attachment{Conn: uint64(i) + 1<<40, Session: 7, Pushed: uint64(i), Device: uint32(i), Live: i%2 == 0, Next: i%3 == 0})
				}
				r.attach(n, list)
				model[k] = list
			},
			"remove": func(t *rapid.T) {
				k := id.Draw(t, "id")
				want, ok := model[k]
				if !ok {
					t.Skip()
				}
				n := r.find(k)
				if got := r.detach(n, nil); !slices.Equal(got, want) {
					t.Fatalf("%s: attachments %v, want %v", k, got, want)
				}
				r.remove(n)
				delete(model, k)
			},
			"": func(t *rapid.T) {
				for n := range 61 {
					for _, k := range []string{fmt.Sprintf("+49%d", n), fmt.Sprintf("%d@%s", n, strings.Repeat("x", 40))} {
						_, want := model[k]
						at := r.find(k)
						if (at != 0) != want {
							t.Fatalf("%s: found %v, want %v", k, at != 0, want)
						}
						if at != 0 && r.id(at) != k {
							t.Fatalf("row %d is of %q, not %q", at, r.id(at), k)
						}
					}
				}
				if r.used != len(model) {
					t.Fatalf("%d rows used, want %d", r.used, len(model))
				}
			},
		})
	})
}

// What an idle session costs here.
func TestRowBudget(t *testing.T) {
	if got := unsafe.Sizeof(row{}); got != 40 {
		t.Errorf("row of %d bytes", got)
	}
	if got := unsafe.Sizeof(attachment{}); got != 32 {
		t.Errorf("attachment of %d bytes", got)
	}
	const users = 100_000
	r := newRows()
	for i := range users {
		r.attach(r.add(fmt.Sprintf("+49151%08d", i)), []user.Attachment{{Conn: uint64(i)}})
	}
	if per := float64(r.size()) / users; per > 84 {
		t.Errorf("%.1f bytes per idle session, at most 84", per)
	} else {
		t.Logf("%.1f bytes per idle session", per)
	}
}
