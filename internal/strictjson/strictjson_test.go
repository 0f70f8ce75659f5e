package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestObject(t *testing.T) {
	for _, c := range []struct {
		in, want string // want: names joined, or the error
	}{
		{`{}`, ""},
		{` {"a":1, "b":{"a":2}} `, "a b"},
		{`{"a":1}{"b":2}`, ErrSyntax.Error()},
		{`{"a":1} x`, ErrSyntax.Error()},
		{`{"a":1,}`, ErrSyntax.Error()},
		{``, ErrSyntax.Error()},
		{`[1]`, ErrObject.Error()},
		{`"x"`, ErrObject.Error()},
		{`null`, ErrObject.Error()},
		{`{"a":1,"a":1}`, "a: is given twice"},
		{`{"a":1,"\u0061":1}`, "a: is given twice"},
		{"{\"a\":\"\xff\"}", "a: is not valid UTF-8"},
		{"{\"\xff\":1}", "a field's name: is not valid UTF-8"},
		{"{\"a\":{\"b\":\"\xff\"}}", "a"},
		{`{"a b":1,"a b":1}`, `"a b": is given twice`},
	} {
		members, err := Object([]byte(c.in))
		got := ""
		for i, m := range members {
			if i > 0 {
				got += " "
			}
			got += m.Name
		}
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("Object(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestObjectErrorsAreTyped(t *testing.T) {
	_, err := Object([]byte(`{"a":1,"a":2}`))
	var field *FieldError
	if !errors.As(err, &field) || field.Field != "a" {
		t.Errorf("%#v is not a FieldError for a", err)
	}
}

func TestDepth(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int
	}{
		{``, 0},
		{`1`, 0},
		{`{}`, 1},
		{`[[{}],[]]`, 3},
		{`"[[[["`, 0},
		{`["\"[[[", "\\"]`, 1},
		{strings.Repeat("[", 1<<20), 1 << 20},
		{`"\`, 0},
	} {
		if got := Depth([]byte(c.in)); got != c.want {
			t.Errorf("Depth(%.20q) = %d, want %d", c.in, got, c.want)
		}
	}
}

func TestShown(t *testing.T) {
	if got := Shown(strings.Repeat("x", 1000)); len(got) > 80 {
		t.Errorf("%d bytes are repeated of a long name", len(got))
	}
	if got := Shown("a\nb\x1b"); got != `"a\nb\x1b"` {
		t.Errorf("control bytes get through: %s", got)
	}
}

// FuzzObject compares with encoding/json, which is lenient where this is not:
// what is taken there and refused here is named twice, no object, or not UTF-8.
func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[{"c":"\ud800"}]}`))
	f.Add([]byte("{\"\xff\":{}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var theirs map[string]json.RawMessage
		lenient := json.Unmarshal(data, &theirs)
		members, err := Object(data)
		var field *FieldError
		switch {
		case err == nil:
		case errors.As(err, &field), errors.Is(err, ErrObject):
			if len(err.Error()) > 200 {
				t.Fatalf("%d bytes of error", len(err.Error()))
			}
			return
		case !errors.Is(err, ErrSyntax) || json.Valid(data):
			t.Fatalf("%q: %v", data, err)
		default:
			return
		}
		if lenient != nil || len(theirs) != len(members) {
			t.Fatalf("%q: %d members, encoding/json has %d (%v)", data, len(members), len(theirs), lenient)
		}
		for _, m := range members {
			if len(m.Value) == 0 || !bytes.Equal(bytes.TrimSpace(theirs[m.Name]), bytes.TrimSpace(m.Value)) {
				t.Fatalf("%q is %q, encoding/json has %q", m.Name, m.Value, theirs[m.Name])
			}
		}
		if got := Depth(data); got != nesting(t, data) {
			t.Fatalf("%q is %d deep, not %d", data, nesting(t, data), got)
		}
	})
}

// nesting of a document that is valid.
func nesting(t *testing.T, data []byte) (most int) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	for depth := 0; ; {
		token, err := d.Token()
		if err == io.EOF {
			return most
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			most = max(most, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}
