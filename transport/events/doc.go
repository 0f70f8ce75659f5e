// Package events carries server-sent event streams: to the sessions of a node
// they are connections like WebSockets, but that nothing comes from the client.
//
// A stream has two sides. The loop queues what it is to say (Send, Close), as
// it does for a WebSocket; the goroutine that net/http gave the request writes
// it (Serve), and reports what the loop has to know. Between them stands a
// queue with a bound, under the stream's lock, which is held for no I/O.
//
//	opening --first words--> streaming --Close--> ending --last event--> gone
//	   |                         |                   |
//	   | Close                   | lost              | lost, or lingered too long
//	   v                         v                   v
//	refused, as a problem       gone                gone
//
// Until the first words nothing has been written, so that what prevents a
// session can be an HTTP status. From the call of Close on the loop's side says
// nothing more; the sessions hear Closed once, from Round.
//
// What waits is bounded as for a WebSocket: the sessions stop pushing while much
// does, and hear Drained when it has shrunk. A client that takes less than 16 KiB
// in Config.Slow while more waits, or for whom Config.PendingMax bytes wait, is
// cut; its mailbox keeps everything. A comment every heartbeat keeps proxies awake,
// and finds out that the client has gone.
package events
