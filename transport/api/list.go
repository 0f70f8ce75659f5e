package api

import (
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/internal/limits"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/frames"
)

// listDefault is how many entries a page of GET /v1/messages has.
const listDefault = 100

// listMessages: GET /v1/messages.
func (a *API) listMessages(c *call) (reply, *nodepb.Fault) {
	list, wait, f := listQuery(c.r.URL)
	if f != nil {
		return reply{}, f
	}
	if wait > 0 && c.r.Method != http.MethodHead {
		return a.poll(c, list, wait)
	}
	q := c.own()
	q.Body = &nodepb.Ask_List{List: list}
	answer, f := a.ask(c, reads, q)
	if f != nil {
		return reply{}, f
	}
	p, f := a.listed(c, list, answer)
	return p.reply(), f
}

// listing is a page as it is written, without its end.
type listing struct {
	body  []byte
	empty bool
	next  uint64
	end   bool
}

// listed writes the page of an answer to a list.
func (a *API) listed(c *call, list *nodepb.List, answer *nodepb.Answer) (listing, *nodepb.Fault) {
	page := answer.GetPage()
	if page == nil {
		return listing{}, a.unexpected(c, reads)
	}
	// next is where the following page begins, also where a filter left
	// everything of this one out.
	out := listing{body: []byte(`{"messages":[`), empty: true, next: max(list.GetAfter(), page.GetAfter(), page.GetUpTo()), end: page.GetEnd()}
	for _, e := range page.GetEntries() {
		out.next = max(out.next, e.GetSeq())
		frame := frames.FromEntry(e, c.asker.device)
		if frame == nil {
			continue
		}
		if !out.empty {
			out.body = append(out.body, ',')
		}
		out.empty = false
		var err error
		if out.body, err = frames.AppendJSON(out.body, frame); err != nil {
			return listing{}, fault.New(fault.Internal, "", "an entry cannot be written")
		}
	}
	return out, nil
}

func (l listing) reply() reply {
	body := append(l.body, `],"next":"`...)
	body = strconv.AppendUint(body, l.next, 10)
	body = append(body, `","end":`...)
	body = strconv.AppendBool(body, l.end)
	return reply{status: http.StatusOK, body: append(body, '}')}
}

func listQuery(u *url.URL) (*nodepb.List, time.Duration, *nodepb.Fault) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, 0, invalid("query", "is not well-formed")
	}
	list, wait := &nodepb.List{Limit: listDefault}, time.Duration(0)
	for name, values := range query {
		if len(values) != 1 {
			return nil, 0, invalid(name[:min(len(name), limits.UserID)], "is given twice")
		}
		var f *nodepb.Fault
		if name == "wait" {
			wait, f = waitParameter(values[0])
		} else {
			f = listParameter(list, name, values[0])
		}
		if f != nil {
			return nil, 0, f
		}
	}
	return list, wait, nil
}

// durationText is how a parameter says a duration: as protobuf's JSON mapping
// has it (30s, 0.5s), or as Go does (1m30s).
var durationText = regexp.MustCompile(`^(0|([0-9]+(\.[0-9]+)?(ms|s|m|h))+)$`)

// duration of a parameter; one that is too long to be one is the longest.
func duration(value string) (time.Duration, bool) {
	if !durationText.MatchString(value) {
		return 0, false
	}
	d, err := time.ParseDuration(value)
	if err != nil {
		return math.MaxInt64, true
	}
	return d, true
}

func waitParameter(value string) (time.Duration, *nodepb.Fault) {
	wait, ok := duration(value)
	if !ok || wait > limits.PollWait {
		return 0, invalid("wait", "must be a duration, such as 30s, of at most "+strconv.Itoa(int(limits.PollWait.Seconds()))+"s")
	}
	return wait, nil
}

func listParameter(list *nodepb.List, name, value string) *nodepb.Fault {
	switch name {
	case "after":
		after, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return invalid(name, "must be a seq")
		}
		list.After = after
	case "limit":
		limit, err := strconv.ParseUint(value, 10, 32)
		if err != nil || limit < 1 || limit > limits.PageEntries {
			return invalid(name, "must be 1 to "+strconv.Itoa(limits.PageEntries))
		}
		list.Limit = uint32(limit)
	case "conversation":
		peer, f := conversation(value)
		if f != nil {
			return f
		}
		list.Peer = peer
	case "id":
		id, err := ident.ParseMessageID(value)
		if err != nil {
			return invalid(name, err.Error())
		}
		list.Id = id[:]
	default:
		return fault.New(fault.InvalidArgument, fault.ReasonUnknownField, "%q: unknown parameter", name[:min(len(name), limits.UserID)])
	}
	return nil
}

// conversation reads user:bob or bob. A space is a plus sign that a form
// encoder would have escaped: ids hold no spaces, and many begin with +.
func conversation(value string) (string, *nodepb.Fault) {
	value = strings.ReplaceAll(value, " ", "+")
	c := frames.With(strings.TrimPrefix(value, "user:"))
	if group, ok := strings.CutPrefix(value, "group:"); ok {
		c = &clientpb.Conversation{Peer: &clientpb.Conversation_Group{Group: group}}
	}
	return frames.Peer(c, "", "conversation")
}
