//go:build linux

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// patience is the longest time for a command. A command that takes longer hangs.
	patience = 60 * time.Second
	// maxMemory is the address space of every command, in KB. A command with unlimited memory
	// then ends before the machine does.
	maxMemory = 3 << 20
)

// setting is the environment in which a command runs.
type setting struct {
	dir    string
	env    []string
	limits string // ulimit's arguments for a shell
	stdin  io.Reader
	// redirect is a shell's redirection of standard input or output.
	redirect string
	// reads, if not negative, is how many bytes of standard output are read before the reader
	// closes it.
	reads int
	user  *syscall.Credential
}

// process is a running command.
type process struct {
	cmd     *exec.Cmd
	out     output
	err     output
	started time.Time
	waited  chan struct{}
}

// ending is how a command ended.
type ending struct {
	code           int // -1 if a signal ended it
	signal         syscall.Signal
	stdout, stderr string
	hung           bool
	took, cpu      time.Duration
	memory         int64 // largest resident size, in KB
}

// start runs the program through a shell, which sets the limits and then executes it.
func start(s setting, program string, args ...string) (*process, error) {
	script := "ulimit -c 0; "
	if s.limits != "" {
		script += "ulimit " + s.limits + "; "
	}
	script += `exec "$@" ` + s.redirect
	p := &process{cmd: exec.Command("sh", append([]string{"-c", script, "sh", program}, args...)...), waited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdin, p.cmd.Stderr = s.dir, s.env, s.stdin, &p.err
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	p.cmd.WaitDelay = time.Second
	p.cmd.Stdout = &p.out
	if s.reads >= 0 {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		p.cmd.Stdout = w
		go func() {
			io.CopyN(&p.out, r, int64(s.reads))
			r.Close()
		}()
		defer w.Close()
	}
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.cmd.Wait() // the process state says how it ended
		close(p.waited)
	}()
	return p, nil
}

// end waits for the process and kills one that hangs. Its standard error then has what it was
// doing.
func (p *process) end() ending {
	var e ending
	select {
	case <-p.waited:
	case <-time.After(patience):
		e.hung = true
		p.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-p.waited:
		case <-time.After(5 * time.Second):
			p.cmd.Process.Kill()
			<-p.waited
		}
	}
	e.took, e.cpu = time.Since(p.started), p.cmd.ProcessState.UserTime()+p.cmd.ProcessState.SystemTime()
	e.code, e.stdout, e.stderr = p.cmd.ProcessState.ExitCode(), p.out.String(), p.err.String()
	e.memory = p.cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		e.signal = status.Signal()
	}
	return e
}

// at calls do with the process after a delay, if it still runs.
func (p *process) at(delay time.Duration, do func(*os.Process)) {
	select {
	case <-p.waited:
	case <-time.After(delay):
		do(p.cmd.Process)
	}
}

// output keeps the first megabytes that are written to it.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

const maxOutput = 64 << 20

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.b.Len() > maxOutput {
		return 0, errors.New("endless output")
	}
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// quoted returns a command line for a shell.
func quoted(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		if a != "" && strings.Trim(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./:,@+") == "" {
			b.WriteString(a)
			continue
		}
		b.WriteString("'" + strings.ReplaceAll(a, "'", `'\''`) + "'")
	}
	return b.String()
}
