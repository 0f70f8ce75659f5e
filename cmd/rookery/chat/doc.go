// Package chat is `rookery chat`: a chat in the terminal, by lines or full
// screen, on the Go SDK.
//
//	plain    what strangers wrote, made safe to print            pure
//	talk     conversations, ticks, drafts: what is known         pure
//	screen   a talk.Model as rows of text                        pure
//	history  the scrollback, a file of talk.Events
//	chat     accounts, logging in, and the loops that join these with the SDK
//
// One goroutine owns the model and the history: the loop of the line mode, or
// Bubble Tea's. What the server says reaches it through desk.receive, which
// waits until each event is in the history before it tells the SDK that it was
// taken; only then does the SDK acknowledge. What a person types is in the
// history and in the SDK's stored queue before it leaves the input. So a crash
// at any moment shows at the next start what was there, and sends what was not sent.
package chat
