package shard

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// memRows is what snapshots see of a memStore, whose keys then begin with
// "group.version/".
type memRows struct {
	s        *memStore
	unsynced map[string]bool // loaded
	asOf     map[string]string
	open     int // cuts
}

func (s Space) prefix() string { return fmt.Sprintf("%d.%d/", s.Group, s.Version) }

// completed is told of each checkpoint that has completed.
func (r *memRows) completed() { r.asOf = maps.Clone(r.s.base) }

func (r *memRows) Cut(space Space) (Cut, bool) {
	if r.asOf == nil {
		return nil, false
	}
	r.open++
	return &memCut{r, space.prefix(), r.asOf}, true
}

type memCut struct {
	r      *memRows
	prefix string
	rows   map[string]string
}

func (c *memCut) Close() { c.r.open-- }

func (c *memCut) Scan(from []byte, fn func(key, value []byte) bool) error {
	for _, k := range slices.Sorted(maps.Keys(c.rows)) {
		v := c.rows[k]
		key, ok := strings.CutPrefix(k, c.prefix)
		if ok && key >= string(from) && !strings.HasPrefix(v, deleted) && !fn([]byte(key), []byte(v)) {
			return nil
		}
	}
	return nil
}

func (r *memRows) Load(space Space) Load {
	for _, layer := range []map[string]string{r.s.live, r.s.frozen, r.s.base} {
		for k := range layer {
			if strings.HasPrefix(k, space.prefix()) {
				panic("a space is used twice: " + k)
			}
		}
	}
	return &memLoad{r, space.prefix()}
}

type memLoad struct {
	r      *memRows
	prefix string
}

func (l *memLoad) Write(_ context.Context, rows []Row) error {
	for _, row := range rows {
		key := l.prefix + string(row.Key)
		l.r.s.base[key] = string(row.Value)
		l.r.unsynced[key] = true
	}
	return nil
}

func (l *memLoad) Sync() error { clear(l.r.unsynced); return nil }

func (r *memRows) Erase(_ context.Context, space Space) error {
	for _, layer := range []map[string]string{r.s.live, r.s.frozen} {
		for k := range layer {
			if strings.HasPrefix(k, space.prefix()) {
				panic("erased too early: " + k)
			}
		}
	}
	maps.DeleteFunc(r.s.base, func(k, _ string) bool { return strings.HasPrefix(k, space.prefix()) })
	return nil
}

func (r *memRows) Spaces() []Space {
	found := map[Space]bool{}
	for k := range r.s.base {
		var space Space
		if _, err := fmt.Sscanf(k, "%d.%d/", &space.Group, &space.Version); err == nil {
			found[space] = true
		}
	}
	return slices.Collect(maps.Keys(found))
}
