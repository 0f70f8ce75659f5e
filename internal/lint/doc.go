// Package lint holds no code, only tests that read the repository's Go files
// and keep the house rules that a compiler cannot: which folder imports what,
// which engine is known to one folder only, and a few habits that cost others
// dearly. Every ban stands in a table with its reason and with what to do
// instead, and the failure prints both.
//
// The files are parsed, not loaded: so files of every operating system and
// every build tag are judged, and no dependency has to be there.
package lint
