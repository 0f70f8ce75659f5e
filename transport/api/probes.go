package api

import (
	"net/http"
	"slices"
	"strings"
)

// probes are asked by machines that end a node which does not answer. A node
// with much to do must not be taken for a dead one, so they need no place.
func (a *API) probes() map[string]handler {
	return map[string]handler{
		"GET /healthz": a.healthy,
		"GET /readyz":  a.ready,
	}
}

// answer is the frame of a probe.
func (a *API) answer(route string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, f := h(&call{r: r, w: w})
		a.finish(w, route, out, f)
	})
}

// redirected says whether a ServeMux would redirect from the path to one
// without double slashes and dots. There is nothing at such a path; escaped,
// as a user called ".." has to be, dots are a name like any other.
func redirected(r *http.Request) bool {
	segments := strings.Split(r.URL.EscapedPath(), "/")
	last := len(segments) - 1
	return slices.Contains(segments, ".") || slices.Contains(segments, "..") || last > 0 && slices.Contains(segments[1:last], "")
}
