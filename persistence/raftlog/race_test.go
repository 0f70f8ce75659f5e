//go:build race

package raftlog_test

// raceEnabled makes long tests look at less: the detector is ten times slower.
const raceEnabled = true
