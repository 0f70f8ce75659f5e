package openapitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Value is JSON that keeps what encoding/json would tidy away: the order of
// members, members given twice, the digits of numbers. Raw is the text of a
// scalar; it need not be JSON, so that a broken request can be written.
type Value struct {
	Kind    Kind
	Raw     string
	Members []Member
	Items   []*Value
}

// Member of an object.
type Member struct {
	Name  string
	Value *Value
}

// Kind of a Value.
type Kind uint8

// The kinds.
const (
	Scalar Kind = iota
	Object
	Array
)

// String is a scalar that says text.
func String(text string) *Value {
	raw, err := json.Marshal(text)
	if err != nil { // cannot be: it is a string
		return &Value{}
	}
	return &Value{Raw: string(raw)}
}

// Number is a scalar.
func Number(n uint64) *Value { return &Value{Raw: strconv.FormatUint(n, 10)} }

// Get is the member of that name, or nil.
func (v *Value) Get(name string) *Value {
	for _, m := range v.Members {
		if m.Name == name {
			return m.Value
		}
	}
	return nil
}

// Set replaces or adds a member.
func (v *Value) Set(name string, to *Value) {
	for i := range v.Members {
		if v.Members[i].Name == name {
			v.Members[i].Value = to
			return
		}
	}
	v.Members = append(v.Members, Member{name, to})
}

// Clone is a deep copy.
func (v *Value) Clone() *Value {
	out := &Value{Kind: v.Kind, Raw: v.Raw}
	for _, m := range v.Members {
		out.Members = append(out.Members, Member{m.Name, m.Value.Clone()})
	}
	for _, item := range v.Items {
		out.Items = append(out.Items, item.Clone())
	}
	return out
}

// String is the JSON.
func (v *Value) String() string {
	var b strings.Builder
	v.write(&b)
	return b.String()
}

func (v *Value) write(b *strings.Builder) {
	switch v.Kind {
	case Scalar:
		b.WriteString(v.Raw)
	case Object:
		b.WriteByte('{')
		for i, m := range v.Members {
			if i > 0 {
				b.WriteByte(',')
			}
			String(m.Name).write(b)
			b.WriteByte(':')
			m.Value.write(b)
		}
		b.WriteByte('}')
	case Array:
		b.WriteByte('[')
		for i, item := range v.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			item.write(b)
		}
		b.WriteByte(']')
	}
}

// What the document says in words of every body.
const depth = 32

var errTwice = errors.New("a member is given twice")

// strict reads one JSON object as the document wants it: UTF-8, nothing given
// twice, no half of a surrogate pair, not too deep. Members that are null are
// left out, since that is what they mean.
func strict(data []byte) (map[string]any, error) {
	switch {
	case !utf8.Valid(data):
		return nil, errors.New("not UTF-8")
	case halves(data):
		return nil, errors.New("half of a surrogate pair")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := read(dec, depth)
	if err != nil {
		return nil, err
	}
	if dec.InputOffset() != int64(len(bytes.TrimRight(data, " \t\r\n"))) {
		return nil, errors.New("something follows the value")
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not an object")
	}
	return object, nil
}

func read(dec *json.Decoder, deeper int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	delim, compound := token.(json.Delim)
	if !compound {
		return token, nil
	}
	if deeper == 0 {
		return nil, fmt.Errorf("nested deeper than %d", depth)
	}
	object, list := map[string]any{}, []any{}
	names := map[string]bool{}
	for dec.More() {
		name := ""
		if delim == '{' {
			token, err := dec.Token()
			if err != nil {
				return nil, err
			}
			name, _ = token.(string)
			if names[name] {
				return nil, fmt.Errorf("%s: %w", name, errTwice)
			}
			names[name] = true
		}
		v, err := read(dec, deeper-1)
		if err != nil {
			return nil, err
		}
		switch {
		case delim == '[':
			list = append(list, v)
		case v != nil:
			object[name] = v
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if delim == '{' {
		return object, nil
	}
	return list, nil
}

// halves says whether an escaped surrogate stands alone.
func halves(data []byte) bool {
	unit := func(i int) (uint64, bool) {
		if i+6 > len(data) || data[i] != '\\' || data[i+1] != 'u' {
			return 0, false
		}
		n, err := strconv.ParseUint(string(data[i+2:i+6]), 16, 16)
		return n, err == nil
	}
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		n, ok := unit(i)
		switch {
		case !ok:
			i++ // another escape
		case n>>11 != 0xD800>>11:
			i += 5
		default:
			next, ok := unit(i + 6)
			if n >= 0xDC00 || !ok || next>>10 != 0xDC00>>10 {
				return true
			}
			i += 11
		}
	}
	return false
}
