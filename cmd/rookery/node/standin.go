package node

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rookery-im/rookery/internal/ident"
	"github.com/rookery-im/rookery/transport/session"
)

// Stand-ins are for measuring: sessions whose connection has no descriptor, so
// that there may be more of them than descriptors (see conns.CarryStandIns).
// They come over the admin address of a node that was started for it, by
// `rookery bench` alone. To sign and check a million tokens would take most of a
// run, so they prove who they are by passes.

// standInPath is where the trunk is taken.
const standInPath = "/v1/stand-ins"

// standInProof in the query has POST /v1/users:bulk answer with passes.
const standInProof = "stand-in"

// passes are proofs good at this node, in its life: what a token says, under a
// key that nobody else has.
type passes struct {
	key  [32]byte
	life time.Duration
}

func newPasses(life time.Duration) (*passes, error) {
	p := &passes{life: life}
	_, err := rand.Read(p.key[:])
	return p, wrap("key of passes", err)
}

const passPrefix = "pass:"

// issue makes a pass, as tokens are made.
func (p *passes) issue(user string, device uint32) (string, time.Time, error) {
	said := strconv.FormatUint(uint64(device), 10) + ":" + user
	return passPrefix + p.mac(said) + ":" + said, time.Now().Add(p.life).UTC(), nil
}

func (p *passes) mac(said string) string {
	h := hmac.New(sha256.New, p.key[:])
	h.Write([]byte(said))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// check says whom a pass is for.
func (p *passes) check(pass string) (session.Identity, bool) {
	rest, ok := strings.CutPrefix(pass, passPrefix)
	if !ok {
		return session.Identity{}, false
	}
	mac, said, _ := strings.Cut(rest, ":")
	number, user, _ := strings.Cut(said, ":")
	device, err := strconv.ParseUint(number, 10, 32)
	if err != nil || ident.CheckUser(user) != nil || !hmac.Equal([]byte(mac), []byte(p.mac(said))) {
		return session.Identity{}, false
	}
	return session.Identity{User: user, Device: uint32(device), Expires: time.Now().Add(p.life)}, true
}

// carryStandIns makes the connection of a request the trunk.
func (n *Node) carryStandIns(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		say(w, http.StatusInternalServerError, map[string]string{"error": err.Error()})
		return
	}
	_, err = fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: rookery-stand-ins\r\n\r\n")
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = conn.Close()
		n.cfg.Log.Warn("stand-ins", "err", err)
		return
	}
	refused := func(err error) { n.cfg.Log.Warn("stand-ins", "err", err) }
	if err := n.conns.CarryStandIns(conn, refused); err != nil {
		refused(err)
	}
}
