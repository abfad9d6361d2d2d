package serve

import (
	_ "embed"
	"net/http"
)

// openAPI3 describes every route but those of the page and of profiles.
//
//go:embed openapi.json
var openAPI3 []byte

func (s *Server) describe(w http.ResponseWriter, r *http.Request) {
	writeBytes(w, http.StatusOK, openAPI3)
}
