package screen

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func hlc(at time.Time) uint64 { return uint64(at.UnixMilli()) << 16 }

// world is a chat with a bit of everything in it.
type world struct {
	m      *talk.Model
	orders map[string]uint64
}

func newWorld() *world {
	w := &world{talk.New("alice"), map[string]uint64{}}
	w.m.Step(talk.LinkChanged{Link: talk.Link{State: talk.Online}})
	return w
}

// says lets somebody write to Alice, as a stranger's client would: unclean.
func (w *world) says(from string, at time.Time, text string) {
	w.orders[from]++
	w.m.Step(talk.Arrived{Conversation: from, ID: fmt.Sprint(from, w.orders[from]), From: from, Device: 1, Order: w.orders[from], Time: hlc(at), Body: talk.Body{Text: plain.Clean(text)}})
}

// writes lets Alice write; it has no fate yet.
func (w *world) writes(to, id string, at time.Time, text string) {
	w.m.Step(talk.Submitted{Conversation: to, ID: id, Text: text, At: at})
}

func (w *world) sent(to, id string, order uint64, at time.Time) {
	w.m.Step(talk.Settled{Conversation: to, ID: id, Order: order, Time: hlc(at)})
}

// busy is the world of the golden files.
func busy() *talk.Model {
	w := newWorld()
	yesterday := noon.AddDate(0, 0, -1)
	w.says("carol", noon.Add(-time.Hour), "are you there?")
	w.says("carol", noon.Add(-time.Hour), "hello??")
	w.says("+4915112345678901234567890", noon.Add(-2*time.Hour), "a long id")
	w.m.Step(talk.Opened{Conversation: "bob", At: noon})
	w.m.Step(talk.Looked{Sight: talk.AtNewest})
	w.m.Step(talk.Named{User: "bob", Name: plain.Name("Bob 🦜 \x1b[31mBuilder")})
	w.says("bob", yesterday, "see you tomorrow")
	w.says("bob", noon.Add(-9*time.Minute), "good morning! This is a line that is so long that it has to be wrapped on most screens, though perhaps not on every one.")
	w.says("bob", noon.Add(-8*time.Minute), "two\nlines\n\nand a third")
	w.says("bob", noon.Add(-8*time.Minute), "\x1b[2J\x1b]0;pwned\x07wide 日本語, emoji 👩‍👩‍👧 ❤️, marks e\u0301, Hebrew שלום, \u202eevil\u202c")
	w.says("bob", noon.Add(-8*time.Minute), "https://example.org/"+strings.Repeat("very-long", 12))
	for i, s := range []string{"read by bob", "delivered", "expired", "sent"} {
		id := fmt.Sprint("a", i)
		at := noon.Add(time.Duration(i-7) * time.Minute)
		w.writes("bob", id, at, s)
		w.sent("bob", id, uint64(i+1), at)
	}
	w.m.Step(talk.Receipt{Conversation: "bob", By: "bob", Delivered: 3, ReadUpTo: 1, Undelivered: []talk.Range{{First: 3, Last: 3}}})
	w.m.Step(talk.Arrived{Conversation: "bob", ID: "i", From: "bob", Device: 1, Order: 9, Time: hlc(noon.Add(-2 * time.Minute)), Body: talk.Body{Kind: "image", Size: 12 << 10}})
	w.writes("bob", "q1", noon, "queued")
	w.writes("bob", "q2", noon, "waiting")
	w.m.Step(talk.Delayed{Conversation: "bob", ID: "q2", Why: "the mailbox there is full", RetryAt: noon.Add(time.Minute)})
	w.writes("bob", "q3", noon, "refused")
	w.m.Step(talk.Settled{Conversation: "bob", ID: "q3", Refusal: "too long"})
	w.m.Step(talk.Presence{User: "bob", Online: true})
	w.m.Step(talk.Presence{User: "carol", LastSeen: yesterday})
	w.m.Step(talk.Typing{Conversation: "bob", From: "bob", On: true, At: noon})
	return w.m
}

func view(width, height int) View {
	return View{Width: width, Height: height, Now: noon, Server: "127.0.0.1:8080", Input: []string{"> half a se"}, CursorX: 11, Signs: Ticks()}
}

func TestGolden(t *testing.T) {
	offline := func(m *talk.Model, v *View) {
		m.Step(talk.LinkChanged{Link: talk.Link{State: talk.Offline, Why: "nobody listens there", RetryAt: noon.Add(3 * time.Second)}})
	}
	cases := []struct {
		name          string
		width, height int
		change        func(*talk.Model, *View)
	}{
		{"80x24", 80, 24, nil},
		{"40x10", 40, 10, nil},
		{"120x40", 120, 40, nil},
		{"20x5", 20, 5, nil},
		{"offline", 80, 24, offline},
		{"refused", 80, 24, func(m *talk.Model, v *View) {
			m.Step(talk.LinkChanged{Link: talk.Link{State: talk.Refused, Why: "this device was unlinked", Advice: "start again"}})
			v.Notice, v.Urgency = "this device was unlinked: start again", Urgent
		}},
		{"scrolled", 80, 24, func(m *talk.Model, v *View) { v.At = Scroll(m, *v, -10) }},
		{"top", 80, 24, func(m *talk.Model, v *View) { v.At = Scroll(m, *v, -1000) }},
		{"help", 80, 24, func(_ *talk.Model, v *View) { v.Help = Shown }},
		{"carol", 80, 24, func(m *talk.Model, v *View) { m.Step(talk.Opened{Conversation: "carol", At: noon}) }},
		{"long-name", 80, 24, func(m *talk.Model, v *View) {
			m.Step(talk.Opened{Conversation: "+4915112345678901234567890", At: noon})
		}},
		{"typing-a-lot", 80, 24, func(_ *talk.Model, v *View) {
			v.Input = strings.Split("> one\n  two\n  three\n  four\n  five\n  six\n  seven\n  eight", "\n")
			v.CursorX, v.CursorY = 5, 6
		}},
		{"ascii", 80, 24, func(_ *talk.Model, v *View) { v.Signs = ASCII() }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, v := busy(), view(c.width, c.height)
			if c.change != nil {
				c.change(m, &v)
			}
			f := Render(m, v)
			checkFrame(t, f, v)
			golden(t, c.name, cursor(f))
		})
	}
	t.Run("new", func(t *testing.T) {
		golden(t, "new", cursor(Render(newWorld().m, view(80, 24))))
	})
}

// cursor is the frame without colours, with the cursor named below it.
func cursor(f Frame) string {
	var b strings.Builder
	for _, r := range f.Rows {
		b.WriteString(strings.TrimRight(ansi.Strip(r), " ") + "\n")
	}
	fmt.Fprintf(&b, "cursor %d,%d\n", f.CursorX, f.CursorY)
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s\n(go test -update, if it is better now)", got, want)
	}
}

// checkFrame is what holds of every frame: it fits, to every opinion of how
// wide a character is, and it obeys nobody but this package.
func checkFrame(t interface {
	Helper()
	Fatalf(string, ...any)
}, f Frame, v View) {
	t.Helper()
	if len(f.Rows) != v.Height {
		t.Fatalf("%d rows on a screen of %d", len(f.Rows), v.Height)
	}
	for i, r := range f.Rows {
		if w := max(ansi.StringWidth(r), ansi.StringWidthWc(r)); w > v.Width {
			t.Fatalf("row %d is %d wide on a screen of %d: %q", i, w, v.Width, r)
		}
		for _, part := range strings.Split(r, "\x1b[")[1:] {
			if end := strings.TrimLeft(part, "0123456789;"); !strings.HasPrefix(end, "m") {
				t.Fatalf("row %d holds a sequence that is no colour: %q", i, r)
			}
		}
		for _, c := range strings.ReplaceAll(r, "\x1b[", "") {
			if unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) {
				t.Fatalf("row %d holds %U: %q", i, c, r)
			}
		}
	}
	if f.CursorY >= v.Height || f.CursorX >= v.Width {
		t.Fatalf("cursor at %d,%d", f.CursorX, f.CursorY)
	}
}

// What a terminal without colours, or a person who sees none, must still tell apart.
func TestStatesDifferWithoutColour(t *testing.T) {
	for _, signs := range []Signs{Ticks(), ASCII()} {
		seen := map[string]talk.State{}
		for _, s := range []talk.State{talk.WaitsHere, talk.Sent, talk.Delivered, talk.Seen, talk.Failed} {
			if other, twice := seen[signs.Of(s)]; twice {
				t.Errorf("%v and %v look the same", other, s)
			}
			seen[signs.Of(s)] = s
			if w := plain.Text(signs.Of(s)).Width(); w > 3 {
				t.Errorf("%v is %d wide", s, w)
			}
		}
	}
}

// Every row can be scrolled to, in both directions, and positions do not move
// when something new arrives below.
func TestScroll(t *testing.T) {
	m, v := busy(), view(80, 12)
	m.Step(talk.Typing{Conversation: "bob", From: "bob", At: noon})
	body := func() string { return cursor(Render(m, v)) }
	newest := body()
	var up []string
	for range 200 {
		v.At = Scroll(m, v, -1)
		up = append(up, body())
	}
	if up[198] != up[199] {
		t.Error("there is no top")
	}
	if !strings.Contains(up[199], "yesterday") {
		t.Errorf("the top is not the beginning:\n%s", up[199])
	}
	for range 200 {
		v.At = Scroll(m, v, 1)
	}
	if v.At != (Position{}) || body() != newest {
		t.Errorf("down again is not the newest: %+v", v.At)
	}
	v.At = Scroll(m, v, -8) // past those that have no place yet
	before := body()
	w := &world{m, map[string]uint64{"bob": 20}}
	w.says("bob", noon.Add(time.Minute), "something new")
	if got := body(); got != before {
		t.Errorf("it moved: got\n%s\nwant\n%s", got, before)
	}
}

// No size and no text breaks a screen.
func TestAnySize(t *testing.T) {
	alphabet := []rune("ab \n\x1b[]0;m\u009b\u202e\u200d\ufe0f\u0301日👩🏽❤🇩🇪ش\u200c")
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld()
		for i := range rapid.IntRange(0, 12).Draw(rt, "lines") {
			text := string(rapid.SliceOfN(rapid.SampledFrom(alphabet), 0, 200).Draw(rt, "text"))
			from := rapid.SampledFrom([]string{"bob", "carol", strings.Repeat("x", 64)}).Draw(rt, "from")
			w.m.Step(talk.Named{User: from, Name: plain.Name(text)})
			w.says(from, noon.Add(time.Duration(i)*time.Hour), text)
			w.m.Step(talk.Submitted{Conversation: from, ID: fmt.Sprint(i), Text: text, At: noon})
			if i%3 == 0 {
				w.m.Step(talk.Settled{Conversation: from, ID: fmt.Sprint(i), Refusal: text})
			}
			w.m.Step(talk.Opened{Conversation: from, At: noon})
		}
		v := view(rapid.IntRange(1, 130).Draw(rt, "width"), rapid.IntRange(1, 50).Draw(rt, "height"))
		v.Input = make([]string, rapid.IntRange(1, 20).Draw(rt, "input"))
		v.CursorX, v.CursorY = rapid.IntRange(0, 80).Draw(rt, "x"), rapid.IntRange(0, len(v.Input)-1).Draw(rt, "y")
		v.Notice = string(rapid.SliceOfN(rapid.SampledFrom(alphabet), 0, 100).Draw(rt, "notice"))
		v.Help = Cover(rapid.IntRange(0, 1).Draw(rt, "help"))
		v.At = Scroll(w.m, v, -rapid.IntRange(0, 50).Draw(rt, "scroll"))
		checkFrame(rt, Render(w.m, v), v)
	})
}

func TestDays(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{noon, "12:00"}, {noon.Add(-11 * time.Hour), "01:00"}, {noon.Add(-13 * time.Hour), "yesterday 23:00"},
		{noon.AddDate(0, 0, -2), "Fri 20 Nov 12:00"}, {noon.AddDate(-1, 0, 0), "22 Nov 2025 12:00"},
	} {
		if got := When(c.at, noon); got != c.want {
			t.Errorf("%v: %q, want %q", c.at, got, c.want)
		}
	}
}
