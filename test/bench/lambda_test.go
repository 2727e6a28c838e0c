package bench_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/keepin/keepin/test/lambdahost"
)

// lambdas are the functions that are measured, each in its own binary, and all
// in the environment that template.yaml gives to validate.
type lambdas struct {
	noop, query, validate lambdahost.Spec
	signedIn, nobody      []byte // events of GET /validate
}

func build(t testing.TB) *lambdas {
	t.Helper()
	dir, err := functions()
	must(t, err)
	for _, name := range []string{"noop", "query"} {
		must(t, lambdahost.Build(t.Context(), dir, name, "./testdata/"+name))
	}
	table, roots := oneTable(t)
	host, err := lambdahost.Open(lambdahost.Config{
		Template: "../../template.yaml", Bin: dir, Log: os.Stderr,
		Values: map[string]string{"Table": "keepin", "Scopes": "openid profile email", "BaseUrl": base},
		Env:    map[string]string{"AWS_ENDPOINT_URL_DYNAMODB": table, "SSL_CERT_FILE": roots, "SSL_CERT_DIR": t.TempDir()},
	})
	must(t, err)
	l := &lambdas{validate: host.Functions["ValidateFunction"].Spec(), signedIn: event(t, "__Host-keepin="+string(member)+"."+sessionID), nobody: event(t, "")}
	l.noop, l.query = l.validate, l.validate
	l.noop.Bootstrap, l.query.Bootstrap = dir+"/noop/bootstrap", dir+"/query/bootstrap"
	return l
}

const base = "https://app.example/auth"

// event is GET /validate as the gateway hands it to a function, with a
// browser's usual headers.
func event(t testing.TB, cookie string) (payload []byte) {
	t.Helper()
	g := &lambdahost.Gateway{Routes: []lambdahost.Route{{Key: "GET /validate", Function: lambdahost.InvokerFunc(func(_ context.Context, p []byte) (lambdahost.Result, error) {
		payload = p
		return lambdahost.Result{Payload: []byte(`{"statusCode":200}`)}, nil
	})}}}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://app.example/validate", nil)
	for name, value := range map[string]string{
		"Accept": "application/json", "Accept-Encoding": "gzip, deflate, br, zstd", "Accept-Language": "en-GB,en;q=0.9", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors",
		"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36", "X-Amzn-Trace-Id": "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e", "X-Forwarded-For": "205.255.255.176",
	} {
		r.Header.Set(name, value)
	}
	if cookie != "" {
		r.Header.Set("Cookie", "theme=dark; "+cookie)
	}
	g.ServeHTTP(httptest.NewRecorder(), r)
	return payload
}

// invoke has the function answer payload with status.
func invoke(t testing.TB, f *lambdahost.Function, payload []byte, status int) lambdahost.Result {
	t.Helper()
	r, err := f.Invoke(t.Context(), payload)
	must(t, err)
	var got struct {
		StatusCode int
		Body       string
	}
	if err := json.Unmarshal(r.Payload, &got); err != nil || got.StatusCode != status || r.FunctionError != "" {
		t.Fatalf("%s: got %s %s, want status %d", f.Spec().Bootstrap, r.FunctionError, r.Payload, status)
	}
	return r
}

// coldStarts is T1: init, of validate with its first call to the table over
// TLS, against one that does nothing.
func coldStarts(t *testing.T, l *lambdas) row {
	init := func(s lambdahost.Spec) time.Duration {
		f := lambdahost.NewFunction(s)
		defer f.Close()
		took, err := f.Start()
		must(t, err)
		return took
	}
	r := row{id: "T1", what: "init, validate / no-op: process start to the first `next`, TLS to the table", budget: 2.3}
	for range rounds {
		r.ratios = append(r.ratios, quickest(30, func() time.Duration { return init(l.validate) }, func() time.Duration { return init(l.noop) }))
	}
	return r
}

// coldTotals is T2: init and the first answer together. Lambda lets an init
// have the CPU that the machine has, whatever the function's memory, and only
// then holds it to its share: the answer counts with its CPU time over that share.
// A control group's quota would show less: its first slice of 20 ms at 128 MB has
// 1.45 ms, in which a machine like this answers whole, and a slower one does not.
func coldTotals(t *testing.T, l *lambdas) []row {
	small := row{id: "T2", what: "cold total, init + first answer, validate / no-op: 128 MB", budget: 1.7}
	large := row{id: "T2", what: "cold total, init + first answer, validate / no-op: 512 MB", budget: 2.4}
	total := func(s lambdahost.Spec, mb float64) time.Duration {
		f := lambdahost.NewFunction(s)
		defer f.Close()
		init, err := f.Start()
		must(t, err)
		f.Rest()
		before := cpu(t, f.Pids()[0])
		invoke(t, f, l.signedIn, 200)
		f.Rest()
		return init + time.Duration(float64(cpu(t, f.Pids()[0])-before)*wholeCPU/mb)
	}
	for range rounds {
		for _, r := range []*row{&small, &large} {
			mb := 128.0
			if r == &large {
				mb = 512
			}
			r.ratios = append(r.ratios, quickest(30, func() time.Duration { return total(l.validate, mb) }, func() time.Duration { return total(l.noop, mb) }))
		}
	}
	return []row{small, large}
}

// wholeCPU is the memory in MB that buys one processor.
//
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
const wholeCPU = 1769

// warm is T3 and T4: the CPU of one invocation, and then the memory.
func warm(t *testing.T, l *lambdas) []row {
	type subject struct {
		spec    lambdahost.Spec
		payload []byte
		status  int
		f       *lambdahost.Function
	}
	subjects := map[string]*subject{
		"noop":     {spec: l.noop, payload: l.signedIn, status: 200},
		"query":    {spec: l.query, payload: l.signedIn, status: 200},
		"validate": {spec: l.validate, payload: l.signedIn, status: 200},
		"memory":   {spec: l.validate, payload: l.nobody, status: 401},
	}
	order := []string{"noop", "query", "validate", "memory"}
	for _, s := range subjects {
		s.f = lambdahost.NewFunction(s.spec)
		defer s.f.Close()
	}
	once := func(name string, n int) time.Duration {
		s := subjects[name]
		var before time.Duration
		if pids := s.f.Pids(); len(pids) > 0 {
			before = cpu(t, pids[0])
		}
		for range n {
			invoke(t, s.f, s.payload, s.status)
			s.f.Rest()
		}
		return (cpu(t, s.f.Pids()[0]) - before) / time.Duration(n)
	}
	for _, name := range order {
		once(name, 500)
	}
	rows := []row{
		{id: "T3", what: "warm validate without a session, CPU / no-op", budget: 1.15},
		{id: "T4", what: "warm validate, one consistent read, CPU / no-op", budget: 2.6},
		{id: "T4", what: "warm validate, one consistent read, CPU / (no-op + bare SDK Query)", budget: 1.1},
	}
	for range rounds {
		used := map[string]float64{}
		for range 4 {
			for _, name := range order {
				used[name] += float64(once(name, 100))
			}
		}
		rows[0].ratios = append(rows[0].ratios, used["memory"]/used["noop"])
		rows[1].ratios = append(rows[1].ratios, used["validate"]/used["noop"])
		rows[2].ratios = append(rows[2].ratios, used["validate"]/used["query"])
		raw(used)
	}
	peak, err := lambdahost.PeakMemory(subjects["validate"].f.Pids()[0])
	must(t, err)
	return append(rows, row{id: "T10", what: "warm peak RSS of validate", budget: 16, unit: "MB", ratios: []float64{peak}})
}
