package serve

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skive-ml/skive/settings"
)

func TestFormsOfTheLog(t *testing.T) {
	for form, want := range map[string][]string{
		"text": {"level=INFO msg=request path=/embed\n", "level=ERROR msg=request\n", "level=INFO msg=ready\n"},
		"json": {`"level":"INFO","msg":"request","path":"/embed"}` + "\n", `"level":"ERROR","msg":"request"}` + "\n", `"level":"INFO","msg":"ready"}` + "\n"},
		"none": {"", "level=ERROR msg=request\n", "level=INFO msg=ready\n"},
	} {
		var b strings.Builder
		log, err := NewLog(&b, form, slog.LevelInfo)
		if err != nil {
			t.Fatal(err)
		}
		log.With("path", "/embed").Info(requestLine)
		log.Error(requestLine)
		log.Debug("quiet")
		log.Info("ready")
		for line := range strings.Lines(b.String()) {
			if want[0] == "" {
				want = want[1:]
			}
			if len(want) == 0 || !strings.HasSuffix(line, want[0]) {
				t.Fatalf("%s: %q, want one that ends in %q", form, line, want)
			}
			want = want[1:]
		}
		if len(want) > 0 {
			t.Errorf("%s: no %q", form, want)
		}
	}
	var wrong *settings.Error
	if _, err := NewLog(os.Stderr, "xml", slog.LevelInfo); !errors.As(err, &wrong) || wrong.Field != "log" {
		t.Error(err)
	}
}

func TestSplitModel(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.MkdirAll("lr=1/best.skive", 0o777); err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string][2]string{
		"a=b/c":             {"a", "b/c"},
		"b/c":               {"c", "b/c"},
		"b/minilm.skive":    {"minilm", "b/minilm.skive"},
		"lr=1/best.skive":   {"best", "lr=1/best.skive"},
		"m=lr=1/best.skive": {"m", "lr=1/best.skive"},
		".":                 {"", "."}, // as the directory is called
		"=b":                {},
		"a=":                {},
	} {
		name, path, err := SplitModel(arg)
		if arg == "." {
			here, _ := os.Getwd()
			want[0] = filepath.Base(here)
		}
		if name != want[0] || path != want[1] || (err == nil) != (path != "") {
			t.Errorf("%s: %q, %q, %v, want %q", arg, name, path, err, want)
		}
	}
}

func TestReloadAtASignal(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.skive")
	replaceModel(t, path, 1)
	s, err := New(Options{Models: []Model{{Name: "m", Path: path}}, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	stop := s.reloadAt([]os.Signal{syscall.SIGHUP})
	defer s.Close()
	defer stop()
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	replaceModel(t, path, 2)
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Skip(err)
	}
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(ask(s, "GET", "/v2/models/m", "").body, `"versions":["2"]`); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the model is not replaced")
		}
	}
}
