package frames

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/rookery-im/rookery/internal/fault"
	"github.com/rookery-im/rookery/internal/limits"
	"github.com/rookery-im/rookery/internal/strictjson"
	clientpb "github.com/rookery-im/rookery/proto/rookery/client/v1"
	nodepb "github.com/rookery-im/rookery/proto/rookery/node/v1"
)

// Why a frame does not fit is found out only after decoding it failed: the
// decoders of the protobuf library say whether, reliably, but word the why as
// they please from one version to the next.

func invalid(path, format string, args ...any) *nodepb.Fault {
	return fault.New(fault.InvalidArgument, "", "%s: %s", path, fmt.Sprintf(format, args...))
}

func unknownField(path string) *nodepb.Fault {
	return fault.New(fault.InvalidArgument, fault.ReasonUnknownField, "%s: unknown field", path)
}

func tooDeep(data []byte) bool { return strictjson.Depth(data) > limits.JSONDepth }

// diagnoseJSON finds the first field of an object that does not fit the
// message type. An error says that data is no JSON object.
func diagnoseJSON(data []byte, mt protoreflect.MessageType, path string) (*nodepb.Fault, error) {
	members, err := strictjson.Object(data)
	var field *strictjson.FieldError
	switch {
	case errors.As(err, &field):
		return invalid(path+field.Field, "%s", field.Problem), nil
	case err != nil:
		return nil, err
	case tooDeep(data):
		return fault.New(fault.InvalidArgument, "", "%s is nested deeper than %d", deepest(members, path), limits.JSONDepth), nil
	}
	fields := mt.Descriptor().Fields()
	oneofs := make(map[protoreflect.FullName]string)
	for _, m := range members {
		fd := fields.ByJSONName(m.Name)
		if fd == nil {
			fd = fields.ByTextName(m.Name)
		}
		if fd == nil {
			return unknownField(path + strictjson.Shown(m.Name)), nil
		}
		if one := fd.ContainingOneof(); one != nil && !one.IsSynthetic() && !strictjson.IsNull(m.Value) {
			if before, twice := oneofs[one.FullName()]; twice {
				return invalid(path+m.Name, "only one of %s and %s may be given", before, m.Name), nil
			}
			oneofs[one.FullName()] = m.Name
		}
		if f := diagnoseValue(m.Value, mt, fd, path+m.Name); f != nil {
			return f, nil
		}
	}
	return fault.New(fault.InvalidArgument, "", "%s", notFit(path)), nil
}

func notFit(path string) string {
	if path == "" {
		return "the object does not fit the schema"
	}
	return path[:len(path)-1] + ": does not fit the schema"
}

// deepest names the member that nests too deeply, where there is one.
func deepest(members []strictjson.Member, path string) string {
	for _, m := range members {
		if strictjson.Depth(m.Value) >= limits.JSONDepth {
			return path + strictjson.Shown(m.Name)
		}
	}
	return "the object"
}

// diagnoseValue is nil where the value fits the field.
func diagnoseValue(value json.RawMessage, mt protoreflect.MessageType, fd protoreflect.FieldDescriptor, path string) *nodepb.Fault {
	if fits(value, mt, fd) {
		return nil
	}
	if fd.Message() == nil || wellKnown(fd) {
		if !utf8.Valid(value) {
			return invalid(path, "is not valid UTF-8")
		}
		return invalid(path, "must be %s", wants(fd))
	}
	inner := mt.New().NewField(fd)
	if !fd.IsList() {
		return diagnoseMember(value, inner.Message().Type(), path)
	}
	var items []json.RawMessage
	if json.Unmarshal(value, &items) != nil {
		return invalid(path, "must be %s", wants(fd))
	}
	for i, item := range items {
		if f := diagnoseMember(item, inner.List().NewElement().Message().Type(), fmt.Sprintf("%s[%d]", path, i)); f != nil {
			return f
		}
	}
	return invalid(path, "does not fit the schema")
}

// diagnoseMember looks into an object inside an object; nil where it fits.
func diagnoseMember(value json.RawMessage, mt protoreflect.MessageType, path string) *nodepb.Fault {
	if protojson.Unmarshal(value, mt.New().Interface()) == nil {
		return nil
	}
	f, err := diagnoseJSON(value, mt, path+".")
	if err != nil {
		return invalid(path, "must be an object")
	}
	return f
}

// fits asks the library itself, with a message that holds this field alone.
func fits(value json.RawMessage, mt protoreflect.MessageType, fd protoreflect.FieldDescriptor) bool {
	alone := make([]byte, 0, len(value)+len(fd.JSONName())+5)
	alone = append(alone, '{', '"')
	alone = append(alone, fd.JSONName()...)
	alone = append(alone, '"', ':')
	alone = append(append(alone, value...), '}')
	return protojson.Unmarshal(alone, mt.New().Interface()) == nil
}

func wellKnown(fd protoreflect.FieldDescriptor) bool {
	return fd.Message().FullName().Parent() == "google.protobuf"
}

// wants says what a field's JSON looks like.
func wants(fd protoreflect.FieldDescriptor) string {
	if fd.IsList() {
		return "a list"
	}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.StringKind:
		return "a string"
	case protoreflect.BytesKind:
		return "a string in base64"
	case protoreflect.EnumKind:
		return "one of " + names(fd.Enum())
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return "a whole number of 32 bits"
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return "a whole number of 64 bits, as a string"
	case protoreflect.MessageKind:
		switch fd.Message().FullName() {
		case "google.protobuf.Duration":
			return `a duration such as "30s"`
		case "google.protobuf.Timestamp":
			return `a time such as "2026-01-02T15:04:05Z"`
		}
		return "an object"
	default:
		return "of another type"
	}
}

// names lists an enum's values but for its zero, which means left out.
func names(e protoreflect.EnumDescriptor) (list string) {
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		if v.Number() == 0 {
			continue
		}
		if list != "" {
			list += ", "
		}
		list += string(v.Name())
	}
	return list
}

// jsonStub reads what the answer to a broken frame needs.
func jsonStub(line []byte) *clientpb.ClientFrame {
	stub := new(clientpb.ClientFrame)
	members, err := strictjson.Object(line)
	if err != nil {
		var lenient struct{ Ref uint32 } // duplicates and the like do not hide the ref
		if json.Unmarshal(line, &lenient) == nil {
			stub.Ref = lenient.Ref
		}
		return stub
	}
	for _, m := range members {
		switch m.Name {
		case "ref":
			var ref clientpb.ClientFrame
			if protojson.Unmarshal(append(append([]byte(`{"ref":`), m.Value...), '}'), &ref) == nil {
				stub.Ref = ref.GetRef()
			}
		case "send":
			var send struct{ ID string }
			_ = json.Unmarshal(m.Value, &send) // what could be read of it is read; most broken sends have another field at fault
			stub.Body = &clientpb.ClientFrame_Send{Send: &clientpb.Send{Id: send.ID}}
		}
	}
	return stub
}

// diagnoseWire finds the first field of a protobuf message that does not fit
// its type: nil where all do. It is false where the bytes are no message.
func diagnoseWire(b []byte, md protoreflect.MessageDescriptor, path string) (broken *nodepb.Fault, ok bool) {
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, false
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(number, wire, b)
		if size < 0 {
			return nil, false
		}
		if broken == nil { // go on to the end: the rest may be no message
			broken, ok = diagnoseField(b[:size], number, wire, md, path)
			if !ok {
				return nil, false
			}
		}
		b = b[size:]
	}
	return broken, true
}

func diagnoseField(value []byte, number protowire.Number, wire protowire.Type, md protoreflect.MessageDescriptor, path string) (*nodepb.Fault, bool) {
	fd := md.Fields().ByNumber(number)
	if fd == nil {
		return unknownField(fmt.Sprintf("%s%d", path, number)), true
	}
	path += fd.JSONName()
	switch {
	case wire != wireType(fd):
		packed := wire == protowire.BytesType && fd.IsList() && fd.IsPacked()
		if packed {
			return nil, true
		}
		return invalid(path, "is written with wire type %d, not %d", wire, wireType(fd)), true
	case fd.Kind() == protoreflect.StringKind:
		if s, _ := protowire.ConsumeBytes(value); !utf8.Valid(s) {
			return invalid(path, "is not valid UTF-8"), true
		}
	case fd.Kind() == protoreflect.MessageKind:
		inner, _ := protowire.ConsumeBytes(value)
		return diagnoseWire(inner, fd.Message(), path+".")
	}
	return nil, true
}

func wireType(fd protoreflect.FieldDescriptor) protowire.Type {
	switch fd.Kind() {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.DoubleKind, protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return protowire.Fixed64Type
	case protoreflect.FloatKind, protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return protowire.Fixed32Type
	default:
		return protowire.VarintType
	}
}

// wireStub reads what the answer to a broken frame needs. The fields are
// scanned by hand because a string that is not UTF-8 stops the library.
func wireStub(b []byte) *clientpb.ClientFrame {
	stub := new(clientpb.ClientFrame)
	eachField(b, func(number protowire.Number, wire protowire.Type, value []byte) {
		switch {
		case number == 1 && wire == protowire.VarintType:
			ref, _ := protowire.ConsumeVarint(value)
			stub.Ref = uint32(ref)
		case number == 3 && wire == protowire.BytesType:
			send := new(clientpb.Send)
			inner, _ := protowire.ConsumeBytes(value)
			eachField(inner, func(number protowire.Number, wire protowire.Type, value []byte) {
				if id, _ := protowire.ConsumeBytes(value); number == 1 && wire == protowire.BytesType && utf8.Valid(id) {
					send.Id = string(id)
				}
			})
			stub.Body = &clientpb.ClientFrame_Send{Send: send}
		}
	})
	return stub
}

func eachField(b []byte, fn func(protowire.Number, protowire.Type, []byte)) {
	for len(b) > 0 {
		number, wire, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		size := protowire.ConsumeFieldValue(number, wire, b[n:])
		if size < 0 {
			return
		}
		fn(number, wire, b[n:n+size])
		b = b[n+size:]
	}
}
