// Package api is the REST API: accounts, devices, tokens, profiles, blocks,
// and messages for clients without a WebSocket. docs/openapi.yaml describes it.
//
// It decides nothing about users: each request becomes one or two questions
// (nodepb.Ask) to user actors, and their answers become replies. What it does
// itself is what must not run in an actor: reading and judging bodies, checking
// tokens and passwords, and limiting who may ask how often.
//
// The order within a request, and why:
//
//	rate of the address    before anything that costs
//	token                  before the body is read
//	rate of the device     before the body is read
//	body                   whole, bounded, strict; nothing has changed so far
//	deadline               limits.AnswerTimeout begins, for all that follows
//	device still linked    asked of the asker's own actor: by the question itself
//	                       where it goes there, else by one more question before
//	the question
//
// Logging in and registering have no token. An outside issuer's, where it stands
// for the password, is judged where the password would be: behind the rate of the
// address and the body. The registration webhook comes behind all that is cheap,
// and before the costly hash.
//
// An error is always application/problem+json with the protocol's code. Where
// a question that may change something was put and not answered, the reply is
// unavailable with reason outcome_unknown; a send can be repeated with its id.
package api
