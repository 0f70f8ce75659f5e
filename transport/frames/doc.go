// Package frames turns what is stored and said into the frames of the client
// protocol, and what clients send into frames: a leaf, pure, used by the
// session layer and by the REST API, so that both show the same objects.
//
// A WebSocket message is a list of frames. With rookery.v1.protobuf each frame
// is preceded by its length as a varint; with rookery.v1.json frames are
// separated by a newline (blank lines between them are let pass).
//
// Decoding tells three cases apart:
//
//	the message is not a list of frames     *MalformedError; the connection is closed with 4100
//	a frame breaks the schema               fault invalid_argument that names the field; the connection goes on
//	a frame fits the schema                 the frame; what its values mean is for others to judge (see NewSend)
//
// "Breaks the schema" is an unknown field, a value of the wrong type, bad
// UTF-8, a field given twice, or nesting past limits.JSONDepth. Such a frame
// changes nothing, and the frames after it in the same message still count.
package frames
