package conns

import (
	"net/http"

	"github.com/rookery-im/rookery/internal/fault"
)

// patiently serves requests, and counts by address those that are refused. To
// refuse costs a part of what it costs to serve, so that whoever does not care
// about the answer, and asks as fast as it comes, takes the processor from those
// who talk. So past Config.Fruitless an address waits for a second before each
// of its requests is looked at. Who shares an address with such a one waits as
// well, but is served: an address is no person, and may be that of a proxy, or of
// somebody who tries the API out. So a request counts much less than a connection.
//
// Opening handshakes are counted by receive. Who waits here stands in the lobby.
func (c *Conns) patiently(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == Path || r.URL.Path == EchoPath {
			next.ServeHTTP(w, r)
			return
		}
		addr := remote(r).Addr()
		if c.guests.wearies(addr) && !c.holdBack(r.Context()) {
			w.Header().Set("Connection", "close")
			c.refuse(w, fault.RateLimited, dropVain, "too many requests from this address came to nothing; back off")
			return
		}
		j := &judged{ResponseWriter: w}
		next.ServeHTTP(j, r)
		if j.status >= http.StatusBadRequest {
			c.guests.vain(addr, vainRequest+float64(max(0, r.ContentLength))/vainBytes)
		}
	})
}

// What a request in vain counts as, of a connection in vain; and how many bytes of
// a body count as one more of these: to read it and find it wrong takes as long.
const (
	vainRequest = 1. / 16
	vainBytes   = 16 << 10
)

// judged remembers the status of an answer.
type judged struct {
	http.ResponseWriter
	status int // 0 where no header was written by itself, that is 200
}

func (j *judged) WriteHeader(status int) {
	if j.status < http.StatusOK {
		j.status = status // those below are not the last word
	}
	j.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController, by which what is not here is reached.
func (j *judged) Unwrap() http.ResponseWriter { return j.ResponseWriter }
