// Package bench is `rookery bench`: it measures a node by scenarios and says
// what came out, with all that is needed to believe it or not. See README.md
// beside this file for what each scenario does.
//
//	load      generates load and accounts for every message
//	scenario  what is measured
//	target    the node that is measured
//	machine   what it runs on
//	report    what came out
package bench
