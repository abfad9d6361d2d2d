package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/skive-ml/skive/checkpoints"
)

const (
	attempts     = 5        // in a row, without much progress between them
	muchProgress = 1 << 20  // bytes after which a cut connection does not count against the server
	maxText      = 64 << 20 // bytes of a description
)

type client struct {
	http     *http.Client
	endpoint *url.URL
	token    string
	pause    time.Duration
	stall    time.Duration
}

func newClient(o Options) (*client, error) {
	endpoint := o.Endpoint
	if endpoint == "" {
		endpoint = DefaultEndpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("endpoint %q: expected an address such as %s", endpoint, DefaultEndpoint)
	}
	// The message must not contain the token.
	if strings.ContainsFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the token (HF_TOKEN) holds a space or a character that none has")
	}
	c := &client{endpoint: u, token: o.Token, pause: o.pause, stall: o.stall}
	if c.pause == 0 {
		c.pause = time.Second
	}
	if c.stall == 0 {
		c.stall = time.Minute
	}
	c.http = &http.Client{CheckRedirect: c.redirect}
	return c, nil
}

type headKey struct{}

// redirect follows the endpoint to the hosts that store large files, without the token.
// A file's metadata come from the endpoint's own answer.
func (c *client) redirect(req *http.Request, via []*http.Request) error {
	last := via[len(via)-1].URL
	own := req.URL.Host == c.endpoint.Host && req.URL.Scheme == c.endpoint.Scheme
	switch {
	case !own && req.Context().Value(headKey{}) != nil:
		return http.ErrUseLastResponse
	case len(via) > 9:
		return errors.New("too many redirections")
	case last.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("redirected from https to %s", req.URL.Scheme)
	case own && c.token != "":
		req.Header.Set("Authorization", "Bearer "+c.token)
	default:
		req.Header.Del("Authorization")
	}
	return nil
}

// request sends a request and returns a successful answer, whose body must be closed.
// For a HEAD request that is also an answer that redirects.
func (c *client) request(ctx context.Context, method, address string, from int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "skive/"+checkpoints.Version)
	req.Header.Set("Accept-Encoding", "identity") // sizes are those of the file
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	r, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if r.StatusCode < 300 || r.StatusCode < 400 && method == http.MethodHead {
		return r, nil
	}
	r.Body.Close()
	e := &statusError{status: r.StatusCode, code: r.Header.Get("X-Error-Code"), message: r.Header.Get("X-Error-Message")}
	if e.message == "" {
		e.message = fmt.Sprintf("%d %s", r.StatusCode, http.StatusText(r.StatusCode))
	}
	return nil, e
}

// retry calls try until it succeeds, fails for good, or has failed too often. try
// returns by how many bytes it advanced.
func (c *client) retry(ctx context.Context, try func() (int64, error)) error {
	pause := c.pause
	for failures := 1; ; failures++ {
		n, err := try()
		if err == nil {
			return nil
		}
		var status *statusError
		var final *finalError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &status) && !status.temporary():
			return err
		case errors.As(err, &final):
			return final.error
		}
		if n >= muchProgress {
			failures, pause = 0, c.pause
		}
		if failures >= attempts {
			return fmt.Errorf("%w (after %d attempts)", err, failures)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause *= 2
	}
}

// finalError is an error that another attempt would not cure.
type finalError struct{ error }

// watched returns a context that ends if alive is not called for the length of a stall.
func (c *client) watched(ctx context.Context) (watched context.Context, alive, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(c.stall, func() { cancel(fmt.Errorf("no data for %s", c.stall)) })
	return watched, func() { timer.Reset(c.stall) }, func() { timer.Stop(); cancel(nil) }
}

// text fetches a description.
func (c *client) text(ctx context.Context, address string) (text []byte, err error) {
	err = c.retry(ctx, func() (int64, error) {
		watched, _, stop := c.watched(ctx)
		defer stop()
		r, err := c.request(watched, http.MethodGet, address, 0)
		if err != nil {
			return 0, err
		}
		defer r.Body.Close()
		text, err = io.ReadAll(io.LimitReader(r.Body, maxText+1))
		if err == nil && len(text) > maxText {
			err = &finalError{fmt.Errorf("the hub's description of the model is longer than %d bytes", maxText)}
		}
		return 0, err
	})
	return text, err
}

// metadata asks for a file's hash and size.
func (c *client) metadata(ctx context.Context, address string) (f file, err error) {
	f.url = address
	err = c.retry(ctx, func() (int64, error) {
		watched, _, stop := c.watched(context.WithValue(ctx, headKey{}, true))
		defer stop()
		r, err := c.request(watched, http.MethodHead, address, 0)
		if err != nil {
			return 0, err
		}
		r.Body.Close()
		f.etag, f.size = r.Header.Get("X-Linked-Etag"), r.ContentLength
		if f.etag == "" {
			f.etag = r.Header.Get("Etag")
		}
		f.etag = strings.Trim(strings.TrimPrefix(f.etag, "W/"), `"`)
		if linked := r.Header.Get("X-Linked-Size"); linked != "" {
			if f.size, err = strconv.ParseInt(linked, 10, 64); err != nil {
				f.size = -1
			}
		}
		if !hashes.MatchString(f.etag) {
			return 0, &finalError{fmt.Errorf("the hub names no hash: its ETag is %q", f.etag)}
		}
		if f.size < 0 {
			return 0, &finalError{errors.New("the hub names no size")}
		}
		return 0, nil
	})
	return f, err
}

// fetch makes a file's blob, unless it exists, and links it into the snapshot. It
// returns how many bytes it downloaded.
func (c *client) fetch(ctx context.Context, f file, progress func(done int64)) (downloaded int64, err error) {
	for _, path := range []string{f.blob, f.lock} {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return 0, err
		}
	}
	unlock, err := lockFile(ctx, f.lock)
	if err != nil {
		return 0, err
	}
	defer unlock()
	if info, err := os.Stat(f.blob); err == nil && info.Size() == f.size {
		progress(f.size)
	} else if downloaded, err = c.download(ctx, f, progress); err != nil {
		return downloaded, err
	}
	return downloaded, link(f.blob, f.place)
}

// download makes a file's blob, starting with what an earlier download left.
func (c *client) download(ctx context.Context, f file, progress func(done int64)) (downloaded int64, err error) {
	partial, err := os.OpenFile(f.blob+".incomplete", os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		return 0, err
	}
	defer partial.Close()
	begun, err := partial.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	for {
		err := c.retry(ctx, func() (int64, error) {
			n, err := c.resume(ctx, f, partial, progress)
			downloaded += n
			return n, err
		})
		if err != nil {
			return downloaded, err
		}
		if err := partial.Sync(); err != nil {
			return downloaded, err
		}
		sum, err := f.hash(partial)
		if err != nil {
			return downloaded, err
		}
		if sum == f.etag {
			break
		}
		if err := partial.Truncate(0); err != nil {
			return downloaded, err
		}
		if begun == 0 { // all bytes are from this download
			os.Remove(partial.Name())
			return downloaded, fmt.Errorf("%w: its hash is %s, the hub says %s", checkpoints.ErrCorrupt, sum, f.etag)
		}
		begun = 0
	}
	if err := partial.Close(); err != nil {
		return downloaded, err
	}
	return downloaded, os.Rename(partial.Name(), f.blob)
}

// resume fetches the bytes that partial lacks.
func (c *client) resume(ctx context.Context, f file, partial *os.File, progress func(done int64)) (got int64, err error) {
	final := func(err error) error { return &finalError{err} }
	done, err := partial.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, final(err)
	}
	restart := func() error {
		done = 0
		return partial.Truncate(0)
	}
	if done > f.size {
		if err := restart(); err != nil {
			return 0, final(err)
		}
	}
	progress(done)
	if done == f.size {
		return 0, nil
	}
	watched, alive, stop := c.watched(ctx)
	defer stop()
	r, err := c.request(watched, http.MethodGet, f.url, done)
	if err != nil {
		var status *statusError
		if errors.As(err, &status) && status.status == http.StatusRequestedRangeNotSatisfiable {
			if err := restart(); err != nil {
				return 0, final(err)
			}
			return 0, fmt.Errorf("the hub does not go on where the download was cut: %w", err)
		}
		return 0, cause(watched, err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusPartialContent || !strings.HasPrefix(r.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", done)) {
		if r.StatusCode == http.StatusPartialContent {
			return 0, final(fmt.Errorf("the hub sends another range, %q", r.Header.Get("Content-Range")))
		}
		if err := restart(); err != nil {
			return 0, final(err)
		}
	}
	buffer := make([]byte, 1<<18)
	for {
		n, rerr := r.Body.Read(buffer)
		if n > 0 {
			alive()
			if int64(n) > f.size-done {
				return got, final(fmt.Errorf("%w: longer than the %d bytes that the hub says", checkpoints.ErrCorrupt, f.size))
			}
			if _, err := partial.Write(buffer[:n]); err != nil {
				return got, final(err)
			}
			done += int64(n)
			got += int64(n)
			progress(done)
		}
		switch {
		case rerr == io.EOF && done < f.size:
			return got, fmt.Errorf("the connection ended after %d of %d bytes", done, f.size)
		case rerr == io.EOF:
			return got, nil
		case rerr != nil:
			return got, cause(watched, rerr)
		}
	}
}

// cause returns why a context ended, if err only says that it did.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// hash returns the hash of a downloaded file, of the same kind as its etag: SHA-256 for
// an LFS file, the git blob's hash for others.
func (f file) hash(from io.ReadSeeker) (string, error) {
	var h hash.Hash = sha256.New()
	if len(f.etag) == 2*sha1.Size {
		h = sha1.New()
		fmt.Fprintf(h, "blob %d\x00", f.size)
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if _, err := io.Copy(h, from); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
