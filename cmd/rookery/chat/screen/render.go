package screen

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// View is what the screen shows besides the model.
type View struct {
	Width, Height int
	// Now is the time, in the zone in which times are shown.
	Now time.Time
	// Server is its address without a scheme.
	Server string
	// At is how far the timeline is scrolled back.
	At Position
	// Input are the rows of the input, and where its cursor is in them.
	Input            []string
	CursorX, CursorY int
	// Notice is for the foot; Urgent that it is an error.
	Notice string
	Urgency
	// Help, where it is not Hidden, covers all but the bar, scrolled down by HelpRow.
	Help    Cover
	HelpRow int
	Signs   Signs
}

// Urgency of a notice.
type Urgency uint8

// The urgencies.
const (
	Calm Urgency = iota
	Urgent
)

// Cover says whether the help covers the conversation.
type Cover uint8

// The covers.
const (
	Hidden Cover = iota
	Shown
)

// Frame is a drawn screen: exactly Height rows of at most Width columns. The
// cursor is hidden where CursorY is negative.
type Frame struct {
	Rows             []string
	CursorX, CursorY int
}

// style is a list of SGR parameters.
type style string

const (
	none   style = ""
	bold   style = "1"
	faint  style = "2"
	invert style = "7"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

func (s style) paint(text string) string {
	if s == none || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[m"
}

// and combines two styles.
func (s style) and(o style) style {
	if s == none {
		return o
	}
	return s + ";" + o
}

// layout is what goes where.
type layout struct {
	list, main      int // columns; list is 0 where there is none
	timeline, input int // rows
	rules, foot     int // rows; rules is 0 or 2
	head            int
}

const (
	listFrom  = 60 // columns from which there is a list
	rulesFrom = 14 // rows from which there are rules and hints
	inputMost = 6  // rows
)

// InputWidth is how many columns the input has on a screen that wide.
func InputWidth(width int) int { return arrange(View{Width: width, Height: 24}).main }

func arrange(v View) layout {
	l := layout{main: v.Width, head: 1}
	if v.Width >= listFrom {
		l.list = min(28, max(16, v.Width/4))
		l.main = v.Width - l.list - 1
	}
	if v.Height >= rulesFrom {
		l.rules = 2
	}
	if l.rules > 0 || v.Notice != "" {
		l.foot = 1
	}
	l.input = max(1, min(len(v.Input), inputMost, v.Height/3))
	if v.Height < 6 {
		l.head, l.foot = 0, min(l.foot, max(0, v.Height-3))
	}
	l.timeline = max(0, v.Height-1-l.head-l.rules-l.input-l.foot)
	return l
}

// Render draws the model.
func Render(m *talk.Model, v View) Frame {
	if v.Width < 1 || v.Height < 1 {
		return Frame{CursorY: -1}
	}
	l := arrange(v)
	f := Frame{CursorY: -1}
	rows := []string{bar(m, v)}
	if v.Help == Shown {
		rows = append(rows, help(v)...)
	} else {
		main, inputRow := mainRows(m, v, l)
		left := list(m, v, l, len(main))
		for i := range main {
			row := main[i]
			if l.list > 0 {
				row = left[i] + faint.paint(v.Signs.Bar) + row
			}
			rows = append(rows, row)
		}
		if l.foot > 0 {
			rows = append(rows, foot(v))
		}
		first := firstInput(v, l)
		f.CursorX = min(v.CursorX+v.Width-l.main, v.Width-1)
		if f.CursorY = 1 + inputRow + v.CursorY - first; f.CursorY >= v.Height {
			f.CursorY = -1
		}
	}
	for len(rows) < v.Height {
		rows = append(rows, "")
	}
	f.Rows = rows[:v.Height]
	for i, r := range f.Rows {
		f.Rows[i] = clip(r, v.Width)
	}
	return f
}

// clip is for screens too small for any layout, and for the input's rows,
// which somebody else measured.
func clip(row string, width int) string {
	if ansi.StringWidth(row) > width {
		row = ansi.Truncate(row, width, "")
	}
	if ansi.StringWidthWc(row) > width {
		row = ansi.TruncateWc(row, width, "")
	}
	return row
}

// String is the frame as one text.
func (f Frame) String() string { return strings.Join(f.Rows, "\n") }

// bar is the first row: who one is, and how the connection stands.
func bar(m *talk.Model, v View) string {
	right := " " + Link(m.Link, v.Now) + " "
	look := invert
	switch m.Link.State {
	case talk.Offline:
		look = look.and(yellow)
	case talk.Refused:
		look = look.and(red)
	}
	if n := m.Unsent(); n > 0 && m.Link.State != talk.Online {
		right = fmt.Sprintf(" %s%d not sent,%s", v.Signs.Queued, n, right)
	}
	// The name stays in sight; a long reason gives way.
	state := plain.Cut(plain.Text(right), max(v.Width/2, v.Width-len(m.Me)-3))
	room := v.Width - state.Width()
	left := plain.Cut(plain.Text(" "+m.Me+" on "+v.Server), max(0, room-1))
	return look.paint(pad(left, room) + string(state))
}

// pad fills a text with spaces to a width.
func pad(t plain.Text, width int) string {
	return string(t) + strings.Repeat(" ", max(0, width-t.Width()))
}

// mainRows are the rows right of the list, and which of them is the input's first.
func mainRows(m *talk.Model, v View, l layout) (rows []string, input int) {
	c := m.Conversation(m.Open)
	if l.head > 0 {
		rows = append(rows, head(m, c, v, l))
	}
	if l.rules > 0 {
		rows = append(rows, rule(v, l.main, ""))
	}
	if c == nil {
		rows = append(rows, empty(m, v, l)...)
	} else {
		rows = append(rows, timeline(m, c, v, l)...)
	}
	if l.rules > 0 {
		below := ""
		if v.At.Line != nil {
			below = "newer below: End"
		}
		rows = append(rows, rule(v, l.main, below))
	}
	input = len(rows)
	first := firstInput(v, l)
	for i := range l.input {
		row := ""
		if first+i < len(v.Input) {
			row = v.Input[first+i]
		}
		rows = append(rows, row)
	}
	return rows, input
}

// firstInput is the first visible row of an input that has more than fit.
func firstInput(v View, l layout) int {
	return max(0, min(v.CursorY-l.input+1, len(v.Input)-l.input))
}

// rule is a line across, with a word in it where there is one.
func rule(v View, width int, word string) string {
	t := ""
	if word != "" {
		t = strings.Repeat(v.Signs.Rule, 3) + " " + word + " "
	}
	cut := plain.Cut(plain.Text(t), width)
	return faint.paint(string(cut) + strings.Repeat(v.Signs.Rule, max(0, width-cut.Width())))
}

// head is the row that says whom one talks with.
func head(m *talk.Model, c *talk.Conversation, v View, l layout) string {
	if c == nil {
		return ""
	}
	peer := plain.Cut(plain.Text(c.Peer), l.main)
	rest := ""
	if n := m.Name(c.Peer); n != "" && string(n) != c.Peer {
		rest += " · " + string(n)
	}
	switch typing, presence := TypingLine(c, v.Now), Presence(m, c.Peer, v.Now); {
	case typing != "":
		rest += " · " + typing
	case presence != "":
		rest += " · " + presence
	}
	return bold.paint(string(peer)) + string(plain.Cut(plain.Text(rest), l.main-peer.Width()))
}

// list is the column of conversations.
func list(m *talk.Model, v View, l layout, height int) []string {
	rows := make([]string, height)
	if l.list == 0 {
		return rows
	}
	all := m.List()
	first := 0 // the open one stays in sight
	for i, c := range all {
		if c.Peer == m.Open && i >= height {
			first = i - height + 1
		}
	}
	for i := range rows {
		if first+i >= len(all) {
			rows[i] = strings.Repeat(" ", l.list)
			continue
		}
		rows[i] = entry(m, all[first+i], v, l.list)
	}
	return rows
}

func entry(m *talk.Model, c *talk.Conversation, v View, width int) string {
	sign := " "
	if p, known := m.Presence(c.Peer); known && p.Online {
		sign = v.Signs.Here
	}
	right := " "
	switch n := c.Unread(m.Me); {
	case len(c.Typing(v.Now)) > 0 && c.Peer != m.Open:
		right = " … "
	case n > 0 && c.Peer != m.Open:
		right = fmt.Sprintf(" %d ", n)
	case m.Draft(c.Peer) != "" && c.Peer != m.Open:
		right = " draft "
	}
	look := none
	switch {
	case c.Peer == m.Open:
		look = invert
	case c.Unread(m.Me) > 0:
		look = bold
	}
	name := plain.Cut(plain.Text(c.Peer), width-2-len([]rune(right)))
	row := sign + " " + string(name)
	return look.paint(pad(plain.Text(row), width-len([]rune(right))) + right)
}

// foot is the last row.
func foot(v View) string {
	if v.Notice != "" {
		look := none
		if v.Urgency == Urgent {
			look = red
		}
		return look.paint(string(plain.Cut(plain.Clean(v.Notice).OneLine(), v.Width)))
	}
	return faint.paint(string(plain.Cut("F1 help · Tab next · PgUp back · Alt-Enter new line · Ctrl-C leave", v.Width)))
}

// empty is what stands where no conversation is open.
func empty(m *talk.Model, v View, l layout) []string {
	says := []string{"", "Nobody to talk with yet.", "", "/to bob    talk with bob", "F1         keys and commands"}
	if len(m.List()) > 0 {
		says = []string{"", "Tab        the next conversation", "/to bob    talk with bob", "F1         keys and commands"}
	}
	rows := make([]string, l.timeline)
	for i := range min(len(rows), len(says)) {
		rows[i] = string(plain.Cut(plain.Text(" "+says[i]), l.main))
	}
	return rows
}
