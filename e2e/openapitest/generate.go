package openapitest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"pgregory.net/rapid"
)

// Request is one to be sent. The body's Value is kept beside its text, so that
// it can be broken in one place.
type Request struct {
	Call   *Call
	Method string
	Path   string // escaped
	Query  [][2]string
	Header [][2]string
	Body   *Value
	Text   string // the body as sent; Body's where Body is given

	// Fault is what was done to it; Field what an answer has to name. Both are
	// empty where the request is sound.
	Fault, Field string
}

// Target is the path with the query.
func (r *Request) Target() string {
	if len(r.Query) == 0 {
		return r.Path
	}
	var parts []string
	for _, q := range r.Query {
		parts = append(parts, url.QueryEscape(q[0])+"="+url.QueryEscape(q[1]))
	}
	return r.Path + "?" + strings.Join(parts, "&")
}

// Pools are the values that mean something to the server: without them every
// request would be about users that do not exist. By the name of a parameter
// or member, "call.name" before "name".
type Pools map[string][]string

// One in five values is drawn from the schema all the same, but for those
// whose name has a ! before it.
func (p Pools) draw(t *rapid.T, call, name string) (string, bool) {
	list, always := p["!"+name]
	if !always {
		var ok bool
		if list, ok = p[call+"."+name]; !ok {
			list = p[name]
		}
	}
	if len(list) == 0 || !always && rapid.IntRange(0, 4).Draw(t, "own "+name) == 0 {
		return "", false
	}
	return rapid.SampledFrom(list).Draw(t, name), true
}

// Sound draws a request that fits the document.
func (s *Spec) Sound(t *rapid.T, c *Call, pools Pools) *Request {
	r := &Request{Call: c, Method: c.Method}
	segments := slices.Clone(c.segments)
	for _, p := range c.Parameters() {
		name, draw := p.Name, func() string { return s.text(t, c, p.Name, p.Schema.Value, pools) }
		switch p.In {
		case "path":
			text := url.PathEscape(draw())
			if dots(text) {
				text = strings.ReplaceAll(text, ".", "%2E")
			}
			segments[slices.Index(segments, "{"+name+"}")] = text
		case "query":
			if rapid.Bool().Draw(t, "with "+name) {
				r.Query = append(r.Query, [2]string{name, draw()})
			}
		case "header":
			if rapid.Bool().Draw(t, "with "+name) {
				r.Header = append(r.Header, [2]string{name, draw()})
			}
		}
	}
	r.Path = strings.Join(segments, "/")
	if schema := c.Body(); schema != nil {
		r.Body = s.value(t, c, "", schema, pools)
	}
	r.identify(t)
	return r
}

// identify: the id of a message stands in the body, in the header, or the same
// in both. No schema can say so.
func (r *Request) identify(t *rapid.T) {
	const name = "Idempotency-Key"
	if r.Body == nil || !slices.ContainsFunc(r.Call.Parameters(), func(p *openapi3.Parameter) bool { return p.Name == name }) {
		return
	}
	r.Header = slices.DeleteFunc(r.Header, func(h [2]string) bool { return h[0] == name })
	id := r.Body.Get("id")
	if id == nil {
		id = String(rapid.StringMatching("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").Draw(t, "id"))
		if rapid.Bool().Draw(t, "id in the body") {
			r.Body.Set("id", id)
			return
		}
	} else if rapid.Bool().Draw(t, "id in the body alone") {
		return
	}
	text, _ := unquote(id.Raw)
	r.Header = append(r.Header, [2]string{name, text})
}

// text draws the text of a scalar.
func (s *Spec) text(t *rapid.T, c *Call, name string, schema *openapi3.Schema, pools Pools) string {
	v := s.value(t, c, name, schema, pools)
	if unquoted, ok := unquote(v.Raw); ok {
		return unquoted
	}
	return v.Raw
}

// value draws one that fits the schema.
func (s *Spec) value(t *rapid.T, c *Call, name string, schema *openapi3.Schema, pools Pools) *Value {
	if text, ok := pools.draw(t, c.Name, name); ok {
		return scalar(text, schema)
	}
	for len(schema.AllOf) > 0 && schema.Type == nil {
		schema = schema.AllOf[0].Value
	}
	switch {
	case len(schema.OneOf) > 0:
		return s.value(t, c, name, rapid.SampledFrom(schema.OneOf).Draw(t, "one of "+name).Value, pools)
	case len(schema.Enum) > 0:
		return String(fmt.Sprint(rapid.SampledFrom(schema.Enum).Draw(t, name)))
	case schema.Type.Is("object"):
		return s.object(t, c, schema, pools)
	case schema.Type.Is("array"):
		v := &Value{Kind: Array}
		for range rapid.IntRange(0, 3).Draw(t, "items of "+name) {
			v.Items = append(v.Items, s.value(t, c, name, schema.Items.Value, pools))
		}
		return v
	case schema.Type.Is("boolean"):
		return &Value{Raw: fmt.Sprint(rapid.Bool().Draw(t, name))}
	case schema.Type.Is("integer"):
		low, high := uint64(0), uint64(1<<53) // beyond it a reader of JSON may round
		if schema.Min != nil {
			low = uint64(*schema.Min)
		}
		if schema.Max != nil {
			high = min(high, uint64(*schema.Max))
		}
		return Number(rapid.Uint64Range(low, high).Draw(t, name))
	default:
		return String(s.str(t, name, schema))
	}
}

// object has what is required, and of the rest what is drawn; what depends on
// each other comes together.
func (s *Spec) object(t *rapid.T, c *Call, schema *openapi3.Schema, pools Pools) *Value {
	v := &Value{Kind: Object}
	var names []string
	for name := range schema.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if v.Get(name) != nil || !slices.Contains(schema.Required, name) && !rapid.Bool().Draw(t, "with "+name) {
			continue
		}
		for _, n := range append([]string{name}, schema.DependentRequired[name]...) {
			v.Set(n, s.value(t, c, n, schema.Properties[n].Value, pools))
		}
	}
	return v
}

func unquote(raw string) (string, bool) {
	var text string
	err := json.Unmarshal([]byte(raw), &text)
	return text, err == nil
}

// scalar is the text as the schema wants it: a number where one is wanted.
func scalar(text string, schema *openapi3.Schema) *Value {
	if schema.Type.Is("integer") || schema.Type.Is("boolean") {
		return &Value{Raw: text}
	}
	return String(text)
}

// awkward strings, all of them UTF-8.
var awkward = []string{"", " ", "\x00", "\u202e", "e\u0301", "😀", "ß", "\ufeff", "\u2028", "'; --", "<b>", "%00", "null", "\r\n", `\`, `"`, "\x7f", "\U0010FFFF"}

// str draws a string: by its pattern, or within its bounds in bytes, the
// bounds themselves more often than chance would.
func (s *Spec) str(t *rapid.T, name string, schema *openapi3.Schema) string {
	fits := func(text string) bool { return s.Fits(schema, text) == nil }
	switch {
	case schema.ContentEncoding == "base64":
		return base64.StdEncoding.EncodeToString([]byte(rapid.StringN(0, 40, 200).Draw(t, name)))
	case schema.Pattern != "":
		return rapid.StringMatching(schema.Pattern).Filter(fits).Draw(t, name)
	}
	low, high := 0, 300
	if !scan(schema.Format, "%d-to-%d-bytes", &low, &high) {
		scan(schema.Format, "max-%d-bytes", &high)
	}
	low = max(low, int(schema.MinLength)) //nolint:gosec // a length in a document of ours
	return rapid.OneOf(
		rapid.StringN(-1, -1, high),
		rapid.Map(rapid.SampledFrom([]int{low, high}), func(n int) string { return strings.Repeat("x", n) }),
		rapid.Map(rapid.SampledFrom(awkward), func(a string) string { return strings.Repeat("x", low) + a }),
	).Filter(fits).Draw(t, name)
}
