// Package e2e runs the real binary against clients of other people's making:
// npm's ws, Python's websockets, a browser, and github.com/coder/websocket.
// It imports nothing of ours: it knows what docs/protocol.md says.
//
// Its tests have the build tag e2e; `make e2e` builds and installs what they
// need. They wait for conditions, never for time, and every wait has an end.
// The server's log goes to a file and is shown when a test fails.
//
//   - TestForeignClients: one scenario, told in Go and acted out by processes
//     in agents/, with the parts given to either library in turn.
//   - TestExamples: what stands in examples/, as a stranger would start it.
//   - TestChat, TestChatByLines: two people in two terminals (tmux), held
//     against a recorded session; and the same by lines through pipes.
//   - TestOpenAPIWalk, TestOpenAPIFuzz, TestHTTPFuzz, TestHandshakeFuzz: REST as
//     docs/openapi.yaml has it, and requests that nobody would write by hand;
//     package openapitest judges these, and all that other tests say in REST.
//   - TestCrashes: kill -9, again and again, while devices send, read, ack and
//     reconnect; package history judges what the clients saw.
//   - TestPowerCuts, TestDiskFails, TestSlowDisk, TestPausedProcess, TestFlips:
//     the same judge over a disk that forgets, fills up, fails, is slow and
//     changes bits (package faultfs, by FUSE), and over a process that stood still.
//   - TestCluster...: the same judge over several nodes that are killed, hang, are
//     cut off, replaced and removed, and in TestClusterCampaign all of it at once.
//
// `make torture` and `make torture-cluster` run the last three for much longer.
package e2e
