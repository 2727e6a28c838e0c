package lambdahost

import (
	"context"
	"io"
	"os/exec"
	"sync"
	"time"
)

// Spec is one function.
type Spec struct {
	Name         string // the folder in functions/, and its AWS_LAMBDA_FUNCTION_NAME
	Bootstrap    string // path of the binary
	Env          map[string]string
	Memory       int           // MB, only told to the function; 0 is 256
	Timeout      time.Duration // of an invocation; 0 is 3 s
	Environments int           // how many may run at once; 0 is 10
	ColdStart    bool          // every invocation has a new environment
	Freeze       bool          // environments are stopped between invocations
	Log          io.Writer     // stdout and stderr; nil discards them

	// Exec starts a process; nil is (*exec.Cmd).Start. Who measures puts it below a quota.
	Exec func(*exec.Cmd) error
}

// Function is one function with its environments. It is safe for concurrent use.
type Function struct {
	spec Spec

	mu     sync.Mutex
	cond   sync.Cond
	idle   []*environment // the last one used is the first one taken, as on Lambda
	busy   map[*environment]bool
	starts int // environments being made
	closed bool
}

// NewFunction makes a function without an environment.
func NewFunction(s Spec) *Function {
	if s.Timeout == 0 {
		s.Timeout = 3 * time.Second
	}
	if s.Environments == 0 {
		s.Environments = 10
	}
	if s.Memory == 0 {
		s.Memory = 256
	}
	if s.Log == nil {
		s.Log = io.Discard
	}
	s.Log = &lockedWriter{w: s.Log}
	f := &Function{spec: s, busy: map[*environment]bool{}}
	f.cond.L = &f.mu
	return f
}

// Invoke runs one invocation to its end. A function that fails is a Result
// with a FunctionError; the error is ErrThrottled, or that the environment
// could not be made, or that ctx ended: the invocation goes on without a
// listener then, as it does on Lambda.
func (f *Function) Invoke(ctx context.Context, payload []byte) (Result, error) {
	e, err := f.take()
	if err != nil {
		return Result{}, err
	}
	cold := e == nil
	if cold {
		e, err = start(f.spec)
		f.mu.Lock()
		f.starts--
		if err == nil {
			f.busy[e] = true
		}
		closed := f.closed
		f.mu.Unlock()
		f.cond.Broadcast()
		if err != nil {
			return Result{}, err
		}
		if closed {
			e.kill()
			return Result{}, ErrThrottled
		}
	}
	done := make(chan Result, 1)
	go func() {
		e.invoke(payload, f.spec.Timeout, done)
		f.give(e)
	}()
	select {
	case r := <-done:
		if cold {
			r.Cold, r.Init = true, e.init
		}
		return r, nil
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
}

// Start makes an environment ahead of its first invocation, and says how long
// its init took.
func (f *Function) Start() (time.Duration, error) {
	e, err := start(f.spec)
	if err != nil {
		return 0, err
	}
	f.mu.Lock()
	f.busy[e] = true
	f.mu.Unlock()
	f.give(e)
	return e.init, nil
}

// Spec is what the function was made of.
func (f *Function) Spec() Spec { return f.spec }

// take hands out an idle environment, or nil with the right to make one.
func (f *Function) take() (*environment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.idle) > 0 {
		e := f.idle[len(f.idle)-1]
		f.idle = f.idle[:len(f.idle)-1]
		if e.alive() {
			f.busy[e] = true
			return e, nil
		}
	}
	if f.closed || len(f.busy)+f.starts >= f.spec.Environments {
		return nil, ErrThrottled
	}
	f.starts++
	return nil, nil
}

func (f *Function) give(e *environment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.busy, e)
	if f.closed || f.spec.ColdStart || !e.alive() {
		e.kill()
	} else {
		if f.spec.Freeze {
			e.freeze()
		}
		f.idle = append(f.idle, e)
	}
	f.cond.Broadcast()
}

// Rest waits until no invocation is under way.
func (f *Function) Rest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.busy)+f.starts > 0 {
		f.cond.Wait()
	}
}

// Pids are the processes of all environments, idle ones first.
func (f *Function) Pids() (pids []int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.idle {
		pids = append(pids, e.cmd.Process.Pid)
	}
	for e := range f.busy {
		pids = append(pids, e.cmd.Process.Pid)
	}
	return pids
}

// Recycle ends all idle environments: the next invocations are cold.
func (f *Function) Recycle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.idle {
		e.kill()
	}
	f.idle = nil
}

// Close ends every environment, busy ones too.
func (f *Function) Close() {
	f.mu.Lock()
	f.closed = true
	for e := range f.busy {
		e.kill()
	}
	f.mu.Unlock()
	f.Recycle()
	f.Rest()
}

// lockedWriter keeps the lines of several processes apart.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
