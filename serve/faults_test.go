package serve

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// A log that cannot be written takes no answer with it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no /dev/full")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	s := newServer(t, Options{Models: models(t)[:1], Log: slog.New(slog.NewJSONHandler(full, nil))})
	for range 3 {
		post[any](t, s, "/embed", object{"inputs": "rude"})
	}
	if got := ask(s, "POST", "/embed", `{"inputs":3}`); got.status != 422 {
		t.Errorf("%+v", got)
	}
}

// Where a client puts a text in the wrong place, neither the answer nor the log repeats it.
func TestErrorsHoldNoTexts(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	s := newServer(t, Options{Models: withMasks(t), Log: slog.New(slog.NewJSONHandler(&log, nil))})
	const words = "my private text "
	secret := strings.Repeat(words, 20)
	tensor := func(name, datatype string) string {
		return `{"inputs":[{"name":"` + name + `","datatype":"` + datatype + `","shape":[1],"data":["` + secret + `"]}],"outputs":[{"name":"` + name + `"}]}`
	}
	for _, c := range []struct {
		path, body string
		most       int // times that the words stand there; OpenAI's form says it twice
	}{
		{"/v2/models/embedder/infer", tensor("x", "INT64"), 0},
		{"/v2/models/embedder/infer", tensor(secret, "INT64"), 4},
		{"/v2/models/embedder/infer", tensor(secret, "BYTES"), 4},
		{"/v2/models/embedder/infer", tensor("x", secret), 4},
		{"/fill_mask", `{"inputs":"[MASK]","parameters":{"targets":["` + secret + `"]}}`, 0},
		{"/embed", `{"inputs":"a","prompt_name":"` + secret + `"}`, 4},
		{"/embed", `{"inputs":"a","truncation_direction":"` + secret + `"}`, 4},
		{"/embed", `{"inputs":"a","stride":"` + secret + `"}`, 0},
		{"/embed", `{"inputs":"a","stride":` + strings.Repeat("1", 1000) + `}`, 0},
		{"/v1/embeddings", `{"input":"a","encoding_format":"` + secret + `"}`, 8},
		{"/v1/embeddings", `{"input":"a","model":"` + secret + `"}`, 8},
	} {
		log.Reset()
		got := ask(s, "POST", c.path, c.body)
		if got.status < 400 || got.status >= 500 {
			t.Errorf("%s: %+v", c.path, got)
		}
		for _, text := range []string{got.body, log.String()} {
			if n := strings.Count(text, words); n > c.most || len(text) > 800 {
				t.Errorf("%s %.60s: %d times in %s", c.path, c.body, n, text)
			}
		}
	}
}

// Whatever is wrong with a new file, the old model goes on, and one line says what it is.
func TestDamagedModels(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.skive")
	replaceModel(t, path, 1)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, Options{Models: []Model{{Name: "m", Path: path}}})
	want := ask(s, "POST", "/predict", `{"inputs":"rude"}`).body
	put := func(b []byte) {
		t.Helper()
		next := path + ".next"
		if err := os.WriteFile(next, b, 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
	}
	damaged := map[string][]byte{"empty": nil, "longer": append(good[:len(good):len(good)], 0)}
	for i := 1; i < 8; i++ {
		damaged[fmt.Sprintf("cut at %d/8", i)] = good[:len(good)*i/8]
		flipped := append([]byte{}, good...)
		flipped[len(good)*i/8] ^= 4
		damaged[fmt.Sprintf("another bit at %d/8", i)] = flipped
	}
	for name, b := range damaged {
		put(b)
		if err := s.Reload(); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if got := ask(s, "POST", "/predict", `{"inputs":"rude"}`); got.status != 200 || got.body != want {
			t.Errorf("%s: %+v, want %s", name, got, want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err == nil {
		t.Error("a model that is gone was loaded")
	}
	if got := ask(s, "POST", "/predict", `{"inputs":"rude"}`); got.body != want {
		t.Errorf("%+v", got)
	}
	put(good)
	if err := s.Reload(); err != nil {
		t.Error(err)
	}
}

// Times are told by the monotonic clock, and files by being others, not newer: a clock that
// jumps changes neither.
func TestClock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "model.skive")
	replaceModel(t, path, 1)
	s := newServer(t, Options{Models: []Model{{Name: "m", Path: path}}})
	for version, when := range []time.Time{time.Unix(0, 0), time.Now().AddDate(30, 0, 0), time.Now().AddDate(-1, 0, 0)} {
		replaceModel(t, path, uint64(2+version))
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
		if got := ask(s, "GET", "/v2/models/m", ""); !strings.Contains(got.body, fmt.Sprintf(`"versions":["%d"]`, version+2)) {
			t.Errorf("a file of %v is not loaded: %s", when, got.body)
		}
	}
	x := &exchange{server: s, ctx: t.Context(), w: &recorder{ResponseWriter: httptest.NewRecorder()}, r: httptest.NewRequest("POST", "/predict", strings.NewReader(`{"inputs":"rude"}`)), began: time.Now()}
	x.r.Header.Set("Content-Type", "application/json")
	if err := x.predictRoute(); err != nil {
		t.Fatal(err)
	}
	defer x.version.release()
	s.waiting.Add(-int64(x.admitted))
	for name, at := range map[string]time.Time{"began": x.began, "asked": x.asked} {
		if !strings.Contains(at.String(), "m=") { // the reading of the monotonic clock
			t.Errorf("%s has no monotonic time: %v", name, at)
		}
	}
}

// A connection that is cut anywhere disturbs nobody and leaves nothing behind.
func TestCutConnections(t *testing.T) {
	s := newServer(t, Options{Models: models(t)[:1]})
	web := httptest.NewServer(s)
	defer web.Close()
	address := web.Listener.Addr().String()
	const body = `{"inputs":["rude","the room was clean"]}`
	request := fmt.Sprintf("POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	want := ask(s, "POST", "/embed", body).body
	answered := func() {
		t.Helper()
		r, err := http.Post(web.URL+"/embed", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if b, err := io.ReadAll(r.Body); err != nil || string(b) != want {
			t.Fatalf("%s, %v", b, err)
		}
	}
	answered()
	before := runtime.NumGoroutine()
	for n := range len(request) + 1 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, request[:n])
		if n%2 == 0 { // a reset in place of an end
			c.(*net.TCPConn).SetLinger(0)
		}
		c.Close()
		if n%16 == 0 {
			answered()
		}
	}
	for n := 1; n < 300; n += 13 { // while the answer is read
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, request)
		io.CopyN(io.Discard, c, int64(n))
		c.Close()
	}
	answered()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		now, waiting, bodies := runtime.NumGoroutine(), s.waiting.Load(), s.bodies.Load()
		if now <= before+2 && waiting == 0 && bodies == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, before %d; %d inputs and %d requests under way", now, before, waiting, bodies)
		}
	}
}

// A client that sends a byte at a time is answered, and others do not wait for it.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	s := newServer(t, Options{Models: models(t)[:1]})
	web := httptest.NewServer(s)
	defer web.Close()
	const body = `{"inputs":"rude"}`
	c, err := net.Dial("tcp", web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := fmt.Sprintf("POST /embed HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	for i := range len(request) {
		if _, err := io.WriteString(c, request[i:i+1]); err != nil {
			t.Fatal(err)
		}
		if i%8 == 0 {
			post[any](t, s, "/embed", object{"inputs": "rude"})
		}
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || r.StatusCode != 200 || !strings.HasPrefix(string(b), "[[") {
		t.Errorf("%d %s, %v", r.StatusCode, b, err)
	}
}
