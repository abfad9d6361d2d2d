//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// round is a command line, what goes wrong for it, and how it ended.
type round struct {
	*rand.Rand
	pool   *pool
	number int
	dir    string // the command's directory; everything that it reads and writes is inside

	command string // with its subcommand
	args    []string
	task    string
	inputs  []string // files and directories of dir
	stdin   []byte   // nil where the command reads none
	output  string   // "" where the command writes none
	// parts are the models, or else the files, of the output, as paths below it. "" is the output
	// itself.
	parts     []string
	partFiles bool
	beside    []string // what else the command writes

	setting setting
	during  []func(*process)
	rival   time.Duration // if not 0, when a second process starts that writes to the same output
	// rivalArgs are the arguments of the second process, nil if they are the same.
	rivalArgs []string
	faults    []string
	excused   excuses
	peace     []func() error // what ends the faults before the command runs again
	undo      []func() error

	old     []string // signatures of the parts before
	hashes  map[string]string
	result  ending
	against ending // ending of the rival
}

// excuses say what is allowed because of the faults.
type excuses struct {
	failure  bool // the command may fail
	inputs   bool // its inputs differ from those that were made
	changing bool // its inputs change while it runs
	output   bool // its output was moved, or another command writes there, too
	options  bool // its options were changed
	stdout   bool // nobody reads its standard output to the end
	untidy   bool // it may leave temporary files
	refusal  bool // it has to fail
	varies   bool // its output depends on measured times
	signals  []syscall.Signal
	asked    time.Duration // when it is asked to end
	waits    bool          // it waits for another program, so it is interrupted twice
	long     time.Duration // it may take long, so it is interrupted after this time
}

func newRound(p *pool, seed uint64, number int, dir string) *round {
	return &round{
		Rand: rand.New(rand.NewPCG(seed, uint64(number))), pool: p, number: number, dir: dir,
		parts: []string{""},
	}
}

// prepare chooses the command and its faults.
func (r *round) prepare() error {
	for _, d := range []string{r.dir, r.path("home"), r.path("tmp")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	r.setting = r.plain()
	c := pick(r, commands, func(c command) int { return c.weight })
	r.command, r.task = c.name, r.one(slices.Sorted(maps.Keys(tasks))...)
	if err := c.build(r); err != nil {
		return err
	}
	r.add(r.commonFlags()...)
	if r.stdin != nil {
		r.setting.stdin = bytes.NewReader(r.stdin)
	}
	if err := r.placeOld(); err != nil {
		return err
	}
	for range r.numberOfFaults() {
		f := pick(r, faults, func(f fault) int { return f.weight })
		told, err := f.do(r)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if told != "" { // else it does not apply
			r.excused.failure = true
			r.faults = append(r.faults, f.name+": "+told)
		}
	}
	r.old = make([]string, len(r.parts))
	if r.output != "" && !r.excused.output {
		var err error
		if r.old, err = r.signatures(r.output); err != nil {
			return err
		}
	}
	r.hashes = r.hashInputs()
	return nil
}

func (r *round) numberOfFaults() int {
	switch n := r.IntN(20); {
	case n < 3:
		return 0
	case n < 15:
		return 1
	}
	return 2
}

// plain returns a setting without faults.
func (r *round) plain() setting {
	return setting{dir: r.dir, reads: -1, limits: fmt.Sprintf("-v %d", maxMemory), env: []string{
		"HOME=" + r.path("home"), "TMPDIR=" + r.path("tmp"), "PATH=" + os.Getenv("PATH"), "HF_ENDPOINT=http://127.0.0.1:9",
	}}
}

// run runs the command and its rival, and everything that happens meanwhile.
func (r *round) run() {
	p, err := start(r.setting, r.pool.program, r.commandLine()...)
	if err != nil {
		r.result = ending{code: -1, stderr: err.Error()}
		return
	}
	var beside sync.WaitGroup
	for _, do := range r.during {
		beside.Go(func() { do(p) })
	}
	defer beside.Wait()
	if r.excused.long > 0 {
		go p.at(r.excused.long, func(q *os.Process) { q.Signal(os.Interrupt) })
	}
	if r.excused.waits { // it is in a system call that nothing else ends
		go p.at(r.excused.long+time.Second, func(q *os.Process) { q.Signal(os.Interrupt) })
	}
	if r.rival > 0 {
		time.Sleep(r.rival)
		args := r.args
		if r.rivalArgs != nil {
			args = r.rivalArgs
		}
		q, err := start(r.setting, r.pool.program, append(strings.Fields(r.command), args...)...)
		if err != nil {
			r.against = ending{code: -1, stderr: err.Error()}
		} else {
			r.against = q.end()
		}
	}
	r.result = p.end()
}

func (r *round) commandLine() []string {
	return append(strings.Fields(r.command), r.args...)
}

func (r *round) path(names ...string) string {
	return filepath.Join(append([]string{r.dir}, names...)...)
}

// add puts flags before the others, because arguments may be at the end.
func (r *round) add(args ...string) { r.args = append(slices.Clone(args), r.args...) }

// replace gives a path of the command line another name.
func (r *round) replace(old, name string) {
	for i, a := range r.args {
		if a == old {
			r.args[i] = name
		}
	}
}

// chance returns true in one of n cases.
func (r *round) chance(n int) bool { return r.IntN(n) == 0 }

func (r *round) one(of ...string) string { return of[r.IntN(len(of))] }

// pick draws an element by weight.
func pick[T any](r *round, of []T, weight func(T) int) T {
	sum := 0
	for _, x := range of {
		sum += weight(x)
	}
	n := r.IntN(sum)
	for _, x := range of {
		if n -= weight(x); n < 0 {
			return x
		}
	}
	panic("weights")
}

// delay returns 1 to 300 milliseconds, with short delays as likely as long ones.
func (r *round) delay() time.Duration {
	d := time.Millisecond
	for range r.IntN(9) {
		d *= 2
	}
	return d + time.Duration(r.Float64()*float64(d))
}

// commonFlags are those that every command has.
func (r *round) commonFlags() []string {
	var flags []string
	if !r.chance(3) {
		flags = append(flags, "-q")
	}
	if r.chance(3) {
		flags = append(flags, "--json")
	}
	if r.chance(2) {
		flags = append(flags, "--threads", r.one("1", "2", "3"))
	}
	return flags
}

// has tells whether the command line has a flag.
func (r *round) has(flag string) bool { return slices.Contains(r.args, flag) }

// name returns a file name, often an unusual one.
func (r *round) name(base string) string {
	if !r.chance(3) {
		return base
	}
	odd := []string{"a ", "-", "--", "模型 ", "naïve-", "%s", "#", "'\"", "$HOME ", "a,b", "x=", ".", "~", "*", "\\"}
	if r.command != "compress" { // a recipe is text
		odd = append(odd, "a\tb", "a\nb", "\xff")
	}
	return r.one(odd...) + base
}

// model copies a model of the task, as a directory or as a file.
func (r *round) model(task string, file bool) (string, error) {
	var of []string
	for _, m := range r.pool.models {
		if strings.HasSuffix(m, "-"+task) {
			of = append(of, m)
		}
	}
	from := r.one(of...)
	if file {
		from += ".skive"
	}
	return r.copy(from, fmt.Sprintf("model%d%s", len(r.inputs), filepath.Ext(from)))
}

// anyModel returns a model as a directory or as a file.
func (r *round) anyModel(task string) (string, error) { return r.model(task, r.chance(3)) }

// data copies data of the task in one of its formats.
func (r *round) data(task string) (string, error) {
	format := r.one(slices.Sorted(maps.Keys(tasks[task].files))...)
	name := fmt.Sprintf("data%d.%s", len(r.inputs), format)
	if r.chance(5) {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(tasks[task].files[format])); err != nil {
			return "", err
		}
		if err := w.Close(); err != nil {
			return "", err
		}
		return r.input(name+".gz", b.String())
	}
	return r.input(name, tasks[task].files[format])
}

// input writes an input of the command.
func (r *round) input(name, text string) (string, error) {
	name = r.name(name)
	r.inputs = append(r.inputs, name)
	return name, writeFile(r.path(name), text)
}

// copy copies a file or directory of the pool to an input.
func (r *round) copy(from, name string) (string, error) {
	name = r.name(name)
	r.inputs = append(r.inputs, name)
	return name, copyAll(r.pool.path(from), r.path(name))
}

func copyAll(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeFile(to, string(text))
}

// writesModel sets where the command writes, and returns the flag for it.
func (r *round) writesModel(name string, parts ...string) []string {
	r.output = r.name(name)
	if len(parts) > 0 {
		r.parts = parts
	}
	return []string{"-o", r.output}
}

// writesFiles is writesModel for files that are not models.
func (r *round) writesFiles(name string, parts ...string) []string {
	r.partFiles = true
	return r.writesModel(name, parts...)
}

// placeOld often puts something in the output's place.
func (r *round) placeOld() error {
	if r.output == "" || r.command == "compress" || !r.chance(3) {
		return nil
	}
	flags, err := r.pool.flagsOf(r.command)
	if err != nil {
		return err
	}
	for i, part := range r.parts {
		to := r.path(r.output, part)
		switch {
		case r.partFiles:
			err = writeFile(to, fmt.Sprintf("{\"text\": \"old %d\"}\n", i))
		case filepath.Ext(to) == ".skive":
			err = copyAll(r.pool.path("bert-"+r.task+".skive"), to)
		default:
			err = copyAll(r.pool.path("bert-"+r.task), to)
		}
		if err != nil {
			return err
		}
	}
	overwrite := flagInfo{name: "overwrite"}
	switch {
	case !slices.Contains(flags, overwrite):
	case r.chance(4):
		r.excused.failure, r.excused.refusal = true, true
	default:
		r.add("--overwrite")
	}
	return nil
}

// outcome returns how the round ended, in a word.
func (r *round) outcome() string {
	switch {
	case r.result.signal != 0:
		return "killed"
	case r.result.code == 0:
		return "done"
	}
	return "refused"
}

// String returns everything that a reader needs to repeat the round by hand.
func (r *round) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  cd %s; skive %s\n", r.dir, quoted(r.commandLine()))
	for _, f := range r.faults {
		fmt.Fprintf(&b, "  %s\n", f)
	}
	tell := func(who string, e ending) {
		fmt.Fprintf(&b, "  %s: exit %d", who, e.code)
		if e.signal != 0 {
			fmt.Fprintf(&b, " (%v)", e.signal)
		}
		fmt.Fprintf(&b, " after %v\n", e.took.Round(time.Millisecond))
		for _, line := range firstLines(e.stderr, 12) {
			fmt.Fprintf(&b, "    | %.300s\n", line)
		}
	}
	tell("it", r.result)
	if r.rival > 0 {
		tell("its rival", r.against)
	}
	return b.String()
}

func firstLines(text string, n int) []string {
	if text == "" {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) > n {
		lines = append(lines[:n], fmt.Sprintf("... %d lines more", len(lines)-n))
	}
	return lines
}
