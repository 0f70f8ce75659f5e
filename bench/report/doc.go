// Package report is what a run says: a table for people, JSON for programs, a
// page with charts, and two runs side by side.
package report
