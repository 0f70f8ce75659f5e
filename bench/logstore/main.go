// Command logstore measures the node's own segment log against Pebble as the
// store of Raft logs: the same rounds of the same entries, each round durable
// before the next. It is a module of its own, so that Pebble is no dependency
// of the project. docs/adr/0002-log-store.md holds what it found.
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/rookery-im/rookery/persistence/raftlog"
)

const (
	groups  = 64
	payload = 140
	// checkpointEvery is how many rounds apart the groups' entries become
	// unnecessary, all but the newest few.
	checkpointEvery = 4096
	kept            = 8
)

// store is what is compared: one round durable, and old entries dropped.
type store interface {
	round([]raftlog.Update) error
	drop(upTo []uint64) error
	written() uint64 // bytes, to the log that is synced
	close() error
}

func main() {
	dir := flag.String("dir", ".", "where to put the data; it is removed afterwards")
	each := flag.Duration("time", 3*time.Second, "time of each run")
	flag.Parse()
	fmt.Printf("%-8s %6s %12s %9s %9s %9s %14s %12s\n",
		"store", "batch", "entries/s", "p50", "p99", "max", "CPU us/entry", "log B/entry")
	for _, batch := range []int{1, 16, 128} {
		for _, s := range []struct {
			name string
			open func(string) (store, error)
		}{{"raftlog", openOwn}, {"pebble", openPebble}} {
			if err := run(s.name, s.open, *dir, batch, *each); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
}

func run(name string, open func(string) (store, error), dir string, batch int, each time.Duration) error {
	dir, err := os.MkdirTemp(dir, "logstore")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := open(filepath.Join(dir, "log"))
	if err != nil {
		return fmt.Errorf("%s: open: %w", name, err)
	}
	w := newWorkload(batch)
	var took []time.Duration
	cpu := processorTime()
	begin := time.Now()
	for time.Since(begin) < each {
		updates := w.next()
		start := time.Now()
		if err := s.round(updates); err != nil {
			return fmt.Errorf("%s: round: %w", name, err)
		}
		took = append(took, time.Since(start))
		if len(took)%checkpointEvery == 0 {
			if err := s.drop(w.old()); err != nil {
				return fmt.Errorf("%s: drop: %w", name, err)
			}
		}
	}
	elapsed := time.Since(begin)
	cpu = processorTime() - cpu
	written := s.written()
	if err := s.close(); err != nil {
		return fmt.Errorf("%s: close: %w", name, err)
	}
	n := float64(len(took) * batch)
	slices.Sort(took)
	fmt.Printf("%-8s %6d %12.0f %9v %9v %9v %14.2f %12.0f\n", name, batch, n/elapsed.Seconds(),
		took[len(took)/2].Round(time.Microsecond), took[len(took)*99/100].Round(time.Microsecond),
		took[len(took)-1].Round(time.Microsecond),
		float64(cpu.Microseconds())/n, float64(written)/n)
	return nil
}

// workload spreads entries over the groups in turns.
type workload struct {
	batch   int
	turn    int
	indexes [groups]uint64
	data    []byte
	updates []raftlog.Update
}

func newWorkload(batch int) *workload {
	w := &workload{batch: batch, data: make([]byte, payload)}
	for i := range w.data {
		w.data[i] = byte(i*37 + 11)
	}
	return w
}

func (w *workload) next() []raftlog.Update {
	w.updates = w.updates[:0]
	for n := range w.batch {
		g := w.turn % groups
		w.turn++
		w.indexes[g]++
		index := w.indexes[g]
		e := &raftpb.Entry{Index: &index, Term: new(uint64(1)), Type: raftpb.EntryNormal.Enum(), Data: w.data}
		if n < groups {
			w.updates = append(w.updates, raftlog.Update{Group: uint32(g), Entries: []*raftpb.Entry{e}})
		} else {
			u := &w.updates[n-groups]
			u.Entries = append(u.Entries, e)
		}
	}
	return w.updates
}

// old returns, for each group, the index up to which entries may go.
func (w *workload) old() []uint64 {
	old := make([]uint64, groups)
	for g, last := range w.indexes {
		old[g] = last - min(last, kept)
	}
	return old
}

type own struct {
	log   *raftlog.Log
	bytes func() uint64
}

func openOwn(dir string) (store, error) {
	metrics := prometheus.NewRegistry()
	log, err := raftlog.Open(raftlog.Config{Dir: dir, Metrics: raftlog.NewMetrics(metrics)})
	return own{log, func() uint64 { return counter(metrics, "rookery_raftlog_appended_bytes_total") }}, err
}

func (o own) round(updates []raftlog.Update) error {
	if err := o.log.Append(updates); err != nil {
		return err
	}
	return o.log.Sync()
}

func (o own) drop(upTo []uint64) error {
	var all []raftlog.Checkpoint
	for g, index := range upTo {
		if index > 0 {
			all = append(all, raftlog.Checkpoint{Group: uint32(g), Index: index, Term: 1})
		}
	}
	return o.log.SaveCheckpoints(all)
}

func (o own) written() uint64 { return o.bytes() }

func (o own) close() error { return o.log.Close() }

// counter reads a counter by its name.
func counter(r *prometheus.Registry, name string) uint64 {
	families, err := r.Gather()
	if err != nil {
		return 0
	}
	for _, f := range families {
		if f.GetName() == name {
			return uint64(f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	return 0
}

type pebbleStore struct {
	db    *pebble.DB
	batch *pebble.Batch
	key   [12]byte
	value []byte
	first [groups]uint64
}

func openPebble(dir string) (store, error) {
	db, err := pebble.Open(dir, &pebble.Options{
		FormatMajorVersion: pebble.FormatNewest,
		MemTableSize:       64 << 20, // the size of a segment
		Logger:             silent{},
	})
	if err != nil {
		return nil, err
	}
	return &pebbleStore{db: db, batch: db.NewBatch()}, nil
}

func (p *pebbleStore) at(group uint32, index uint64) []byte {
	binary.BigEndian.PutUint32(p.key[:], group)
	binary.BigEndian.PutUint64(p.key[4:], index)
	return p.key[:]
}

func (p *pebbleStore) round(updates []raftlog.Update) error {
	p.batch.Reset()
	for _, u := range updates {
		for _, e := range u.Entries {
			var err error
			if p.value, err = (proto.MarshalOptions{}).MarshalAppend(p.value[:0], e); err != nil {
				return err
			}
			if err := p.batch.Set(p.at(u.Group, e.GetIndex()), p.value, nil); err != nil {
				return err
			}
		}
	}
	return p.batch.Commit(pebble.Sync)
}

func (p *pebbleStore) drop(upTo []uint64) error {
	p.batch.Reset()
	for g, index := range upTo {
		from := slices.Clone(p.at(uint32(g), p.first[g]))
		if err := p.batch.DeleteRange(from, p.at(uint32(g), index+1), nil); err != nil {
			return err
		}
		p.first[g] = index + 1
	}
	return p.batch.Commit(pebble.Sync)
}

func (p *pebbleStore) written() uint64 { return p.db.Metrics().WAL.BytesWritten }

func (p *pebbleStore) close() error {
	if err := p.batch.Close(); err != nil {
		return err
	}
	return p.db.Close()
}

type silent struct{}

func (silent) Infof(string, ...any)         {}
func (silent) Errorf(f string, args ...any) { fmt.Fprintf(os.Stderr, f+"\n", args...) }
func (silent) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
