package serve

import (
	"bytes"
	"embed"
	"net/http"
	"path"
	"time"
)

//go:embed page
var page embed.FS

// home is the page for trying the models. Probes that ask for it learn whether the
// server is ready.
func (s *Server) home(w http.ResponseWriter, r *http.Request) {
	if !s.Ready() {
		s.health(w, r)
		return
	}
	writePage(w, r, "index.html")
}

func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	writePage(w, r, path.Base(r.URL.Path))
}

func writePage(w http.ResponseWriter, r *http.Request, name string) {
	b, err := page.ReadFile("page/" + name)
	if err != nil { // it is embedded
		panic(err)
	}
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
}
