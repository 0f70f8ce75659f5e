// Package client connects a program to a Rookery server as one device of one
// user: it sends messages that are not lost, and receives each of them once.
//
//	c, err := client.Open(ctx, client.Config{
//		URL: "http://127.0.0.1:8080", User: "alice", Password: "correct horse",
//	})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	if _, err := c.Send(ctx, client.Text("bob", "hello")); err != nil {
//		return err
//	}
//	return c.Receive(ctx, func(ctx context.Context, e client.Event) error {
//		if m, ok := e.(*client.Message); ok {
//			fmt.Printf("%s: %s\n", m.From.User, m.Payload)
//		}
//		return nil
//	})
//
// The user has to be there: Register makes one.
//
// # A device and its store
//
// The first Open logs in by the password, which links a device, and puts its
// token into Config.Store. Later ones find it there: they need neither the
// password nor the server to begin. With the memory store, which is the
// default, every run of a program is a new device, and a user can have ten; so
// a program that runs more than once wants a file:
//
//	store, err := client.OpenFileStore("alice.store")
//
// The store also holds the place in the mailbox, the messages that were not
// sent yet, and the fates that nobody has heard of yet. Tokens are renewed in
// time; where they come from an outside issuer, Config.TokenSource gives them.
//
// # Sending
//
// Send waits until the message is on the server's disk. Queue does not wait:
// the message is on this device's disk when it returns, and its fate comes as
// a Settled event, at the latest after the next Open of the store. Either way
// the message goes out as often as it takes, under one id, and is accepted
// once; messages of one device to one conversation are accepted in the order in
// which they were queued. While the server does not take one for now (the
// recipient's mailbox is full, say), those behind it in its conversation wait,
// a Delayed event says so, and other conversations go on.
//
// At most Config.QueueLimit messages wait; beyond, ErrQueueFull. What a
// program queues it must also hear the fate of: fates that are not fetched
// stay in the store, and fill it up the same way.
//
// # Receiving
//
// Receive, or Next for those who want their own loop, hands over one event at
// a time. An event is taken when its handler has returned nil, or when Next is
// called again (or Ack). The client writes that down in the store before it
// hands over the next event, and acknowledges it to the server within
// Config.AckDelay, once the store has synced. So:
//
//   - each message is handed over once and in order, across reconnects, crashes
//     of the server and restarts of the program;
//   - if the program ends, however it does, while it handles an event, that
//     event comes again after the next Open, and no other. To be exact also
//     then, a program keeps Message.ID with what it does, in one transaction;
//   - after a power cut, events of the last moments may come again: those that
//     no sync of the store had covered, none of which had been acknowledged;
//   - a sender learns "delivered" from events that were taken, never earlier.
//
// A program that does not fetch its events loses none of them and can still
// send: past 1024 messages (or 8 MiB) the client leaves the rest at the server
// until there is room again. Of events that are not stored (typing, presence,
// signals, state changes) the oldest go when there are more than 256.
//
// # Connections
//
// The client connects by itself and again, with exponential backoff and full
// jitter, obeying the server's goAway and close codes. Where the server has
// several nodes it learns of them, and goes to another one where the node that it
// is on says so, or nothing answers at Config.URL. So do its calls, but for one that
// must not be made twice and may have reached a node.
// Status tells where it stands, and a StateChanged event each change. It stops
// for good, with an error of its own, where connecting again would not help:
// ErrDisplaced, ErrUnlinked, ErrUnauthenticated, ErrProtocol, ErrStore. Next and
// Receive return it once they have handed over what was there.
//
// # Errors
//
// What the server says is an *Error, with one of the codes ErrInvalidArgument
// to ErrInternal inside: errors.Is(err, client.ErrMailboxFull). Errors of a
// context are passed on, errors of the network too.
package client
