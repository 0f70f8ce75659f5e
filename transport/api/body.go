package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/internal/strictjson"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// body reads the whole body, which must be JSON. It is empty where none came.
func (c *call) body() ([]byte, *nodepb.Fault) {
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, limits.Body))
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return nil, fault.New(fault.PayloadTooLarge, "", "body: has more than %d bytes", limits.Body)
	case err != nil:
		return nil, invalid("body", "could not be read to its end")
	case len(data) == 0:
		return nil, nil
	}
	return data, c.contentType()
}

func (c *call) contentType() *nodepb.Fault {
	values := c.r.Header.Values("Content-Type")
	if len(values) != 1 {
		return invalid("Content-Type", "must be application/json")
	}
	media, params, err := mime.ParseMediaType(values[0])
	if err != nil || media != "application/json" {
		return invalid("Content-Type", "must be application/json")
	}
	if set, ok := params["charset"]; ok && set != "utf-8" && set != "UTF-8" {
		return invalid("Content-Type", "must have no charset but utf-8")
	}
	return nil
}

// fields names what an object may hold and where to put it: *string, **string
// (nil where left out), *uint32, *uint64, or fields for an object within.
type fields map[string]any

// read reads the body into the fields; a missing body is an empty object.
func (c *call) read(into fields) *nodepb.Fault {
	data, f := c.body()
	if f != nil || data == nil {
		return f
	}
	c.decode(data, func() { f = into.parse(data, "") })
	return f
}

// longBody is the length past which to make sense of a body takes long enough
// for the number at once to matter. A goroutine that computes has its processor
// for ten milliseconds, and while there are as many as processors, the loop waits
// for its turn behind all of them: so one processor is left to it.
const longBody = 16 << 10

// decode runs what reads the body, a long one in its turn. Nothing in it waits.
func (c *call) decode(data []byte, read func()) {
	if len(data) > longBody && c.long != nil {
		c.long <- struct{}{}
		defer func() { <-c.long }()
	}
	read()
}

func (into fields) parse(data []byte, path string) *nodepb.Fault {
	if strictjson.Depth(data) > limits.JSONDepth {
		return invalid(whole(path), fmt.Sprintf("is nested deeper than %d", limits.JSONDepth))
	}
	members, err := strictjson.Object(data)
	var field *strictjson.FieldError
	switch {
	case errors.As(err, &field):
		return invalid(path+field.Field, field.Problem)
	case errors.Is(err, strictjson.ErrObject):
		return invalid(whole(path), "must be a JSON object")
	case err != nil:
		return invalid(whole(path), "is "+err.Error())
	}
	for _, m := range members {
		to, known := into[m.Name]
		if !known {
			return fault.New(fault.InvalidArgument, fault.ReasonUnknownField, "%s%s: unknown field", path, strictjson.Shown(m.Name))
		}
		if strictjson.IsNull(m.Value) { // left out, as protobuf's JSON mapping has it
			continue
		}
		if f := put(m.Value, to, path+m.Name); f != nil {
			return f
		}
	}
	return nil
}

func whole(path string) string {
	if path == "" {
		return "body"
	}
	return path[:len(path)-1]
}

// put reads one value. The wrappers give the rules of protobuf's JSON mapping:
// numbers of 64 bits as strings or numbers, no lone surrogates.
func put(value json.RawMessage, to any, path string) *nodepb.Fault {
	if !utf8.Valid(value) {
		return invalid(path, "is not valid UTF-8")
	}
	switch to := to.(type) {
	case fields:
		return to.parse(value, path+".")
	case *string, **string:
		var v wrapperspb.StringValue
		if protojson.Unmarshal(value, &v) != nil {
			return invalid(path, "must be a string")
		}
		if one, ok := to.(*string); ok {
			*one = v.GetValue()
		} else if optional, ok := to.(**string); ok {
			*optional = &v.Value
		}
	case *uint32:
		var v wrapperspb.UInt32Value
		if protojson.Unmarshal(value, &v) != nil {
			return invalid(path, "must be a whole number of 32 bits")
		}
		*to = v.GetValue()
	case *uint64:
		var v wrapperspb.UInt64Value
		if protojson.Unmarshal(value, &v) != nil {
			return invalid(path, "must be a whole number of 64 bits, as a string")
		}
		*to = v.GetValue()
	}
	return nil
}

// atMost bounds the bytes of a field.
func atMost(field, value string, n int) *nodepb.Fault {
	if len(value) > n {
		return invalid(field, fmt.Sprintf("must be at most %d bytes", n))
	}
	return nil
}
