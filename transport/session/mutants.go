package session

// A bug put in on purpose, switched on by a build tag of its name and caught by
// a test (.ci/mutants.txt):
//
//   - mutant_ignoregap: an entry is written though the one before it is missing.
