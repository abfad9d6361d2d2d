package checkpoints

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/skive-ml/skive/internal/bounded"
)

// failpoint, when set by a test, is called before every step that changes the file
// system. If it returns an error, the step is not made and nothing is cleaned up, as if
// the process had died there.
var failpoint func(step string) error

func reach(step string) error {
	if failpoint == nil {
		return nil
	}
	return failpoint(step)
}

// WriteFile replaces the file at path by what write produces. If the process or the
// machine stops at any moment, path is either the complete old file or the complete new
// one: the new file is written beside it, synced and renamed. Missing directories are
// made. If path is a link, the file that it leads to is replaced. A path that is no
// regular file, such as /dev/null, is refused.
func WriteFile(path string, write func(io.Writer) error) error {
	if err := writeFile(path, write); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// TemporaryName is the name of a file while WriteFile writes it. A killed process
// leaves it behind. The next WriteFile reuses it, and a Claim of the file removes it.
func TemporaryName(name string) string { return "." + name + ".tmp" }

// WriteBytes is WriteFile with the given content.
func WriteBytes(path string, content []byte) error {
	return WriteFile(path, contentWriter(content))
}

func writeFile(path string, write func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("not a regular file")
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	tmp := filepath.Join(dir, TemporaryName(filepath.Base(path)))
	if err := reach("create"); err != nil {
		return err
	}
	// The name is fixed, so that the leftover of a killed process is reused. The lock
	// keeps out a second writer, and comparing the files detects one that was faster.
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	if err := lock(f); err != nil {
		f.Close()
		return err
	}
	opened, err1 := f.Stat()
	named, err2 := os.Stat(tmp)
	if err1 != nil || err2 != nil || !os.SameFile(opened, named) {
		f.Close()
		return fmt.Errorf("%s: another process is writing here", tmp)
	}
	err = func() error {
		if err := f.Truncate(0); err != nil {
			return err
		}
		if err := write(faultyWriter{f}); err != nil {
			return err
		}
		if err := reach("sync"); err != nil {
			return err
		}
		return f.Sync()
	}()
	if runtime.GOOS == "windows" { // an open file cannot be renamed there
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	} else {
		defer f.Close()
	}
	if err == nil {
		if err = reach("rename"); err == nil {
			err = os.Rename(tmp, path)
		}
	}
	if err != nil {
		if failpoint == nil {
			os.Remove(tmp)
		}
		return err
	}
	return syncDir(dir)
}

type faultyWriter struct{ w io.Writer }

func (f faultyWriter) Write(p []byte) (int, error) {
	if err := reach("write"); err != nil {
		n, _ := f.w.Write(p[:len(p)/2])
		return n, err
	}
	return f.w.Write(p)
}

// syncDir makes renames in a directory durable. Windows has no such call.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	if err := reach("sync directory"); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// syncDirs syncs directories inside of dir, each once, and then dir.
func syncDirs(inside []string, dir string) error {
	slices.Sort(inside)
	for _, d := range append(slices.Compact(inside), dir) {
		if err := syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// A directory that exists may hold other things than the model, so its files are
// replaced one by one. To make that all or nothing, the new files are gathered in
// stagingDir, and one rename turns it into pendingDir. From then on readers look there
// first, and the next writer finishes the moves.
const (
	stagingDir   = ".skive-writing"
	pendingDir   = ".skive-pending"
	manifestName = "files.json"
)

// stagingName is the name of a new directory, beside its place, while it is written.
func stagingName(name string) string { return "." + name + stagingDir }

// namedWriter is one file of a directory to be written.
type namedWriter struct {
	name  string
	write func(io.Writer) error
}

// contentWriter writes the bytes.
func contentWriter(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

// writeDirAtomic writes the files to dir. Files of dir that are listed in owned but not
// among the new ones are removed; everything else in dir stays.
func writeDirAtomic(dir string, files []namedWriter, owned []string) error {
	dir = filepath.Clean(dir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return writeNewDir(dir, files, owned)
	} else if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := lock(d); err != nil {
		return err
	}
	if err := finishPending(dir, owned); err != nil {
		return err
	}
	staging := filepath.Join(dir, stagingDir)
	if err := os.RemoveAll(staging); err != nil {
		return err
	}
	var names []string
	for _, f := range files {
		names = append(names, f.name)
	}
	manifest, err := json.Marshal(names)
	if err != nil {
		return err
	}
	files = append(slices.Clone(files), namedWriter{manifestName, contentWriter(manifest)})
	err = writeFiles(staging, files)
	if err == nil {
		if err = reach("rename"); err == nil {
			err = os.Rename(staging, filepath.Join(dir, pendingDir))
		}
	}
	if err != nil {
		if failpoint == nil {
			os.RemoveAll(staging)
		}
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return finishPending(dir, owned)
}

// writeNewDir writes a directory that does not exist yet: beside its place, and then
// renamed.
func writeNewDir(dir string, files []namedWriter, owned []string) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o777); err != nil {
		return err
	}
	tmp := filepath.Join(parent, stagingName(filepath.Base(dir)))
	unlock, err := lockDir(tmp)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil { // another writer was faster
		return errors.Join(os.Remove(tmp), writeDirAtomic(dir, files, owned))
	}
	err = writeFiles(tmp, files)
	if err == nil {
		if err = reach("rename"); err == nil {
			err = os.Rename(tmp, dir)
		}
	}
	if err != nil {
		if failpoint == nil {
			os.RemoveAll(tmp)
		}
		return err
	}
	return syncDir(parent)
}

// lockDir makes an empty directory for this call alone, and clears what a killed
// process left there. It fails if another writer holds the directory, or has just
// renamed it.
func lockDir(path string) (unlock func(), err error) {
	if runtime.GOOS == "windows" { // an open directory cannot be renamed there
		return func() {}, errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o777))
	}
	if err := os.Mkdir(path, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	d, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: another process is writing here", path)
	}
	if err != nil {
		return nil, err
	}
	if err := lock(d); err != nil {
		d.Close()
		return nil, err
	}
	opened, err1 := d.Stat()
	there, err2 := os.Lstat(path)
	if err1 != nil || err2 != nil || !os.SameFile(opened, there) {
		d.Close()
		return nil, fmt.Errorf("%s: another process is writing here", path)
	}
	names, err := d.Readdirnames(-1)
	for _, name := range names {
		err = errors.Join(err, os.RemoveAll(filepath.Join(path, name)))
	}
	if err != nil {
		d.Close()
		return nil, err
	}
	return func() { d.Close() }, nil
}

func writeFiles(dir string, files []namedWriter) error {
	if err := reach("create"); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var folders []string
	for _, file := range files {
		if err := reach("create"); err != nil {
			return err
		}
		target := filepath.Join(dir, file.name)
		if folder := filepath.Dir(target); folder != dir {
			if err := os.MkdirAll(folder, 0o777); err != nil {
				return err
			}
			folders = append(folders, folder)
		}
		f, err := os.Create(target)
		if err != nil {
			return err
		}
		if err = file.write(faultyWriter{f}); err == nil {
			if err = reach("sync"); err == nil {
				err = f.Sync()
			}
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	return syncDirs(folders, dir)
}

// finishPending moves the files of a complete, interrupted write to their places. It
// may itself be interrupted and repeated.
func finishPending(dir string, owned []string) error {
	pending := filepath.Join(dir, pendingDir)
	names, err := readManifest(dir)
	if err != nil {
		return err
	}
	if names == nil {
		// A removal that was interrupted after the manifest leaves this.
		return os.RemoveAll(pending)
	}
	var folders []string
	for _, name := range names {
		if err := reach("move"); err != nil {
			return err
		}
		target := filepath.Join(dir, name)
		if folder := filepath.Dir(target); folder != filepath.Clean(dir) {
			if err := os.MkdirAll(folder, 0o777); err != nil {
				return err
			}
			folders = append(folders, folder)
		}
		err := os.Rename(filepath.Join(pending, name), target)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, name := range owned {
		if slices.Contains(names, name) {
			continue
		}
		if err := reach("remove"); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := syncDirs(folders, dir); err != nil {
		return err
	}
	// The manifest goes first: without it the rest is ignored.
	for _, path := range []string{filepath.Join(pending, manifestName), pending} {
		if err := reach("remove"); err != nil {
			return err
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// readManifest returns the names of the files of a pending write, nil if there is none.
func readManifest(dir string) ([]string, error) {
	path := filepath.Join(dir, pendingDir, manifestName)
	b, err := bounded.ReadFile(path, bounded.Document)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names, err := parseManifest(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return names, nil
}

func parseManifest(b []byte) (names []string, err error) {
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&names); err != nil {
		return nil, corrupt("%v", err)
	}
	for _, n := range names {
		// A module's file lies in a directory of its own.
		if folder, name, nested := strings.Cut(n, "/"); !plainName(folder) || nested && !plainName(name) {
			return nil, corrupt("%q is not the name of a file", n)
		}
	}
	return names, nil
}

// plainName reports whether name is a file directly in a directory, on every operating
// system, and not a path that leads elsewhere.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && filepath.IsLocal(name) &&
		!bytes.ContainsAny([]byte(name), "/\\:\x00")
}

// modelDir finds the files of a model in a directory. It looks into a pending write
// first.
type modelDir struct {
	path    string
	pending []string
}

func openDir(path string) (modelDir, error) {
	names, err := readManifest(path)
	return modelDir{path, names}, err
}

// file returns the path of a file and whether it exists. While a write is pending,
// files that only the previous model had do not exist.
func (d modelDir) file(name string) (string, bool) {
	if d.pending != nil {
		if !slices.Contains(d.pending, name) {
			return filepath.Join(d.path, name), false
		}
		if p := filepath.Join(d.path, pendingDir, name); isFile(p) {
			return p, true
		}
	}
	p := filepath.Join(d.path, name)
	return p, isFile(p)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
