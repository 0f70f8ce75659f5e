// Package target is the node that is measured: one that runs already, or one
// that is started for the run in a process of its own. It makes users over the
// admin address, reads the node's metrics, and kills and restarts a node of its
// own where a scenario asks for that.
package target
