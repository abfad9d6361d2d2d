package serve

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// drive fills the page's form for each model and notes what it shows.
const drive = `"use strict";
addEventListener("load", async () => {
  const wait = async (until) => { for (let i = 0; i < 500 && !until(); i++) await new Promise((r) => setTimeout(r, 10)); };
  const field = (id) => document.getElementById(id);
  const seen = document.createElement("pre");
  document.body.append(seen);
  await wait(() => field("model").options.length > 0);
  for (const { value } of field("model").options) {
    field("model").value = value;
    field("model").dispatchEvent(new Event("change"));
    field("text").value = "the room was <b>clean</b> [MASK]";
    field("status").textContent = "";
    field("form").requestSubmit();
    await wait(() => field("status").textContent !== "");
    seen.textContent += value + ": " + field("answer").innerText.replace(/\s+/g, " ") + "; " + field("status").textContent + "; bold " + field("answer").getElementsByTagName("b").length + "\n";
  }
  seen.textContent += "done";
});
`

// The page works in a browser: every model answers, and texts are never taken for markup.
func TestPageInABrowser(t *testing.T) {
	t.Parallel()
	browser := os.Getenv("SKIVE_CHROMIUM")
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chromium-headless-shell"} {
		if path, err := exec.LookPath(name); err == nil && browser == "" {
			browser = path
		}
	}
	if browser == "" {
		t.Skip("there is no Chromium, and SKIVE_CHROMIUM is not set")
	}
	if out, err := exec.Command(browser, "--version").CombinedOutput(); err != nil {
		t.Skipf("%s does not run: %v\n%s", browser, err, out)
	}
	s := newServer(t, Options{Models: withMasks(t)})
	mux := http.NewServeMux()
	mux.Handle("/", s)
	mux.HandleFunc("GET /drive.js", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		w.Write([]byte(drive))
	})
	mux.HandleFunc("GET /driven", func(w http.ResponseWriter, r *http.Request) { // the page under its own policy
		got := ask(s, "GET", "/", "")
		w.Header().Set("Content-Security-Policy", got.header.Get("Content-Security-Policy"))
		w.Header().Set("Content-Type", "text/html")
		w.Write([]byte(strings.Replace(got.body, "</html>", `<script src="drive.js"></script></html>`, 1)))
	})
	web := httptest.NewServer(mux)
	defer web.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+t.TempDir(),
		"--virtual-time-budget=30000", "--dump-dom", web.URL+"/driven").Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dom := string(out)
	for _, want := range []string{"embedder: length 32", "org/classes: ", "good 0.", "ranker: ", "words: ", "&lt;b&gt;clean&lt;/b&gt;", "topics: ", "mlm: ", " ms, of which the server ", "done"} {
		if !strings.Contains(dom, want) {
			t.Errorf("no %q on the page", want)
		}
	}
	if strings.Contains(dom, "bold 1") || t.Failed() {
		t.Errorf("the page:\n%s", dom)
	}
}
