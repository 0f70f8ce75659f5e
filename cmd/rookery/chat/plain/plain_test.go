package plain

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"
)

// What a stranger may try, and what is left of it.
func TestClean(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"plain", "hello, wörld", "hello, wörld"},
		{"newlines stay", "a\nb\r\nc\rd", "a\nb\nc\nd"},
		{"unicode's own newlines", "a\u2028b\u2029c\u0085d\ve\ff", "a\nb\nc\nd\ne\nf"},
		{"tabs", "a\tb", "a    b"},
		{"colour", "\x1b[31mred\x1b[0m", "red"},
		{"clear the screen", "\x1b[2J\x1b[Hgone", "gone"},
		{"window title", "\x1b]0;root@prod\x07hi", "hi"},
		{"title, ended by ST", "\x1b]2;x\x1b\\hi", "hi"},
		{"clipboard", "\x1b]52;c;ZXZpbA==\x07hi", "hi"},
		{"hyperlink", "\x1b]8;;https://evil.example\x07bank\x1b]8;;\x07", "bank"},
		{"device control", "\x1bP+q544e\x1b\\hi", "hi"},
		{"a sequence that never ends hides its line alone", "a\x1b]0;b\nc", "a\nc"},
		{"C1 as UTF-8", "a\u009b31mb", "a31mb"},
		{"C1 as a raw byte", "a\x9b31mb", "a\uFFFD31mb"},
		{"bell, backspace, delete", "a\a\b\x7fb", "ab"},
		{"overwriting the line", "nothing to see\rrm -rf", "nothing to see\nrm -rf"},
		{"bidi override", "exe\u202etxt.\u202c", "exetxt."},
		{"bidi isolates and marks", "\u2066a\u2069\u200f\u061cb", "ab"},
		{"zero widths", "pay\u200bpal\ufeff\u2060\u00ad", "paypal"},
		{"tags that hide a text", "hi\U000E0068\U000E0069", "hi"},
		{"not UTF-8", "a\xff\xfeb", "a\uFFFDb"},
		{"never characters", "a\uFFFEb\uFDD0", "ab"},
		{"invisible letters", "a\u3164b\u115f", "ab"},
		{"Zalgo", "a" + strings.Repeat("\u0301", 500) + "b", "a" + strings.Repeat("\u0301", maxMarks) + "b"},
		{"a mark without a letter", "\u0301a", "a"},
		{"combining", "e\u0301", "e\u0301"},
		{"Arabic and Hebrew", "שלום مرحبا", "שלום مرحبا"},
		{"Persian needs its non-joiner", "می\u200cخواهم", "می\u200cخواهم"},
		{"joined emoji come apart", "👩\u200d👩\u200d👧", "👩👩👧"},
		{"the wide form of a narrow sign", "❤\ufe0f 1\ufe0f\u20e3", "❤ 1\u20e3"},
		{"skin tones", "👍🏽", "👍"},
		{"flags", "🇩🇪", "🇩🇪"},
		{"wide", "日本語", "日本語"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Clean(c.in); string(got) != c.want {
				t.Errorf("Clean(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func TestName(t *testing.T) {
	if got := Name(" Bob\n\x1b[2J\tthe  Builder "); got != "Bob the Builder" {
		t.Errorf("got %q", got)
	}
	if got := Name(strings.Repeat("日", 100)); got.Width() > 64 {
		t.Errorf("%d columns wide", got.Width())
	}
}

func TestWrap(t *testing.T) {
	cases := []struct {
		name, in string
		columns  int
		want     string // lines, joined by |
	}{
		{"short", "hello", 10, "hello"},
		{"empty", "", 10, ""},
		{"at a space", "hello there world", 11, "hello there|world"},
		{"the break eats one space", "aaaa bbbb", 4, "aaaa|bbbb"},
		{"a long word", "abcdefghij", 4, "abcd|efgh|ij"},
		{"a long word after a short one", "to abcdefghij", 5, "to|abcde|fghij"},
		{"wide characters are not halved", "日本語", 5, "日本|語"},
		{"newlines", "a\n\nb", 5, "a||b"},
		{"narrower than a character", "日本", 1, "日|本"},
		{"indentation stays", "  code", 10, "  code"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, l := range Wrap(Text(c.in), c.columns) {
				got = append(got, string(l))
			}
			if s := strings.Join(got, "|"); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
		})
	}
}

func TestCut(t *testing.T) {
	cases := []struct {
		in      string
		columns int
		want    string
	}{{"hello", 5, "hello"}, {"hello!", 5, "hell…"}, {"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, {"x", 0, ""}, {"日", 1, "…"}}
	for _, c := range cases {
		if got := Cut(Text(c.in), c.columns); string(got) != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.in, c.columns, got, c.want)
		}
	}
}

// Whatever comes in, what goes out obeys nobody and fits.
func TestAnything(t *testing.T) {
	alphabet := []rune("ab \n\x1b[]0;m\x07\u009b\u202e\u200d\ufe0f\u0301日👩🏽❤🇩🇪ش\u200c\U000E0068")
	rapid.Check(t, func(rt *rapid.T) {
		in := string(rapid.SliceOfN(rapid.SampledFrom(alphabet), 0, 60).Draw(rt, "in"))
		columns := rapid.IntRange(2, 30).Draw(rt, "columns")
		clean := Clean(in)
		checkPrintable(rt, clean)
		if again := Clean(string(clean)); again != clean {
			rt.Fatalf("Clean twice: %q, then %q", clean, again)
		}
		for _, l := range Wrap(clean, columns) {
			if strings.Contains(string(l), "\n") || l.Width() > columns {
				rt.Fatalf("%q is %d wide, wrapped at %d", l, l.Width(), columns)
			}
			if w := ansi.StringWidth(string(l)); w > columns {
				rt.Fatalf("%q is %d graphemes wide, wrapped at %d", l, w, columns)
			}
			if w := ansi.StringWidthWc(string(l)); w > columns {
				rt.Fatalf("%q is %d wide by rune, wrapped at %d", l, w, columns)
			}
		}
		if got, want := strings.Join(strings.Fields(string(joined(Wrap(clean, columns)))), ""), strings.Join(strings.Fields(string(clean)), ""); got != want {
			rt.Fatalf("wrapping lost something: %q, want %q", got, want)
		}
		if cut := Cut(clean.OneLine(), columns); cut.Width() > columns {
			rt.Fatalf("cut to %d, is %d: %q", columns, cut.Width(), cut)
		}
	})
}

func joined(lines []Text) (all Text) {
	for _, l := range lines {
		all += l
	}
	return all
}

func checkPrintable(t interface{ Fatalf(string, ...any) }, s Text) {
	if !utf8.ValidString(string(s)) {
		t.Fatalf("not UTF-8: %q", s)
	}
	for _, r := range string(s) {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			t.Fatalf("%U is left in %q", r, s)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b]52;c;aGk=\x07 \u202e\xff\u009b2J")
	f.Fuzz(func(t *testing.T, in string) {
		clean := Clean(in)
		checkPrintable(t, clean)
		for _, l := range Wrap(clean, 10) {
			if l.Width() > 10 {
				t.Fatalf("%q is %d wide", l, l.Width())
			}
		}
	})
}
