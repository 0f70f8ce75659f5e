// Package auth says who is asking and how often they may: tokens, passwords
// and rate limits. It knows nothing of HTTP, WebSocket or the actors.
//
// Tokens are JWTs signed with Ed25519. A valid token says which user and
// device it was issued to; whether that device is still linked only the
// user's actor knows, and every caller has to ask it.
//
// Passwords are hashed by argon2id, which is slow and takes 19 MiB on
// purpose. Passwords therefore stands a bounded number of places in front of
// it, and a bounded queue that is fair across client addresses in front of
// those. The caller's own goroutine does the hashing: there is none to stop.
//
// A Limiter is a bounded table of token buckets. All types here are safe for
// concurrent use.
package auth
