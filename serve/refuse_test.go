package serve

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// unread fails the test that reads it.
type unread struct{ t testing.TB }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestFullServersReadNoBodies(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{MaxConcurrent: 32})
	s.waiting.Add(32)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("POST", "/embed", unread{t}))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	s.waiting.Add(-32)
	if got := ask(s, "POST", "/predict", `{"inputs": "good"}`); got.status != http.StatusOK {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// BenchmarkRefusal is what it costs to refuse a request of eight texts.
func BenchmarkRefusal(b *testing.B) {
	s := newServer(b, Options{MaxConcurrent: 32})
	s.waiting.Add(32)
	defer s.waiting.Add(-32)
	body := `{"inputs": ["` + strings.Repeat(strings.Repeat("a word ", 50)+`", "`, 7) + `"]}`
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("POST", "/predict", strings.NewReader(body)))
		if w.Code != http.StatusTooManyRequests {
			b.Fatal(w.Code)
		}
	}
}
