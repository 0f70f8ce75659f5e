// Package settings is the one place that knows what can be configured. Flags,
// environment, file, help, `rookery config` and docs/configuration.md all come
// from the table that Topics returns.
//
// To add a setting:
//
//  1. Give the Config of the part that it is for a field, with its default and
//     its check in Validate, and node.Config what cmd/rookery/node passes on.
//  2. Add a Setting to its topic in table.go: the name, a sentence without its
//     full stop, and a kind (see kinds.go) with the field's place in Config and
//     the bounds. What is out of bounds is then refused under the name, and in
//     the spelling, that it was given in.
//  3. What only holds between several settings is checked by
//     node.Config.Validate, as a *node.Fault that names them.
//  4. Run make docs.
//
// A secret is never the value of a setting: make it a file that holds it. What
// is printed and logged rests on that.
//
// Values flow in one direction: readFlags, readEnvironment and readFile turn
// what they are given into texts with the place they stand at; loader.take
// parses them into the Config, lowest source first; loader.judge asks whether
// they go together. Each goes on after a fault, so that all are reported.
package settings
