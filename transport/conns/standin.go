package conns

import (
	"fmt"
	"net"

	"github.com/rookery-im/rookery/transport/poll"
	"github.com/rookery-im/rookery/transport/ws"
)

// CarryStandIns takes a connection, on an error too, over which a load generator
// opens connections that have no descriptor here (see poll.Loop.Carry): what
// they cost beside it can be measured in numbers that no process may open. They
// come without an opening handshake and speak protobuf; from there on they are
// connections like any other, but for Config.Conns, which bounds descriptors.
// There is one such connection in the life of a Conns. On any goroutine; refused
// says later why it was not taken.
func (c *Conns) CarryStandIns(conn net.Conn, refused func(error)) error {
	fd, err := poll.Detach(conn)
	if err != nil {
		_ = conn.Close()
		return fmt.Errorf("conns: stand-ins: %w", err)
	}
	if !c.Post(func() {
		if err := c.loop.Carry(fd, c.enterStandIn); err != nil {
			refused(fmt.Errorf("conns: stand-ins: %w", err))
		}
	}) {
		poll.LastWords(fd, nil)
		return fmt.Errorf("conns: stand-ins: %w", ErrFull)
	}
	return nil
}

func (c *Conns) enterStandIn(id ID) {
	c.total.Add(1)
	c.enter(id, newcomer{info: Info{Subprotocol: ws.Protobuf}})
}
