//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// fault is something that goes wrong for a command. do describes what it did, or returns "" if it
// does not apply.
type fault struct {
	name   string
	weight int
	do     func(*round) (string, error)
}

var faults = []fault{
	{"a damaged input", 20, damageInput},
	{"another kind of file", 6, replaceInput},
	{"a wrong extension", 3, renameInput},
	{"an odd flag", 12, oddFlag},
	{"a flag twice", 2, flagTwice},
	{"a flag less", 3, flagLess},
	{"a limit", 8, limit},
	{"a full disk", 6, fullDisk},
	{"a read-only disk", 2, readOnlyDisk},
	{"an output of another kind", 3, oddOutput},
	{"another user", 3, otherUser},
	{"an odd environment", 6, oddEnvironment},
	{"standard output", 5, oddStdout},
	{"standard input", 3, oddStdin},
	{"a signal", 20, sendSignal},
	{"an input that changes", 8, changeInput},
	{"an output that moves", 3, moveOutput},
	{"two writers", 8, twoWriters},
}

// changes excuses the effects of an input that was changed. Another recipe asks for another
// output.
func (r *round) changes(file string) {
	r.excused.inputs = true
	r.excused.options = r.excused.options || strings.HasSuffix(file, ".yaml")
}

// replaceInput replaces an input by something else.
func replaceInput(r *round) (string, error) {
	file := r.anyFile()
	if file == "" {
		return "", nil
	}
	r.changes(file)
	path := r.path(file)
	if err := os.Remove(path); err != nil {
		return "", err
	}
	what := r.one("a directory", "/dev/null", "/dev/zero", "/dev/random", "a pipe without a writer", "a socket", "a loop", "nothing", "a link to nothing")
	var err error
	switch what {
	case "a directory":
		err = os.Mkdir(path, 0o755)
	case "/dev/null", "/dev/zero", "/dev/random":
		err = os.Symlink(what, path)
	case "a pipe without a writer":
		r.excused.long, r.excused.waits, r.excused.untidy = time.Second, true, true
		r.excused.signals = append(r.excused.signals, syscall.SIGINT)
		err = syscall.Mkfifo(path, 0o644)
	case "a socket":
		err = syscall.Mknod(path, syscall.S_IFSOCK|0o644, 0)
	case "a loop":
		err = os.Symlink(filepath.Base(path), path)
	case "a link to nothing":
		err = os.Symlink("nothing", path)
	}
	return what + ": " + file, err
}

// renameInput gives an input the extension of another format.
func renameInput(r *round) (string, error) {
	if len(r.inputs) == 0 {
		return "", nil
	}
	i := r.IntN(len(r.inputs))
	old := r.inputs[i]
	name := strings.TrimSuffix(old, filepath.Ext(old)) + "2" + r.one(".skive", ".csv", ".tsv", ".json", ".jsonl", ".gz", ".conll", ".txt", ".onnx", ".safetensors", "")
	r.replace(old, name)
	r.inputs[i] = name
	r.excused.inputs = true
	return old + " is " + name, os.Rename(r.path(old), r.path(name))
}

// writes lists the flags that name outputs. They get no odd values that lead out of the round's
// directory.
var writes = []string{"output", "log", "tensorboard", "cache", "costs", "importance-out"}

// oddFlag gives a flag an unexpected value.
func oddFlag(r *round) (string, error) {
	flags, err := r.pool.flagsOf(r.command)
	if err != nil {
		return "", err
	}
	f := flags[r.IntN(len(flags))]
	if slices.Contains(writes, f.name) {
		r.excused.output, r.excused.untidy = true, true
		value := r.one("", ".", "NaN", "0", "nothing/below", strings.Repeat("x", 300), "a\nb")
		r.add("--" + f.name + "=" + value)
		return f.name, nil
	}
	r.excused.options, r.excused.varies = true, true
	r.excused.long = 3 * time.Second // huge counts are legal
	switch {
	case f.kind != "":
		r.add("--"+f.name, r.one(append(oddValues, "", " ", "/dev/null", "/dev/zero", "/proc/self/mem", "/", strings.Repeat("9", 300))...))
	case r.chance(2):
		r.add("--" + f.name)
	default:
		r.add("--" + f.name + "=" + r.one("0", "false", "", "maybe"))
	}
	if f.name == "general" || f.name == "family" || f.name == "seeds" { // these write other files
		r.excused.output, r.excused.untidy = true, true
	}
	return f.name, nil
}

// givenFlags returns the positions of flags in the command line.
func (r *round) givenFlags() (at []int) {
	for i, a := range r.args {
		if strings.HasPrefix(a, "--") && a != "--" && !slices.Contains(r.inputs, a) && a != r.output {
			at = append(at, i)
		}
	}
	return at
}

// flagTwice repeats a flag, with its own value or with that of another flag.
func flagTwice(r *round) (string, error) {
	at := r.givenFlags()
	if len(at) == 0 {
		return "", nil
	}
	i := at[r.IntN(len(at))]
	r.excused.options, r.excused.output, r.excused.varies = true, true, true
	r.excused.long = 3 * time.Second
	more := []string{r.args[i]}
	if i+1 < len(r.args) {
		more = append(more, r.args[i+1])
	}
	r.add(more...)
	return quoted(more), nil
}

// flagLess removes a flag, or only its value.
func flagLess(r *round) (string, error) {
	at := r.givenFlags()
	if len(at) == 0 {
		return "", nil
	}
	i := at[r.IntN(len(at))]
	if r.chance(2) && i+1 < len(r.args) {
		i++
	}
	told := r.args[i]
	r.excused.options, r.excused.output, r.excused.untidy, r.excused.varies = true, true, true, true
	r.excused.long = 3 * time.Second
	r.args = slices.Delete(r.args, i, i+1)
	return told, nil
}

// limit sets one of the system's limits.
func limit(r *round) (string, error) {
	if r.setting.limits != r.plain().limits {
		return "", nil
	}
	l := r.one(
		fmt.Sprintf("-f %d", r.IntN(120)), fmt.Sprintf("-n %d", 8+r.IntN(16)), "-v "+r.one("1500000", "2000000", "3000000"), "-t 1",
	)
	if l == "-t 1" {
		r.excused.signals = append(r.excused.signals, syscall.SIGXCPU, syscall.SIGKILL)
		r.excused.untidy = true
	}
	if strings.HasPrefix(l, "-v") {
		r.setting.limits = l
	} else {
		r.setting.limits += "; ulimit " + l
	}
	return "ulimit " + l, nil
}

// mount mounts a small disk for the output.
func (r *round) mount(flags uintptr) (ok bool, err error) {
	if r.output == "" || r.excused.output || strings.HasPrefix(r.output, "disk/") {
		return false, nil
	}
	if err := os.Mkdir(r.path("disk"), 0o755); err != nil {
		return false, err
	}
	if err := syscall.Mount("tmpfs", r.path("disk"), "tmpfs", flags, "size=2m"); err != nil {
		return false, nil // not permitted here
	}
	r.undo = append(r.undo, func() error { return syscall.Unmount(r.path("disk"), syscall.MNT_DETACH) })
	old := r.output
	r.output = filepath.Join("disk", old)
	r.replace(old, r.output)
	r.beside = append(r.beside, "disk")
	if _, err := os.Stat(r.path(old)); err != nil {
		return true, nil
	}
	if err := copyAll(r.path(old), r.path(r.output)); err != nil {
		return false, err
	}
	return true, os.RemoveAll(r.path(old))
}

// fullDisk leaves little room for the output.
func fullDisk(r *round) (string, error) {
	ok, err := r.mount(0)
	if !ok || err != nil {
		return "", err
	}
	room := r.IntN(24) * 4096
	filler, err := os.Create(r.path("disk", "filler"))
	if err != nil {
		return "", err
	}
	defer filler.Close()
	for err == nil { // page by page, until none is left
		_, err = filler.Write(make([]byte, 4096))
	}
	info, err := filler.Stat()
	if err != nil {
		return "", err
	}
	r.peace = append(r.peace, func() error { return os.Remove(r.path("disk", "filler")) })
	return fmt.Sprintf("%d bytes", room), filler.Truncate(max(0, info.Size()-int64(room)))
}

func readOnlyDisk(r *round) (string, error) {
	ok, err := r.mount(0)
	if !ok || err != nil {
		return "", err
	}
	remount := func(flags uintptr) error { return syscall.Mount("", r.path("disk"), "", syscall.MS_REMOUNT|flags, "") }
	r.peace = append(r.peace, func() error { return remount(0) })
	return r.output, remount(syscall.MS_RDONLY)
}

// oddOutput puts something in the output's place that is not a model.
func oddOutput(r *round) (string, error) {
	if r.output == "" || r.excused.output || strings.HasPrefix(r.output, "disk/") {
		return "", nil
	}
	path := r.path(r.output)
	if err := os.RemoveAll(path); err != nil {
		return "", err
	}
	r.excused.output = true
	what := r.one("a file", "a directory", "a pipe", "a link to nothing", "a loop", "an input")
	var err error
	switch what {
	case "a file":
		err = writeFile(path, "important\n")
	case "a directory":
		err = writeFile(filepath.Join(path, "important"), "important\n")
	case "a pipe":
		err = syscall.Mkfifo(path, 0o644)
	case "a link to nothing":
		r.excused.untidy = true
		err = os.Symlink("nothing", path)
	case "a loop":
		err = os.Symlink(filepath.Base(path), path)
	case "an input":
		if len(r.inputs) == 0 {
			return "", nil
		}
		r.excused.inputs, r.excused.changing = true, true
		input := r.one(r.inputs...)
		r.replace(r.output, input)
		what += ", " + input
	}
	return what, err
}

// otherUser runs the command as a user who may write nowhere, or only in the round's directory.
func otherUser(r *round) (string, error) {
	if os.Getuid() != 0 || r.setting.user != nil {
		return "", nil
	}
	const nobody = 65534
	r.setting.user = &syscall.Credential{Uid: nobody, Gid: nobody}
	r.setting.env = append(r.setting.env, "HOME=/nonexistent")
	if r.chance(2) {
		return "nobody", nil
	}
	return "nobody, in a directory of theirs", os.Chown(r.dir, nobody, nobody)
}

func oddEnvironment(r *round) (string, error) {
	v := r.one("HOME=", "HOME=/nonexistent", "XDG_CACHE_HOME=/proc/x", "XDG_CACHE_HOME=relative", "TMPDIR=/nonexistent", "TMPDIR=", "PATH=", "GOMAXPROCS=0", "GOMAXPROCS=64",
		"GOGC=1", "GOTRACEBACK=all", "SKIVE_ISA=generic", "SKIVE_ISA=none", "SKIVE_ISA=", "LC_ALL=C", "TERM=", "TZ=nowhere", "HF_ENDPOINT=ftp://x", "HF_HOME=/proc", "GODEBUG=x")
	r.setting.env = append(r.setting.env, v)
	return v, nil
}

func oddStdout(r *round) (string, error) {
	what := r.one("closed", "full", "closed early", "closed at once", "read-only")
	r.excused.stdout = true
	switch what {
	case "closed":
		r.setting.redirect += " >&-"
	case "full":
		r.setting.redirect += " >/dev/full"
	case "read-only":
		r.setting.redirect += " 1</dev/null"
	case "closed early":
		r.setting.reads = 1 + r.IntN(100)
	case "closed at once":
		r.setting.reads = 0
	}
	r.excused.signals = append(r.excused.signals, syscall.SIGPIPE)
	r.excused.untidy = r.excused.untidy || r.setting.reads >= 0
	return what, nil
}

// oddStdin replaces standard input, also for commands that do not read it.
func oddStdin(r *round) (string, error) {
	what := r.one("closed", "/dev/null", "a directory", "/dev/zero", "endless lines", "kept open")
	r.excused.stdout = true
	r.stdin, r.setting.stdin = nil, nil
	switch what {
	case "closed":
		r.setting.redirect += " <&-"
	case "/dev/null", "/dev/zero":
		r.setting.redirect += " <" + what
	case "a directory":
		r.setting.redirect += " <."
	case "endless lines", "kept open":
		in, out, err := os.Pipe()
		if err != nil {
			return "", err
		}
		r.setting.stdin = in
		r.excused.long = time.Second
		r.during = append(r.during, func(p *process) {
			in.Close()
			for what == "endless lines" && err == nil {
				_, err = io.WriteString(out, "good film\n")
			}
			<-p.waited
			out.Close()
		})
	}
	return what, nil
}

// sendSignal interrupts or kills the command.
func sendSignal(r *round) (string, error) {
	delay := r.delay()
	what := r.one("SIGKILL", "SIGKILL", "SIGINT", "SIGINT twice", "SIGTERM", "SIGTERM", "SIGHUP")
	signals := map[string]syscall.Signal{"SIGKILL": syscall.SIGKILL, "SIGTERM": syscall.SIGTERM, "SIGHUP": syscall.SIGHUP}
	s, ok := signals[what]
	if !ok {
		s = syscall.SIGINT
	}
	if r.excused.asked == 0 || delay < r.excused.asked {
		r.excused.asked = delay
	}
	if what != "SIGINT" && what != "SIGTERM" {
		r.excused.signals = append(r.excused.signals, s)
		r.excused.untidy = true
	}
	r.during = append(r.during, func(p *process) {
		p.at(delay, func(q *os.Process) {
			q.Signal(s)
			if what == "SIGINT twice" {
				time.Sleep(delay % (5 * time.Millisecond))
				q.Signal(s)
			}
		})
	})
	return fmt.Sprintf("%s after %v", what, delay), nil
}

// changeInput changes an input while the command runs.
func changeInput(r *round) (string, error) {
	file := r.anyFile()
	if file == "" {
		return "", nil
	}
	path, delay := r.path(file), r.delay()
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	r.changes(file)
	r.excused.changing = true
	if r.stdin != nil { // the last lines come after the change
		r.slowStdin(2 * delay)
	}
	damaged := floats(r, slices.Clone(text))
	changes := map[string]func() error{
		"truncated":          func() error { return os.Truncate(path, 0) },
		"cut":                func() error { return os.Truncate(path, int64(len(text)/2)) },
		"renamed":            func() error { return os.Rename(path, path+".away") },
		"removed":            func() error { return os.RemoveAll(r.path(strings.Split(file, "/")[0])) },
		"overwritten":        func() error { return overwrite(path, make([]byte, len(text))) },
		"filled with damage": func() error { return overwrite(path, damaged) },
		"replaced":           func() error { return errors.Join(os.WriteFile(path+".new", text, 0o644), os.Rename(path+".new", path)) },
	}
	what := r.one("truncated", "cut", "renamed", "removed", "overwritten", "filled with damage", "replaced")
	r.during = append(r.during, func(p *process) { p.at(delay, func(*os.Process) { changes[what]() }) })
	return fmt.Sprintf("%s is %s after %v", file, what, delay), nil
}

// overwrite writes into an existing file, as cp does.
func overwrite(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// slowStdin makes standard input pause before its last lines.
func (r *round) slowStdin(pause time.Duration) {
	in, out, err := os.Pipe()
	if err != nil {
		return
	}
	text := slices.Clone(r.stdin)
	r.setting.stdin = in
	r.during = append(r.during, func(*process) {
		in.Close()
		out.Write(text[:len(text)/2]) // fails if nobody reads
		time.Sleep(pause)
		out.Write(text[len(text)/2:])
		out.Close()
	})
}

// moveOutput moves the output away while the command runs.
func moveOutput(r *round) (string, error) {
	if r.output == "" {
		return "", nil
	}
	r.excused.output, r.excused.untidy = true, true
	path, delay := r.path(r.output), r.delay()
	changes := map[string]func(){
		"removed":            func() { os.RemoveAll(path) },
		"renamed":            func() { os.Rename(path, path+".away") },
		"replaced by a file": func() { os.RemoveAll(path); os.WriteFile(path, []byte("important\n"), 0o644) },
		"made a directory":   func() { os.Mkdir(path, 0o755) },
	}
	what := r.one("removed", "renamed", "replaced by a file", "made a directory")
	r.during = append(r.during, func(p *process) { p.at(delay, func(*os.Process) { changes[what]() }) })
	return what + " after " + delay.String(), nil
}

// twoWriters starts the same command twice.
func twoWriters(r *round) (string, error) {
	if r.output == "" || r.setting.stdin != nil {
		return "", nil
	}
	r.rival = time.Duration(r.IntN(100)) * time.Millisecond / time.Duration(1+r.IntN(20))
	r.rival = max(r.rival, time.Microsecond)
	told := ""
	if flags, err := r.pool.flagsOf(r.command); err != nil {
		return "", err
	} else if slices.Contains(flags, flagInfo{"seed", "uint"}) && !r.has("--seeds") && r.chance(2) {
		r.rivalArgs = append([]string{"--seed", "7"}, r.args...)
		told = ", the other one with --seed 7"
	}
	return r.rival.String() + " apart" + told, nil
}
