package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/progress"
)

const (
	commit = "0123456789abcdef0123456789abcdef01234567"
	token  = "hf_secret"
)

// fakeHub plays the hub: small files it sends itself, those of LFS it leaves to
// a second server.
type fakeHub struct {
	*httptest.Server
	storage *httptest.Server

	mu       sync.Mutex
	files    map[string][]byte
	lfs      map[string]bool
	listed   []string          // beside the files
	etags    map[string]string // in place of the right ones
	token    string            // that it wants
	cut      map[string]int    // bytes after which it hangs up, each time
	stalls   int               // connections in which storage sends half and then nothing
	noRanges bool
	busy     int // requests that it turns away first
	requests []string
	leaked   bool // the storage server got the token
}

func newHub(t *testing.T) *fakeHub {
	h := &fakeHub{
		files: map[string][]byte{}, lfs: map[string]bool{"model.safetensors": true},
		etags: map[string]string{}, cut: map[string]int{},
	}
	model := filepath.Join("..", "testdata", "safetensors")
	entries, err := os.ReadDir(model)
	check(t, err)
	for _, e := range entries {
		h.files[e.Name()], err = os.ReadFile(filepath.Join(model, e.Name()))
		check(t, err)
	}
	h.files["README.md"] = []byte("# not needed")
	h.files["onnx/model.onnx"] = []byte("not needed either")
	h.Server = httptest.NewServer(http.HandlerFunc(h.serve))
	h.storage = httptest.NewServer(http.HandlerFunc(h.store))
	t.Cleanup(func() { h.Close(); h.storage.Close() })
	return h
}

func (h *fakeHub) hash(name string) string {
	b := h.files[name]
	if h.etags[name] != "" {
		return h.etags[name]
	}
	if h.lfs[name] {
		sum := sha256.Sum256(b)
		return hex.EncodeToString(sum[:])
	}
	sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(b)), b...))
	return hex.EncodeToString(sum[:])
}

func (h *fakeHub) serve(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, r.Method+" "+r.URL.EscapedPath()+" "+r.Header.Get("Range"))
	if h.busy > 0 {
		h.busy--
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	if h.token != "" && r.Header.Get("Authorization") != "Bearer "+h.token {
		w.Header().Set("X-Error-Code", "RepoNotFound")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if name, ok := strings.CutPrefix(r.URL.Path, "/me/old/"); ok {
		http.Redirect(w, r, "/me/tiny/"+name, http.StatusTemporaryRedirect)
		return
	}
	if r.URL.EscapedPath() == "/api/models/me/tiny/revision/main" || r.URL.EscapedPath() == "/api/models/me/tiny/revision/refs%2Fpr%2F1" ||
		r.URL.EscapedPath() == "/api/models/me/tiny/revision/"+commit || r.URL.EscapedPath() == "/api/models/me/old/revision/main" {
		type sibling struct {
			Name string `json:"rfilename"`
		}
		var siblings []sibling
		for name := range h.files {
			siblings = append(siblings, sibling{name})
		}
		for _, name := range h.listed {
			siblings = append(siblings, sibling{name})
		}
		json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": siblings})
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/me/tiny/resolve/"+commit+"/")
	b, exists := h.files[name]
	if !ok || !exists {
		w.Header().Set("X-Error-Code", map[bool]string{true: "EntryNotFound", false: "RevisionNotFound"}[ok])
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("X-Repo-Commit", commit)
	if h.lfs[name] {
		w.Header().Set("X-Linked-Etag", `"`+h.hash(name)+`"`)
		w.Header().Set("X-Linked-Size", strconv.Itoa(len(b)))
		http.Redirect(w, r, h.storage.URL+"/"+name+"?signed=yes", http.StatusFound)
		return
	}
	w.Header().Set("Etag", `W/"`+h.hash(name)+`"`)
	h.send(w, r, name, b)
}

func (h *fakeHub) store(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, "store "+r.Method+" "+r.Header.Get("Range"))
	h.leaked = h.leaked || r.Header.Get("Authorization") != ""
	name := strings.TrimPrefix(r.URL.Path, "/")
	if h.stalls > 0 {
		h.stalls--
		w.Header().Set("Content-Length", strconv.Itoa(len(h.files[name])))
		w.Write(h.files[name][:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	}
	h.send(w, r, name, h.files[name])
}

func (h *fakeHub) send(w http.ResponseWriter, r *http.Request, name string, b []byte) {
	from := 0
	if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && !h.noRanges {
		from, _ = strconv.Atoi(strings.TrimSuffix(text, "-"))
		if from >= len(b) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b)-1, len(b)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(b)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	if r.Method == http.MethodHead {
		return
	}
	if n := h.cut[name]; n > 0 && n < len(b)-from {
		w.Write(b[from : from+n])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	w.Write(b[from:])
}

func (h *fakeHub) count(prefix string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, r := range h.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (h *fakeHub) options(cache string) Options {
	return Options{Endpoint: h.URL, Cache: cache, pause: time.Millisecond, stall: 10 * time.Second}
}

// whole fails unless the snapshot is the model, laid out as huggingface_hub
// does it.
func (h *fakeHub) whole(t *testing.T, s *Snapshot, cache string) {
	t.Helper()
	want := []string{"config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"}
	root := filepath.Join(cache, "models--me--tiny")
	if s.Directory != filepath.Join(root, "snapshots", commit) || s.Commit != commit || !slices.Equal(s.Files, want) {
		t.Fatalf("%+v", s)
	}
	for _, name := range want {
		b, err := os.ReadFile(filepath.Join(s.Directory, name))
		check(t, err)
		if string(b) != string(h.files[name]) {
			t.Errorf("%s differs", name)
		}
		target, err := os.Readlink(filepath.Join(s.Directory, name))
		if want := filepath.Join("..", "..", "blobs", h.hash(name)); err != nil || target != want {
			t.Errorf("%s links to %s, want %s", name, target, want)
		}
	}
	blobs, err := os.ReadDir(filepath.Join(root, "blobs"))
	check(t, err)
	if len(blobs) != len(want) {
		t.Errorf("blobs: %v", blobs)
	}
	m, err := checkpoints.Open(s.Directory)
	check(t, err)
	check(t, m.Close())
}

// kilobytes is what was heard of the progress of a download.
type kilobytes struct {
	done, total int
	back        bool // it was less than before
}

func (k *kilobytes) Logger() *slog.Logger { return progress.Logger(nil) }

func (k *kilobytes) Begin(_ string, done, total int) progress.Task {
	k.done, k.total = done, total
	return k
}

func (k *kilobytes) Set(done int, _ string) {
	k.done, k.back = done, k.back || done < k.done || done > k.total
}
func (k *kilobytes) Finish(string) {}

func TestPull(t *testing.T) {
	t.Parallel()
	h, cache := newHub(t), t.TempDir()
	var heard kilobytes
	o := h.options(cache)
	o.Progress = &heard
	s, err := Pull(t.Context(), "me/tiny", "", o)
	check(t, err)
	h.whole(t, s, cache)
	if s.Downloaded != s.Bytes || heard.back || heard.done != heard.total || int64(heard.total) != s.Bytes>>10 || s.Bytes < 70000 {
		t.Errorf("%+v, progress %+v", s, heard)
	}
	ref, err := os.ReadFile(filepath.Join(cache, "models--me--tiny", "refs", "main"))
	if err != nil || string(ref) != commit {
		t.Errorf("refs/main is %q, %v", ref, err)
	}
	if n := h.count("GET /me/tiny/resolve/" + commit + "/README.md"); n > 0 {
		t.Error("a file that no model needs was downloaded")
	}
	before := h.count("")
	s, err = Pull(t.Context(), "me/tiny", "main", h.options(cache))
	check(t, err)
	h.whole(t, s, cache)
	if s.Downloaded != 0 || h.count("") != before+1 {
		t.Errorf("the second time: %d bytes, %d requests", s.Downloaded, h.count("")-before)
	}
	// A blob that another snapshot brought is linked, not fetched.
	check(t, os.RemoveAll(s.Directory))
	s, err = Pull(t.Context(), "me/tiny", "refs/pr/1", h.options(cache))
	check(t, err)
	h.whole(t, s, cache)
	if ref, _ := os.ReadFile(filepath.Join(cache, "models--me--tiny", "refs", "refs", "pr", "1")); s.Downloaded != 0 || string(ref) != commit {
		t.Errorf("%d bytes, reference %q", s.Downloaded, ref)
	}
	_, err = Pull(t.Context(), "me/tiny", commit, h.options(cache))
	check(t, err)
	if refs, _ := os.ReadDir(filepath.Join(cache, "models--me--tiny", "refs")); len(refs) != 2 {
		t.Errorf("a commit got a reference: %v", refs)
	}
}

func TestShardedModel(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	delete(h.files, "model.safetensors")
	for _, name := range []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"} {
		b, err := os.ReadFile(filepath.Join("..", "testdata", "sharded", name))
		check(t, err)
		h.files[name] = b
	}
	h.files["pytorch_model.bin"] = []byte("not needed")
	s, err := Pull(t.Context(), "me/tiny", "", h.options(t.TempDir()))
	check(t, err)
	if len(s.Files) != 6 || slices.Contains(s.Files, "pytorch_model.bin") {
		t.Errorf("%v", s.Files)
	}
	m, err := checkpoints.Open(s.Directory)
	check(t, err)
	check(t, m.Close())
}

func TestToken(t *testing.T) {
	t.Parallel()
	h, cache := newHub(t), t.TempDir()
	h.token = token
	if _, err := Pull(t.Context(), "me/tiny", "", h.options(cache)); err == nil || !strings.Contains(err.Error(), "HF_TOKEN") {
		t.Errorf("without a token: %v", err)
	}
	o := h.options(cache)
	o.Token = token
	s, err := Pull(t.Context(), "me/tiny", "", o)
	check(t, err)
	h.whole(t, s, cache)
	if h.leaked || h.count("store GET") == 0 {
		t.Error("the storage server got the token, or no request")
	}
}

func TestRenamedModel(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	s, err := Pull(t.Context(), "me/old", "", h.options(t.TempDir()))
	check(t, err)
	if len(s.Files) != 4 {
		t.Errorf("%+v", s)
	}
}

// TestCutConnections hangs up in the middle of every file, however often.
func TestCutConnections(t *testing.T) {
	t.Parallel()
	h, cache := newHub(t), t.TempDir()
	h.busy = 2
	h.cut["model.safetensors"], h.cut["config.json"] = 20000, 300
	s, err := Pull(t.Context(), "me/tiny", "", h.options(cache))
	check(t, err)
	h.whole(t, s, cache)
	if s.Downloaded != s.Bytes || h.count("store GET bytes=") < 3 {
		t.Errorf("%d of %d bytes, requests %q", s.Downloaded, s.Bytes, h.requests)
	}

	// Given up, and taken up again by the next call, in which the hub knows no ranges either.
	for _, noRanges := range []bool{false, true} {
		h, cache := newHub(t), t.TempDir()
		h.cut["model.safetensors"] = 1000
		_, err = Pull(t.Context(), "me/tiny", "", h.options(cache))
		if err == nil || !strings.Contains(err.Error(), "model.safetensors: ") || !strings.Contains(err.Error(), "after 5 attempts") {
			t.Fatal(err)
		}
		partial := filepath.Join(cache, "models--me--tiny", "blobs", h.hash("model.safetensors")+".incomplete")
		if info, err := os.Stat(partial); err != nil || info.Size() != 5000 {
			t.Fatalf("%v, %v", info, err)
		}
		if _, err := os.Stat(filepath.Join(cache, "models--me--tiny", "refs")); err == nil {
			t.Error("a reference to a snapshot that is not complete")
		}
		delete(h.cut, "model.safetensors")
		h.noRanges = noRanges
		s, err = Pull(t.Context(), "me/tiny", "", h.options(cache))
		check(t, err)
		h.whole(t, s, cache)
		whole := int64(len(h.files["model.safetensors"]))
		if want := map[bool]int64{false: whole - 5000, true: whole}[noRanges]; s.Downloaded < want || s.Downloaded > want+1000 {
			t.Errorf("without ranges %v: %d bytes, want about %d", noRanges, s.Downloaded, want)
		}
	}
}

func TestStalledConnection(t *testing.T) {
	t.Parallel()
	h, cache := newHub(t), t.TempDir()
	h.stalls = 1
	o := h.options(cache)
	o.stall = 300 * time.Millisecond
	s, err := Pull(t.Context(), "me/tiny", "", o)
	check(t, err)
	h.whole(t, s, cache)
}

func TestWrongHash(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"model.safetensors", "vocab.txt"} {
		h, cache := newHub(t), t.TempDir()
		right := h.hash(name)
		h.etags[name] = strings.Repeat("0", len(right))
		_, err := Pull(t.Context(), "me/tiny", "", h.options(cache))
		if !errors.Is(err, checkpoints.ErrCorrupt) || !strings.Contains(err.Error(), name+": ") || !strings.Contains(err.Error(), right) {
			t.Errorf("%s: %v", name, err)
		}
		root := filepath.Join(cache, "models--me--tiny")
		if _, err := os.Stat(filepath.Join(root, "snapshots", commit, name)); err == nil {
			t.Errorf("%s is in the snapshot", name)
		}
		if left, _ := filepath.Glob(filepath.Join(root, "blobs", "0000*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	// What an earlier download left is not of this file: it is fetched anew.
	h, cache := newHub(t), t.TempDir()
	partial := filepath.Join(cache, "models--me--tiny", "blobs", h.hash("model.safetensors")+".incomplete")
	check(t, os.MkdirAll(filepath.Dir(partial), 0o777))
	for _, old := range []int{100, len(h.files["model.safetensors"]), 1 << 20} {
		check(t, os.WriteFile(partial, make([]byte, old), 0o666))
		s, err := Pull(t.Context(), "me/tiny", "", h.options(cache))
		check(t, err)
		h.whole(t, s, cache)
		check(t, os.RemoveAll(s.Directory))
		check(t, os.RemoveAll(filepath.Join(cache, "models--me--tiny", "blobs", h.hash("model.safetensors"))))
	}
}

func TestHostileHub(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(h *fakeHub)
		want   string
	}{
		"traversal":       {func(h *fakeHub) { h.listed = []string{"../../x"} }, `"../../x" leads out of the snapshot`},
		"absolute":        {func(h *fakeHub) { h.listed = []string{"/etc/passwd"} }, "leads out"},
		"backslash":       {func(h *fakeHub) { h.listed = []string{`..\x`} }, "leads out"},
		"etag is a path":  {func(h *fakeHub) { h.etags["config.json"] = "../../../x" }, `config.json: the hub names no hash: its ETag is "../../../x"`},
		"no etag":         {func(h *fakeHub) { h.etags["config.json"] = " " }, "names no hash"},
		"no such file":    {func(h *fakeHub) { h.listed = []string{"merges.txt"} }, "merges.txt: the hub has no such"},
		"no model":        {func(h *fakeHub) { delete(h.files, "config.json") }, "there is no config.json"},
		"no weights":      {func(h *fakeHub) { delete(h.files, "model.safetensors") }, "there is no model.safetensors"},
		"never available": {func(h *fakeHub) { h.busy = 1 << 20 }, "503 Service Unavailable (after 5 attempts)"},
	} {
		t.Run(name, func(t *testing.T) {
			h, cache := newHub(t), t.TempDir()
			c.change(h)
			_, err := Pull(t.Context(), "me/tiny", "", h.options(filepath.Join(cache, "in")))
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %s", err, c.want)
			}
			if entries, _ := os.ReadDir(cache); len(entries) > 1 {
				t.Errorf("written outside: %v", entries)
			}
		})
	}
	for _, text := range []string{``, `[]`, `{"sha":"main"}`, `{"sha":"../../../../../../../../../../../../x"}`, `{"sha":"` + commit + `","siblings":[{"rfilename":".."}]}`} {
		if _, _, err := parseListing([]byte(text)); err == nil {
			t.Errorf("%s passes", text)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	for _, c := range [][2]string{
		{"tiny", ""}, {"", ""}, {"../tiny", ""}, {"me/../x", ""}, {"me/ti..ny", ""}, {"me/tiny/x", ""}, {"me--x/tiny", ""}, {"me/tiny\n", ""},
		{"me/tiny", "../main"}, {"me/tiny", "a/../b"}, {"me/tiny", "/main"}, {"me/tiny", "a b"}, {"me/tiny", ".hidden"},
	} {
		if _, err := Pull(t.Context(), c[0], c[1], h.options(t.TempDir())); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", c, err)
		}
	}
	if n := h.count(""); n > 0 {
		t.Errorf("%d requests", n)
	}
	if _, err := Pull(t.Context(), "me/tiny", "gone", h.options(t.TempDir())); err == nil || err.Error() != "me/tiny@gone: the model has no such revision" {
		t.Error(err)
	}
	if _, err := Pull(t.Context(), "me/tiny", "", Options{Endpoint: "huggingface.co", Cache: t.TempDir()}); err == nil || !strings.Contains(err.Error(), `endpoint "huggingface.co"`) {
		t.Error(err)
	}
}

func TestTokenThatIsNone(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	o := h.options(t.TempDir())
	o.Token = "hf_a\nhf_b"
	if _, err := Pull(t.Context(), "me/tiny", "", o); err == nil || !strings.Contains(err.Error(), "HF_TOKEN") || strings.Contains(err.Error(), "hf_") {
		t.Error(err)
	}
	if n := h.count(""); n > 0 {
		t.Errorf("%d requests", n)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	h.busy = 1 << 20
	o := h.options(t.TempDir())
	o.pause = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Pull(ctx, "me/tiny", "", o); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestSideBySide pulls one model several times at once.
func TestSideBySide(t *testing.T) {
	t.Parallel()
	h, cache := newHub(t), t.TempDir()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var downloaded, size int64
	for range 4 {
		wg.Go(func() {
			s, err := Pull(t.Context(), "me/tiny", "", h.options(cache))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			downloaded, size = downloaded+s.Downloaded, s.Bytes
			mu.Unlock()
		})
	}
	wg.Wait()
	if downloaded != size {
		t.Errorf("%d bytes downloaded of %d", downloaded, size)
	}
}

func TestFromEnvironment(t *testing.T) {
	clear := func() {
		for _, name := range []string{"HF_ENDPOINT", "HF_TOKEN", "HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"} {
			t.Setenv(name, "")
		}
	}
	for _, c := range []struct{ name, value, cache string }{
		{"HF_HUB_CACHE", "/a", "/a"}, {"HF_HOME", "/a", "/a/hub"}, {"XDG_CACHE_HOME", "/a", "/a/huggingface/hub"},
		{"HOME", "/a", "/a/.cache/huggingface/hub"},
	} {
		clear()
		t.Setenv(c.name, filepath.FromSlash(c.value))
		if o, err := FromEnvironment(); err != nil || o.Cache != filepath.FromSlash(c.cache) {
			t.Errorf("%s: %+v, %v", c.name, o, err)
		}
	}
	t.Setenv("HF_ENDPOINT", "http://mirror")
	t.Setenv("HF_TOKEN", token+"\n")
	if o, err := FromEnvironment(); err != nil || o.Endpoint != "http://mirror" || o.Token != token {
		t.Errorf("%+v, %v", o, err)
	}
}

func FuzzListing(f *testing.F) {
	f.Add([]byte(`{"sha":"` + commit + `","siblings":[{"rfilename":"config.json"},{"rfilename":"model-1.safetensors"},{"rfilename":"model.safetensors.index.json"}]}`))
	f.Add([]byte(`{"sha":"` + commit + `","siblings":[{"rfilename":"../x"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		commit, names, err := parseListing(b)
		if err != nil {
			return
		}
		if !filepath.IsLocal(commit) || filepath.Base(commit) != commit {
			t.Fatalf("commit %q", commit)
		}
		files, _ := checkpoints.ModelFiles(names)
		for _, name := range files {
			if !filepath.IsLocal(name) || filepath.Base(name) != name {
				t.Fatalf("file %q", name)
			}
		}
	})
}

// A cache that takes nothing is named with what names another, unless all is there.
func TestReadOnlyCache(t *testing.T) {
	t.Parallel()
	h, cache := newHub(t), t.TempDir()
	file := filepath.Join(cache, "file")
	check(t, os.WriteFile(file, nil, 0o666))
	if _, err := Pull(t.Context(), "me/tiny", "", h.options(file)); err == nil || !strings.Contains(err.Error(), "HF_HUB_CACHE names another") {
		t.Errorf("error is %v", err)
	}
	_, err := Pull(t.Context(), "me/tiny", "", h.options(cache))
	check(t, err)
	// Root may write anywhere but below a file.
	locks := filepath.Join(cache, ".locks")
	check(t, os.RemoveAll(locks))
	check(t, os.WriteFile(locks, nil, 0o666))
	s, err := Pull(t.Context(), "me/tiny", "", h.options(cache))
	check(t, err)
	h.whole(t, s, cache)
}
