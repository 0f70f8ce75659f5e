// Package plain makes what strangers wrote safe to print on a terminal, and
// says how much room it takes there.
//
// A terminal obeys what it is sent: an escape sequence in a message could
// rename the window, read the clipboard, or paint a second, false
// conversation. So nothing of somebody else's reaches the screen but as a Text,
// and only Clean and Name make one of foreign bytes.
//
// It is also where widths are made certain. Terminals disagree on how wide an
// emoji is that is put together of several characters, and one column of
// disagreement displaces the rest of the screen. Clean takes such signs to the
// form that all agree on, and Width counts the wider of the opinions that are left.
package plain

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// Text is printable: no control characters but newlines, no escape sequences,
// nothing invisible that changes what stands around it.
type Text string

// maxMarks is how many combining marks a character keeps. Vietnamese and
// Hebrew need three; piles of hundreds are written to overflow lines.
const maxMarks = 4

const (
	joiner    = '\u200d' // joins emoji into one, and letters of some scripts
	nonJoiner = '\u200c' // keeps letters of some scripts apart
)

// Clean makes foreign text printable. Newlines stay, tabs become spaces, what
// is not UTF-8 becomes the replacement character.
func Clean(s string) Text {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n", "\v", "\n", "\f", "\n").Replace(s)
	var b strings.Builder
	b.Grow(len(s))
	for i, line := range strings.Split(s, "\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		// By line, so that a sequence that never ends hides one line at most.
		cleanLine(&b, ansi.Strip(strings.ReplaceAll(line, "\t", "    ")))
	}
	return Text(b.String())
}

// cleanLine writes the runes of a line that may stay.
func cleanLine(b *strings.Builder, line string) {
	var last rune // the last that was written
	marks := 0
	for _, r := range line {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me):
			if marks++; marks > maxMarks || last == 0 || variation(r) {
				continue
			}
			b.WriteRune(r)
			continue // last stays the character that wears it
		case r == joiner || r == nonJoiner:
			if !unicode.IsLetter(last) || wide(last) {
				continue
			}
		case !printable(r):
			continue
		}
		marks, last = 0, r
		b.WriteRune(r)
	}
}

// printable says whether a rune may stay. It goes by what is forbidden, since
// tables of what exists are always older than the newest emoji.
func printable(r rune) bool {
	switch {
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Cs):
		return false // controls, among them C1; bidi overrides, zero widths, tags
	case r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe:
		return false // never characters
	case r >= 0x1f3fb && r <= 0x1f3ff:
		return false // skin tones: two more columns to some terminals, none to others
	case r == '\u115f', r == '\u1160', r == '\u3164', r == '\uffa0', r == '\u2800', r == '\u034f':
		return false // letters that show nothing
	}
	return true
}

// variation says whether a mark only chooses between pictures of a sign: the
// choice of the wide one is what terminals disagree on.
func variation(r rune) bool {
	return unicode.Is(unicode.Variation_Selector, r)
}

func wide(r rune) bool { return ansi.StringWidth(string(r)) > 1 }

// Name is Clean for what must stay on one line and is nobody's essay.
func Name(s string) Text {
	const most = 64
	t := strings.Join(strings.Fields(string(Clean(s))), " ")
	return Cut(Text(t), most)
}

// OneLine puts a text on one line, with a sign where its newlines were.
func (t Text) OneLine() Text {
	return Text(strings.ReplaceAll(strings.TrimRight(string(t), "\n"), "\n", " / "))
}

// first is the first character as a reader sees it, and its columns.
func first(t Text) (Text, int) {
	s := string(t)
	if s[0] < utf8.RuneSelf && (len(s) == 1 || s[1] < utf8.RuneSelf) {
		return t[:1], 1
	}
	cluster, graphemes := ansi.FirstGraphemeCluster(s, ansi.GraphemeWidth)
	_, runes := ansi.FirstGraphemeCluster(cluster, ansi.WcWidth)
	return Text(cluster), max(graphemes, runes)
}

// Width is how many columns a line takes at most.
func (t Text) Width() int {
	n := 0
	for len(t) > 0 {
		c, w := first(t)
		n += w
		t = t[len(c):]
	}
	return n
}

// Cut shortens a line to so many columns; what was cut shows by an ellipsis.
func Cut(t Text, columns int) Text {
	if columns <= 0 {
		return ""
	}
	at, n := 0, 0 // where an ellipsis would still fit
	for rest := t; len(rest) > 0; {
		c, w := first(rest)
		if n+w > columns {
			return t[:at] + "…"
		}
		n += w
		rest = rest[len(c):]
		if n < columns {
			at = len(t) - len(rest)
		}
	}
	return t
}

// Wrap breaks a text into lines of at most so many columns, at spaces where
// there are any and inside words that are too long. There is always one line.
func Wrap(t Text, columns int) []Text {
	columns = max(columns, 2) // a wide character must fit
	var lines []Text
	for _, paragraph := range strings.Split(string(t), "\n") {
		lines = append(lines, wrapLine(Text(paragraph), columns)...)
	}
	return lines
}

func wrapLine(t Text, columns int) []Text {
	var lines []Text
	start, width := 0, 0        // of the line being filled
	space, afterSpace := -1, -1 // its last space, and what follows that
	at := 0
	for at < len(t) {
		c, w := first(t[at:])
		if width+w > columns {
			switch {
			case c == " ": // the break eats it
				lines = append(lines, t[start:at])
				at += len(c)
				start, width, space = at, 0, -1
				continue
			case space > start:
				lines = append(lines, t[start:space])
				start = afterSpace
			default:
				lines = append(lines, t[start:at])
				start = at
			}
			width, space = t[start:at].Width(), -1
			continue // the same character, on the new line
		}
		if c == " " {
			space, afterSpace = at, at+len(c)
		}
		at += len(c)
		width += w
	}
	return append(lines, t[start:])
}
