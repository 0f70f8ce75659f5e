package talk

import (
	"fmt"
	"slices"
	"strings"
)

// Command is what a typed line asks for. Name is empty where it is to be said:
// Text to To, or to the open conversation where To is empty.
type Command struct {
	Name, To, Text string
}

// verbs are the commands and what follows them.
var verbs = []struct {
	name, follows, what string
}{
	{"to", "NAME", "talk with somebody"},
	{"read", "[NAME]", "mark as read"},
	{"who", "[NAME]", "who somebody is, or whom you talk with"},
	{"history", "[NAME]", "show the last lines again (line mode)"},
	{"back", "", "take a refused line back into the input"},
	{"drop", "", "remove a refused line"},
	{"name", "NAME", "how others see you"},
	{"block", "NAME", "hear nothing more of somebody"},
	{"unblock", "NAME", "hear from them again"},
	{"help", "", "keys and commands"},
	{"quit", "", "leave; what is not sent yet is kept"},
}

// Help lists the commands, one a line.
func Help() []string {
	var lines []string
	for _, v := range verbs {
		lines = append(lines, fmt.Sprintf("%-18s %s", strings.TrimSpace("/"+v.name+" "+v.follows), v.what))
	}
	return lines
}

// Parse reads a line that may begin with a command. A line that begins with //
// is said, without one of them.
func Parse(line string) (Command, error) {
	if strings.HasPrefix(line, "//") {
		return Command{Text: line[1:]}, nil
	}
	if !strings.HasPrefix(line, "/") {
		return Command{Text: line}, nil
	}
	name, rest, _ := strings.Cut(strings.TrimSpace(line[1:]), " ")
	rest = strings.TrimSpace(rest)
	switch name {
	case "exit", "q":
		name = "quit"
	case "?":
		name = "help"
	}
	for _, v := range verbs {
		if v.name != name {
			continue
		}
		if name == "name" {
			if rest == "" {
				return Command{}, fmt.Errorf("/name needs a name")
			}
			return Command{Name: name, Text: rest}, nil
		}
		c := Command{Name: name, To: strings.TrimPrefix(rest, "@")}
		switch {
		case v.follows == "" && rest != "":
			return Command{}, fmt.Errorf("/%s takes nothing", name)
		case v.follows == "NAME" && rest == "":
			return Command{}, fmt.Errorf("/%s needs a name, as in /%s bob", name, name)
		case rest != "":
			return c, CheckPeer(c.To)
		}
		return c, nil
	}
	return Command{}, fmt.Errorf("there is no command /%s; /help lists them, and a line that begins with // is sent as it is", name)
}

// ParseAddressed is Parse for a line that may also begin with @NAME, which
// says to whom it goes.
func ParseAddressed(line string) (Command, error) {
	if !strings.HasPrefix(line, "@") {
		return Parse(line)
	}
	to, text, _ := strings.Cut(line[1:], " ")
	to = strings.TrimRight(to, ":,")
	if err := CheckPeer(to); err != nil {
		return Command{}, err
	}
	if text = strings.TrimSpace(text); text == "" {
		return Command{Name: "to", To: to}, nil
	}
	return Command{To: to, Text: text}, nil
}

// CheckUser says what is wrong with a user id, as docs/protocol.md has it.
func CheckUser(user string) error {
	switch {
	case user == "":
		return fmt.Errorf("a name must not be empty")
	case len(user) > 64:
		return fmt.Errorf("a name has at most 64 characters")
	case IsGroup(user):
		return fmt.Errorf("a name must not begin with g_")
	}
	return checkLetters(user)
}

// CheckPeer is CheckUser, for a user or a group.
func CheckPeer(peer string) error {
	if peer == "" || len(peer) > 64 {
		return CheckUser(peer)
	}
	return checkLetters(peer)
}

func checkLetters(id string) error {
	for _, r := range id {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || slices.Contains([]rune("+-_.@"), r)) {
			return fmt.Errorf("a name is made of a-z, A-Z, 0-9 and + - _ . @, not of %q", r)
		}
	}
	return nil
}

// IsGroup says whether an id is a group's.
func IsGroup(id string) bool { return strings.HasPrefix(id, "g_") }
