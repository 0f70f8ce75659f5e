package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/rookery-im/rookery/client"
)

// errDone ends Receive in examples that have seen enough.
var errDone = errors.New("done")

// exampleTest is the part of a testing.TB that a node needs, for examples,
// which have none.
type exampleTest struct {
	testing.TB
	dir   string
	after []func()
}

func (*exampleTest) Helper()                        {}
func (*exampleTest) Failed() bool                   { return false }
func (e *exampleTest) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (e *exampleTest) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (e *exampleTest) Cleanup(f func())             { e.after = append(e.after, f) }
func (e *exampleTest) TempDir() string              { return e.dir }

type exampleKey struct{}

// exampleServer starts a server of the example's own.
func exampleServer() (context.Context, string) {
	dir, err := os.MkdirTemp("", "rookery-example-")
	if err != nil {
		panic(err)
	}
	n := newNode(&exampleTest{dir: dir})
	return context.WithValue(context.Background(), exampleKey{}, n), n.url()
}

func exampleNode(ctx context.Context) (*node, *exampleTest) {
	n := ctx.Value(exampleKey{}).(*node)
	return n, n.t.(*exampleTest)
}

func exampleEnds(ctx context.Context) {
	_, e := exampleNode(ctx)
	for _, f := range e.after {
		f()
	}
	os.RemoveAll(e.dir)
}

func stopServer(ctx context.Context) {
	n, _ := exampleNode(ctx)
	n.kill()
}

func startServer(ctx context.Context) {
	n, _ := exampleNode(ctx)
	n.start()
}

func register(ctx context.Context, url, user string) {
	if err := client.Register(ctx, client.Config{URL: url, User: user, Password: "correct horse"}, user); err != nil {
		panic(err)
	}
}

// login registers somebody and links a device.
func login(ctx context.Context, url, user string) *client.Client {
	register(ctx, url, user)
	c, err := client.Open(ctx, client.Config{URL: url, User: user, Password: "correct horse"})
	if err != nil {
		panic(err)
	}
	return c
}
