package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

// listDevices: GET /v1/devices.
func (a *API) listDevices(c *call) (reply, *nodepb.Fault) {
	list, f := a.linked(c)
	if f != nil {
		return reply{}, f
	}
	type device struct {
		Device   uint32    `json:"device"`
		Name     string    `json:"name,omitempty"`
		LinkedAt time.Time `json:"linkedAt"`
		Current  bool      `json:"current,omitempty"`
	}
	devices := make([]device, len(list.GetDevices()))
	for i, d := range list.GetDevices() {
		devices[i] = device{Device: d.GetDevice(), Name: d.GetName(), LinkedAt: moment(d.GetLinked()), Current: d.GetDevice() == c.asker.device}
	}
	return object(http.StatusOK, struct {
		Devices []device `json:"devices"`
	}{devices})
}

func moment(ms uint64) time.Time { return time.UnixMilli(int64(ms)).UTC() }

// unlinkDevice: DELETE /v1/devices/{id}.
func (a *API) unlinkDevice(c *call) (reply, *nodepb.Fault) {
	id, err := strconv.ParseUint(c.r.PathValue("id"), 10, 32)
	if err != nil || id == 0 {
		return reply{}, invalid("id", "must be a device id, from 1")
	}
	q := c.own()
	q.Body = &nodepb.Ask_UnlinkDevice{UnlinkDevice: &nodepb.UnlinkDevice{Device: uint32(id)}}
	return a.confirm(c, q)
}

// profileView is a profile as its reader may see it.
type profileView struct {
	User     string       `json:"user"`
	Name     string       `json:"name,omitempty"`
	Picture  string       `json:"picture,omitempty"`
	About    string       `json:"about,omitempty"`
	Online   bool         `json:"online,omitempty"`
	LastSeen *time.Time   `json:"lastSeen,omitempty"`
	Privacy  *privacyView `json:"privacy,omitempty"` // one's own only
}

type privacyView struct {
	LastSeen string `json:"lastSeen"`
}

// profile: GET /v1/users/{id}.
func (a *API) profile(c *call) (reply, *nodepb.Fault) {
	user, f := c.pathUser("id")
	if f != nil {
		return reply{}, f
	}
	// A profile is shown to anybody with an account, so the asker's own actor
	// has to say that there still is one, for one's own profile too.
	if _, f := a.linked(c); f != nil {
		return reply{}, f
	}
	return a.showProfile(c, reads, user, &nodepb.Ask{
		User: user, Asker: c.asker.user, Device: c.asker.device, Body: &nodepb.Ask_GetProfile{GetProfile: &nodepb.GetProfile{}},
	})
}

func (a *API) showProfile(c *call, e effect, user string, q *nodepb.Ask) (reply, *nodepb.Fault) {
	answer, f := a.ask(c, e, q)
	if f != nil {
		return reply{}, f
	}
	v := answer.GetProfile()
	if v == nil {
		return reply{}, a.unexpected(c, e)
	}
	p := v.GetProfile()
	out := profileView{User: user, Name: p.GetName(), Picture: p.GetPicture(), About: p.GetAbout(), Online: v.GetOnline()}
	if v.GetLastSeen() != 0 {
		seen := moment(v.GetLastSeen())
		out.LastSeen = &seen
	}
	if user == c.asker.user {
		out.Privacy = &privacyView{LastSeen: p.GetLastSeen().String()}
	}
	return object(http.StatusOK, out)
}

// patchProfile: PATCH /v1/users/{id}; what is left out stays.
func (a *API) patchProfile(c *call) (reply, *nodepb.Fault) {
	if f := c.oneself(); f != nil {
		return reply{}, f
	}
	var patch nodepb.PatchProfile
	var seen *string
	if f := c.read(fields{"name": &patch.Name, "picture": &patch.Picture, "about": &patch.About, "privacy": fields{"lastSeen": &seen}}); f != nil {
		return reply{}, f
	}
	for _, f := range []*nodepb.Fault{
		atMost("name", patch.GetName(), limits.Name),
		atMost("picture", patch.GetPicture(), limits.Picture),
		atMost("about", patch.GetAbout(), limits.About),
	} {
		if f != nil {
			return reply{}, f
		}
	}
	if seen != nil {
		choice, ok := storepb.Profile_Privacy_value[*seen]
		if !ok {
			return reply{}, invalid("privacy.lastSeen", "must be one of EVERYONE, CONTACTS, NOBODY")
		}
		patch.LastSeen = storepb.Profile_Privacy(choice).Enum()
	}
	q := c.own()
	q.Body = &nodepb.Ask_PatchProfile{PatchProfile: &patch}
	return a.showProfile(c, writes, c.asker.user, q)
}

// block: PUT /v1/users/{id}/blocks/{user}.
func (a *API) block(c *call) (reply, *nodepb.Fault) {
	return a.setBlock(c, &nodepb.SetBlock{Blocked: true})
}

// unblock: DELETE /v1/users/{id}/blocks/{user}.
func (a *API) unblock(c *call) (reply, *nodepb.Fault) { return a.setBlock(c, &nodepb.SetBlock{}) }

func (a *API) setBlock(c *call, b *nodepb.SetBlock) (reply, *nodepb.Fault) {
	if f := c.oneself(); f != nil {
		return reply{}, f
	}
	var f *nodepb.Fault
	if b.User, f = c.pathUser("user"); f != nil {
		return reply{}, f
	}
	q := c.own()
	q.Body = &nodepb.Ask_SetBlock{SetBlock: b}
	return a.confirm(c, q)
}

// nodes: GET /v1/nodes, where to connect.
func (a *API) nodes(c *call) (reply, *nodepb.Fault) {
	at := a.cfg.URL
	if at == "" {
		scheme := "ws"
		if c.r.TLS != nil {
			scheme = "wss"
		}
		at = scheme + "://" + c.r.Host + "/v1/ws"
	}
	nodes := []Place{{Node: a.cfg.Node}}
	if a.cfg.Nodes != nil {
		nodes = a.cfg.Nodes()
	}
	for i := range nodes {
		if nodes[i].Node == a.cfg.Node {
			nodes[i].URL = at
		}
	}
	return object(http.StatusOK, struct {
		Nodes []Place `json:"nodes"`
	}{nodes})
}

// healthy: GET /healthz, the process runs.
func (a *API) healthy(*call) (reply, *nodepb.Fault) {
	return reply{status: http.StatusOK, body: []byte(`{"status":"ok"}`)}, nil
}

// ready: GET /readyz, the node serves.
func (a *API) ready(*call) (reply, *nodepb.Fault) {
	if err := a.cfg.Ready.Ready(); err != nil {
		return reply{}, fault.New(fault.Unavailable, "", "not ready: %v", err)
	}
	return reply{status: http.StatusOK, body: []byte(`{"status":"ready"}`)}, nil
}
