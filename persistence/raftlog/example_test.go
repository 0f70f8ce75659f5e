package raftlog_test

import (
	"fmt"
	"log"
	"os"

	"github.com/rookery-im/rookery/persistence/raftlog"
)

// A round: the updates of two groups are one write, and durable after one sync.
func Example() {
	dir, err := os.MkdirTemp("", "raftlog")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := raftlog.Open(raftlog.Config{Dir: dir, SegmentBytes: 1 << 20})
	if err != nil {
		log.Print(err)
		return
	}
	defer l.Close()
	if err := l.Append([]raftlog.Update{
		{Group: 1, HardState: hardState(1, 1, 0), Entries: entries(1, 1, 2, 1)},
		{Group: 2, Entries: entries(2, 1, 1, 1)},
	}); err != nil {
		log.Print(err)
		return
	}
	if err := l.Sync(); err != nil {
		log.Print(err)
		return
	}
	last, _ := l.Group(1).LastIndex()
	read, _ := l.Group(1).Entries(1, last+1, 1<<20)
	for _, e := range read {
		fmt.Printf("%s\n", e.GetData())
	}
	// Output:
	// group 1 entry 1 of term 1
	// group 1 entry 2 of term 1
}
