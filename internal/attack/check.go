//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// maxMessage is how many lines a failing command may print at the end,
	maxMessage = 3
	// and maxLine is how many bytes each may have.
	maxLine = 4096
	// youth is the processor time within which a program may not yet catch signals. Starting
	// takes some 16 ms of it, and more beside other work.
	youth = 30 * time.Millisecond
	// obedience is how long a program may take to end after a signal, on a busy machine,
	obedience = 10 * time.Second
	// and maxResident how much memory it may use for models of a few KB, in KB.
	maxResident = 1 << 20
)

var (
	crash  = regexp.MustCompile(`(?m)^(goroutine \d|fatal error: |panic: |runtime: |SIG[A-Z]+: |skive: internal error)|unexpected fault|nil pointer|index out of range|runtime error`)
	notNum = regexp.MustCompile(`\b(NaN|Inf)\b`)
	// progressLine matches a line such as "mask tuning: 1/2 (50%), ETA 0s".
	progressLine = regexp.MustCompile(`^[^:]+: \d+/\d+ (\(|in )`)
	ourTemp      = regexp.MustCompile(`^\..*(skive-(writing|pending|trial|lock)|\.tmp$)`)
)

// check reports what does not hold after the command has run.
func (r *round) check() error {
	if strings.HasSuffix(r.result.stderr, "skive: interrupted\n") {
		r.excused.untidy = true // it may have been stopped during a write
	}
	errs := []error{r.checkEnding("it", r.result)}
	if r.rival > 0 {
		errs = append(errs, r.checkEnding("its rival", r.against))
		if !r.onlyFault() && r.result.code != 0 && r.against.code != 0 {
			errs = append(errs, errors.New("two writers, and both failed"))
		}
	}
	if r.result.code == 0 {
		errs = append(errs, r.checkAnswers())
	}
	errs = append(errs, r.checkInputs(), r.checkTidy(), r.checkOutput())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return r.checkRepeat()
}

// onlyFault tells whether the fault may explain more than usual: there are several, or a refusal
// is expected.
func (r *round) onlyFault() bool { return len(r.faults) > 1 || r.excused.refusal }

// checkEnding checks how the program ended and what it printed.
func (r *round) checkEnding(who string, e ending) error {
	if e.hung {
		return fmt.Errorf("%s hangs", who)
	}
	if asked := r.excused.asked; asked > 0 && e.took > asked+obedience {
		return fmt.Errorf("%s was asked to end after %v, and ended after %v", who, asked, e.took)
	}
	if e.memory > maxResident && !r.excused.options {
		return fmt.Errorf("%s took %d MB", who, e.memory>>10)
	}
	if found := crash.FindString(e.stderr + e.stdout); found != "" {
		return fmt.Errorf("%s crashed: %q", who, found)
	}
	switch {
	case e.signal != 0:
		young := r.excused.asked > 0 && e.cpu < youth && (e.signal == syscall.SIGINT || e.signal == syscall.SIGTERM)
		if !young && !slices.Contains(r.excused.signals, e.signal) {
			return fmt.Errorf("%s was ended by %v", who, e.signal)
		}
		return nil
	case e.code == 0 && r.excused.refusal && r.onlyRefusal():
		return fmt.Errorf("%s succeeded, expected a refusal", who)
	case e.code == 0:
		return nil
	case e.code > 2:
		return fmt.Errorf("%s ended with code %d", who, e.code)
	case !r.excused.failure && !strings.Contains(e.stderr, "interrupt"):
		return fmt.Errorf("%s failed, and nothing was wrong", who)
	}
	lines := firstLines(e.stderr, 1<<20)
	// A flag without its value may have taken -q as the value. Then the command shows its
	// progress.
	lines = slices.DeleteFunc(lines, progressLine.MatchString)
	if len(lines) == 0 {
		return fmt.Errorf("%s failed without a word", who)
	}
	if r.has("-q") && len(lines) > maxMessage {
		return fmt.Errorf("%s says why in %d lines", who, len(lines))
	}
	if last := lines[len(lines)-1]; len(last) > maxLine {
		return fmt.Errorf("%s says why in a line of %d bytes", who, len(last))
	}
	return nil
}

// onlyRefusal tells whether only the refusal is expected.
func (r *round) onlyRefusal() bool { return !r.excused.options && !r.excused.output }

// checkAnswers checks the standard output of a command that succeeded.
func (r *round) checkAnswers() error {
	out := r.result.stdout
	if found := notNum.FindString(out); found != "" && !r.excused.options {
		return fmt.Errorf("exit 0, and %q in what it says", found)
	}
	if r.excused.stdout {
		// Of several redirections the last one counts.
		full := strings.LastIndex(r.setting.redirect, " >/dev/full")
		if full > max(strings.LastIndex(r.setting.redirect, " >&-"), strings.LastIndex(r.setting.redirect, " 1</dev/null")) && r.speaks() {
			return errors.New("exit 0, though its standard output was full")
		}
		return nil
	}
	asJSON := r.has("--json") && !r.excused.options
	if r.command == "predict" && !r.excused.options {
		if want, got := countLines(r.stdin), countLines([]byte(out)); want != got {
			return fmt.Errorf("%d answers to %d lines", got, want)
		}
		if !asJSON {
			return nil
		}
	} else if asJSON && r.speaks() && strings.TrimSpace(out) == "" {
		return errors.New("exit 0, and no JSON")
	}
	if !asJSON {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(out))
	documents := 0
	for ; ; documents++ {
		var v any
		if err := d.Decode(&v); err == io.EOF {
			break
		} else if err != nil {
			return fmt.Errorf("exit 0, and standard output is no JSON: %w", err)
		}
	}
	if documents > 1 && r.command != "predict" {
		return fmt.Errorf("%d JSON documents", documents)
	}
	return nil
}

// speaks tells whether the command writes to standard output.
func (r *round) speaks() bool {
	switch r.command {
	case "data convert", "data generate":
		return false
	case "predict":
		return countLines(r.stdin) > 0 && !r.excused.options
	}
	return !r.excused.options
}

func countLines(text []byte) int {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	n := bytes.Count(text, []byte("\n"))
	if len(text) > 0 && text[len(text)-1] != '\n' {
		n++
	}
	return n
}

// hashInputs returns a checksum of each file of the inputs.
func (r *round) hashInputs() map[string]string {
	hashes := map[string]string{}
	for _, input := range r.inputs {
		filepath.WalkDir(r.path(input), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				hashes[path] = hashFile(path)
			}
			return nil
		})
	}
	return hashes
}

// hashFile returns the checksum of a file, or "" if it does not exist.
func hashFile(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

// checkInputs checks that the command has not changed its inputs.
func (r *round) checkInputs() error {
	if r.excused.changing {
		return nil
	}
	for path, hash := range r.hashInputs() {
		if r.hashes[path] != hash {
			return fmt.Errorf("the input %s was changed", path)
		}
	}
	return nil
}

// checkTidy checks that there are no files that the command should not have written.
func (r *round) checkTidy() error {
	if r.excused.untidy {
		return nil
	}
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && ourTemp.MatchString(d.Name()) && d.Name() != filepath.Base(r.output) {
			return fmt.Errorf("%s was left behind", path)
		}
		return nil
	})
	if err != nil || r.excused.output || r.excused.changing {
		return err
	}
	expected := slices.Concat(r.inputs, r.beside, []string{"home", "tmp", strings.Split(r.output, "/")[0]})
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.Contains(expected, e.Name()) {
			return fmt.Errorf("%s was written", e.Name())
		}
	}
	if entries, err = os.ReadDir(r.path("tmp")); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s was left in the directory for temporary files", entries[0].Name())
	}
	return nil
}

// checkOutput checks that the output is the old one or the new one, complete.
func (r *round) checkOutput() error {
	if r.output == "" || r.excused.output || r.excused.options {
		return nil
	}
	now, err := r.signatures(r.output)
	if err != nil {
		return fmt.Errorf("the output is lost: %w", err)
	}
	done := r.result.code == 0 || r.rival > 0 && r.against.code == 0
	for i, part := range r.parts {
		switch {
		case now[i] == "" && done:
			return fmt.Errorf("exit 0 without %s", filepath.Join(r.output, part))
		case now[i] == "" && r.old[i] != "":
			return fmt.Errorf("%s was there and is not", filepath.Join(r.output, part))
		case r.excused.refusal && now[i] != r.old[i]:
			return fmt.Errorf("%s was replaced, expected a refusal", filepath.Join(r.output, part))
		}
	}
	return nil
}

// signatures identify the parts of an output: by the answers of its models, or by the bytes of
// its files. A part that does not exist has "". An incomplete part is an error.
func (r *round) signatures(output string) ([]string, error) {
	all := make([]string, len(r.parts))
	for i, part := range r.parts {
		var err error
		path := r.path(output, part)
		if r.partFiles {
			all[i] = hashFile(path)
			if text, err := os.ReadFile(path); err == nil && len(text) == 0 {
				return nil, fmt.Errorf("%s is empty", path)
			}
		} else if all[i], err = r.answers(path); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// answers returns what a model answers, or "" if there is none.
func (r *round) answers(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if info.IsDir() { // it may hold only a training state
		_, err1 := os.Stat(filepath.Join(path, "config.json"))
		_, err2 := os.Stat(filepath.Join(path, ".skive-pending"))
		if err1 != nil && err2 != nil {
			return "", nil
		}
	}
	s := setting{dir: r.dir, env: r.plain().env, reads: -1, stdin: strings.NewReader(strings.Join(tasks[r.task].probes, "\n") + "\n")}
	p, err := start(s, r.pool.program, "predict", "-q", "--json", "--threads", "1", "--model", path)
	if err != nil {
		return "", err
	}
	e := p.end()
	if e.code != 0 && !r.excused.inputs { // for example, a damaged tokenizer is copied along
		return "", fmt.Errorf("predict with %s: exit %d: %.200s", path, e.code, e.stderr)
	}
	if got, want := countLines([]byte(e.stdout)), len(tasks[r.task].probes); e.code == 0 && got != want {
		return "", fmt.Errorf("predict with %s: %d answers to %d lines", path, got, want)
	}
	s.stdin = nil
	if p, err = start(s, r.pool.program, "inspect", "-q", "--", path); err != nil {
		return "", err
	}
	if e := p.end(); e.code != 0 {
		return "", fmt.Errorf("inspect %s: exit %d: %.200s", path, e.code, e.stderr)
	}
	return "a model: " + e.stdout, nil
}

// checkRepeat runs the command again without the fault. It must complete, with the same result as
// a run that was never disturbed.
func (r *round) checkRepeat() error {
	x := r.excused
	if r.output == "" || x.inputs || x.output || x.options || x.refusal || len(r.faults) == 0 {
		return nil
	}
	for _, do := range r.peace {
		if err := do(); err != nil {
			return err
		}
	}
	in := r.plain()
	want, err := r.reference(in, r.args)
	if err != nil {
		return err
	}
	now, err := r.signatures(r.output)
	if err != nil {
		return err
	}
	if r.result.code != 0 && (r.rival == 0 || r.against.code != 0) {
		if err := r.repeat(in); err != nil {
			return err
		}
		if now, err = r.signatures(r.output); err != nil {
			return fmt.Errorf("after it was run again: %w", err)
		}
	}
	if r.rivalArgs != nil && !slices.Equal(now, want) {
		if want, err = r.reference(in, r.rivalArgs); err != nil {
			return err
		}
	}
	if !x.varies && !slices.Equal(now, want) {
		return errors.New("the output is not what a run in peace writes")
	}
	r.excused.untidy = false
	return r.checkTidy()
}

// reference returns the signatures of what a command line writes without faults, in a directory
// of its own.
func (r *round) reference(in setting, args []string) ([]string, error) {
	in.dir = r.path("peace")
	output := filepath.Join("peace", r.output)
	if err := os.MkdirAll(filepath.Dir(r.path(output)), 0o755); err != nil {
		return nil, err
	}
	for _, input := range r.inputs {
		if err := os.Symlink(r.path(input), r.path("peace", input)); err != nil {
			return nil, err
		}
	}
	if e := r.again(in, args); e.code != 0 && !r.excused.varies {
		return nil, fmt.Errorf("a run in peace fails: %.300s", e.stderr)
	}
	all, err := r.signatures(output)
	return all, errors.Join(err, os.RemoveAll(in.dir))
}

// repeat runs the command once more, as its user would. The output may be that of a rival's run
// with other settings, which only the rival's command can continue.
func (r *round) repeat(in setting) error {
	err := r.repeatAs(in, r.args)
	if err != nil && r.rivalArgs != nil && strings.Contains(err.Error(), "cannot resume with") {
		err = r.repeatAs(in, r.rivalArgs)
	}
	return err
}

func (r *round) repeatAs(in setting, args []string) error {
	args = slices.Clone(args)
	flags, err := r.pool.flagsOf(r.command)
	if err != nil {
		return err
	}
	states, _ := filepath.Glob(escape(r.path(r.output)) + "/state/training.state")
	more, _ := filepath.Glob(escape(r.path(r.output)) + "/*/state/training.state")
	// With several runs, some may be old ones, which --resume refuses.
	several := r.has("--seeds") && r.has("--overwrite")
	if len(states)+len(more) > 0 && !several && slices.Contains(flags, flagInfo{name: "resume"}) {
		args = slices.DeleteFunc(args, func(a string) bool { return a == "--overwrite" })
		args = append([]string{"--resume"}, args...)
	} else if r.wrote() && slices.Contains(flags, flagInfo{name: "overwrite"}) && !r.has("--overwrite") {
		args = append([]string{"--overwrite"}, args...)
	}
	if e := r.again(in, args); e.code != 0 && !r.excused.varies {
		return fmt.Errorf("run again (skive %s %s) it fails: %.300s", r.command, quoted(args), e.stderr)
	}
	return nil
}

// wrote tells whether there is anything where the command writes.
func (r *round) wrote() bool {
	return slices.ContainsFunc(append(r.beside, r.output), func(name string) bool {
		_, err := os.Lstat(r.path(name))
		return err == nil
	})
}

// again runs the command without faults.
func (r *round) again(in setting, args []string) ending {
	if r.stdin != nil {
		in.stdin = bytes.NewReader(r.stdin)
	}
	p, err := start(in, r.pool.program, append(strings.Fields(r.command), args...)...)
	if err != nil {
		return ending{code: -1, stderr: err.Error()}
	}
	return p.end()
}

// escape returns a pattern that matches only this path.
func escape(path string) string {
	return regexp.MustCompile(`[\\*?\[]`).ReplaceAllString(path, `\$0`)
}
