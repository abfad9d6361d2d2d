package score

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem"
)

// files is a score.Store of Beam's file systems.
type files struct{}

func (files) Size(ctx context.Context, path string) (int64, error) {
	fs, err := filesystem.New(ctx, path)
	if err != nil {
		return 0, err
	}
	defer fs.Close()
	return fs.Size(ctx, path)
}

// empty refuses a directory in which an earlier job left parts: those that this job does not overwrite would
// stay among its own.
func (files) empty(ctx context.Context, dir string) error {
	fs, err := filesystem.New(ctx, dir)
	if err != nil {
		return err
	}
	defer fs.Close()
	parts, err := fs.List(ctx, strings.TrimRight(dir, "/")+"/part-*")
	if err != nil || len(parts) == 0 {
		return err
	}
	return fmt.Errorf("%s: expected a directory without parts, and %s is there", dir, path.Base(parts[0]))
}

// open is a file together with its file system.
type open struct {
	io.ReadCloser
	fs filesystem.Interface
}

func (o open) Close() error { return errors.Join(o.ReadCloser.Close(), o.fs.Close()) }

// positioned is one that can be read anywhere.
type positioned struct {
	open
	io.Seeker
	io.ReaderAt
}

func (files) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	fs, err := filesystem.New(ctx, path)
	if err != nil {
		return nil, err
	}
	f, err := fs.OpenRead(ctx, path)
	if err != nil {
		return nil, errors.Join(err, fs.Close())
	}
	seeker, seeks := f.(io.Seeker)
	at, positions := f.(io.ReaderAt)
	if seeks && positions {
		return positioned{open{f, fs}, seeker, at}, nil
	}
	return open{f, fs}, nil
}

var attempts atomic.Int64

// Put keeps a file in memory until it is whole. An object of a bucket is there when it is closed; on
// a disk it is written beside its place and renamed, under a name that no other attempt has.
func (files) Put(ctx context.Context, path string, write func(io.Writer) error) error {
	var content bytes.Buffer
	if err := write(&content); err != nil {
		return err
	}
	fs, err := filesystem.New(ctx, path)
	if err != nil {
		return err
	}
	defer fs.Close()
	rename, renames := fs.(filesystem.Renamer)
	if renames = renames && !strings.Contains(path, "://"); !renames {
		return put(ctx, fs, path, content.Bytes())
	}
	dir, name := filepath.Split(path)
	beside := filepath.Join(dir, fmt.Sprintf(".%s-%d-%d.tmp", name, os.Getpid(), attempts.Add(1)))
	if err := put(ctx, fs, beside, content.Bytes()); err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	return rename.Rename(ctx, beside, path)
}

func put(ctx context.Context, fs filesystem.Interface, path string, content []byte) error {
	w, err := fs.OpenWrite(ctx, path)
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return errors.Join(err, w.Close())
	}
	if f, ok := w.(*os.File); ok {
		if err := f.Sync(); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return w.Close()
}

// fetch returns a local path of a model. One in a bucket is copied once to a file that is named by
// what it holds.
func fetch(ctx context.Context, path string) (string, error) {
	if !strings.Contains(path, "://") {
		return path, nil
	}
	r, err := files{}.Open(ctx, path)
	if err != nil {
		return "", err
	}
	defer r.Close()
	f, err := os.CreateTemp("", "skive-*.tmp")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name()) // of no effect once it is renamed
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), r)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	local := filepath.Join(os.TempDir(), "skive-"+hex.EncodeToString(h.Sum(nil)[:16])+".skive")
	return local, os.Rename(f.Name(), local)
}
