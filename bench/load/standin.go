package load

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/rookery-im/rookery/transport/poll"
)

// trunkPatience is how long the node may take to say that it takes stand-ins.
const trunkPatience = 10 * time.Second

// standIn opens a connection without a descriptor, over the trunk.
func (e *Engine) standIn() (poll.ID, error) {
	if !e.trunk {
		fd, err := dialTrunk(e.setup.StandIns)
		if err != nil {
			return 0, err
		}
		if err := e.loop.Carry(fd, nil); err != nil {
			return 0, fmt.Errorf("load: %w", err)
		}
		e.trunk = true
	}
	return e.loop.StandIn()
}

// dialTrunk has the node make a connection the trunk of stand-ins.
func dialTrunk(socket string) (fd int, err error) {
	conn, err := net.DialTimeout("unix", socket, trunkPatience)
	if err != nil {
		return -1, fmt.Errorf("load: stand-ins: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("load: stand-ins: %w", err), conn.Close())
		}
	}()
	if err := conn.SetDeadline(time.Now().Add(trunkPatience)); err != nil {
		return -1, err
	}
	if _, err := fmt.Fprint(conn, "POST /v1/stand-ins HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\n\r\n"); err != nil {
		return -1, err
	}
	// The node says nothing more until it is spoken to: nothing is read too much.
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return -1, err
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return -1, fmt.Errorf("the node takes none: %s", answer.Status)
	}
	return poll.Detach(conn)
}
