// Package scenario is what is measured: each file is one scenario, a small
// story told with the same few steps.
//
//	Env.Build       users over the admin address, workers, flows
//	World.Connect   until all are drained
//	World.Measure   warm-up, mark, the stretch itself, halt, settle
//	World.Finish    the account of every message, into the result
//
// A scenario says what it did in its Result and judges nothing: whether the
// messages are all right and the measurement can be believed is found by the
// steps, the same way for every scenario. To add one, write a type with the
// methods of Scenario and list it in All.
package scenario
