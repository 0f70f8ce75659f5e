// Package ctl is `rookery ctl`: what an operator asks a running node on its admin
// address.
package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rookery-im/rookery/cmd/rookery/node"
)

// ErrUsage: it was called wrongly.
var ErrUsage = errors.New("wrongly called")

// Usage of it.
const Usage = `Asks a running node, on its admin address.

Usage:
  rookery ctl [--admin ADDR] status [--json]             members and replicas, and what losing a node would lose
  rookery ctl [--admin ADDR] node list [--json]          the nodes of the cluster
  rookery ctl [--admin ADDR] node remove ID|NUMBER       move a node's replicas away, then take it out, for good
                             [--force] [--wait 10m]      --force: it is gone, and what only it had is lost
  rookery ctl [--admin ADDR] invite                      an invitation for one user
  rookery ctl [--admin ADDR] key                         sign tokens with a new key

ADDR is an address or the path of a socket file; 127.0.0.1:9090 where it is not given.
`

// call is one call of the command.
type call struct {
	admin string
	json  bool
	force bool
	wait  time.Duration
	pause time.Duration // between questions how far a removal is
	out   io.Writer
	http  *http.Client
}

// Run does what the arguments say.
func Run(ctx context.Context, args []string, out io.Writer) error {
	return run(ctx, &call{out: out, pause: time.Second}, args)
}

// maxSilent is how often in a removal a node may not answer.
const maxSilent = 10

func run(ctx context.Context, c *call, args []string) error {
	words, err := c.parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(c.out, Usage)
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	c.dial()
	defer c.http.CloseIdleConnections()
	switch line := strings.Join(words, " "); {
	case line == "status":
		return c.status(ctx)
	case line == "node list":
		return c.list(ctx)
	case len(words) == 3 && strings.HasPrefix(line, "node remove "):
		return c.remove(ctx, words[2])
	case line == "invite":
		return c.invite(ctx)
	case line == "key":
		return c.ask(ctx, http.MethodPost, "/v1/keys", nil)
	case line == "":
		return fmt.Errorf("%w: what is to be done?\n\n%s", ErrUsage, Usage)
	default:
		return fmt.Errorf("%w: there is no command %q\n\n%s", ErrUsage, line, Usage)
	}
}

// parse takes flags wherever they stand.
func (c *call) parse(args []string) (words []string, err error) {
	f := flag.NewFlagSet("rookery ctl", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.admin, "admin", "127.0.0.1:9090", "")
	f.BoolVar(&c.json, "json", false, "")
	f.BoolVar(&c.force, "force", false, "")
	f.DurationVar(&c.wait, "wait", 10*time.Minute, "")
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		if f.NArg() == 0 {
			return words, nil
		}
		words, args = append(words, f.Arg(0)), f.Args()[1:]
	}
}

func (c *call) dial() {
	network := "tcp"
	if strings.ContainsRune(c.admin, '/') {
		network = "unix"
	}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, c.admin)
		},
	}, Timeout: 30 * time.Second}
}

// ask the node, and take its answer apart.
func (c *call) ask(ctx context.Context, method, path string, answer any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://admin"+path, nil)
	if err != nil {
		return fmt.Errorf("ctl: %w", err)
	}
	a, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("no node answers at %s (--admin says where): %w", c.admin, err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.admin, err)
	}
	if a.StatusCode/100 != 2 {
		var said struct{ Error string }
		if json.Unmarshal(body, &said) != nil || said.Error == "" {
			said.Error = strings.TrimSpace(string(body))
		}
		return fmt.Errorf("the node at %s says: %s (%d)", c.admin, said.Error, a.StatusCode)
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("the answer of %s: %w", c.admin, err)
	}
	return nil
}

func (c *call) invite(ctx context.Context) error {
	var made struct {
		Code      string
		ExpiresAt time.Time
	}
	if err := c.ask(ctx, http.MethodPost, "/v1/invites", &made); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s  good until %s\n", made.Code, made.ExpiresAt.Format(time.RFC3339))
	return nil
}

func (c *call) status(ctx context.Context) error {
	var s node.Status
	if err := c.ask(ctx, http.MethodGet, "/v1/status", &s); err != nil {
		return err
	}
	if c.json {
		return c.print(s)
	}
	show(c.out, s)
	return nil
}

func (c *call) print(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (c *call) list(ctx context.Context) error {
	var s node.Status
	if err := c.ask(ctx, http.MethodGet, "/v1/status", &s); err != nil {
		return err
	}
	if c.json {
		return c.print(s.Members)
	}
	table(c.out, func(w io.Writer) {
		fmt.Fprintln(w, "NUMBER\tNODE\tSTATE\tANSWERS\tROLES\tZONE\tGROUPS\tLEADS\tCLIENTS")
		for _, m := range s.Members {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", m.Number, m.Node, m.State, yes(m.Answers), strings.Join(m.Roles, ","), m.Zone, m.Groups, m.Leads, m.Clients)
		}
	})
	return nil
}

// show a status to a person.
func show(out io.Writer, s node.Status) {
	leaderless, short := 0, 0
	var silent []string
	for _, m := range s.Members {
		if !m.Answers {
			silent = append(silent, strconv.Itoa(int(m.Number)))
		}
	}
	for _, g := range s.Groups {
		if g.Leader == 0 {
			leaderless++
		} else if len(g.Replicas) < 3 {
			short++
		}
	}
	fmt.Fprintf(out, "Cluster %s, %d shards. ", s.Cluster, s.Shards)
	switch {
	case s.FullyReplicated:
		fmt.Fprint(out, "Fully replicated: every group has its three replicas.\n\n")
	case leaderless > 0:
		fmt.Fprintf(out, "Of %d of %d groups nobody says that it leads.\n\n", leaderless, len(s.Groups))
	case short > 0:
		fmt.Fprintf(out, "Not fully replicated: %d of %d groups have less than three replicas.\n\n", short, len(s.Groups))
	case len(silent) > 0:
		fmt.Fprintf(out, "Not fully replicated: what is on node %s is not there now.\n\n", strings.Join(silent, " and "))
	default:
		fmt.Fprint(out, "Not fully replicated: replicas are on their way.\n\n")
	}
	table(out, func(w io.Writer) {
		fmt.Fprintln(w, "NUMBER\tNODE\tSTATE\tANSWERS\tGROUPS\tLEADS")
		for _, m := range s.Members {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%d\t%d\n", m.Number, m.Node, m.State, yes(m.Answers), m.Groups, m.Leads)
		}
	})
	fmt.Fprint(out, "\nLosing a node now would lose\n")
	for _, m := range s.Members {
		fmt.Fprintf(out, "  node %d: %s.\n", m.Number, m.Loss)
	}
}

func table(out io.Writer, fill func(io.Writer)) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fill(w)
	_ = w.Flush() // nobody may be reading
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// remove a node, and wait until it is out.
func (c *call) remove(ctx context.Context, name string) error {
	path := "/v1/nodes/" + url.PathEscape(name)
	if c.force {
		path += "?force=true"
	}
	var out struct {
		Number  uint16
		Node    string
		Warning string
	}
	if err := c.ask(ctx, http.MethodDelete, path, &out); err != nil {
		return err
	}
	if !c.force {
		fmt.Fprintf(c.out, "node %d (%s) leaves; its replicas move away\n", out.Number, out.Node)
	}
	if out.Warning != "" {
		fmt.Fprintf(c.out, "warning: %s\n", out.Warning)
	}
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	tick := time.NewTicker(c.pause)
	defer tick.Stop()
	for said, silent := -1, 0; ; {
		var s node.Status
		err := c.ask(ctx, http.MethodGet, "/v1/status", &s)
		left := groupsOf(s, out.Node)
		switch {
		case err != nil:
			if silent++; silent == maxSilent {
				return fmt.Errorf("it is not known whether node %d is out: if it is the one that was asked, it has ended, and another knows: %w", out.Number, err)
			}
		case left < 0:
			fmt.Fprintf(c.out, "node %d is out of the cluster\n", out.Number)
			return nil
		case left != said:
			said = left
			fmt.Fprintf(c.out, "%d groups are left\n", left)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %d is not out after %v; it goes on leaving, and `ctl status` says how far it is", out.Number, c.wait)
		case <-tick.C:
		}
	}
}

// groupsOf a member; -1 where it is none any more.
func groupsOf(s node.Status, id string) int {
	for _, m := range s.Members {
		if m.Node == id {
			return m.Groups
		}
	}
	return -1
}
