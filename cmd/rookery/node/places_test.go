package node

import (
	"slices"
	"testing"

	"github.com/rookery-im/rookery/cluster/control"
	"github.com/rookery-im/rookery/transport/api"
)

// Clients are sent to nodes that are there, take clients and belong to the
// cluster, by load; the node that is asked is always one.
func TestPlaces(t *testing.T) {
	both := []string{control.RoleData, control.RoleGateway}
	v := &control.View{Members: []control.Member{
		{Number: 1, Node: "a", Clients: "ws://a", Roles: both, State: control.Ready},
		{Number: 2, Node: "b", Clients: "ws://b", Roles: both, State: control.Ready},
		{Number: 3, Node: "c", Clients: "ws://c", Roles: []string{control.RoleData}, State: control.Ready},
		{Number: 4, Node: "d", Clients: "ws://d", Roles: both, State: control.Leaving},
		{Number: 5, Node: "e", Clients: "", Roles: both, State: control.Ready},
		{Number: 6, Node: "f", Clients: "ws://f", Roles: both, State: control.Ready},
	}}
	me, b, f := api.Place{Node: "a"}, api.Place{Node: "b", URL: "ws://b"}, api.Place{Node: "f", URL: "ws://f"}
	for name, c := range map[string]struct {
		near []uint16
		view *control.View
		want []api.Place
	}{
		"by load":             {[]uint16{6, 1, 2}, v, []api.Place{f, me, b}},
		"nobody was heard":    {nil, v, []api.Place{me}},
		"no view":             {[]uint16{1, 2}, nil, []api.Place{me}},
		"some are not for it": {[]uint16{3, 4, 5, 9, 2, 1}, v, []api.Place{b, me}},
	} {
		if got := placesOf(c.near, c.view, "a"); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	places := []api.Place{f, me, b}
	for batch, want := range [][]string{{"ws://f", "ws://b"}, {"ws://b", "ws://f"}, {"ws://b", "ws://f"}, {"ws://f", "ws://b"}} {
		if got := alternates(places, batch); !slices.Equal(got, want) {
			t.Errorf("batch %d is named %v, want %v", batch, got, want)
		}
	}
}
