// Package council is how the nodes of a cluster speak with group 0's leader, and
// it with them: questions that are asked until they are answered (Council), the
// leader's answers (Decide), how a node is taken in (Admission), and how each
// committed view gets to every node (Herald). Who carries the words is its user's
// matter, and so is time, which comes with Tick. All of it belongs to the loop.
package council
