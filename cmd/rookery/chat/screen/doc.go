// Package screen draws a talk.Model as rows of text: for a terminal of any
// size, with as much as fits. It is pure; the same model, view and size give
// the same rows.
//
//	alice · 127.0.0.1:8080                                   online   bar
//	• bob              2│bob · Robert · typing…                       head
//	  carol             │──────────────────────────────
//	  list              │14:02     bob  hello                         timeline
//	                    │14:03 ✓✓◉ you  hi there
//	                    │──────────────────────────────
//	                    │> what is typed                              input
//	F1 help · Tab next conversation · Alt-Enter new line              foot
//
// What others wrote stands rightmost in its row, so that a terminal that
// thinks an emoji wider than this program does displaces nothing.
//
// Colours are the sixteen that every terminal has, as its owner chose them, so
// they suit light and dark backgrounds; and each says only what a sign or a
// word beside it says too.
package screen
