package settings

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// Fault is one thing wrong with what was given.
type Fault struct {
	// Settings that it is about, as the table has them; none where it is about
	// something that is no setting.
	Settings []string
	text     string
	line     int // of the file, or 0
}

func (f Fault) Error() string { return f.text }

// Faults are all that is wrong with what was given, in the order of flags,
// environment, file, and what does not go together.
type Faults []Fault

func (f Faults) Error() string {
	if len(f) == 1 {
		return f[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d faults in the configuration:", len(f))
	for _, one := range f {
		b.WriteString("\n  " + one.Error())
	}
	return b.String()
}

// Unwrap gives them one by one.
func (f Faults) Unwrap() []error {
	errs := make([]error, len(f))
	for i, one := range f {
		errs[i] = one
	}
	return errs
}

// nearest is the name that was probably meant, or "" where none is near. Names
// are compared without regard to case, underscores, hyphens and ROOKERY_.
func nearest(wrong string, names []string) string {
	const longest = 64 // distances take the product of both lengths
	plain := func(s string) string {
		s = strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "").Replace(s))
		return strings.TrimPrefix(s, "rookery")
	}
	got := plain(wrong)
	if len(got) > longest || !utf8.ValidString(got) {
		return ""
	}
	best, least := "", 1+min(3, (len(got)+2)/3)
	for _, name := range slices.Sorted(slices.Values(names)) {
		if d := levenshtein.ComputeDistance(got, plain(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// unknown is the fault of a name that no setting has.
func unknown(what, wrong string, names []string) string {
	text := what + " " + printed(wrong)
	if meant := nearest(wrong, names); meant != "" {
		text += "; did you mean " + meant + "?"
	}
	return text
}

// printed is a name as it was given, quoted where it could mislead.
func printed(s string) string {
	plain := func(r rune) bool { return r > ' ' && r < 0x7f && r != '"' }
	if s != "" && len(s) <= 80 && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return show(s)
}
