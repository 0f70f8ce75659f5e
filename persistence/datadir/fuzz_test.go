package datadir

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Whatever the identity says, it is what a version wrote or it is refused.
func FuzzIdentity(f *testing.F) {
	f.Add([]byte(`{"format":2,"node":"6e0d52a2-3f57-4c4e-8a3f-0b7f1a0c9d11","state":"in use","check":1}`))
	f.Add([]byte(`{"format":99}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		done(t, os.WriteFile(filepath.Join(dir, identityName), data, 0o600))
		id, err := readIdentity(dir)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) && !errors.Is(err, ErrOlder) {
				t.Fatal(err)
			}
			return
		}
		again := t.TempDir()
		done(t, writeIdentity(again, id))
		back, err := readIdentity(again)
		if err != nil || back != id || bytes.Contains([]byte(id.Node), []byte{0}) {
			t.Fatalf("%+v comes back as %+v, %v", id, back, err)
		}
	})
}
