package serve

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// The document and the mux have the same routes, and what the document refers to is there.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{Models: models(t)[:1]})
	got := ask(s, "GET", "/openapi.json", "")
	var document struct {
		Paths      map[string]map[string]json.RawMessage
		Components map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(got.body), &document); err != nil || got.status != 200 || got.body != ask(s, "GET", "/api-doc/openapi.json", "").body {
		t.Fatalf("%d, %v", got.status, err)
	}
	described := map[string]bool{}
	for path, methods := range document.Paths {
		for method := range methods {
			described[strings.ToUpper(method)+" "+path] = true
		}
	}
	for _, pattern := range s.patterns {
		pattern = strings.TrimSuffix(pattern, "{$}")
		if !described[pattern] && !strings.HasPrefix(pattern, "GET /page.") {
			t.Errorf("%s is not described", pattern)
		}
		delete(described, pattern)
	}
	if len(described) > 0 {
		t.Errorf("described, but not there: %q", slices.Sorted(maps.Keys(described)))
	}
	for _, part := range strings.Split(got.body, `"$ref": "#/components/`)[1:] {
		part, _, _ = strings.Cut(part, `"`)
		kind, name, _ := strings.Cut(part, "/")
		if document.Components[kind][name] == nil {
			t.Errorf("%s is not there", part)
		}
	}
}
