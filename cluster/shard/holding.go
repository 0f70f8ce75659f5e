package shard

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	shardpb "github.com/rookery-im/rookery/proto/rookery/shard/v1"
)

// holding is what the data of a checkpoint says: which replica this node holds,
// and who the others are.
type holding struct {
	id      uint64            // 0: none any more
	members map[uint64]string // replica to node; replaced, never changed
	version uint32            // of the key space that its rows are in
	began   uint64            // term that the leader had whose snapshot it began with
	buried  []uint64          // earlier replicas of this disk
	ahead   uint64            // index up to which the store, as opened, may be ahead of the checkpoint
}

func (h holding) encode() ([]byte, error) {
	m := &shardpb.Replica{Id: h.id, Version: h.version, Term: h.began, Buried: h.buried, Ahead: h.ahead, Members: encodeMembers(h.members)}
	data, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode replica: %w", err)
	}
	return data, nil
}

// decodeHolding takes a replica that knows of no members, as those of one node
// were written once, for one that is alone on this node.
func decodeHolding(data []byte, node string) (holding, error) {
	var m shardpb.Replica
	if err := proto.Unmarshal(data, &m); err != nil {
		return holding{}, err
	}
	h := holding{
		id: m.GetId(), members: decodeMembers(m.GetMembers()), version: m.GetVersion(), began: m.GetTerm(),
		buried: m.GetBuried(), ahead: m.GetAhead(),
	}
	if len(h.members) == 0 && h.id != 0 {
		h.members[h.id] = node
	}
	return h, nil
}

func encodeMembers(members map[uint64]string) []*shardpb.Member {
	all := make([]*shardpb.Member, 0, len(members))
	for _, id := range slices.Sorted(maps.Keys(members)) {
		all = append(all, &shardpb.Member{Id: id, Node: members[id]})
	}
	return all
}

func decodeMembers(all []*shardpb.Member) map[uint64]string {
	members := make(map[uint64]string, len(all))
	for _, m := range all {
		members[m.GetId()] = m.GetNode()
	}
	return members
}
