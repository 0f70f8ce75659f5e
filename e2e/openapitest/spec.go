package openapitest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// Spec is the document.
type Spec struct {
	doc     *openapi3.T
	Calls   []*Call // by path and method
	formats map[string]openapi3.StringFormatValidator
}

// Call is one operation.
type Call struct {
	Name   string // its operationId
	Method string
	Path   string
	Op     *openapi3.Operation

	item     *openapi3.PathItem
	segments []string
}

// Load reads the document, validates it, and then closes the schemas of
// answers: what they do not list is a fault.
func Load(ctx context.Context, file string) (*Spec, error) {
	doc, err := openapi3.NewLoader().LoadFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if err := doc.Validate(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	s := &Spec{doc: doc, formats: map[string]openapi3.StringFormatValidator{}}
	err = doc.WalkSchemas(func(at string, schema *openapi3.SchemaRef) error {
		v := schema.Value
		// A part of an allOf speaks of some members and leaves the rest to others.
		if v.Type.Is("object") && v.AdditionalProperties.Has == nil && v.AdditionalProperties.Schema == nil {
			no := false
			v.AdditionalProperties.Has = &no
		}
		return s.addFormat(at, v.Format)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			s.Calls = append(s.Calls, &Call{Name: op.OperationID, Method: method, Path: path, Op: op, item: item, segments: strings.Split(path, "/")})
		}
	}
	slices.SortFunc(s.Calls, func(a, b *Call) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) })
	return s, nil
}

// addFormat makes the validator of one of the document's own formats.
func (s *Spec) addFormat(at, format string) error {
	var low, high int
	switch {
	case format == "", format == "date-time", format == "int64", format == "uri", format == "uuid":
		return nil // kin-openapi's own, or a pattern stands beside it
	case format == "uint64":
		s.formats[format] = openapi3.NewCallbackValidator(number64)
		return nil
	case format == "uint64-or-displaced":
		s.formats[format] = openapi3.NewCallbackValidator(func(text string) error {
			if text == "" || text == "displaced" {
				return nil
			}
			return number64(text)
		})
		return nil
	case strings.HasPrefix(format, "duration-up-to-"):
		most, err := time.ParseDuration(strings.TrimPrefix(format, "duration-up-to-"))
		if err != nil {
			return fmt.Errorf("%s: format %q: %w", at, format, err)
		}
		s.formats[format] = openapi3.NewCallbackValidator(func(text string) error {
			if d, err := time.ParseDuration(text); err != nil || d > most {
				return fmt.Errorf("%s is not a duration up to %v: %w", text, most, err)
			}
			return nil
		})
		return nil
	case scan(format, "max-%d-bytes", &high), scan(format, "%d-to-%d-bytes", &low, &high):
		s.formats[format] = openapi3.NewCallbackValidator(func(text string) error {
			if len(text) < low || len(text) > high {
				return fmt.Errorf("has %d bytes: %s", len(text), format)
			}
			return nil
		})
		return nil
	}
	return fmt.Errorf("%s: format %q is not known here", at, format)
}

func number64(text string) error {
	_, err := strconv.ParseUint(text, 10, 64)
	return err
}

func scan(text, format string, into ...any) bool {
	n, err := fmt.Sscanf(text, format, into...)
	return err == nil && n == len(into)
}

// Call finds an operation by its name.
func (s *Spec) Call(name string) *Call {
	i := slices.IndexFunc(s.Calls, func(c *Call) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return s.Calls[i]
}

// Statuses are those that the call lists.
func (c *Call) Statuses() (list []int) {
	for status := range c.Op.Responses.Map() {
		if n, err := strconv.Atoi(status); err == nil {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return list
}

// Body is the schema of the call's body, or nil.
func (c *Call) Body() *openapi3.Schema {
	if c.Op.RequestBody == nil {
		return nil
	}
	return c.Op.RequestBody.Value.Content.Get("application/json").Schema.Value
}

// Parameters of the call, the path's included.
func (c *Call) Parameters() (list []*openapi3.Parameter) {
	for _, p := range slices.Concat(c.item.Parameters, c.Op.Parameters) {
		list = append(list, p.Value)
	}
	return list
}

// find matches a request's path: the call, what its parameters are, and the
// methods that the path has. HEAD is GET.
func (s *Spec) find(method, path string) (call *Call, params map[string]string, methods []string) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, c := range s.Calls {
		got, ok := c.match(path)
		if !ok {
			continue
		}
		methods = append(methods, c.Method)
		if c.Method == method {
			call, params = c, got
		}
	}
	return call, params, methods
}

func (c *Call) match(path string) (map[string]string, bool) {
	segments := strings.Split(path, "/")
	if len(segments) != len(c.segments) {
		return nil, false
	}
	params := map[string]string{}
	for i, want := range c.segments {
		got, err := url.PathUnescape(segments[i])
		name, isParam := strings.CutPrefix(want, "{")
		switch {
		case err != nil, isParam && got == "", !isParam && got != want, dots(segments[i]):
			return nil, false
		case isParam:
			params[strings.TrimSuffix(name, "}")] = got
		}
	}
	return params, true
}

// dots are a path's own business, unless they are escaped.
func dots(segment string) bool { return segment == "." || segment == ".." }

var errNoToken = errors.New("no bearer token")

// input is what openapi3filter judges. The body may be read again.
func (s *Spec) input(r *http.Request, c *Call, params map[string]string) *openapi3filter.RequestValidationInput {
	return &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params,
		Route: &routers.Route{Spec: s.doc, Path: c.Path, PathItem: c.item, Method: c.Method, Operation: c.Op},
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true,
			SkipSettingDefaults:   true,
			// Whether the token is any good is for the server to say.
			AuthenticationFunc: func(_ context.Context, in *openapi3filter.AuthenticationInput) error {
				if token, ok := strings.CutPrefix(in.RequestValidationInput.Request.Header.Get("Authorization"), "Bearer "); !ok || token == "" {
					return errNoToken
				}
				return nil
			},
			SchemaValidationOptions: s.options(),
		},
	}
}

func (s *Spec) options() []openapi3.SchemaValidationOption {
	return []openapi3.SchemaValidationOption{openapi3.WithStringFormatValidators(s.formats)}
}

// Fits says whether a JSON value fits a schema of the document.
func (s *Spec) Fits(schema *openapi3.Schema, value any) error {
	return schema.VisitJSON(value, append(s.options(), openapi3.EnableJSONSchema2020())...)
}
