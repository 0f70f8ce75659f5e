// Package wire writes client frames and reads server frames of the protobuf
// subprotocol with as little work as possible, so that the load generator
// leaves the processors to what it measures. It is written by hand against
// client.proto; its tests hold it to the generated code.
package wire
