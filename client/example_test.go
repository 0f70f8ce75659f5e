package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/rookery-im/rookery/client"
)

// Two people talk: all that it takes.
func Example() {
	ctx, url := exampleServer()
	defer exampleEnds(ctx)
	bob := login(ctx, url, "bob")
	defer bob.Close()

	// Alice, from here on.
	cfg := client.Config{URL: url, User: "alice", Password: "correct horse"}
	if err := client.Register(ctx, cfg, "Alice"); err != nil {
		log.Fatal(err)
	}
	c, err := client.Open(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	sent, err := c.Send(ctx, client.Text("bob", "hello"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("on disk, and message", sent.Order, "to", sent.To)

	// And Bob.
	err = bob.Receive(ctx, func(ctx context.Context, e client.Event) error {
		if m, ok := e.(*client.Message); ok {
			fmt.Printf("%s: %s\n", m.From.User, m.Payload)
			return errDone
		}
		return nil
	})
	if !errors.Is(err, errDone) {
		log.Fatal(err)
	}
	// Output:
	// on disk, and message 1 to bob
	// alice: hello
}

// Ticks: what becomes of a message after it was sent.
func ExampleReceipt() {
	ctx, url := exampleServer()
	defer exampleEnds(ctx)
	alice, bob := login(ctx, url, "alice"), login(ctx, url, "bob")
	defer alice.Close()
	defer bob.Close()

	sent, err := alice.Send(ctx, client.Text("bob", "are you there?"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("one tick")

	go func() {
		err := bob.Receive(ctx, func(ctx context.Context, e client.Event) error {
			if m, ok := e.(*client.Message); ok {
				return bob.Read(ctx, m.Conversation, m.Order)
			}
			return nil
		})
		if !errors.Is(err, client.ErrClosed) {
			log.Print(err)
		}
	}()
	for {
		e, err := alice.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		if r, ok := e.(*client.Receipt); ok && r.By == "bob" && r.ReadUpTo >= sent.Order {
			fmt.Println("two ticks, in blue")
			return
		}
	}
	// Output:
	// one tick
	// two ticks, in blue
}

// A message that was queued survives its program, and is sent by the next run.
func ExampleOpenFileStore() {
	ctx, url := exampleServer()
	defer exampleEnds(ctx)
	bob := login(ctx, url, "bob")
	defer bob.Close()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	run := func() {
		store, err := client.OpenFileStore(filepath.Join(dir, "alice"))
		if err != nil {
			log.Fatal(err)
		}
		// The password links a device in the first run. Later ones find it, and
		// its token, in the store, and start without the server.
		c, err := client.Open(ctx, client.Config{URL: url, User: "alice", Password: "correct horse", Store: store})
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		for _, d := range c.Unsent() {
			fmt.Printf("still to be sent: %s\n", d.Payload)
		}
		if c.Status().Unsent > 0 {
			for {
				e, err := c.Next(ctx)
				if err != nil {
					log.Fatal(err)
				}
				if s, ok := e.(*client.Settled); ok {
					fmt.Println("sent:", s.Err == nil)
					return
				}
			}
		}
		stopServer(ctx)
		if _, err := c.Queue(ctx, client.Text("bob", "see you on Friday")); err != nil {
			log.Fatal(err)
		}
		fmt.Println("queued while the server was away")
	}
	register(ctx, url, "alice")
	run()
	startServer(ctx)
	run()
	// Output:
	// queued while the server was away
	// still to be sent: see you on Friday
	// sent: true
}

// Errors are told apart by errors.Is, and what they know is had by errors.As.
func ExampleError() {
	ctx, url := exampleServer()
	defer exampleEnds(ctx)
	alice, bob := login(ctx, url, "alice"), login(ctx, url, "bob")
	defer alice.Close()
	defer bob.Close()

	_, err := alice.Send(ctx, client.Text("nobody", "hello"))
	fmt.Println(errors.Is(err, client.ErrNotFound), errors.Is(err, client.ErrMailboxFull))

	// One payload per device, as end-to-end encryption wants it, and one that
	// is for a device Bob does not have.
	_, err = alice.Send(ctx, client.Draft{
		To: client.With("bob"), Kind: client.KindEncrypted,
		Payloads: []client.DevicePayload{{Device: client.Device{User: "bob", Device: 7}, Payload: []byte("...")}},
	})
	var refused *client.Error
	if errors.As(err, &refused) && refused.Reason == client.ReasonDevicesMismatch {
		fmt.Println("missing", refused.Missing, "extra", refused.Extra)
	}
	// Output:
	// true false
	// missing [bob/1] extra [bob/7]
}
