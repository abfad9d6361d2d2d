package serve

import (
	"bytes"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
)

// A client cannot fill the log with one long path.
func TestLongPathsInTheLog(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := newServer(t, Options{Models: models(t)[:1], Log: slog.New(slog.NewTextHandler(&log, nil))})
	log.Reset()
	s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/models/"+strings.Repeat("é", 5000)+"/embed", strings.NewReader(`{"inputs":"w1"}`)))
	if line := log.String(); len(line) > 1000 || !strings.Contains(line, "path=") {
		t.Errorf("%d bytes: %.300s", len(line), line)
	}
}
