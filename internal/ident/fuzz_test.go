package ident

import (
	"errors"
	"strings"
	"testing"

	"github.com/rookery-im/rookery/internal/limits"
)

// FuzzMessageID: what is taken has one text besides its case, and comes back.
func FuzzMessageID(f *testing.F) {
	f.Add("01935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7b")
	f.Add("01935B3E-6F2C-7A4E-9D1B-2C3D4E5F6A7B")
	f.Add("00000000-0000-0000-0000-000000000000")
	f.Add("{1935b3e-6f2c-7a4e-9d1b-2c3d4e5f6a7}")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseMessageID(text)
		if err != nil {
			if !errors.Is(err, ErrMessageID) && !errors.Is(err, ErrMessageNil) {
				t.Fatal(err)
			}
			return
		}
		if id == ([MessageIDLen]byte{}) || MessageIDString(id[:]) != strings.ToLower(text) {
			t.Fatalf("%q becomes %q", text, MessageIDString(id[:]))
		}
		if again, err := ParseMessageID(MessageIDString(id[:])); err != nil || again != id {
			t.Fatalf("%q comes back as %x, %v", text, again, err)
		}
	})
}

// FuzzCheckUser: no id is both a user's and a group's, and what is taken is
// printable, short and safe in a path, a header and a log.
func FuzzCheckUser(f *testing.F) {
	for _, id := range []string{"alice", "+4915112345678", "a@b.example", "g_1", "g_", "", "a/b", "a b", "\xff", strings.Repeat("x", limits.UserID+1)} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		user, group := CheckUser(id) == nil, CheckGroup(id) == nil
		if user && group {
			t.Fatalf("%q is a user and a group", id)
		}
		if (user || group) && (id == "" || len(id) > limits.UserID || strings.ContainsAny(id, "/\\ %?#&=\"'<>:;,\r\n\x00") || strings.ToValidUTF8(id, "") != id) {
			t.Fatalf("%q is taken", id)
		}
	})
}
