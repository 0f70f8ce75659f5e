// Package hostile is clients that mean harm: each an [Attack] on a node, small
// enough to be read, used by tests that the node's memory stays bounded and by
// scenarios of the harness that show how much others feel of it.
//
// An attacker is a stranger: it knows the address, the protocol and, where it
// needs them, accounts of its own. It attacks loopback addresses only, from
// 127.x.y.z, so that a node that counts by address sees one or thousands.
//
// Where others are measured meanwhile it yields the processor to them, and
// [Control] takes as much of it without an attack, for comparison.
//
// A [Pair] is two people who go on talking meanwhile, and measure it.
package hostile
