package screen

import (
	"strings"

	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// HelpRows is the help, a row each.
func HelpRows(signs Signs) []string {
	var rows []string
	row := func(what, does string) {
		const column = 19
		rows = append(rows, what+strings.Repeat(" ", column-plain.Text(what).Width())+does)
	}
	row("Enter", "send")
	row("Alt-Enter, Ctrl-J", "a new line")
	row("Tab, Ctrl-N", "next conversation")
	row("Shift-Tab, Ctrl-P", "previous conversation")
	row("PgUp, PgDn, End", "scroll; End is the newest")
	row("Ctrl-T", "take a refused line back into the input")
	row("F1, or ? alone", "this help; Esc closes it")
	row("Ctrl-C", "leave")
	rows = append(rows, "")
	row(signs.Queued, "kept here, not sent yet")
	row(signs.Sent, "sent: on the server's disk")
	row(signs.Delivered, "delivered: on a device there")
	row(signs.Read, "read")
	row(signs.Failed, "not sent, or expired; the line below says why")
	rows = append(rows, "")
	rows = append(rows, talk.Help()...)
	return append(rows, "//text             say something that begins with /")
}

// help covers everything below the bar.
func help(v View) []string {
	all := HelpRows(v.Signs)
	first := max(0, min(v.HelpRow, len(all)-(v.Height-1)))
	var rows []string
	for _, r := range all[first:] {
		rows = append(rows, string(plain.Cut(plain.Text(" "+r), v.Width)))
	}
	return rows
}
