package host

// Bugs put in on purpose, each switched on by a build tag of its name and
// caught by a test (.ci/mutants.txt):
//
//   - mutant_keepstate: states computed on a dropped batch stay.
//   - mutant_lostdeliver: every seventh entry pushed to a session
//     is lost between the actor and the socket.
//   - mutant_applyreads: replay skips what the store seems to have already.
//   - mutant_anyterm: a batch is applied in an entry of any term.
