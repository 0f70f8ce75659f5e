package client_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/rookery-im/rookery/client"
)

// BenchmarkExchange is what the SDK and a node of this machine do together:
// messages from one device to another, 32 unanswered at a time.
func BenchmarkExchange(b *testing.B) {
	for name, store := range map[string]func(string) client.Store{
		"memory": func(string) client.Store { return client.NewMemoryStore() },
		"file": func(user string) client.Store {
			s, err := client.OpenFileStore(filepath.Join(b.TempDir(), user))
			if err != nil {
				b.Fatal(err)
			}
			return s
		},
	} {
		b.Run(name, func(b *testing.B) {
			n := newNode(b, "--rate-sends", "1000000/1000000")
			people := map[string]*client.Client{}
			for _, user := range []string{"alice", "bob"} {
				cfg := client.Config{URL: n.url(), User: user, Password: "correct horse", Store: store(user)}
				if err := client.Register(b.Context(), cfg, user); err != nil {
					b.Fatal(err)
				}
				people[user] = open(b, cfg)
			}
			b.ReportAllocs()
			b.ResetTimer()
			var senders sync.WaitGroup
			turns := make(chan struct{}, b.N)
			for range b.N {
				turns <- struct{}{}
			}
			close(turns)
			for range 64 {
				senders.Go(func() {
					for range turns {
						if _, err := people["alice"].Send(b.Context(), client.Text("bob", "hello")); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			for range b.N {
				next[*client.Message](b, people["bob"])
			}
			senders.Wait()
		})
	}
}
