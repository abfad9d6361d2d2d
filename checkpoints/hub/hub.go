// Package hub downloads models from the Hugging Face Hub, or from a server with the
// same protocol. It uses the cache of the Python library huggingface_hub, so that both
// find what either has downloaded:
//
//	models--OWNER--NAME/blobs/ETAG                a file's bytes, by their hash
//	models--OWNER--NAME/blobs/ETAG.incomplete     an interrupted download
//	models--OWNER--NAME/snapshots/COMMIT/FILE     a link to a blob
//	models--OWNER--NAME/refs/REVISION             the commit that it stands for
//	.locks/models--OWNER--NAME/ETAG.lock          held while a blob is written
package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/progress"
)

const (
	// DefaultEndpoint is the public hub.
	DefaultEndpoint = "https://huggingface.co"
	// DefaultRevision is the main branch of a repository.
	DefaultRevision = "main"
)

// Options say where models come from and where they go.
type Options struct {
	// Endpoint is the hub's address; "" means DefaultEndpoint.
	Endpoint string
	// Token, if set, authorizes requests to the endpoint. It is not sent to hosts to
	// which the endpoint redirects.
	Token string
	// Cache is the directory of the cache.
	Cache string
	// Progress, if not nil, is told how many kilobytes of all files have arrived, and
	// the total.
	Progress progress.Reporter

	pause time.Duration // before the second attempt; 0 means one second
	stall time.Duration // time without a byte after which a connection is given up; 0 means one minute
}

// FromEnvironment returns options from the same environment variables as
// huggingface_hub: HF_ENDPOINT, HF_TOKEN, and for the cache HF_HUB_CACHE, HF_HOME,
// XDG_CACHE_HOME or the home directory.
func FromEnvironment() (Options, error) {
	o := Options{Endpoint: os.Getenv("HF_ENDPOINT"), Token: strings.TrimSpace(os.Getenv("HF_TOKEN"))}
	if o.Cache = os.Getenv("HF_HUB_CACHE"); o.Cache != "" {
		return o, nil
	}
	home := os.Getenv("HF_HOME")
	if home == "" {
		parent := os.Getenv("XDG_CACHE_HOME")
		if parent == "" {
			user, err := os.UserHomeDir()
			if err != nil {
				return o, fmt.Errorf("no directory for the cache, set HF_HUB_CACHE: %w", err)
			}
			parent = filepath.Join(user, ".cache")
		}
		home = filepath.Join(parent, "huggingface")
	}
	o.Cache = filepath.Join(home, "hub")
	return o, nil
}

// Snapshot is a model in the cache.
type Snapshot struct {
	Model    string `json:"model"`
	Revision string `json:"revision"`
	Commit   string `json:"commit"`
	// Directory holds the files; checkpoints.Open reads it.
	Directory string   `json:"directory"`
	Files     []string `json:"files"`
	// Bytes is the size of the files, and Downloaded how much of it was fetched now.
	Bytes      int64 `json:"bytes"`
	Downloaded int64 `json:"downloaded"`
}

var (
	modelName = regexp.MustCompile(`^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$`)
	revisions = regexp.MustCompile(`^\w[\w.-]*(/\w[\w.-]*)*$`)
	commits   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	hashes    = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
)

// ErrName is returned for a name or revision that no repository can have.
var ErrName = errors.New("not the name of a model")

// Pull downloads the files of a model that checkpoints.Open reads, unless they are in
// the cache, and returns where they are. The revision is a branch, a tag or a commit;
// "" means DefaultRevision. An interrupted download is continued, in this call and in
// the next. Every fetched file is checked against the hub's hash, and enters the
// snapshot only if it matches.
func Pull(ctx context.Context, model, revision string, o Options) (*Snapshot, error) {
	if revision == "" {
		revision = DefaultRevision
	}
	if !modelName.MatchString(model) || strings.Contains(model, "--") || strings.Contains(model, "..") {
		return nil, fmt.Errorf("%q: %w, expected OWNER/NAME", model, ErrName)
	}
	if !revisions.MatchString(revision) || strings.Contains(revision, "..") {
		return nil, fmt.Errorf("%q: %w, expected a branch, tag or commit after the @", revision, ErrName)
	}
	s, err := pull(ctx, model, revision, o)
	if err != nil {
		return nil, fmt.Errorf("%s@%s: %w", model, revision, err)
	}
	return s, nil
}

func pull(ctx context.Context, model, revision string, o Options) (*Snapshot, error) {
	c, err := newClient(o)
	if err != nil {
		return nil, err
	}
	address := c.endpoint.JoinPath("api", "models", model, "revision")
	text, err := c.text(ctx, address.String()+"/"+url.PathEscape(revision))
	if err != nil {
		return nil, err
	}
	commit, names, err := parseListing(text)
	if err != nil {
		return nil, err
	}
	if names, err = checkpoints.ModelFiles(names); err != nil {
		return nil, err
	}
	folder := "models--" + strings.ReplaceAll(model, "/", "--")
	root, locks := filepath.Join(o.Cache, folder), filepath.Join(o.Cache, ".locks", folder)
	s := &Snapshot{Model: model, Revision: revision, Commit: commit, Directory: filepath.Join(root, "snapshots", commit), Files: names}
	var missing []file
	for _, name := range names {
		if info, err := os.Stat(filepath.Join(s.Directory, name)); err == nil && info.Mode().IsRegular() {
			s.Bytes += info.Size()
			continue
		}
		f, err := c.metadata(ctx, c.endpoint.JoinPath(model, "resolve", commit, name).String())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		f.place, f.blob = filepath.Join(s.Directory, name), filepath.Join(root, "blobs", f.etag)
		f.lock = filepath.Join(locks, f.etag+".lock")
		missing = append(missing, f)
		s.Downloaded += f.size
	}
	there := s.Bytes
	s.Bytes += s.Downloaded
	s.Downloaded = 0
	if len(missing) > 0 {
		if err := os.MkdirAll(locks, 0o777); err != nil {
			return nil, fmt.Errorf("the cache takes nothing, HF_HUB_CACHE names another: %w", err)
		}
	}
	const unit = 1 << 10
	var task progress.Task // from the first byte on
	defer func() {
		if task != nil {
			task.Finish("")
		}
	}()
	for _, f := range missing {
		n, err := c.fetch(ctx, f, func(done int64) {
			if done += there; task == nil {
				task = progress.Begin(o.Progress, "kilobytes", int(done/unit), int(s.Bytes/unit))
			}
			task.Set(int(done/unit), "")
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Base(f.place), err)
		}
		s.Downloaded += n
		there += f.size
	}
	if revision == commit {
		return s, nil
	}
	return s, writeReference(ctx, filepath.Join(root, "refs", filepath.FromSlash(revision)), commit, filepath.Join(locks, "refs.lock"))
}

// writeReference records the commit of a branch or tag. A read-only cache that already
// has it is fine.
func writeReference(ctx context.Context, path, commit, lock string) error {
	if b, err := bounded.ReadFile(path, bounded.Document); err == nil && string(b) == commit {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(lock), 0o777); err != nil {
		return err
	}
	unlock, err := lockFile(ctx, lock)
	if err != nil {
		return err
	}
	defer unlock()
	return checkpoints.WriteBytes(path, []byte(commit))
}

// parseListing reads the commit and the file names from the hub's description of a
// revision.
func parseListing(text []byte) (commit string, names []string, err error) {
	var listing struct {
		Commit   string `json:"sha"`
		Siblings []struct {
			Name string `json:"rfilename"`
		} `json:"siblings"`
	}
	if err := json.Unmarshal(text, &listing); err != nil {
		return "", nil, fmt.Errorf("the hub's description of the model: %w", err)
	}
	if !commits.MatchString(listing.Commit) {
		return "", nil, fmt.Errorf("the hub's description of the model: %q is not a commit", listing.Commit)
	}
	for _, s := range listing.Siblings {
		if !filepath.IsLocal(s.Name) || strings.ContainsAny(s.Name, "\\:\x00") {
			return "", nil, fmt.Errorf("the hub's description of the model: file name %q leads out of the snapshot", s.Name)
		}
		names = append(names, s.Name)
	}
	return listing.Commit, names, nil
}

// link makes name a relative link to the blob. Where links are not possible the blob is
// renamed, as huggingface_hub does.
func link(blob, name string) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	target, err := filepath.Rel(dir, blob)
	if err != nil {
		return err
	}
	temporary := name + ".link"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, temporary); err != nil {
		return os.Rename(blob, name)
	}
	return os.Rename(temporary, name)
}

// file is one file of a model on the hub.
type file struct {
	url  string
	etag string // SHA-256 of the bytes, or SHA-1 of the git object
	size int64
	// place is the file in the snapshot. lock is held while blob and place are written.
	blob, place, lock string
}

// statusError is the hub's answer when it does not give a file.
type statusError struct {
	status  int
	code    string // the hub's own name for it
	message string
}

func (e *statusError) Error() string {
	switch {
	case e.code == "RevisionNotFound":
		return "the model has no such revision"
	case e.code == "GatedRepo" || e.status == http.StatusForbidden:
		return "access to the model has to be granted on the hub, and HF_TOKEN set: " + e.message
	case e.code == "RepoNotFound" || e.status == http.StatusUnauthorized:
		return "no such model on the hub, or a private one, for which HF_TOKEN has to be set"
	case e.status == http.StatusNotFound:
		return "the hub has no such model or file"
	}
	return "the hub answers " + e.message
}

// temporary tells errors that may be gone at the next attempt. An error about a range
// is one, because the next attempt starts the file anew.
func (e *statusError) temporary() bool {
	switch e.status {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusRequestedRangeNotSatisfiable:
		return true
	}
	return e.status >= 500
}
