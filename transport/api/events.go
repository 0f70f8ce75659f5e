package api

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	"github.com/rookery-im/rookery/transport/events"
	"github.com/rookery-im/rookery/transport/frames"
)

// events: GET /v1/events. What is wrong with the request is said before the
// stream begins: later there is only its last event.
func (a *API) events(c *call) (reply, *nodepb.Fault) {
	heartbeat, f := heartbeatQuery(c.r.URL)
	if f != nil {
		return reply{}, f
	}
	if !accepts(c.r.Header, frames.MediaEventStream) {
		return reply{}, invalid("Accept", "must allow "+frames.MediaEventStream)
	}
	after, displaced, f := lastEventID(c.r.Header)
	switch {
	case f != nil:
		return reply{}, f
	case displaced:
		// Only this answer keeps a browser from connecting again by itself.
		return reply{status: http.StatusNoContent}, nil
	case c.r.Method == http.MethodHead:
		c.w.Header().Set("Content-Type", frames.MediaEventStream)
		return reply{status: http.StatusOK}, nil
	case a.cfg.Waiting.Streams == nil:
		return reply{}, fault.New(fault.Unavailable, "", "this node serves no event streams")
	}
	c.leave()
	c.waited = true
	f = a.cfg.Waiting.Streams.Serve(c.w, c.r, c.from, events.Hello{
		User: c.asker.user, Device: c.asker.device, Expires: c.until, After: after, Heartbeat: heartbeat,
	})
	return reply{}, f
}

// lastEventID is where the client wants to go on.
func lastEventID(h http.Header) (after uint64, displaced bool, f *nodepb.Fault) {
	values := h.Values(frames.LastEventID)
	switch {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return 0, false, nil
	case len(values) > 1:
		return 0, false, invalid(frames.LastEventID, "is given twice")
	case values[0] == frames.Displaced:
		return 0, true, nil
	}
	after, err := strconv.ParseUint(values[0], 10, 64)
	if err != nil {
		return 0, false, invalid(frames.LastEventID, "must be the id of an event, which is a seq")
	}
	return after, false, nil
}

func heartbeatQuery(u *url.URL) (time.Duration, *nodepb.Fault) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return 0, invalid("query", "is not well-formed")
	}
	heartbeat := time.Duration(0)
	for name, values := range query {
		switch {
		case name != "heartbeat":
			return 0, fault.New(fault.InvalidArgument, fault.ReasonUnknownField, "%q: unknown parameter", name[:min(len(name), limits.UserID)])
		case len(values) != 1:
			return 0, invalid(name, "is given twice")
		}
		var ok bool
		if heartbeat, ok = duration(values[0]); !ok {
			return 0, invalid(name, "must be a duration, such as 30s")
		}
	}
	return heartbeat, nil
}

// accepts says whether the Accept headers, if there are any, allow the media type.
func accepts(h http.Header, media string) bool {
	values := h.Values("Accept")
	kind, _, _ := strings.Cut(media, "/")
	for _, part := range strings.Split(strings.Join(values, ","), ",") {
		name, params, err := mime.ParseMediaType(part)
		if err != nil || name != media && name != kind+"/*" && name != "*/*" {
			continue
		}
		if q, err := strconv.ParseFloat(params["q"], 64); err != nil || q > 0 {
			return true
		}
	}
	return len(values) == 0
}
