package lambdahost_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/test/e2e"
	"github.com/keepin/keepin/test/lambdahost"
)

var bin string // holds hello/bootstrap

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "lambdahost")
	if err == nil {
		err = lambdahost.Build(context.Background(), dir, "hello", "./testdata/hello")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	code := e2e.Main(m)
	os.RemoveAll(dir)
	os.Exit(code)
}

func function(t *testing.T, change func(*lambdahost.Spec)) *lambdahost.Function {
	t.Helper()
	s := lambdahost.Spec{Name: "hello", Bootstrap: filepath.Join(bin, "hello", "bootstrap"), Env: map[string]string{}, Timeout: 10 * time.Second}
	if change != nil {
		change(&s)
	}
	f := lambdahost.NewFunction(s)
	t.Cleanup(f.Close)
	return f
}

type facts struct {
	PID       int    `json:"pid"`
	Count     int    `json:"count"`
	Spins     int64  `json:"spins"`
	RequestID string `json:"request_id"`
	LeftMS    int64  `json:"left_ms"`
}

func ask(t *testing.T, f *lambdahost.Function, do string) (lambdahost.Result, facts) {
	t.Helper()
	r, err := f.Invoke(t.Context(), fmt.Appendf(nil, `{"do":%q}`, do))
	if err != nil {
		t.Fatal(err)
	}
	var a facts
	if err := json.Unmarshal(r.Payload, &a); err != nil && r.FunctionError == "" {
		t.Fatalf("%v: %.200s", err, r.Payload)
	}
	f.Rest()
	return r, a
}

func TestAnEnvironmentIsUsedAgain(t *testing.T) {
	f := function(t, nil)
	r1, a1 := ask(t, f, "facts")
	r2, a2 := ask(t, f, "facts")
	if !r1.Cold || r1.Init <= 0 || r2.Cold {
		t.Errorf("cold: got %v then %v", r1.Cold, r2.Cold)
	}
	if a1.PID != a2.PID || a2.Count != 2 {
		t.Errorf("got %+v then %+v", a1, a2)
	}
	if a1.RequestID != r1.RequestID || a1.RequestID == a2.RequestID {
		t.Errorf("request ids: %s, %s", a1.RequestID, a2.RequestID)
	}
	if a1.LeftMS <= 5000 || a1.LeftMS > 10000 {
		t.Errorf("%d ms left of 10 s", a1.LeftMS)
	}
}

func TestColdStartModeMakesEachAnew(t *testing.T) {
	f := function(t, func(s *lambdahost.Spec) { s.ColdStart = true })
	r1, a1 := ask(t, f, "facts")
	r2, a2 := ask(t, f, "facts")
	if !r1.Cold || !r2.Cold || a1.PID == a2.PID || a2.Count != 1 {
		t.Errorf("got %v %+v then %v %+v", r1.Cold, a1, r2.Cold, a2)
	}
	if len(f.Pids()) != 0 {
		t.Errorf("left: %v", f.Pids())
	}
}

func TestRecycledEnvironmentsAreGone(t *testing.T) {
	f := function(t, nil)
	_, a1 := ask(t, f, "facts")
	f.Recycle()
	r2, a2 := ask(t, f, "facts")
	if !r2.Cold || a1.PID == a2.PID {
		t.Errorf("got %+v then %+v", a1, a2)
	}
}

func TestConcurrencyIsTheNumberOfEnvironments(t *testing.T) {
	f := function(t, func(s *lambdahost.Spec) { s.Environments = 3 })
	open := filepath.Join(t.TempDir(), "open")
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			r, err := f.Invoke(t.Context(), fmt.Appendf(nil, `{"do":"wait","wait":%q}`, open))
			if err != nil || string(r.Payload) != `"waited"` {
				t.Errorf("got %s, %v", r.Payload, err)
			}
		})
	}
	for len(f.Pids()) < 3 {
		time.Sleep(time.Millisecond)
	}
	if _, err := f.Invoke(t.Context(), []byte(`{}`)); err != lambdahost.ErrThrottled {
		t.Errorf("the fourth: got %v", err)
	}
	if err := os.WriteFile(open, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	f.Rest()
	if r, _ := ask(t, f, "facts"); r.Cold {
		t.Error("an idle environment was not used")
	}
	pids := f.Pids()
	slices.Sort(pids)
	if len(slices.Compact(pids)) != 3 {
		t.Errorf("got %v", pids)
	}
}

func TestTheDeadlineKills(t *testing.T) {
	f := function(t, func(s *lambdahost.Spec) { s.Timeout = time.Second })
	_, a := ask(t, f, "facts")
	r, _ := ask(t, f, "hang")
	if r.FunctionError != "Sandbox.Timedout" || !strings.Contains(string(r.Payload), "Task timed out after 1.00 seconds") {
		t.Errorf("got %s %s", r.FunctionError, r.Payload)
	}
	if alive(a.PID) {
		t.Error("the process lives")
	}
	if r, _ := ask(t, f, "facts"); !r.Cold {
		t.Error("the dead environment was used")
	}
}

func TestFailuresAreToldApart(t *testing.T) {
	f := function(t, nil)
	for _, tt := range []struct{ do, kind, text string }{
		{"error", "Unhandled", "as asked"},
		{"panic", "Unhandled", "as asked"},
		{"exit", "Runtime.ExitError", "exit status 4"},
		{"large", "Function.ResponseSizeTooLarge", "6291556"},
	} {
		r, _ := ask(t, f, tt.do)
		if r.FunctionError != tt.kind || !strings.Contains(string(r.Payload), tt.text) {
			t.Errorf("%s: got %s %.200s", tt.do, r.FunctionError, r.Payload)
		}
		if r, _ := ask(t, f, "facts"); r.FunctionError != "" || r.Cold != (tt.do == "panic" || tt.do == "exit") {
			t.Errorf("after %s: got %s, cold %v", tt.do, r.FunctionError, r.Cold)
		}
	}
}

func TestAnInitThatEndsIsAnError(t *testing.T) {
	f := function(t, func(s *lambdahost.Spec) { s.Env["HELLO_INIT"] = "exit" })
	if _, err := f.Invoke(t.Context(), []byte(`{}`)); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
	f.Rest()
	if len(f.Pids()) != 0 {
		t.Errorf("left: %v", f.Pids())
	}
}

// state is the process's state in /proc: T is stopped.
func state(pid int) string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return rest[:1]
}

func alive(pid int) bool { return state(pid) != "" && state(pid) != "Z" }

func TestFrozenEnvironmentsDoNothing(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("skipped: no /proc to see a process's state in")
	}
	f := function(t, func(s *lambdahost.Spec) { s.Freeze = true })
	_, a1 := ask(t, f, "spin")
	deadline := time.Now().Add(5 * time.Second)
	for state(a1.PID) != "T" { // the signal needs a moment to reach all threads
		if time.Now().After(deadline) {
			t.Fatalf("not stopped: %q", state(a1.PID))
		}
		time.Sleep(time.Millisecond)
	}
	_, a2 := ask(t, f, "facts")
	if a2.PID != a1.PID || a2.Count != 2 {
		t.Errorf("after thawing: got %+v then %+v", a1, a2)
	}
}

func TestCloseLeavesNoProcess(t *testing.T) {
	for _, freeze := range []bool{false, true} {
		f := function(t, func(s *lambdahost.Spec) { s.Freeze = freeze })
		_, a := ask(t, f, "facts")
		if a.PID == os.Getpid() || !alive(a.PID) {
			t.Fatalf("%d", a.PID)
		}
		go f.Invoke(context.Background(), []byte(`{"do":"hang"}`))
		f.Close()
		if alive(a.PID) {
			t.Errorf("freeze %v: the process lives", freeze)
		}
	}
}

func TestTheEnvironmentIsLambdas(t *testing.T) {
	t.Setenv("LEAK", "from the host")
	var log bytes.Buffer
	f := function(t, func(s *lambdahost.Spec) { s.Env["MINE"] = "1"; s.Log = &log; s.Memory = 512 })
	for name, want := range map[string]string{
		"LEAK": "", "HOME": "", "MINE": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512", "AWS_LAMBDA_FUNCTION_NAME": "hello", "AWS_LAMBDA_LOG_FORMAT": "JSON",
	} {
		r, err := f.Invoke(t.Context(), fmt.Appendf(nil, `{"do":"env","wait":%q}`, name))
		if err != nil || string(r.Payload) != `"`+want+`"` {
			t.Errorf("%s: got %s, %v", name, r.Payload, err)
		}
		f.Rest()
	}
	f.Close()
	if !strings.Contains(log.String(), "hello from") {
		t.Errorf("log: %q", log.String())
	}
}

// recorded answers 200 and remembers the event.
func recorded(event *map[string]any) lambdahost.Invoker {
	return lambdahost.InvokerFunc(func(_ context.Context, payload []byte) (lambdahost.Result, error) {
		*event = nil
		err := json.Unmarshal(payload, event)
		return lambdahost.Result{Payload: []byte(`{"statusCode":200,"headers":{},"cookies":[],"body":"ok","isBase64Encoded":false}`)}, err
	})
}

func send(g http.Handler, method, target, body string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w.Result()
}

func TestEventsAreShapedAsTheGatewayDoes(t *testing.T) {
	var e map[string]any
	g := &lambdahost.Gateway{
		Routes: []lambdahost.Route{{Key: "ANY /x/{id}", Function: recorded(&e)}},
		Stage:  "live", Mapping: "auth",
		Now: func() time.Time { return time.Date(2026, 3, 10, 13, 40, 32, 5e6, time.UTC) },
	}
	send(g, "POST", "https://app.example.com/auth/live/x/a%2Fb?q=1&q=2%2C3", "a=1", "Cookie", "s=1; t=2", "Cookie", "u=3", "X-A", "one", "X-A", "two", "Content-Type", "application/x-www-form-urlencoded")
	want := map[string]string{
		"version": `"2.0"`, "routeKey": `"ANY /x/{id}"`, "rawPath": `"/auth/live/x/a/b"`, "rawQueryString": `"q=1\u0026q=2%2C3"`,
		"cookies": `["s=1","t=2","u=3"]`, "queryStringParameters": `{"q":"1,2,3"}`, "pathParameters": `{"id":"a/b"}`,
		"body": `"YT0x"`, "isBase64Encoded": `true`,
	}
	for name, want := range want {
		got, _ := json.Marshal(e[name])
		if string(got) != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	headers := e["headers"].(map[string]any)
	if headers["x-a"] != "one,two" || headers["cookie"] != nil || headers["X-A"] != nil || headers["host"] != "app.example.com" {
		t.Errorf("headers: %v", headers)
	}
	rc := e["requestContext"].(map[string]any)
	if rc["stage"] != "live" || rc["time"] != "10/Mar/2026:13:40:32 +0000" || rc["timeEpoch"] != 1773150032005.0 || rc["authorizer"] != nil {
		t.Errorf("requestContext: %v", rc)
	}
	for kind, coded := range map[string]bool{"": true, "text/csv; charset=utf-8": false, "application/json": false, "application/xml": false, "application/javascript": false, "application/problem+json": true, "image/png": true} {
		send(g, "POST", "/auth/live/x/1", "a=1", "Content-Type", kind)
		if e["isBase64Encoded"] != coded {
			t.Errorf("%q: base64 is %v", kind, e["isBase64Encoded"])
		}
	}
}

func TestRoutesAreMatchedAsTheGatewayDoes(t *testing.T) {
	var hit string
	g := &lambdahost.Gateway{}
	for _, key := range []string{"$default", "ANY /login", "GET /login", "GET /members/{id}", "GET /members/me", "GET /members/{id}/token", "GET /files/{rest+}", "ANY /"} {
		g.Routes = append(g.Routes, lambdahost.Route{Key: key, Function: lambdahost.InvokerFunc(func(_ context.Context, _ []byte) (lambdahost.Result, error) {
			hit = key
			return lambdahost.Result{Payload: []byte(`{"statusCode":200}`)}, nil
		})})
	}
	for target, want := range map[string]string{
		"GET /": "ANY /", "POST /": "ANY /", "GET /login": "GET /login", "POST /login": "ANY /login", "GET /login/": "$default", "GET /Login": "$default",
		"GET /members/a": "GET /members/{id}", "GET /members/me": "GET /members/me", "GET /members/": "$default", "POST /members/a": "$default",
		"GET /members/a/token": "GET /members/{id}/token", "GET /files/a/b": "GET /files/{rest+}", "GET /nothing": "$default",
	} {
		method, path, _ := strings.Cut(target, " ")
		hit = ""
		if send(g, method, path, ""); hit != want {
			t.Errorf("%s: got %q, want %q", target, hit, want)
		}
	}
	g.Routes = g.Routes[1:]
	if r := send(g, "GET", "/nothing", ""); r.StatusCode != 404 {
		t.Errorf("without $default: got %d", r.StatusCode)
	}
}

func TestLimitsOfTheGateway(t *testing.T) {
	var e map[string]any
	now := time.Unix(1e9, 0)
	g := &lambdahost.Gateway{Throttle: true, Now: func() time.Time { return now }, Routes: []lambdahost.Route{
		{Key: "ANY /x", Function: recorded(&e)},
		{Key: "ANY /few", Function: recorded(&e), Rate: 2, Burst: 3},
		{Key: "ANY /slow", Timeout: time.Nanosecond, Function: lambdahost.InvokerFunc(func(ctx context.Context, _ []byte) (lambdahost.Result, error) {
			<-ctx.Done()
			return lambdahost.Result{}, ctx.Err()
		})},
		{Key: "ANY /busy", Function: lambdahost.InvokerFunc(func(context.Context, []byte) (lambdahost.Result, error) {
			return lambdahost.Result{}, lambdahost.ErrThrottled
		})},
		{Key: "ANY /broken", Function: lambdahost.InvokerFunc(func(context.Context, []byte) (lambdahost.Result, error) {
			return lambdahost.Result{FunctionError: "Unhandled", Payload: []byte("secret")}, nil
		})},
	}}
	for _, tt := range []struct {
		target, body string
		header       int
		want         int
	}{
		{"/x", "", 10000, 200},
		{"/x", "", 10300, 431},
		{"/x", strings.Repeat("x", 4<<20), 0, 200},
		{"/x", strings.Repeat("x", 7<<20), 0, 413},
		{"/x", strings.Repeat("x", 10<<20+1), 0, 413},
		{"/slow", "", 0, 503},
		{"/busy", "", 0, 503},
		{"/broken", "", 0, 500},
	} {
		r := send(g, "POST", tt.target, tt.body, "X", strings.Repeat("h", tt.header), "Content-Type", "text/plain")
		body, _ := io.ReadAll(r.Body)
		if r.StatusCode != tt.want || bytes.Contains(body, []byte("secret")) {
			t.Errorf("%s with %d and %d bytes: got %d %s", tt.target, len(tt.body), tt.header, r.StatusCode, body)
		}
	}
	var got []int
	for range 4 {
		got = append(got, send(g, "GET", "/few", "").StatusCode)
	}
	now = now.Add(500 * time.Millisecond)
	for range 2 {
		got = append(got, send(g, "GET", "/few", "").StatusCode)
	}
	if want := []int{200, 200, 200, 429, 200, 429}; !slices.Equal(got, want) {
		t.Errorf("a limit of 2/s, 3 at once: got %v, want %v", got, want)
	}
}

func TestRepliesAreReadAsTheGatewayDoes(t *testing.T) {
	var payload string
	g := &lambdahost.Gateway{Routes: []lambdahost.Route{{Key: "ANY /x", Function: lambdahost.InvokerFunc(func(context.Context, []byte) (lambdahost.Result, error) {
		return lambdahost.Result{Payload: []byte(payload)}, nil
	})}}}
	for _, tt := range []struct{ payload, want string }{
		{`{"statusCode":303,"headers":{"Location":"/a"},"cookies":["a=1","b=2"],"body":"","isBase64Encoded":false}`, "303 /a [a=1 b=2] "},
		{`{"statusCode":200,"headers":null,"body":"AAE=","isBase64Encoded":true}`, "200  [] \x00\x01"},
		{`{"statusCode":200,"body":"!","isBase64Encoded":true}`, `500  [] {"message":"Internal Server Error"}`},
		{`{"error":"a bug"}`, `200  [] {"error":"a bug"}`},
		{`nonsense`, `500  [] {"message":"Internal Server Error"}`},
	} {
		payload = tt.payload
		r := send(g, "GET", "/x", "")
		body, _ := io.ReadAll(r.Body)
		if got := fmt.Sprint(r.StatusCode, " ", r.Header.Get("Location"), " ", r.Header["Set-Cookie"], " ", string(body)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.payload, got, tt.want)
		}
	}
}

func TestOnlySignedRequestsReachIAMRoutes(t *testing.T) {
	const arn = "arn:aws:sts::111122223333:assumed-role/backend/i-07"
	var e map[string]any
	g := &lambdahost.Gateway{Routes: []lambdahost.Route{{Key: "GET /x", IAM: true, Function: recorded(&e)}}, Callers: map[string]string{"AKIABACKEND0000000001": arn}}
	for key, want := range map[string]int{"": 403, "AKIABACKEND0000000001": 200, "AKIABACKEND0000000002": 403} {
		r := httptest.NewRequest("GET", "/x", nil)
		if key != "" {
			lambdahost.Sign(r, key)
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: got %d", key, w.Code)
		}
	}
	got, _ := json.Marshal(e["requestContext"].(map[string]any)["authorizer"])
	if !strings.Contains(string(got), `"userArn":"`+arn+`"`) {
		t.Errorf("got %s", got)
	}
	if r := send(g, "GET", "/x", "", "Authorization", "Bearer AKIABACKEND0000000001"); r.StatusCode != 403 {
		t.Errorf("a bearer: got %d", r.StatusCode)
	}
}

func TestAuthorizersAreAskedAndRemembered(t *testing.T) {
	var e map[string]any
	var asked []map[string]any
	answer := `{"isAuthorized":true,"context":{"member":"m","scopes":["a"]}}`
	now := time.Unix(1e9, 0)
	a := &lambdahost.Authorizer{Sources: []string{"$request.header.Cookie"}, TTL: time.Minute, Function: lambdahost.InvokerFunc(func(_ context.Context, payload []byte) (lambdahost.Result, error) {
		var q map[string]any
		err := json.Unmarshal(payload, &q)
		asked = append(asked, q)
		return lambdahost.Result{Payload: []byte(answer)}, err
	})}
	g := &lambdahost.Gateway{Now: func() time.Time { return now }, Routes: []lambdahost.Route{{Key: "GET /orders", Function: recorded(&e), Authorizer: a}}}
	get := func(cookie string) int {
		if cookie == "" {
			return send(g, "GET", "/orders", "").StatusCode
		}
		return send(g, "GET", "/orders", "", "Cookie", cookie).StatusCode
	}
	if got := get(""); got != 401 || len(asked) != 0 {
		t.Errorf("without a source: got %d, %d calls", got, len(asked))
	}
	if got := get("s=1"); got != 200 || len(asked) != 1 {
		t.Errorf("got %d, %d calls", got, len(asked))
	}
	if q := asked[0]; q["type"] != "REQUEST" || q["routeArn"] == nil || fmt.Sprint(q["identitySource"], q["cookies"]) != "[s=1] [s=1]" || q["body"] != nil {
		t.Errorf("asked %v", q)
	}
	if got, _ := json.Marshal(e["requestContext"].(map[string]any)["authorizer"]); string(got) != `{"lambda":{"member":"m","scopes":["a"]}}` {
		t.Errorf("the function got %s", got)
	}
	answer = `{"isAuthorized":false}`
	if got := get("s=1"); got != 200 || len(asked) != 1 {
		t.Errorf("within the TTL: got %d, %d calls", got, len(asked))
	}
	if got := get("s=2"); got != 403 || len(asked) != 2 {
		t.Errorf("another session: got %d, %d calls", got, len(asked))
	}
	now = now.Add(time.Minute)
	if got := get("s=1"); got != 403 || len(asked) != 3 {
		t.Errorf("after the TTL: got %d, %d calls", got, len(asked))
	}
	for _, broken := range []string{`{}`, `null`, `"x"`} {
		answer, now = broken, now.Add(time.Minute)
		if got := get("s=1"); got != 500 {
			t.Errorf("%s: got %d", broken, got)
		}
	}
}

// TestTheStackComesFromTheTemplate runs hello in the place of every function of the real template.
func TestTheStackComesFromTheTemplate(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"callback", "validate", "logout", "members", "refresh"} {
		if err := os.Symlink(filepath.Join(bin, "hello"), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	h, err := lambdahost.Open(lambdahost.Config{
		Template: "../../template.yaml", Bin: dir,
		Values:  map[string]string{"Table": "t1", "DomainName": "app.example.com", "BasePath": "auth"},
		Env:     map[string]string{"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1"},
		Callers: map[string]string{"AKIABACKEND0000000001": "arn:aws:iam::111122223333:user/ada"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	r, err := h.Functions["ValidateFunction"].Invoke(t.Context(), []byte(`{"do":"env","wait":"KEEPIN_STORE"}`))
	if err != nil || string(r.Payload) != `"dynamodb:t1"` {
		t.Errorf("store: got %s, %v", r.Payload, err)
	}
	h.Functions["ValidateFunction"].Rest()
	r, err = h.Functions["ValidateFunction"].Invoke(t.Context(), []byte(`{"do":"env","wait":"KEEPIN_BASE_URL"}`))
	if err != nil || string(r.Payload) != `"https://app.example.com/auth"` {
		t.Errorf("base: got %s, %v", r.Payload, err)
	}
	// hello echoes the event, which the gateway takes for a body.
	for _, tt := range []struct {
		method, path, key, route string
		want                     int
	}{
		{"GET", "/login?return_to=/", "", "ANY /login", 200},
		{"GET", "/members/abc/token", "", "", 403},
		{"GET", "/members/abc/token", "AKIABACKEND0000000001", "GET /members/{id}/token", 200},
		{"GET", "/nothing", "", "$default", 200},
	} {
		req := httptest.NewRequest(tt.method, tt.path, nil)
		if tt.key != "" {
			lambdahost.Sign(req, tt.key)
		}
		w := httptest.NewRecorder()
		h.Gateway.ServeHTTP(w, req)
		var e struct{ RouteKey string }
		_ = json.Unmarshal(w.Body.Bytes(), &e)
		if w.Code != tt.want || e.RouteKey != tt.route {
			t.Errorf("%s %s: got %d %q %s", tt.method, tt.path, w.Code, e.RouteKey, w.Body)
		}
	}
	var at []string
	start := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	if err := h.Run(t.Context(), start, start.Add(150*time.Second), time.Minute, func(now time.Time) { at = append(at, now.Format("4:05")) }); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(at, " "); got != "1:00 2:00 2:30" {
		t.Errorf("ticks at %s", got)
	}
	h.Functions["RefreshFunction"].Rest()
	r, _ = h.Functions["RefreshFunction"].Invoke(t.Context(), []byte(`{"do":"facts"}`))
	if !strings.Contains(string(r.Payload), `"count":3`) {
		t.Errorf("refresh was called as often: %s", r.Payload)
	}
}
