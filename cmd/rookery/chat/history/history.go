// Package history keeps the chat's scrollback in one file per account: the
// events that talk.Model saved, one JSON object a line, appended as they
// happen and rewritten whole when the file has grown well past what it says.
//
// The file is for one person's eyes and has mode 0600. An append that a crash
// cut short is cut off at the next start. A damaged line is left out and
// counted: a scrollback with a hole is better than none.
package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/renameio/v2"

	"github.com/rookery-im/rookery/cmd/rookery/chat/talk"
)

// rewriteFrom is the size below which a file is never rewritten.
const rewriteFrom = 1 << 20

var errForeign = errors.New("this is not a history of rookery chat")

// disk is what a history needs of its *os.File.
type disk interface {
	io.ReadWriteSeeker
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// File is an open history. One goroutine uses it at a time, and one process:
// whoever opens it holds the account's lock.
type File struct {
	path    string
	f       disk
	size    int64 // of what is whole
	compact int64 // size when it was last known to be compact
	dirty   bool
}

// Open opens a history, or begins one, and hands what it holds to each, in
// order. damaged counts the lines that could not be read.
func Open(path string, each func(talk.Event)) (file *File, damaged int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("open the history: %w", err)
	}
	h := &File{path: path, f: f}
	if damaged, err = h.load(each); err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("read the history %s: %w", path, err)
	}
	return h, damaged, nil
}

// load reads the file and cuts off a torn end.
func (h *File) load(each func(talk.Event)) (damaged int, err error) {
	r := bufio.NewReaderSize(h.f, 1<<16)
	for {
		b, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			// b has no newline: torn. Unless it never was ours.
			if h.size == 0 && !bytes.HasPrefix([]byte(headerLine), b) {
				return 0, errForeign
			}
			break
		}
		if err != nil {
			return 0, err
		}
		first := h.size == 0
		h.size += int64(len(b))
		if first {
			if err := checkHeader(b); err != nil {
				return 0, err
			}
			continue
		}
		e, err := decode(bytes.TrimSuffix(b, []byte("\n")))
		if err != nil {
			damaged++
			continue
		}
		each(e)
	}
	if err := h.backToWhole(); err != nil {
		return 0, err
	}
	if h.size > 0 {
		return damaged, nil
	}
	return damaged, h.write([]byte(headerLine))
}

func checkHeader(b []byte) error {
	var r record
	if err := json.Unmarshal(b, &r); err != nil || r.Is != isHeader {
		return errForeign
	}
	if r.Version != version {
		return fmt.Errorf("its format is version %d, and this program knows version %d", r.Version, version)
	}
	return nil
}

// backToWhole makes the file end where its last whole line does.
func (h *File) backToWhole() error {
	if err := h.f.Truncate(h.size); err != nil {
		return err
	}
	_, err := h.f.Seek(h.size, io.SeekStart)
	return err
}

// write appends a line, or nothing.
func (h *File) write(b []byte) error {
	if _, err := h.f.Write(b); err != nil {
		return errors.Join(err, h.backToWhole())
	}
	h.size += int64(len(b))
	h.dirty = true
	return nil
}

// Append writes an event. It outlives the process; after Sync, a power cut too.
func (h *File) Append(e talk.Event) error {
	b, err := encode(e)
	if err != nil {
		return err
	}
	if err := h.write(b); err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	return nil
}

// Sync puts on disk what was appended.
func (h *File) Sync() error {
	if !h.dirty {
		return nil
	}
	if err := h.f.Sync(); err != nil {
		return fmt.Errorf("write the history: %w", err)
	}
	h.dirty = false
	return nil
}

// Grown says whether a Rewrite is worth its while.
func (h *File) Grown() bool {
	return h.size > rewriteFrom && h.size > 2*h.compact
}

// Rewrite replaces the file by one that holds these events. A crash leaves the
// old file or the new one.
func (h *File) Rewrite(events []talk.Event) (err error) {
	var b bytes.Buffer
	b.WriteString(headerLine)
	for _, e := range events {
		l, err := encode(e)
		if err != nil {
			return err
		}
		b.Write(l)
	}
	if err := renameio.WriteFile(h.path, b.Bytes(), 0o600, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("rewrite the history: %w", err)
	}
	f, err := os.OpenFile(h.path, os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("rewrite the history: %w", err)
	}
	h.f.Close()
	h.f, h.size, h.compact, h.dirty = f, int64(b.Len()), int64(b.Len()), false
	return h.backToWhole()
}

// Close syncs and closes.
func (h *File) Close() error {
	return errors.Join(h.Sync(), h.f.Close())
}
