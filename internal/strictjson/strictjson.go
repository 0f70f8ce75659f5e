// Package strictjson takes one JSON object apart and accepts nothing that two
// readers could understand differently: no duplicate names, nothing after the
// object, no bytes that are not UTF-8. encoding/json lets all three through.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// What is wrong with the whole, rather than with one field.
var (
	ErrSyntax = errors.New("not valid JSON")
	ErrObject = errors.New("not a JSON object")
)

// nameShown bounds what an error repeats of a name that somebody sent.
const nameShown = 64

// FieldError names the field at fault.
type FieldError struct {
	Field   string
	Problem string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Member is one name and its value, as it was written.
type Member struct {
	Name  string
	Value json.RawMessage
}

// Object splits an object into its members, in the order given. The error is
// ErrSyntax, ErrObject or a *FieldError. The values alias data or a copy of it.
func Object(data []byte) ([]Member, error) {
	if !json.Valid(data) {
		return nil, ErrSyntax
	}
	if !IsObject(data) {
		return nil, ErrObject
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
	}
	var members []Member
	seen := make(map[string]struct{})
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		name, ok := token.(string)
		if !ok {
			return nil, ErrSyntax
		}
		if _, again := seen[name]; again {
			return nil, &FieldError{Field: Shown(name), Problem: "is given twice"}
		}
		seen[name] = struct{}{}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		members = append(members, Member{Name: name, Value: value})
	}
	if err := checkUTF8(data, members); err != nil {
		return nil, err
	}
	return members, nil
}

func checkUTF8(data []byte, members []Member) error {
	if utf8.Valid(data) {
		return nil
	}
	for _, m := range members {
		// What a nested object holds is named when that object is taken apart.
		if !utf8.Valid(m.Value) && !IsObject(m.Value) && !isArray(m.Value) {
			return &FieldError{Field: Shown(m.Name), Problem: "is not valid UTF-8"}
		}
	}
	for _, m := range members {
		if !utf8.Valid(m.Value) {
			return nil
		}
	}
	return &FieldError{Field: "a field's name", Problem: "is not valid UTF-8"}
}

// IsObject reports whether the value is an object, by its first byte.
func IsObject(value []byte) bool { return first(value) == '{' }

func isArray(value []byte) bool { return first(value) == '[' }

func first(value []byte) byte {
	if value = bytes.TrimLeft(value, " \t\r\n"); len(value) == 0 {
		return 0
	}
	return value[0]
}

// IsNull reports whether the value is null, which protobuf's JSON mapping
// reads as left out.
func IsNull(value []byte) bool { return string(bytes.TrimSpace(value)) == "null" }

// Depth is how deeply arrays and objects nest. It reads anything, valid JSON
// or not, in one pass without recursion, so that it can stand guard before
// parsers that recurse.
func Depth(data []byte) int {
	depth, deepest, inString := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

// Shown makes a name that a client sent fit for an error: bounded, and quoted
// where it holds more than letters, digits, _ and -.
func Shown(name string) string {
	if len(name) > nameShown {
		return strconv.QuoteToASCII(name[:nameShown]) + "..."
	}
	for i := range len(name) {
		c := name[i]
		plain := c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !plain {
			return strconv.QuoteToASCII(name)
		}
	}
	if name == "" {
		return `""`
	}
	return name
}
