// Package auth says who is asking and how often they may: tokens, passwords
// and rate limits. It knows nothing of who calls it, by HTTP or WebSocket, or
// of the actors.
//
// Tokens are JWTs signed with Ed25519. A valid token says which user and
// device it was issued to; whether that device is still linked only the
// user's actor knows, and every caller has to ask it. Tokens of one outside
// issuer are accepted beside them, where it is configured: with a claim that
// names the device they stand for it as one's own tokens do, without they stand
// in for the password. Its keys come from the package keyset.
//
// Passwords are hashed by argon2id, which is slow and takes 19 MiB on
// purpose. Passwords therefore stands a bounded number of places in front of
// it, and a bounded queue that is fair across client addresses in front of
// those. The caller's own goroutine does the hashing: there is none to stop.
//
// A Limiter is a bounded table of token buckets. All types here are safe for
// concurrent use.
package auth
