// Package lambdahost runs the real bootstraps of the functions as AWS Lambda
// does, on loopback and without an account: the Runtime API with environments
// that start cold, freeze between invocations and are killed at their
// deadline, behind an HTTP API whose routes come from template.yaml.
//
// It is for what a local AWS cannot show. It does not enforce IAM policies,
// and checks of a signature only who it claims to be from.
package lambdahost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Invoker is what can be invoked: a Function, or a func of the test.
type Invoker interface {
	Invoke(ctx context.Context, payload []byte) (Result, error)
}

// InvokerFunc makes a func an Invoker.
type InvokerFunc func(ctx context.Context, payload []byte) (Result, error)

// Invoke calls f.
func (f InvokerFunc) Invoke(ctx context.Context, payload []byte) (Result, error) {
	return f(ctx, payload)
}

// Result is how an invocation ended.
type Result struct {
	RequestID     string
	Payload       []byte
	FunctionError string        // "" is success; else Unhandled, or Sandbox.Timedout
	Cold          bool          // a new environment was made for it
	Init          time.Duration // when cold: from the start of the process to its first call for work
	Took          time.Duration // from handing out the event to the answer
}

// ErrThrottled: every environment that the function may have is busy.
var ErrThrottled = errors.New("lambdahost: throttled")

// Config is a stack to run.
type Config struct {
	Template string // path of template.yaml
	// Bin holds a folder for each function, named as in functions/, with its bootstrap: see Build.
	Bin string
	// Values are parameters, and what a Ref of a resource is: {"Table": "t1"}.
	// A parameter that is missing has its default, a resource its own name.
	Values map[string]string
	// Env is added to every function's environment: addresses of services.
	Env map[string]string
	// Environments is how many of each function may run at once; 0 is 10.
	Environments int
	ColdStart    bool // every invocation has a new environment
	Freeze       bool // environments are stopped between invocations
	Throttle     bool // the routes' limits hold
	// Callers are the principals of access key ids: the host takes a request
	// signed with one of these keys for theirs, without checking the signature.
	Callers map[string]string
	Log     io.Writer        // what the functions write; nil discards it
	Now     func() time.Time // nil: time.Now; of the gateway, not of the functions
}

// Host is a running stack. The HTTP API is its Gateway.
type Host struct {
	Gateway   *Gateway
	Functions map[string]*Function // by logical id
	schedules []schedule
}

type schedule struct {
	target *Function
	input  []byte
}

// Open makes the stack. No process is started before the first invocation.
func Open(c Config) (*Host, error) {
	t, err := readTemplate(c.Template, c.Values)
	if err != nil {
		return nil, err
	}
	h := &Host{Functions: map[string]*Function{}}
	for id, spec := range t.functions {
		spec.Bootstrap = filepath.Join(c.Bin, spec.Name, "bootstrap")
		if _, err := os.Stat(spec.Bootstrap); err != nil {
			return nil, fmt.Errorf("open: %w", err)
		}
		for k, v := range c.Env {
			spec.Env[k] = v
		}
		spec.Environments, spec.ColdStart, spec.Freeze, spec.Log = c.Environments, c.ColdStart, c.Freeze, c.Log
		h.Functions[id] = NewFunction(spec)
	}
	h.Gateway = &Gateway{Callers: c.Callers, Throttle: c.Throttle, Now: c.Now}
	for _, r := range t.routes {
		r.Function = h.Functions[r.function]
		h.Gateway.Routes = append(h.Gateway.Routes, r)
	}
	for _, s := range t.schedules {
		h.schedules = append(h.schedules, schedule{h.Functions[s.function], []byte(s.input)})
	}
	return h, nil
}

// Tick lets every schedule of the stack fire once, as each minute does.
func (h *Host) Tick(ctx context.Context) error {
	var errs []error
	for _, s := range h.schedules {
		r, err := s.target.Invoke(ctx, s.input)
		if err == nil && r.FunctionError != "" {
			err = fmt.Errorf("%s: %s", r.FunctionError, r.Payload)
		}
		errs = append(errs, err)
		s.target.Rest() // by the next minute its environment is free
	}
	return errors.Join(errs...)
}

// Run passes the time from from to to in steps on a virtual clock: set moves
// the clock, then every schedule fires.
func (h *Host) Run(ctx context.Context, from, to time.Time, step time.Duration, set func(time.Time)) error {
	for t := from.Add(step); !t.After(to); t = t.Add(step) {
		set(t)
		if err := h.Tick(ctx); err != nil {
			return fmt.Errorf("at %s: %w", t.Format(time.RFC3339), err)
		}
	}
	set(to)
	return nil
}

// Close ends every process.
func (h *Host) Close() {
	for _, f := range h.Functions {
		f.Close()
	}
}

// Build builds the main package pkg for this machine, as sam.mk does for
// Lambda, into dir/name/bootstrap.
func Build(ctx context.Context, dir, name, pkg string, tags ...string) error {
	if err := Watch(ctx, pkg, tags...); err != nil {
		return err
	}
	all := tagList(tags)
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", all,
		"-ldflags", "-s -w -buildid=", "-o", filepath.Join(dir, name, "bootstrap"), pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return nil
}

// Watch has Go's cache of test results know the module's own sources of main
// packages that another program builds: with one of them changed, the test that
// called it runs again.
func Watch(ctx context.Context, pkgs string, tags ...string) error {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-tags", tagList(tags), "-f",
		`{{if and .Module .Module.Main}}{{$dir := .Dir}}{{.Module.GoMod}}{{"\n"}}{{range .GoFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}{{"\n"}}{{end}}{{end}}`, pkgs)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("list the sources of %s: %w\n%s", pkgs, err, complaints.String())
	}
	for file := range strings.Lines(string(out)) {
		if file = strings.TrimSpace(file); file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil { // the cache notes each
			return fmt.Errorf("watch: %w", err)
		}
	}
	return nil
}

func tagList(tags []string) string {
	return strings.Join(append([]string{"lambda.norpc"}, tags...), ",")
}
