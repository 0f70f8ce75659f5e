package core

// Bugs put in on purpose, each switched on by a build tag of its name and
// caught by a test (.ci/mutants.txt):
//
//   - mutant_earlyack: what was received is acked before it is taken.
//   - mutant_nowindow: fates are not synced until something else is.
