// Package keyset holds the public keys of an outside issuer of tokens: a JSON
// Web Key Set (RFC 7517) from a file or a URL, read again from time to time.
//
// Parse takes a set apart. It is strict where leniency could make two readers
// see different keys (names given twice, key ids given twice), and passes over
// keys that are not for checking signatures, or are too weak to.
//
// A Source keeps the newest set that could be read. Lookup never blocks: a key
// that is not in the set makes Run read it again, at most once in
// Config.MinGap however many ask, and until that is done the answer is
// ErrUndecided, so that a token of a key that has just come into use is not
// called bad. While the source fails, the last good set stays, for at most
// Config.MaxStale.
package keyset
