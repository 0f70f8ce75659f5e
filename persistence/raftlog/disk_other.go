//go:build !linux

package raftlog

import "os"

func reserve(*os.File, int64) error { return nil }
func syncData(f *os.File) error     { return f.Sync() }
func lockFile(*os.File) error       { return nil } // Badger's lock beside it has to do
