package openapitest

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// spot is one place in a body.
type spot struct {
	path   string // as errors name it: to.user, payloads[1].device
	value  *Value
	parent *Value // nil at the top
	name   string // in the parent, where that is an object
}

func spots(v *Value, at spot) []spot {
	list := []spot{at}
	prefix := at.path
	if prefix != "" {
		prefix += "."
	}
	for _, m := range v.Members {
		list = append(list, spots(m.Value, spot{prefix + m.Name, m.Value, v, m.Name})...)
	}
	for i, item := range v.Items {
		list = append(list, spots(item, spot{fmt.Sprintf("%s[%d]", at.path, i), item, v, ""})...)
	}
	return list
}

// damage is a way to break a body in one place. It is false where it cannot.
type damage struct {
	name string
	do   func(t *rapid.T, r *Request, at spot) bool
}

// Damaged draws a request that is sound but for one place.
func (s *Spec) Damaged(t *rapid.T, c *Call, pools Pools) *Request {
	r := s.Sound(t, c, pools)
	ways := slices.Clone(parameterDamages)
	if r.Body != nil {
		ways = append(ways, bodyDamages...)
		ways = append(ways, textDamages...)
	}
	way := rapid.SampledFrom(ways).Draw(t, "way")
	at := spot{}
	if r.Body != nil {
		at = rapid.SampledFrom(spots(r.Body, spot{value: r.Body})).Draw(t, "spot")
	}
	if !way.do(t, r, at) {
		return r // sound, then
	}
	r.Fault = way.name
	return r
}

// How draws are shown.
func (c *Call) GoString() string  { return c.Name }
func (d damage) GoString() string { return d.name }
func (s spot) GoString() string   { return s.path }

// values of another type than anything there is in the document's bodies.
var strangers = map[string][]string{
	// Not 7: protobuf's JSON mapping reads an enum by its number as well.
	"string": {`true`, `{}`, `[]`, `-1`, `1.5`, `1e400`},
	"number": {`true`, `{}`, `[]`, `"x"`, `1.5`, `-1`, `1e400`, `99999999999999999999999`, `""`, `" 1"`, `"1x"`},
	"object": {`true`, `7`, `"x"`, `[]`, `[{}]`},
	"array":  {`true`, `7`, `"x"`, `{}`, `[7]`, `[[]]`, `["x"]`},
}

func kindOf(v *Value) string {
	switch {
	case v.Kind == Object:
		return "object"
	case v.Kind == Array:
		return "array"
	case strings.HasPrefix(v.Raw, `"`):
		return "string"
	default:
		return "number"
	}
}

var bodyDamages = []damage{
	{"another type", func(t *rapid.T, r *Request, at spot) bool {
		if at.parent == nil {
			return false
		}
		kind := kindOf(at.value)
		if at.name == "seq" {
			kind = "number" // which may be written as a string
		}
		*at.value = Value{Raw: rapid.SampledFrom(strangers[kind]).Draw(t, "instead")}
		r.Field = at.path
		return true
	}},
	{"an unknown member", func(t *rapid.T, r *Request, at spot) bool {
		if at.value.Kind != Object {
			return false
		}
		name := rapid.SampledFrom([]string{"x", "User", "user ", "__proto__", "", "\x00", "ünï", strings.Repeat("n", 300), `a"b`, "null"}).Draw(t, "member")
		at.value.Members = append(at.value.Members, Member{name, &Value{Raw: rapid.SampledFrom([]string{"1", `"x"`, "{}", "[[]]", "true"}).Draw(t, "value")}})
		r.Field = "unknown"
		return true
	}},
	{"a member twice", func(t *rapid.T, r *Request, at spot) bool {
		if at.value.Kind != Object || len(at.value.Members) == 0 {
			return false
		}
		m := rapid.SampledFrom(at.value.Members).Draw(t, "member")
		at.value.Members = append(at.value.Members, m)
		r.Field = m.Name
		return true
	}},
	{"a member missing", func(_ *rapid.T, _ *Request, at spot) bool {
		if at.parent == nil || at.name == "" {
			return false
		}
		at.parent.Members = slices.DeleteFunc(at.parent.Members, func(m Member) bool { return m.Name == at.name })
		return true // perhaps it was not needed
	}},
	{"null", func(_ *rapid.T, _ *Request, at spot) bool {
		if at.parent == nil || at.name == "" {
			return false
		}
		*at.value = Value{Raw: "null"}
		return true // the same as missing
	}},
	{"a long string", func(t *rapid.T, r *Request, at spot) bool {
		if kindOf(at.value) != "string" || at.name == "invite" {
			return false
		}
		n := rapid.SampledFrom([]int{65, 129, 257, 513, 2000, 70_000}).Draw(t, "length")
		*at.value = *String(strings.Repeat(rapid.SampledFrom([]string{"x", "ß", "😀", "\x00"}).Draw(t, "of"), n))
		return true // perhaps it may be so long
	}},
	{"an awkward string", func(t *rapid.T, _ *Request, at spot) bool {
		// An empty id is one that is left out.
		if kindOf(at.value) != "string" || at.name == "id" || at.name == "replyTo" {
			return false
		}
		*at.value = *String(rapid.SampledFrom(awkward).Draw(t, "string"))
		return true // perhaps it is none here
	}},
	{"no UTF-8", func(t *rapid.T, r *Request, at spot) bool {
		if kindOf(at.value) != "string" {
			return false
		}
		*at.value = Value{Raw: `"` + rapid.SampledFrom([]string{"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\xaf", `\ud800`, `\udc00\ud800`, `x\ud83d`}).Draw(t, "bytes") + `"`}
		r.Field = at.path
		return true
	}},
	{"deep nesting", func(t *rapid.T, r *Request, at spot) bool {
		if at.parent == nil {
			return false
		}
		n := rapid.SampledFrom([]int{31, 32, 33, 1000, 100_000}).Draw(t, "depth")
		open, end := "[", "]"
		if rapid.Bool().Draw(t, "objects") {
			open, end = `{"a":`, "}"
		}
		*at.value = Value{Raw: strings.Repeat(open, n) + "1" + strings.Repeat(end, n)}
		return true
	}},
	{"many members", func(_ *rapid.T, r *Request, at spot) bool {
		if at.value.Kind != Object {
			return false
		}
		for i := range 5000 {
			at.value.Members = append(at.value.Members, Member{fmt.Sprintf("m%d", i), &Value{Raw: "0"}})
		}
		r.Field = "m0"
		return true
	}},
}

// textDamages are done to the body as text.
var textDamages = []damage{
	{"no JSON", func(t *rapid.T, r *Request, _ spot) bool {
		text := r.Body.String()
		r.Text = rapid.SampledFrom([]string{
			text + "x", text + text, text[:len(text)-1], "x" + text, strings.ReplaceAll(text, ":", "="), strings.ReplaceAll(text, `"`, "'"),
			text + "\x00", "\ufeff" + text, "[" + text + "]", "[]", `"x"`, "7", "null", "true", " ", "\n", "{", "}", "\x00", "{,}", "user=alice", "<a/>",
			strings.Repeat("[", 200_000), strings.Repeat(`{"a":`, 100_000), "/* */" + text,
		}).Draw(t, "text")
		r.Field = "body"
		if r.Text == text { // of {} there is little to replace
			r.Text, r.Field = "", ""
			return false
		}
		return true
	}},
	{"too much", func(t *rapid.T, r *Request, _ spot) bool {
		r.Text = r.Body.String() + strings.Repeat(" ", rapid.SampledFrom([]int{512 << 10, 600 << 10, 1 << 20}).Draw(t, "spaces"))
		return true
	}},
	{"Content-Type", func(t *rapid.T, r *Request, _ spot) bool {
		for _, v := range rapid.SampledFrom([][]string{
			{""}, {"text/plain"}, {"application/json; charset=utf-16"}, {"application/jsonx"}, {"application/x-www-form-urlencoded"},
			{"application/json", "application/json"}, {"application/json, text/plain"}, {"multipart/form-data; boundary=x"}, {"application/json; charset"}, {"/"}, {";"},
		}).Draw(t, "types") {
			r.Header = append(r.Header, [2]string{"Content-Type", v})
		}
		r.Field = "Content-Type"
		return true
	}},
}

var parameterDamages = []damage{
	{"a parameter", func(t *rapid.T, r *Request, _ spot) bool {
		list := r.Call.Parameters()
		if len(list) == 0 {
			return false
		}
		p := rapid.SampledFrom(list).Draw(t, "parameter")
		bad := rapid.SampledFrom([]string{"g_x", "0", "-1", "x", "1.5", "18446744073709551616", "4294967296", "%00", "..%2F..", "%2e%2e", "a%20b", "%C3%A4", "%ff", "a%2Fb", strings.Repeat("x", 65), strings.Repeat("x", 5000), "'", "😀", "1e3", "0x1", "007", " 1"}).Draw(t, "instead")
		switch p.In {
		case "path":
			segments := strings.Split(r.Path, "/")
			segments[slices.Index(r.Call.segments, "{"+p.Name+"}")] = strings.ReplaceAll(bad, " ", "%20")
			r.Path = strings.Join(segments, "/")
		case "query":
			r.Query = append(slices.DeleteFunc(r.Query, func(q [2]string) bool { return q[0] == p.Name }), [2]string{p.Name, bad})
		case "header":
			r.Header = append(slices.DeleteFunc(r.Header, func(h [2]string) bool { return h[0] == p.Name }), [2]string{p.Name, bad})
		}
		return true
	}},
	{"an unknown parameter", func(t *rapid.T, r *Request, _ spot) bool {
		r.Query = append(r.Query, [2]string{rapid.SampledFrom([]string{"x", "After", "limit[]", "", "\x00", "ü", strings.Repeat("q", 3000)}).Draw(t, "name"), "1"})
		return true
	}},
	{"a parameter twice", func(t *rapid.T, r *Request, _ spot) bool {
		if len(r.Query) == 0 {
			return false
		}
		r.Query = append(r.Query, rapid.SampledFrom(r.Query).Draw(t, "parameter"))
		return true
	}},
	{"token", func(t *rapid.T, r *Request, _ spot) bool {
		for _, v := range rapid.SampledFrom([][]string{
			{}, {""}, {"Bearer"}, {"Bearer "}, {"Basic YTpi"}, {"Bearer x"}, {"Bearer a.b.c"}, {"Bearer x", "Bearer y"}, {"bearer eyJhbGciOiJub25lIn0.e30."},
			{"Bearer eyJhbGciOiJFZERTQSJ9.e30.AAAA"}, {"Bearer \x80"}, {"Bearer " + strings.Repeat("x", 9000)},
		}).Draw(t, "authorization") {
			r.Header = append(r.Header, [2]string{"Authorization", v})
		}
		r.Header = append(r.Header, [2]string{"Authorization", dropped})
		return true
	}},
}

// dropped as a header's value keeps whoever sends the request from adding it.
const dropped = "\x00dropped"
