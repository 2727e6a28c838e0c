package lambdahttp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/lambdahttp"
	"github.com/keepin/keepin/test/bounds"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// describe answers with the request as the handler saw it, one fact a line.
func describe(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s\npath %q host %s from %s\n", r.Method, r.RequestURI, r.URL.Path, r.Host, r.RemoteAddr)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(w, "%s: %q\n", name, r.Header[name])
	}
	for _, c := range r.Cookies() {
		fmt.Fprintf(w, "cookie %s = %s\n", c.Name, c.Value)
	}
	if arn, ok := lambdahttp.Caller(r.Context()); ok {
		fmt.Fprintf(w, "caller %s\n", arn)
	}
	if err := r.ParseForm(); err != nil {
		fmt.Fprintf(w, "form: %v\n", err)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Form)) {
		fmt.Fprintf(w, "form %s = %q\n", name, r.Form[name])
	}
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(w, "body %q of %d\n", body, r.ContentLength)
}

// whoever answers /validate as the contract does, for the session "abc".
func whoever(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie("__Host-keepin"); err != nil || c.Value != "abc" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Header.Get("Origin") != "" || r.URL.RawQuery != "" || r.Method+r.URL.Path != "GET/validate" {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	io.WriteString(w, `{"member":{"id":"Zm9vYmFyZm9vYmFyZm9vYg","sub":"s-1","name":"Ada"},"grant":{"status":"active","scopes":["email","openid"]}}`)
}

func TestGoldenEvents(t *testing.T) {
	mux := http.NewServeMux()
	for _, p := range []string{"/callback", "/logout", "GET /members/{id}/token", "POST /redeem"} {
		mux.HandleFunc(p, describe)
	}
	var ticks []string
	f := lambdahttp.Function{HTTP: mux, Validate: http.HandlerFunc(whoever), Tick: func(_ context.Context, from, to int) error {
		ticks = append(ticks, fmt.Sprint(from, "-", to))
		return nil
	}}
	files, _ := filepath.Glob("testdata/*.json")
	if len(files) < 8 {
		t.Fatalf("got %d events", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			event, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := f.Invoke(t.Context(), event)
			if err != nil {
				t.Fatal(err)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, raw, "", "  "); err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(pretty.String(), `\n`, "\n    ") + "\n"
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
	if got := strings.Join(ticks, " "); got != "0-15" {
		t.Errorf("ticks: got %q", got)
	}
}

type response struct {
	StatusCode      int               `json:"statusCode"`
	Headers         map[string]string `json:"headers"`
	Cookies         []string          `json:"cookies"`
	Body            string            `json:"body"`
	IsBase64Encoded bool              `json:"isBase64Encoded"`
}

// whole decodes a response and fails unless every member of it is there.
func whole(t *testing.T, raw []byte) response {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		t.Fatalf("%v: %.200s", err, raw)
	}
	for _, name := range []string{"statusCode", "headers", "cookies", "body", "isBase64Encoded"} {
		if v := members[name]; v == nil || string(v) == "null" {
			t.Fatalf("no %s in %.200s", name, raw)
		}
	}
	if len(members) != 5 {
		t.Fatalf("more than a response: %.200s", raw)
	}
	var r response
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	if r.StatusCode < 200 || r.StatusCode > 599 {
		t.Fatalf("status %d", r.StatusCode)
	}
	return r
}

// event is an HTTP event; change edits it before it is sent.
func event(method, routeKey string, change ...func(e map[string]any)) []byte {
	e := map[string]any{
		"version": "2.0", "routeKey": routeKey, "rawPath": "/elsewhere", "rawQueryString": "",
		"headers":         map[string]string{"host": "app.example.com"},
		"requestContext":  map[string]any{"stage": "$default", "http": map[string]any{"method": method, "sourceIp": "203.0.113.7"}},
		"isBase64Encoded": false,
	}
	for _, c := range change {
		c(e)
	}
	raw, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return raw
}

func set(name string, value any) func(map[string]any) {
	return func(e map[string]any) { e[name] = value }
}

func serve(t *testing.T, h http.HandlerFunc, event []byte) response {
	t.Helper()
	raw, err := lambdahttp.Function{HTTP: h}.Invoke(t.Context(), event)
	if err != nil {
		t.Fatal(err)
	}
	return whole(t, raw)
}

func TestTheRouteMakesThePath(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /members/{id}/token", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "id "+r.PathValue("id")) })
	mux.HandleFunc("GET /files/{rest...}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "rest "+r.PathValue("rest")) })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "root") })
	const token = "GET /members/{id}/token"
	for _, tt := range []struct {
		route string
		value string
		want  string
	}{
		{token, "abc", "200 id abc"},
		{token, "a/../../b", "200 id a/../../b"},
		{token, "..", "200 id .."},
		{token, ".", "200 id ."},
		{token, "a b?c#d%2F", "200 id a b?c#d%2F"},
		{token, "", "404"},
		{"GET /files/{id+}", "a/b c", "200 rest a/b c"},
		{"GET /", "", "200 root"},
		{"ANY /", "", "200 root"},
		{"GET members", "", "404"},
		{"GET //", "", "404"},
	} {
		r := serve(t, mux.ServeHTTP, event("GET", tt.route, set("pathParameters", map[string]string{"id": tt.value})))
		got := strings.TrimSpace(fmt.Sprint(r.StatusCode, " ", r.Body))
		if !strings.HasPrefix(got, tt.want) || tt.want != "404" && got != tt.want {
			t.Errorf("%s with %q: got %q, want %q", tt.route, tt.value, got, tt.want)
		}
	}
}

// TestTheCatchAllHasNoStageInItsPath: only there is the raw path asked.
func TestTheCatchAllHasNoStageInItsPath(t *testing.T) {
	path := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) }
	for raw, want := range map[string]string{"/prod/a b": "/a b", "/prod": "/", "/production/a": "/production/a", "/a/prod": "/a/prod"} {
		r := serve(t, path, event("GET", "$default", set("rawPath", raw), func(e map[string]any) { e["requestContext"].(map[string]any)["stage"] = "prod" }))
		if r.Body != want {
			t.Errorf("%s: got %s, want %s", raw, r.Body, want)
		}
	}
}

func TestNoHeaderBecomesTheCaller(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		arn, ok := lambdahttp.Caller(r.Context())
		fmt.Fprint(w, ok, " ", arn)
	}
	authorizer := func(block any) func(map[string]any) {
		return func(e map[string]any) { e["requestContext"].(map[string]any)["authorizer"] = block }
	}
	iam := func(arn string) func(map[string]any) {
		return authorizer(map[string]any{"iam": map[string]any{"userArn": arn}})
	}
	const role = "arn:aws:iam::111122223333:role/backend"
	for _, tt := range []struct {
		change func(map[string]any)
		want   string
	}{
		{iam("arn:aws:sts::111122223333:assumed-role/backend/i-07"), "true " + role},
		{iam("arn:aws:sts::111122223333:assumed-role/backend/a/b:c"), "true " + role},
		{iam("arn:aws-us-gov:sts::111122223333:assumed-role/b/s"), "true arn:aws-us-gov:iam::111122223333:role/b"},
		{iam("arn:aws:iam::111122223333:user/team/ada"), "true arn:aws:iam::111122223333:user/team/ada"},
		{iam("arn:aws:iam::111122223333:assumed-role/backend/i-07"), "false "},
		{iam("arn:aws:sts::111122223333:assumed-role/backend"), "false "},
		{iam("arn:aws:sts::111122223333:assumed-role//i-07"), "false "},
		{iam("arn:aws:sts:::assumed-role/backend/i-07"), "false "},
		{iam(""), "false "},
		{authorizer(map[string]any{"iam": nil}), "false "},
		{authorizer(map[string]any{"lambda": map[string]any{"iam": map[string]any{"userArn": role}}}), "false "},
		{authorizer(map[string]any{"jwt": map[string]any{"claims": map[string]any{"userArn": role}}}), "false "},
		{set("headers", map[string]string{"x-amzn-iam-userarn": role, "authorization": "AWS4-HMAC-SHA256 Credential=" + role, "userArn": role}), "false "},
		{set("authorizer", map[string]any{"iam": map[string]any{"userArn": role}}), "false "},
		{set("rawQueryString", "requestContext.authorizer.iam.userArn="+role), "false "},
	} {
		if got := serve(t, h, event("GET", "GET /x", tt.change)).Body; got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestCookiesComeAndGoOneByOne(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "1", Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)})
		http.SetCookie(w, &http.Cookie{Name: "b", Value: "2"})
		w.Header()["set-cookie"] = []string{"c=3"}
		w.Header().Add("Vary", "Origin")
		w.Header().Add("Vary", "Cookie")
		w.Header().Set("X-Split", "one\r\nSet-Cookie: evil=1")
		w.WriteHeader(http.StatusSeeOther)
		w.Header().Set("X-Late", "1")
		io.WriteString(w, r.Header.Get("Cookie"))
	}
	r := serve(t, h, event("GET", "GET /x", set("cookies", []string{"x=1,2", "y=3"}), set("headers", map[string]string{"Cookie": "z=9", "cookie": "q=8"})))
	slices.Sort(r.Cookies)
	want := []string{"a=1; Expires=Wed, 02 Jan 2030 03:04:05 GMT", "b=2", "c=3"}
	if !slices.Equal(r.Cookies, want) {
		t.Errorf("got %q, want %q", r.Cookies, want)
	}
	if r.Body != "x=1,2; y=3" {
		t.Errorf("the handler saw %q", r.Body)
	}
	if r.StatusCode != 303 || r.Headers["Vary"] != "Origin, Cookie" || r.Headers["X-Split"] != "one  Set-Cookie: evil=1" || r.Headers["X-Late"] != "" {
		t.Errorf("got %d %q", r.StatusCode, r.Headers)
	}
	if r := serve(t, h, event("GET", "GET /x", set("headers", map[string]string{"cookie": "q=8"}))); r.Body != "" {
		t.Errorf("without the array the handler saw %q", r.Body)
	}
	for name := range r.Headers {
		if strings.EqualFold(name, "Set-Cookie") {
			t.Errorf("got %q among the headers", name)
		}
	}
}

func TestBodiesKeepTheirBytes(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || int64(len(body)) != r.ContentLength {
			t.Errorf("read %d of %d: %v", len(body), r.ContentLength, err)
		}
		w.Write(body)
	}
	for _, body := range []string{"", "plain", "ü <script>&\u2028 \x00", "\xff\xfe\x00bin", strings.Repeat("x", 1<<20)} {
		r := serve(t, echo, event("POST", "POST /x", set("body", base64.StdEncoding.EncodeToString([]byte(body))), set("isBase64Encoded", true)))
		got := r.Body
		if r.IsBase64Encoded {
			b, err := base64.StdEncoding.DecodeString(got)
			if err != nil {
				t.Fatal(err)
			}
			got = string(b)
		}
		if got != body {
			t.Errorf("%.20q came back as %.20q", body, got)
		}
	}
}

func TestWhatIsNotARequestIsRefused(t *testing.T) {
	h := func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") }
	big := strings.Repeat("x", 1<<20+1)
	for _, tt := range []struct {
		name   string
		event  []byte
		status int
	}{
		{"nothing", nil, 400},
		{"no JSON", []byte("<xml/>"), 400},
		{"null", []byte("null"), 400},
		{"an array", []byte("[]"), 400},
		{"a tick", []byte(`{"from":0,"to":15}`), 400},
		{"no method", event("", "GET /x"), 400},
		{"headers of another shape", event("GET", "GET /x", set("headers", []string{"a"})), 400},
		{"broken base64", event("POST", "POST /x", set("body", "!"), set("isBase64Encoded", true)), 400},
		{"a large body", event("POST", "POST /x", set("body", big)), 413},
		{"a large body in base64", event("POST", "POST /x", set("body", base64.StdEncoding.EncodeToString([]byte(big))), set("isBase64Encoded", true)), 413},
		{"an authorizer event", []byte(`{"type":"REQUEST","routeArn":"arn:x","routeKey":"GET /x"}`), 400},
	} {
		r := serve(t, h, tt.event)
		if r.StatusCode != tt.status || r.Headers["Content-Type"] != "application/problem+json" || r.Headers["Cache-Control"] != "no-store" || !json.Valid([]byte(r.Body)) {
			t.Errorf("%s: got %d %v %s", tt.name, r.StatusCode, r.Headers, r.Body)
		}
	}
}

func TestAPanicIsAPlainFailure(t *testing.T) {
	const canary = "AQV-canary-token"
	var log bytes.Buffer
	f := lambdahttp.Function{
		HTTP: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Set-Cookie", canary)
			io.WriteString(w, canary)
			panic(canary)
		}),
		Log: slog.New(slog.NewJSONHandler(&log, nil)),
	}
	raw, err := f.Invoke(t.Context(), event("GET", "GET /x"))
	if err != nil {
		t.Fatal(err)
	}
	if r := whole(t, raw); r.StatusCode != 500 || len(r.Cookies) != 0 {
		t.Errorf("got %+v", r)
	}
	if !strings.Contains(log.String(), "lambdahttp_test.go") {
		t.Errorf("the log does not say where: %s", log.String())
	}
	for _, s := range []string{string(raw), log.String()} {
		if strings.Contains(s, canary) {
			t.Errorf("the canary is in %s", s)
		}
	}
}

func TestAnAnswerTooLargeForLambdaIsAFailure(t *testing.T) {
	for _, tt := range []struct {
		char   string
		mb     int
		status int
	}{{"x", 5, 200}, {"x", 7, 500}, {"\x01", 2, 500}, {"\xff", 5, 500}} {
		r := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			for i := range tt.mb {
				if _, err := io.WriteString(w, strings.Repeat(tt.char, 1<<20)); (err != nil) != (i >= 6) {
					t.Errorf("write of the MB %d: %v", i+1, err)
				}
			}
		}, event("GET", "GET /x"))
		if r.StatusCode != tt.status {
			t.Errorf("%d MB of %q: got %d with %d bytes", tt.mb, tt.char, r.StatusCode, len(r.Body))
		}
	}
}

func TestUnavailableIsTheContracts503(t *testing.T) {
	f := lambdahttp.Function{HTTP: http.HandlerFunc(lambdahttp.Unavailable), Validate: http.HandlerFunc(lambdahttp.Unavailable)}
	raw, err := f.Invoke(t.Context(), event("GET", "GET /x"))
	if err != nil {
		t.Fatal(err)
	}
	r := whole(t, raw)
	if r.StatusCode != 503 || r.Headers["Retry-After"] == "" || r.Headers["Content-Type"] != "application/problem+json" || !strings.Contains(r.Body, `"code":"try_again"`) {
		t.Errorf("got %+v", r)
	}
	ask, err := os.ReadFile("testdata/authorizer.json")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.Invoke(t.Context(), ask); err != lambdahttp.ErrAuthorize || got != nil {
		t.Errorf("as an authorizer: got %s, %v", got, err)
	}
}

func TestSomeAnswersHaveNoBody(t *testing.T) {
	for _, tt := range []struct {
		method string
		status int
	}{{"HEAD", 200}, {"GET", 204}, {"GET", 304}} {
		r := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(tt.status)
			io.WriteString(w, "body")
		}, event(tt.method, "ANY /x"))
		if r.StatusCode != tt.status || r.Body != "" {
			t.Errorf("%s %d: got %d %q", tt.method, tt.status, r.StatusCode, r.Body)
		}
	}
	if r := serve(t, func(http.ResponseWriter, *http.Request) {}, event("GET", "GET /x")); r.StatusCode != 200 {
		t.Errorf("a silent handler: got %d", r.StatusCode)
	}
}

func TestTheDeadlineReachesTheHandler(t *testing.T) {
	end := time.Now().Add(time.Hour)
	want := end.Add(-2 * time.Second) // for the answer
	ctx, cancel := context.WithDeadline(t.Context(), end)
	defer cancel()
	f := lambdahttp.Function{HTTP: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if got, ok := r.Context().Deadline(); !ok || !got.Equal(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})}
	if _, err := f.Invoke(ctx, event("GET", "GET /x")); err != nil {
		t.Fatal(err)
	}
}

func TestTheAuthorizerDeniesOnlyWhatIsKnown(t *testing.T) {
	ask, err := os.ReadFile("testdata/authorizer.json")
	if err != nil {
		t.Fatal(err)
	}
	const canary = "canary text"
	for _, tt := range []struct {
		status int
		body   string
		want   string // "" is an error
	}{
		{200, `{"member":{"id":"m","sub":"s"},"grant":{"scopes":["a"]},"access_token":"AQV"}`, `{"context":{"member":"m","scopes":["a"],"sub":"s"},"isAuthorized":true}`},
		{200, `{"member":{"id":"m","sub":"s"},"grant":{"status":"pending"}}`, `{"context":{"member":"m","scopes":[],"sub":"s"},"isAuthorized":true}`},
		{200, `{}`, ""},
		{200, canary, ""},
		{401, canary, `{"isAuthorized":false}`},
		{403, "", `{"isAuthorized":false}`},
		{404, "", `{"isAuthorized":false}`},
		{303, "", ""},
		{429, "", ""},
		{500, canary, ""},
		{503, canary, ""},
	} {
		f := lambdahttp.Function{Validate: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			io.WriteString(w, tt.body)
		})}
		got, err := f.Invoke(t.Context(), ask)
		if tt.want == "" {
			if !errors.Is(err, lambdahttp.ErrAuthorize) || got != nil || strings.Contains(err.Error(), canary) {
				t.Errorf("%d %s: got %s, %v", tt.status, tt.body, got, err)
			}
		} else if err != nil || string(got) != tt.want {
			t.Errorf("%d %s: got %s, %v; want %s", tt.status, tt.body, got, err, tt.want)
		}
	}
	f := lambdahttp.Function{Validate: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(canary) })}
	if got, err := f.Invoke(t.Context(), ask); err != lambdahttp.ErrAuthorize || got != nil {
		t.Errorf("a panic: got %s, %v", got, err)
	}
}

func TestATickReportsFailureAndNoMore(t *testing.T) {
	const canary = "canary text"
	for name, do := range map[string]func() error{
		"error": func() error { return errors.New(canary) },
		"panic": func() error { panic(canary) },
	} {
		f := lambdahttp.Function{Tick: func(context.Context, int, int) error { return do() }}
		if got, err := f.Invoke(t.Context(), []byte(`{"from":3,"to":7}`)); err != lambdahttp.ErrTick || got != nil {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
	f := lambdahttp.Function{Tick: func(context.Context, int, int) error { t.Error("called"); return nil }}
	for _, e := range []string{"", "{}", `{"from":0}`, `{"from":"0","to":15}`, `{"from":0.5,"to":15}`} {
		if got, err := f.Invoke(t.Context(), []byte(e)); err != lambdahttp.ErrEvent || got != nil {
			t.Errorf("%s: got %s, %v", e, got, err)
		}
	}
}

// FuzzEvent holds that whatever comes as an event, a function with routes
// answers it with a whole response that is not its own failure, and that the
// handler is only ever given a request that a server could have made.
func FuzzEvent(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, file := range files {
		event, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(event)
	}
	f.Add(event("GET", "GET /{a}/{b+}", set("pathParameters", map[string]string{"a": "..", "b": "/x//%"})))
	f.Add(event("GET", "$default", set("rawPath", "//evil.example/%zz")))
	function := lambdahttp.Function{
		Validate: http.HandlerFunc(whoever),
		HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.Path, "/") || !strings.HasPrefix(r.RequestURI, "/") || strings.HasPrefix(r.URL.EscapedPath(), "//") || r.Method == "" || r.Body == nil {
				panic("not a request")
			}
			describe(w, r)
			http.NewServeMux().ServeHTTP(w, r)
		}),
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		var raw []byte
		var err error
		bounds.Check(t, func() { raw, err = function.Invoke(t.Context(), event) })
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(raw, []byte(`{"isAuthorized":false}`)) || bytes.HasPrefix(raw, []byte(`{"context":`)) {
			return
		}
		if r := whole(t, raw); r.StatusCode >= 500 {
			t.Fatalf("got %d", r.StatusCode)
		}
	})
}

func BenchmarkInvoke(b *testing.B) {
	raw, err := os.ReadFile("testdata/callback-get.json")
	if err != nil {
		b.Fatal(err)
	}
	f := lambdahttp.Function{HTTP: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })}
	for b.Loop() {
		if _, err := f.Invoke(b.Context(), raw); err != nil {
			b.Fatal(err)
		}
	}
}
