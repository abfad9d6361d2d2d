package main

import (
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/infer"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	pool, err := infer.OpenPool(filepath.Join("..", "..", "train", "testdata", "tiny"), infer.PoolOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for body, want := range map[string]int{"w1 w2": 200, strings.Repeat("w1 ", maxBody): 413} {
		answer := httptest.NewRecorder()
		handler(pool).ServeHTTP(answer, httptest.NewRequest("POST", "/label", strings.NewReader(body)))
		if answer.Code != want || want == 200 && !strings.HasPrefix(answer.Body.String(), `{"label":"`) {
			t.Errorf("%.20s: %d, %s", body, answer.Code, answer.Body)
		}
	}
}
