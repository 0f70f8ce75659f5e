package screen

import (
	"slices"
	"strings"

	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// Position is where the timeline ends: at a line, Cut rows of which are below
// the edge. Without a line it ends at the newest.
type Position struct {
	Line *talk.Line
	Cut  int
}

// timeline is the conversation, as much of it as fits, from Position upward.
func timeline(m *talk.Model, c *talk.Conversation, v View, l layout) []string {
	lines := all(c)
	end, cut := find(lines, v.At)
	var rows []string // from below
	for i := end - 1; i >= 0 && len(rows) < l.timeline+cut; i-- {
		for _, r := range slices.Backward(block(m, c, lines, i, v, l.main)) {
			rows = append(rows, r)
		}
	}
	rows = rows[min(cut, len(rows)):]
	rows = rows[:min(len(rows), l.timeline)]
	slices.Reverse(rows)
	return append(make([]string, l.timeline-len(rows)), rows...)
}

// all the lines of a conversation as they are shown.
func all(c *talk.Conversation) []*talk.Line {
	return append(append(make([]*talk.Line, 0, len(c.Lines)+len(c.Pending)), c.Lines...), c.Pending...)
}

// find gives the end of what is shown, and the rows cut off there. A line that
// is gone is taken for the newest.
func find(lines []*talk.Line, at Position) (end, cut int) {
	if i := slices.Index(lines, at.Line); at.Line != nil && i >= 0 {
		return i + 1, at.Cut
	}
	return len(lines), 0
}

// Scroll moves a position by so many rows: back where they are negative.
func Scroll(m *talk.Model, v View, rows int) Position {
	c := m.Conversation(m.Open)
	if c == nil {
		return Position{}
	}
	l := arrange(v)
	lines := all(c)
	end, cut := find(lines, v.At)
	for ; rows < 0 && end > 0; rows++ { // up: cut more of the last line
		if cut++; cut >= len(block(m, c, lines, end-1, v, l.main)) {
			end, cut = end-1, 0
		}
	}
	for ; rows > 0 && (cut > 0 || end < len(lines)); rows-- {
		if cut--; cut < 0 {
			end++
			cut = len(block(m, c, lines, end-1, v, l.main)) - 1
		}
	}
	// The first line stays at the top.
	above := -cut
	for i := end - 1; i >= 0 && above < l.timeline; i-- {
		above += len(block(m, c, lines, i, v, l.main))
	}
	if above < l.timeline {
		for n := l.timeline - above; n > 0 && (cut > 0 || end < len(lines)); n-- {
			if cut--; cut < 0 {
				end++
				cut = len(block(m, c, lines, end-1, v, l.main)) - 1
			}
		}
	}
	if end >= len(lines) && cut == 0 {
		return Position{}
	}
	return Position{Line: lines[max(0, end-1)], Cut: cut}
}

// Page is how many rows a page key scrolls.
func Page(v View) int { return max(1, arrange(v).timeline-2) }

// block is one line of the conversation: the day it begins, where that is
// another, then who wrote what and when, then what became of it.
func block(m *talk.Model, c *talk.Conversation, lines []*talk.Line, i int, v View, width int) []string {
	l := lines[i]
	var rows []string
	if day := Day(l.Wall(), v.Now); i == 0 || day != Day(lines[i-1].Wall(), v.Now) {
		rows = append(rows, faint.paint(string(plain.Cut(plain.Text(strings.Repeat(v.Signs.Rule, 2)+" "+day+" "+strings.Repeat(v.Signs.Rule, 2)), width))))
	}
	state := c.State(l, m.Me)
	who, look := l.From, green
	if l.From == m.Me {
		who, look = "you", none
	}
	prefix, indent := stamp(l, state, who, look, v, nameWidth(m, c), width)
	text := none
	if l.Body.Kind != "" {
		text = faint
	}
	for k, part := range plain.Wrap(l.Body.Says(), width-indent) {
		if k > 0 {
			prefix = strings.Repeat(" ", indent)
		}
		rows = append(rows, prefix+text.paint(string(part)))
	}
	for _, part := range plain.Wrap(plain.Clean(fate(l, state, v)), width-indent) {
		if part != "" {
			rows = append(rows, strings.Repeat(" ", indent)+tint(state).paint(string(part)))
		}
	}
	return rows
}

// nameWidth is the column of names: as wide as the names that can be in it.
func nameWidth(m *talk.Model, c *talk.Conversation) int {
	const most = 12
	if talk.IsGroup(c.Peer) {
		return most
	}
	return min(most, max(len("you"), len(c.Peer)))
}

// stamp is what stands before the text: time, sign, who.
func stamp(l *talk.Line, state talk.State, who string, look style, v View, names, width int) (string, int) {
	const signs = 3
	sign := v.Signs.Of(state)
	colour := tint(state)
	mark := colour.paint(sign) + strings.Repeat(" ", max(0, signs-plain.Text(sign).Width()))
	if width < 24 { // who it is shows by the sign alone
		return mark + " ", signs + 1
	}
	name := look.paint(pad(plain.Cut(plain.Text(who), names), names))
	if width < 40 {
		return mark + " " + name + " ", signs + 1 + names + 1
	}
	return faint.paint(Clock(l.Wall(), v.Now)) + " " + mark + " " + name + " ", 5 + 1 + signs + 1 + names + 1
}

// tint is the colour of a state; its sign says the same.
func tint(s talk.State) style {
	switch s {
	case talk.Seen:
		return cyan.and(bold)
	case talk.Failed, talk.Expired:
		return red
	case talk.WaitsHere, talk.Waiting:
		return yellow
	default:
		return none
	}
}

// fate is what there is to say of a line that did not simply go.
func fate(l *talk.Line, state talk.State, v View) string {
	switch state {
	case talk.Failed:
		return "not sent: " + l.Why + " (Ctrl-T takes it back)"
	case talk.Waiting:
		s := "waits: " + l.Why
		if l.RetryAt.After(v.Now) {
			s += ", again at " + l.RetryAt.In(v.Now.Location()).Format("15:04:05")
		}
		return s
	case talk.Expired:
		return "expired before anybody got it"
	default:
		return ""
	}
}
