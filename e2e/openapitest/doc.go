// Package openapitest holds exchanges with a running server to
// docs/openapi.yaml, and makes requests from it: sound ones, and ones that are
// broken in one place.
//
// The document is read as a stranger's tool reads it, by kin-openapi, and then
// more strictly than a client should: a member of an answer that the document
// does not have is a fault, and so is a status that the call does not list,
// default or not. Beside the schemas stand the rules that the document gives
// in words, because no schema can say them; see Broken.
//
// The package imports nothing of ours: it knows what the document says.
package openapitest
