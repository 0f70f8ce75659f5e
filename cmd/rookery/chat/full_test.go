package chat

import (
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/rookery-im/rookery/cmd/rookery/chat/screen"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// keyboard types into a full screen that has no terminal.
type keyboard struct {
	*fullScreen
	t *testing.T
}

func newKeyboard(s *sitting) *keyboard {
	f := &fullScreen{desk: s.desk, input: newInput(), focus: talk.AtNewest}
	f.view = screen.View{Server: "x", Signs: screen.Ticks(), Now: time.Now()}
	f.tell = func(line string) { f.notify(line, screen.Calm) }
	k := &keyboard{f, s.t}
	k.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	return k
}

func (k *keyboard) types(text string) {
	for _, r := range text {
		k.Update(tea.KeyPressMsg{Code: r, Text: string(r)})
	}
}

func (k *keyboard) press(code rune, mod tea.KeyMod) tea.Cmd {
	_, cmd := k.Update(tea.KeyPressMsg{Code: code, Mod: mod})
	return cmd
}

func (k *keyboard) enters(text string) {
	k.types(text)
	k.press(tea.KeyEnter, 0)
}

// turns to somebody without going through the input.
func (k *keyboard) turns(command string) {
	k.t.Helper()
	c, err := talk.Parse(command)
	if err != nil {
		k.t.Fatal(err)
	}
	k.does(c)
}

// shows checks what is on the screen.
func (k *keyboard) shows(texts ...string) {
	k.t.Helper()
	now := ansi.Strip(k.draw().Content)
	for _, text := range texts {
		if !strings.Contains(now, text) {
			k.t.Errorf("no %q in\n%s", text, now)
		}
	}
}

func (k *keyboard) holds(input string) {
	k.t.Helper()
	if got := k.input.Value(); got != input {
		k.t.Errorf("the input holds %q, want %q", got, input)
	}
}

// Whatever is pressed: what was typed leaves the input only for where it is kept.
func TestKeys(t *testing.T) {
	url, _ := startNode(t)
	s := newPerson(t, url, "alice").sit()
	k := newKeyboard(s)
	s.until("alice is online", s.settled)

	k.enters("hello")
	k.shows("to whom?")
	k.holds("hello")
	k.press('u', tea.ModCtrl)
	k.enters("/frob")
	k.shows("no command /frob")
	k.holds("/frob")
	k.press('u', tea.ModCtrl)

	k.enters("/to bob")
	k.holds("")
	k.shows("│bob")
	k.types("one")
	k.press(tea.KeyEnter, tea.ModAlt)
	k.Update(tea.PasteMsg{Content: "two\nthree\t\x1b[2J"})
	k.shows("> one", "  two", "  three")
	if k.model.Unsent() != 0 {
		t.Error("a pasted newline sent the line")
	}
	k.enters("/to carol") // the middle of a text is no command
	k.shows("you one")
	k.holds("")

	k.types("draft for bob")
	k.turns("/to carol")
	k.shows("│carol")
	k.holds("")
	k.types("?")
	k.shows("Alt-Enter, Ctrl-J")
	k.press(tea.KeyEscape, 0)
	k.types("what?")
	k.holds("what?")
	k.press(tea.KeyTab, 0)
	k.holds("draft for bob")
	k.press(tea.KeyTab, tea.ModShift)
	k.holds("what?")

	// Nobody has that name, so the line comes back.
	k.press(tea.KeyEnter, 0)
	k.holds("")
	s.until("it is refused", func() bool { return k.model.Conversation("carol").Failed() != nil })
	k.shows("not sent: nobody has that name")
	k.types("more")
	k.press('t', tea.ModCtrl)
	k.holds("what?\nmore")
	if k.model.Conversation("carol").Failed() != nil {
		t.Error("the line is there twice")
	}

	for _, size := range [][2]int{{1, 1}, {3, 2}, {20, 5}, {59, 13}, {300, 100}, {80, 24}} {
		k.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		if rows := strings.Split(k.draw().Content, "\n"); len(rows) != size[1] {
			t.Errorf("%v: %d rows", size, len(rows))
		}
	}
	k.holds("what?\nmore")
	if cmd := k.press('c', tea.ModCtrl); cmd == nil || cmd() != tea.Quit() {
		t.Error("Ctrl-C does not leave")
	}
	s.leave()
}

// Read is said of what is in sight, and of nothing else.
func TestSight(t *testing.T) {
	url, _ := startNode(t)
	alice, bob := newPerson(t, url, "alice").sit(), newPerson(t, url, "bob").sit()
	k := newKeyboard(alice)
	alice.until("alice is online", alice.settled)
	bob.until("bob is online", bob.settled)
	k.enters("/to bob")
	k.Update(tea.BlurMsg{})
	if _, err := bob.say("alice", "look", time.Now()); err != nil {
		t.Fatal(err)
	}
	arrived := func() bool { return alice.has("bob", "look") == 1 }
	alice.until("it arrives", arrived)
	if n := k.model.Conversation("bob").Unread("alice"); n != 1 {
		t.Errorf("%d unread without the focus", n)
	}
	if title := k.draw().WindowTitle; title != "(1) Rookery" {
		t.Errorf("the window is called %q", title)
	}
	k.press(tea.KeyF1, 0)
	k.Update(tea.FocusMsg{})
	if n := k.model.Conversation("bob").Unread("alice"); n != 1 {
		t.Errorf("%d unread behind the help", n)
	}
	k.press(tea.KeyEscape, 0)
	bob.until("bob learns that it was read", func() bool {
		c := bob.model.Conversation("alice")
		return len(c.Lines) == 1 && c.State(c.Lines[0], "bob") == talk.Seen
	})
	alice.leave()
	bob.leave()
}
