package chat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/textarea"
	tea "charm.land/bubbletea/v2"

	"github.com/rookery-im/rookery/cmd/rookery/chat/screen"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// fullScreen is the chat on a whole terminal, as Bubble Tea's model: its
// Update is the loop that owns the desk.
type fullScreen struct {
	*desk
	out   *os.File
	in    *os.File
	input textarea.Model
	view  screen.View
	focus talk.Sight // AtNewest where the terminal has the focus, or does not say
	until time.Time  // when a calm notice goes; zero: with the next key
	drawn tea.View
	at    time.Time // when it was drawn
}

// tick is once a second: countdowns, and what ceases by itself.
type tick time.Time

const (
	noticeShown = 8 * time.Second
	inputRows   = 6
)

func newFullScreen(k *desk, c *console, server string, signs screen.Signs) (*fullScreen, error) {
	out, ok := c.out.(*os.File)
	if !ok || c.file == nil {
		return nil, errors.New("there is no terminal to fill")
	}
	f := &fullScreen{desk: k, in: c.file, out: out, input: newInput(), focus: talk.AtNewest}
	_, host, _ := strings.Cut(server, "://")
	f.view = screen.View{Server: host, Signs: signs, Now: time.Now(), Width: 80, Height: 24}
	f.tell = func(s string) { f.notify(s, screen.Calm) }
	return f, nil
}

// newInput is the line being typed, without colours of its own.
func newInput() textarea.Model {
	in := textarea.New()
	in.SetStyles(textarea.Styles{})
	in.ShowLineNumbers = false
	in.SetVirtualCursor(false)
	in.SetPromptFunc(2, func(p textarea.PromptInfo) string {
		if p.LineNumber == 0 {
			return "> "
		}
		return "  "
	})
	in.KeyMap.InsertNewline = key.NewBinding(key.WithKeys("alt+enter", "shift+enter", "ctrl+j"))
	in.KeyMap.Paste = key.NewBinding() // it runs other programs; terminals paste by themselves
	in.DynamicHeight, in.MinHeight, in.MaxHeight = true, 1, inputRows
	in.MaxContentHeight, in.MaxWidth = 10_000, 0
	in.Focus()
	return in
}

// run fills the screen until the person leaves, or ctx ends.
func (f *fullScreen) run(ctx context.Context) error {
	p := tea.NewProgram(f, tea.WithContext(ctx), tea.WithoutSignalHandler(), tea.WithInput(f.in), tea.WithOutput(f.out))
	f.deliver = func(_ context.Context, n news) { p.Send(n) }
	f.rescue = p.Kill
	if f.greeting != "" {
		f.notify(f.greeting, screen.Urgent)
	}
	f.setInput(f.model.Draft("")) // typed before it was said to whom
	if all := f.model.List(); len(all) > 0 {
		f.open(all[0].Peer)
	}
	f.receive()
	_, err := p.Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		err = nil // asked to end, from outside
	}
	return errors.Join(err, f.close())
}

// Init starts the clock.
func (f *fullScreen) Init() tea.Cmd { return everySecond() }

func everySecond() tea.Cmd {
	return tea.Tick(time.Second, func(t time.Time) tea.Msg { return tick(t) })
}

// Update takes what happened: keys, news, time.
func (f *fullScreen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	f.view.Now = time.Now()
	switch msg := msg.(type) {
	case news:
		f.show(f.take(msg))
	case tick:
		f.steps(talk.Ticked{At: f.view.Now})
		if !f.until.IsZero() && f.view.Now.After(f.until) {
			f.notify("", screen.Calm)
		}
		cmd = everySecond()
	case tea.WindowSizeMsg:
		f.resize(msg.Width, msg.Height)
	case tea.FocusMsg:
		f.focus = talk.AtNewest
	case tea.BlurMsg:
		f.focus = talk.Away
	case tea.KeyPressMsg:
		cmd = f.key(msg)
	default: // pasted text, above all
		cmd = f.edit(msg)
	}
	f.look()
	return f, cmd
}

// look tells the model what the person sees now.
func (f *fullScreen) look() {
	sight := f.focus
	if f.view.At.Line != nil || f.view.Help == screen.Shown {
		sight = talk.Away
	}
	f.steps(talk.Looked{Sight: sight})
}

// steps does a step whose failure the person is told of.
func (f *fullScreen) steps(e talk.Event) {
	shown, err := f.step(e)
	if err != nil {
		f.notify(explain(err), screen.Urgent)
	}
	f.show(shown)
}

// show does what effects ask of the screen, which is drawn anew anyway.
func (f *fullScreen) show(effects []talk.Effect) {
	for _, e := range effects {
		if r, ok := e.(talk.Restore); ok && r.Conversation == f.model.Open {
			f.setInput(r.Text)
		}
	}
}

func (f *fullScreen) resize(width, height int) {
	f.view.Width, f.view.Height = width, height
	f.input.MaxHeight = max(1, min(inputRows, height/3))
	f.input.SetWidth(max(4, screen.InputWidth(width)))
}

// key does what a key says.
func (f *fullScreen) key(k tea.KeyPressMsg) tea.Cmd {
	if f.view.Urgency == screen.Urgent && f.model.Link.State != talk.Refused {
		f.notify("", screen.Calm)
	}
	name := k.String()
	if f.view.Help == screen.Shown {
		return f.keyInHelp(name)
	}
	switch name {
	case "ctrl+c":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	case "ctrl+l":
		return tea.ClearScreen
	case "f1":
		f.view.Help, f.view.HelpRow = screen.Shown, 0
	case "esc":
		f.notify("", screen.Calm)
		f.view.At = screen.Position{}
	case "tab", "ctrl+n":
		f.next(1)
	case "shift+tab", "ctrl+p":
		f.next(-1)
	case "pgup":
		f.view.At = screen.Scroll(f.model, f.view, -screen.Page(f.view))
	case "pgdown":
		f.view.At = screen.Scroll(f.model, f.view, screen.Page(f.view))
	case "ctrl+t":
		f.does(talk.Command{Name: "back"})
	case "enter":
		return f.enter()
	default:
		if name == "?" && f.input.Value() == "" {
			f.view.Help, f.view.HelpRow = screen.Shown, 0
			return nil
		}
		if name == "end" && f.view.At.Line != nil {
			f.view.At = screen.Position{}
			return nil
		}
		return f.edit(k)
	}
	return nil
}

func (f *fullScreen) keyInHelp(name string) tea.Cmd {
	most := max(0, len(screen.HelpRows(f.view.Signs))-f.view.Height+1)
	switch name {
	case "ctrl+c":
		return tea.Quit
	case "pgdown", "down", "space":
		f.view.HelpRow = min(most, f.view.HelpRow+max(1, f.view.Height/2))
	case "pgup", "up":
		f.view.HelpRow = max(0, f.view.HelpRow-max(1, f.view.Height/2))
	default:
		f.view.Help = screen.Hidden
	}
	return nil
}

// edit lets the input have it.
func (f *fullScreen) edit(msg tea.Msg) tea.Cmd {
	var cmd tea.Cmd
	f.input, cmd = f.input.Update(msg)
	f.steps(talk.Typed{Text: f.input.Value(), At: f.view.Now})
	return cmd
}

// setInput replaces what is typed.
func (f *fullScreen) setInput(text string) {
	f.input.SetValue(text)
	f.input.MoveToEnd()
	f.steps(talk.Typed{Text: f.input.Value(), At: f.view.Now})
}

// open turns to a conversation, with what was half typed there.
func (f *fullScreen) open(peer string) {
	if peer == f.model.Open {
		return
	}
	f.steps(talk.Opened{Conversation: peer, At: f.view.Now})
	f.view.At = screen.Position{}
	f.setInput(f.model.Draft(peer))
}

// next turns to another conversation of the list.
func (f *fullScreen) next(by int) {
	all := f.model.List()
	if len(all) == 0 {
		f.notify("nobody to talk with yet: /to bob", screen.Calm)
		return
	}
	i := slices.IndexFunc(all, func(c *talk.Conversation) bool { return c.Peer == f.model.Open })
	if i < 0 && by < 0 {
		i = 0
	}
	f.open(all[(i+by+len(all))%len(all)].Peer)
}

// enter sends what is typed, or does it. What fails stays in the input.
func (f *fullScreen) enter() tea.Cmd {
	text := f.input.Value()
	if strings.TrimSpace(text) == "" {
		return nil
	}
	c, err := talk.Parse(text)
	if err != nil {
		f.notify(err.Error(), screen.Urgent)
		return nil
	}
	switch c.Name {
	case "quit":
		f.setInput("")
		return tea.Quit
	case "help":
		f.setInput("")
		f.view.Help, f.view.HelpRow = screen.Shown, 0
	case "":
		f.say(c.Text)
	default:
		f.setInput("") // a command that fails is quicker typed again than found in the way
		f.does(c)
	}
	return nil
}

func (f *fullScreen) say(text string) {
	if f.model.Open == "" {
		f.notify("to whom? /to bob opens a conversation", screen.Urgent)
		return
	}
	shown, err := f.desk.say(f.model.Open, text, f.view.Now)
	if err != nil {
		f.notify(explain(err), screen.Urgent)
		return
	}
	f.setInput("")
	f.view.At = screen.Position{}
	f.show(shown)
}

// does a command.
func (f *fullScreen) does(c talk.Command) {
	switch c.Name {
	case "to":
		f.open(c.To)
		return
	case "history":
		f.notify("PgUp shows what was before", screen.Calm)
		return
	case "who":
		if c.To == "" {
			c.To = f.model.Open
		}
	}
	shown, err := f.command(c, f.view.Now)
	if err != nil {
		f.notify(explain(err), screen.Urgent)
	}
	f.show(shown)
}

// notify shows a line at the foot; an urgent one stays until the next key.
func (f *fullScreen) notify(s string, u screen.Urgency) {
	f.view.Notice, f.view.Urgency, f.until = s, u, time.Time{}
	if s != "" && u == screen.Calm {
		f.until = time.Now().Add(noticeShown)
	}
}

// drawEvery is how often the screen is drawn while what waited pours in.
const drawEvery = 50 * time.Millisecond

// View is the screen. Bubble Tea asks for it after each message.
func (f *fullScreen) View() tea.View {
	if f.model.Link.State == talk.CatchingUp && f.view.Now.Sub(f.at) < drawEvery {
		return f.drawn // Drained changes the state, so the last one is drawn
	}
	f.drawn, f.at = f.draw(), f.view.Now
	return f.drawn
}

// draw draws it.
func (f *fullScreen) draw() tea.View {
	v := f.view
	v.Input = strings.Split(f.input.View(), "\n")
	if c := f.input.Cursor(); c != nil {
		v.CursorX, v.CursorY = c.X, c.Y
	}
	if l := f.model.Link; l.State == talk.Refused && v.Notice == "" {
		v.Notice, v.Urgency = l.Why+": "+l.Advice, screen.Urgent
	}
	frame := screen.Render(f.model, v)
	out := tea.NewView(frame.String())
	out.AltScreen, out.ReportFocus = true, true
	out.WindowTitle = title(f.model)
	if frame.CursorY >= 0 {
		out.Cursor = tea.NewCursor(frame.CursorX, frame.CursorY)
	}
	return out
}

// title says in the window's title how much is unread.
func title(m *talk.Model) string {
	unread := 0
	for _, c := range m.List() {
		unread += c.Unread(m.Me)
	}
	if unread == 0 {
		return "Rookery"
	}
	return fmt.Sprintf("(%d) Rookery", unread)
}
