package api

import (
	"maps"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// elsewhere are the paths of the document that are served beside this package.
var elsewhere = []string{"GET /v1/ws"}

func openAPI(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// The document stands by itself: it is OpenAPI, and its examples and defaults
// fit their schemas.
func TestOpenAPIDocument(t *testing.T) {
	doc := openAPI(t)
	if err := doc.Validate(t.Context(), openapi3.EnableMultiError()); err != nil {
		t.Error(err)
	}
	// Validate looks at default and example, not at the examples of a schema.
	err := doc.WalkSchemas(func(at string, schema *openapi3.SchemaRef) error {
		for _, example := range schema.Value.Examples {
			if err := schema.Value.VisitJSON(example, openapi3.EnableJSONSchema2020()); err != nil {
				t.Errorf("%s: example %v: %v", at, example, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	names := map[string]string{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			call := method + " " + path
			if op.OperationID == "" || names[op.OperationID] != "" {
				t.Errorf("%s: operationId %q is missing, or that of %s too", call, op.OperationID, names[op.OperationID])
			}
			names[op.OperationID] = call
			if op.Responses.Default() == nil {
				t.Errorf("%s: no default response: any call may fail", call)
			}
		}
	}
}

// Whoever adds a route describes it, and nothing is described that is not there.
func TestOpenAPIHasEveryRoute(t *testing.T) {
	var described []string
	for path, item := range openAPI(t).Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	a := newWorld(t, nil).api
	served := slices.Concat(slices.Collect(maps.Keys(a.routes())), slices.Collect(maps.Keys(a.probes())), elsewhere)
	slices.Sort(described)
	slices.Sort(served)
	for _, route := range served {
		if !slices.Contains(described, route) {
			t.Errorf("%s is served, and missing from docs/openapi.yaml", route)
		}
	}
	for _, route := range described {
		if !slices.Contains(served, route) {
			t.Errorf("%s is in docs/openapi.yaml, and not served", route)
		}
	}
}
