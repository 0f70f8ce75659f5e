package control

import (
	"bytes"
	"maps"
	"testing"

	"google.golang.org/protobuf/proto"

	controlpb "github.com/rookery-im/rookery/proto/rookery/control/v1"
	storepb "github.com/rookery-im/rookery/proto/rookery/store/v1"
)

func encoded(f *testing.F, m proto.Message) []byte {
	f.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	return b
}

func rowMutation(key string, value []byte) *storepb.Mutation {
	return &storepb.Mutation{Op: &storepb.Mutation_Row{Row: &storepb.Row{Key: []byte(key), Value: value}}}
}

// FuzzApply: a batch of group 0 that is garbage is refused, or leaves rows that
// are read or refused, and never a key that could not sign.
func FuzzApply(f *testing.F) {
	cluster := encoded(f, &controlpb.Cluster{Id: "c1", Shards: 64, Created: 1})
	key := encoded(f, &controlpb.SigningKey{Id: "k1", Seed: make([]byte, 32), Number: 1})
	invite := encoded(f, &controlpb.Invite{Created: 1, Expires: 1 << 60})
	f.Add(encoded(f, &storepb.Batch{Term: 1, Mutations: []*storepb.Mutation{
		rowMutation("c", cluster), rowMutation("kk1", key), rowMutation("i"+string(make([]byte, 32)), invite),
	}}))
	f.Add(encoded(f, &storepb.Batch{Term: 1, Mutations: []*storepb.Mutation{rowMutation("kk1", encoded(f, &controlpb.SigningKey{Id: "k1", Seed: []byte("short")}))}}))
	f.Add(encoded(f, &storepb.Batch{Term: 1, Mutations: []*storepb.Mutation{rowMutation("i", invite)}}))
	f.Add(encoded(f, &storepb.Batch{Term: 2, Mutations: []*storepb.Mutation{rowMutation("c", cluster)}}))
	f.Add(encoded(f, &storepb.Batch{Term: 1, Mutations: []*storepb.Mutation{{User: "bob"}, rowMutation("", nil)}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := newNode(t, rows{})
		err := n.c.Apply(1, 1, data)
		before := maps.Clone(n.rows)
		if again := n.c.Apply(1, 1, data); (err == nil) != (again == nil) || !maps.EqualFunc(before, n.rows, bytes.Equal) {
			t.Fatalf("applied again: %v, was %v", again, err)
		}
		var b storepb.Batch
		if proto.Unmarshal(data, &b) == nil && b.GetTerm() != 1 && len(n.rows) > 0 {
			t.Fatal("a batch of another term has an effect")
		}
		if signing, ok := n.c.View().Signing(); ok && (len(signing.Private) != 64 || len(signing.Public) != 32) {
			t.Fatalf("a private key of %d bytes", len(signing.Private))
		}
		n.c.Lead(1)
		n.c.Tick()
		n.c.Follow()
	})
}
