package screen

import (
	"strings"

	"github.com/rookery-im/rookery/cmd/rookery/chat/plain"
	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// HelpRows is the help, a row each.
func HelpRows(signs Signs) []string {
	rows := []string{
		"Enter            send",
		"Alt-Enter        a new line (also Ctrl-J)",
		"Tab, Ctrl-N      next conversation",
		"Shift-Tab, Ctrl-P previous conversation",
		"PgUp, PgDn       scroll; End is the newest",
		"Ctrl-T           take a refused line back into the input",
		"F1, or ? alone    this help; Esc closes it",
		"Ctrl-C           leave",
		"",
	}
	for _, s := range []struct{ sign, means string }{
		{signs.Queued, "kept here, not sent yet"},
		{signs.Sent, "sent: on the server's disk"},
		{signs.Delivered, "delivered: on a device there"},
		{signs.Read, "read"},
		{signs.Failed, "not sent, or expired; the line below says why"},
	} {
		rows = append(rows, s.sign+strings.Repeat(" ", 17-plain.Text(s.sign).Width())+s.means)
	}
	rows = append(rows, "")
	rows = append(rows, talk.Help()...)
	return append(rows, "//text           say something that begins with /")
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
