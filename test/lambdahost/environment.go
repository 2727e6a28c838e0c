package lambdahost

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// initLimit is what Lambda gives a process to ask for its first event.
const initLimit = 10 * time.Second

// maxPayload is what Lambda lets in and out.
const maxPayload = 6 << 20

// environment is one process and the Runtime API it talks to.
//
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type environment struct {
	cmd    *exec.Cmd
	server *http.Server
	arn    string
	init   time.Duration

	ready  chan struct{}    // the process asks for work
	work   chan *invocation // what it is given
	failed chan string      // it says that its init failed
	exited chan struct{}    // closed when it has ended
	posted chan post
}

type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
}

type post struct {
	id      string
	body    []byte
	problem string
}

// start makes an environment and waits until it asks for work.
func start(s Spec) (*environment, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	e := &environment{
		arn:    "arn:aws:lambda:us-east-1:111122223333:function:" + s.Name,
		ready:  make(chan struct{}),
		work:   make(chan *invocation),
		failed: make(chan string, 1),
		exited: make(chan struct{}),
		posted: make(chan post, 1),
	}
	e.server = &http.Server{Handler: e.api(), ReadHeaderTimeout: time.Minute}
	go func() { _ = e.server.Serve(listener) }()

	e.cmd = exec.Command(s.Bootstrap)
	e.cmd.Dir = filepath.Dir(s.Bootstrap)
	e.cmd.Stdout, e.cmd.Stderr = s.Log, s.Log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	env := map[string]string{
		"AWS_LAMBDA_RUNTIME_API":          listener.Addr().String(),
		"AWS_REGION":                      "us-east-1",
		"AWS_DEFAULT_REGION":              "us-east-1",
		"AWS_ACCESS_KEY_ID":               AccessKey(s.Name),
		"AWS_SECRET_ACCESS_KEY":           "lambdahost",
		"AWS_SESSION_TOKEN":               "lambdahost",
		"AWS_LAMBDA_FUNCTION_NAME":        s.Name,
		"AWS_LAMBDA_FUNCTION_VERSION":     "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": strconv.Itoa(s.Memory),
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/" + s.Name,
		"AWS_LAMBDA_LOG_STREAM_NAME":      rand.Text(),
		"AWS_LAMBDA_LOG_FORMAT":           "JSON",
		"AWS_LAMBDA_LOG_LEVEL":            "DEBUG",
		"AWS_EXECUTION_ENV":               "AWS_Lambda_provided.al2023",
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"LAMBDA_TASK_ROOT":                e.cmd.Dir,
		"LAMBDA_RUNTIME_DIR":              "/var/runtime",
		"_HANDLER":                        "bootstrap",
		"PATH":                            "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"LANG":                            "en_US.UTF-8",
		"TZ":                              ":UTC",
	}
	for k, v := range s.Env {
		env[k] = v
	}
	for k, v := range env {
		e.cmd.Env = append(e.cmd.Env, k+"="+v)
	}
	began := time.Now()
	run := (*exec.Cmd).Start
	if s.Exec != nil {
		run = s.Exec
	}
	if err := run(e.cmd); err != nil {
		_ = e.server.Close()
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	go func() {
		_ = e.cmd.Wait()
		close(e.exited)
		_ = e.server.Close()
	}()
	limit := time.NewTimer(initLimit)
	defer limit.Stop()
	select {
	case <-e.ready:
		e.init = time.Since(began)
		return e, nil
	case problem := <-e.failed:
		err = fmt.Errorf("start %s: init failed: %s", s.Name, problem)
	case <-e.exited:
		err = fmt.Errorf("start %s: the process ended: %s", s.Name, e.cmd.ProcessState)
	case <-limit.C:
		err = fmt.Errorf("start %s: init took longer than %s", s.Name, initLimit)
	}
	e.kill()
	return nil, err
}

// invoke gives the process one event and sends done how it ended. It returns
// when the process asks for the next one, or is dead: until then the
// environment is not free.
func (e *environment) invoke(payload []byte, timeout time.Duration, done chan<- Result) {
	id := newRequestID()
	fail := func(kind, format string, args ...any) Result {
		body, _ := json.Marshal(map[string]string{"errorType": kind, "errorMessage": fmt.Sprintf(format, args...)})
		return Result{RequestID: id, Payload: body, FunctionError: kind}
	}
	e.thaw()
	began := time.Now()
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	timedOut := func() Result {
		e.kill()
		return fail("Sandbox.Timedout", "RequestId: %s Error: Task timed out after %.2f seconds", id, timeout.Seconds())
	}
	gone := func() Result {
		<-e.exited
		return fail("Runtime.ExitError", "RequestId: %s Error: Runtime exited: %s", id, e.cmd.ProcessState)
	}
	select {
	case e.work <- &invocation{id, payload, began.Add(timeout)}:
	case <-e.exited:
		done <- gone()
		return
	case <-limit.C:
		done <- timedOut()
		return
	}
	var r Result
	for answered := false; !answered; {
		select {
		case p := <-e.posted:
			if p.id != id {
				continue
			}
			answered = true
			r = Result{RequestID: id, Payload: p.body, FunctionError: p.problem}
			if len(p.body) > maxPayload {
				r = fail("Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (6291556 bytes).")
			}
		case <-e.exited:
			r, answered = gone(), true
		case <-limit.C:
			r, answered = timedOut(), true
		}
	}
	r.Took = time.Since(began)
	done <- r
	select {
	case <-e.ready:
	case <-e.exited:
	case <-limit.C:
		e.kill()
	}
}

// api is the Runtime API.
func (e *environment) api() http.Handler {
	const base = "/2018-06-01/runtime/"
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+base+"invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case e.ready <- struct{}{}:
		case <-r.Context().Done():
			return
		case <-e.exited:
			return
		}
		select {
		case i := <-e.work:
			h := w.Header()
			h.Set("Content-Type", "application/json")
			h.Set("Lambda-Runtime-Aws-Request-Id", i.id)
			h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(i.deadline.UnixMilli(), 10))
			h.Set("Lambda-Runtime-Invoked-Function-Arn", e.arn)
			h.Set("Lambda-Runtime-Trace-Id", "Root=1-5e6722a7-"+hex.EncodeToString([]byte(i.id[:12]))+";Sampled=0")
			_, _ = w.Write(i.payload)
		case <-e.exited:
		}
	})
	answer := func(w http.ResponseWriter, r *http.Request, problem string) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 2*maxPayload))
		if err != nil {
			http.Error(w, "cannot read", http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		select {
		case e.posted <- post{r.PathValue("id"), body, problem}:
		case <-e.exited:
		}
	}
	mux.HandleFunc("POST "+base+"invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) { answer(w, r, "") })
	mux.HandleFunc("POST "+base+"invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) { answer(w, r, "Unhandled") })
	mux.HandleFunc("POST "+base+"init/error", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		w.WriteHeader(http.StatusAccepted)
		select {
		case e.failed <- string(body):
		default:
		}
	})
	return mux
}

// freeze and thaw stop and continue the whole process group.
func (e *environment) freeze() { _ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGSTOP) }
func (e *environment) thaw()   { _ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGCONT) }

// kill ends the process as Lambda does: without asking.
func (e *environment) kill() {
	if e.alive() {
		_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGKILL)
	}
	<-e.exited
}

func (e *environment) alive() bool {
	select {
	case <-e.exited:
		return false
	default:
		return true
	}
}

// AccessKey is the key id that a function signs its calls to AWS with: a
// service can tell by it who calls.
func AccessKey(name string) string { return "ASIALAMBDAHOST" + strings.ToUpper(name) }

// newRequestID is a random UUID.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
