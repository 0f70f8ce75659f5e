//go:build !linux

package store

// identify tells files of one name apart; here it cannot, so nothing is marked.
func identify(string) (inode uint64, born int64, ok bool) { return 0, 0, false }
