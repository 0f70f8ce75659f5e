// Package client connects a program to a Rookery server as one device of one
// user: it sends messages that are not lost and receives each of them once.
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
package client
