package faults_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/test/aws/awstest"
	"github.com/keepin/keepin/test/e2e"
	"github.com/keepin/keepin/test/lambdahost"
)

// bootstraps are the functions, built once; with a test's clock where they are
// told of one.
var bootstraps = sync.OnceValue(func() error {
	names := []string{"callback", "validate", "logout", "members", "refresh"}
	var all sync.WaitGroup
	errs := make([]error, len(names))
	for i, name := range names {
		all.Go(func() {
			errs[i] = lambdahost.Build(context.Background(), bin, name, "../../functions/"+name, "lambdahost")
		})
	}
	all.Wait()
	return errors.Join(errs...)
})

// service is something that the functions call, behind a link that can break.
type service struct {
	link
	mu     sync.Mutex
	calls  []string // what was asked of it, the request having come whole: "PutItem"
	last   string   // after such a call nothing more is answered; "": after none
	dark   bool     // nothing is answered
	events []string // of the bus: ids
}

func (s *service) note(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
}

// isDark reports whether such a call is not answered.
func (s *service) isDark(action string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.dark
	s.dark = s.dark || s.last != "" && action == s.last
	return was
}

// darken has s answer nothing more after the next call of that kind; "": at once.
func (s *service) darken(after string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.dark = after, after == ""
}

// lighten undoes darken.
func (s *service) lighten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.dark = "", false
}

// count is how often what was called.
func (s *service) count(what string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c == what {
			n++
		}
	}
	return n
}

// stack is keepin on Lambda, beside a LinkedIn and what it calls of AWS, each
// behind a link of its own.
type stack struct {
	keepin
	host                           *lambdahost.Host
	tables, secrets, bus, linkedIn *service
	log                            *e2e.Log
}

// padding makes every answer of AWS longer than what the toxics let through in time.
var padding = strings.Repeat(" ", 4500)

// newStack makes one, whose clock stands unless running. change may change it
// before anything is started.
func newStack(t *testing.T, key *rsa.PrivateKey, dynalite string, running bool, change func(*lambdahost.Config)) *stack {
	t.Helper()
	must(t, bootstraps())
	front, back := e2e.Listen(t), e2e.Listen(t)
	s := &stack{log: new(e2e.Log), keepin: keepin{T: t, base: "http://" + front.Addr().String(), browser: browser(t), backend: signed,
		clock: linkedinsim.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))}}
	if running {
		s.clock = linkedinsim.RunningClock()
	}
	s.linkedIn = &service{link: newLink(t, back.Addr().String())}
	linkedIn := "http://" + s.linkedIn.address()
	app := linkedinsim.DefaultApp()
	app.RedirectURLs = []string{s.base + "/callback"}
	var err error
	s.sim, err = linkedinsim.New(linkedinsim.Config{Clock: s.clock, URL: linkedIn, Apps: []linkedinsim.App{app}, Key: key})
	must(t, err)

	s.tables = aws(t, func(_ string, r *http.Request, body []byte) []byte { return forward(t, dynalite, r, body) })
	held := map[string]string{
		"linkedin": `{"client_id":"` + app.ClientID + `","client_secret":"` + app.Secret + `"}`,
		"keys":     seal.NewKeyset().Reveal(),
	}
	s.secrets = aws(t, func(_ string, _ *http.Request, body []byte) []byte {
		var in struct {
			ID string `json:"SecretId"`
		}
		_ = json.Unmarshal(body, &in)
		out, _ := json.Marshal(map[string]string{"Name": in.ID, "SecretString": held[in.ID], "VersionId": "1"})
		return out
	})
	s.bus = aws(t, func(_ string, _ *http.Request, body []byte) []byte {
		var in struct{ Entries []struct{ Detail string } }
		_ = json.Unmarshal(body, &in)
		for _, e := range in.Entries {
			var event struct{ ID string }
			_ = json.Unmarshal([]byte(e.Detail), &event)
			s.bus.mu.Lock()
			s.bus.events = append(s.bus.events, event.ID)
			s.bus.mu.Unlock()
		}
		return []byte(`{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}`)
	})

	config := lambdahost.Config{
		Template: "../../template.yaml", Bin: bin, Environments: 60, Log: s.log,
		Callers: map[string]string{backend: "arn:aws:sts::111122223333:assumed-role/backend/i-07"},
		Values: map[string]string{
			"Table": awstest.Table(t, dynalite), "ClientSecret": "linkedin", "Keyset": "keys", "Scopes": "openid profile email",
			"BaseUrl": s.base, "LinkedInUrl": linkedIn, "LinkedInApiUrl": linkedIn,
		},
		Env: map[string]string{
			"AWS_ENDPOINT_URL_DYNAMODB":        "http://" + s.tables.address(),
			"AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://" + s.secrets.address(),
			"AWS_ENDPOINT_URL_EVENTBRIDGE":     "http://" + s.bus.address(),
		},
	}
	if !running {
		config.Now = s.clock.Now
		config.Env["KEEPIN_TEST_CLOCK"] = e2e.Serve(t, e2e.Listen(t), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, s.clock.Now().Format(time.RFC3339Nano))
		}))
	}
	if change != nil {
		change(&config)
	}
	s.host, err = lambdahost.Open(config)
	must(t, err)
	t.Cleanup(func() {
		s.host.Close()
		if t.Failed() && testing.Verbose() {
			t.Log(s.log)
		}
	})
	e2e.Serve(t, back, s.sim)
	e2e.Serve(t, front, s.host.Gateway)
	return s
}

const backend = "AKIABACKEND0000000001"

func signed(r *http.Request) { lambdahost.Sign(r, backend) }

// aws is a service of AWS that speaks JSON, behind a link.
func aws(t *testing.T, answer func(action string, r *http.Request, body []byte) []byte) *service {
	t.Helper()
	l := e2e.Listen(t)
	s := &service{link: newLink(t, l.Addr().String())}
	e2e.Serve(t, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it did not come whole
		}
		_, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if s.note(action); s.isDark(action) {
			<-r.Context().Done()
			return
		}
		status := http.StatusOK
		out := answer(action, r, body)
		if bytes.Contains(out, []byte(`"__type"`)) {
			status = http.StatusBadRequest
		}
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		w.WriteHeader(status)
		_, _ = w.Write(append(out, padding...))
	}))
	return s
}

// forward asks the server at address the same, even when whoever asked is gone:
// what has arrived is done.
func forward(t *testing.T, address string, r *http.Request, body []byte) []byte {
	req, err := http.NewRequest("POST", address, bytes.NewReader(body))
	if err != nil {
		t.Error(err)
		return nil
	}
	req.Header = maps.Clone(r.Header)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return []byte(`{"__type":"InternalServerError"}`) // the test is over
	}
	defer res.Body.Close()
	out, _ := io.ReadAll(res.Body)
	return out
}

// good is as machine's.
func (s *stack) good() {
	s.Helper()
	s.clock.Advance(time.Hour)
	s.serves()
}

// budget is when a function's answer must be out: a second before Lambda, or
// the gateway, gives it up.
func (s *stack) budget(function string) time.Duration {
	s.Helper()
	for _, f := range s.host.Functions {
		if f.Spec().Name == function {
			return min(f.Spec().Timeout, 29*time.Second) - time.Second
		}
	}
	s.Fatalf("template.yaml has no function %s", function)
	return 0
}

// awsLink is a link to a service of AWS, and what is promised where it breaks.
type awsLink struct {
	name     string
	function string // that answers
	service  func(*stack) *service
	mid      int
	slow     effect
	asks     string // the call that act makes of the service
	prepare  func(*stack)
	act      func(*stack) answer
	status   map[effect]int
	after    func(*stack, effect)
}

func tablesOf(s *stack) *service  { return s.tables }
func secretsOf(s *stack) *service { return s.secrets }
func busOf(s *stack) *service     { return s.bus }

// dead signs in and lets the access token end.
func dead(s *stack) { s.signIn(); s.clock.Advance(61 * day) }

var awsLinks = []awsLink{
	{
		name: "validate", function: "validate", service: tablesOf, mid: 400, slow: lost, asks: "Query",
		prepare: func(s *stack) { s.signIn(); s.validate().want(s, "before", 200) },
		act:     func(s *stack) answer { return s.validate() },
		status:  each(200, 503, 503),
		after:   func(s *stack, _ effect) { s.good() },
	},
	{
		name: "token", function: "members", service: tablesOf, mid: 400, slow: lost, asks: "GetItem",
		prepare: func(s *stack) { s.signIn(); s.token("").want(s, "before", 200); s.clock.Advance(61 * day) },
		act:     func(s *stack) answer { return s.token("") },
		status:  each(200, 503, 503),
		after: func(s *stack, does effect) {
			if n := s.sim.Count(linkedinsim.TokenEndpoint); does != through && n != 1 {
				s.Errorf("LinkedIn was asked for a token that nobody could have kept: %d", n)
			}
			s.good()
			if n := s.sim.Count(linkedinsim.TokenEndpoint); n != 2 {
				s.Errorf("%d calls of the token endpoint in all, want 2", n)
			}
		},
	},
	{
		name: "logout", function: "logout", service: tablesOf, mid: 400, slow: lost, asks: "Query",
		prepare: func(s *stack) {
			s.signIn()
			send(s, browser(s), "POST", s.base+"/logout", nil).want(s, "nobody's logout", 204) // starts the function
		},
		act:    func(s *stack) answer { return s.logout() },
		status: each(204, 503, 503),
		after: func(s *stack, does effect) {
			if does != through {
				s.validate().want(s, "a logout that failed", 200)
				s.logout().want(s, "the logout again", 204)
			}
			s.validate().want(s, "after the logout", 401)
		},
	},
	{
		name: "keyset and credentials", function: "members", service: secretsOf, mid: 300, slow: lost, asks: "GetSecretValue",
		prepare: dead, // by callback: members starts in the fault
		act:     func(s *stack) answer { return s.token("") },
		status:  each(200, 503, 503),
		after: func(s *stack, does effect) {
			if n := s.sim.Count(linkedinsim.TokenEndpoint); does != through && n != 1 {
				s.Errorf("LinkedIn was called without the secret: %d", n)
			}
			s.good()
		},
	},
	{
		name: "bus", function: "refresh", service: busOf, mid: 300, slow: lost, asks: "PutEvents",
		prepare: func(s *stack) { s.signIn() },
		act: func(s *stack) answer { // no answer over HTTP: the pass ends well, whatever the bus does
			began := time.Now()
			if err := s.host.Tick(context.WithoutCancel(s.Context())); err != nil {
				s.Error(err)
			}
			return answer{status: 200, took: time.Since(began)}
		},
		status: each(200, 200, 200),
		after: func(s *stack, _ effect) {
			for range 3 {
				s.clock.Advance(2 * time.Minute)
				must(s, s.host.Tick(context.WithoutCancel(s.Context())))
			}
			s.bus.mu.Lock()
			ids := slices.Compact(slices.Clone(s.bus.events))
			s.bus.mu.Unlock()
			if len(ids) != 1 || ids[0] == "" {
				s.Errorf("the events that came are %q, want one, be it more than once", ids)
			}
			s.good()
		},
	},
}

// TestABrokenLinkToAWSLosesNothing runs the functions' own bootstraps.
func TestABrokenLinkToAWSLosesNothing(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	dynalite := awstest.Dynalite(t)
	type kase struct {
		awsLink
		toxic
	}
	var cases []kase
	for _, l := range awsLinks {
		for _, x := range toxics {
			cases = append(cases, kase{l, x})
		}
	}
	sideBySide(t, cases, func(c kase) string { return c.awsLink.name + "/" + c.toxic.name }, func(t *testing.T, c kase, aside func(func())) {
		s := newStack(t, key, dynalite, false, nil)
		does := c.does
		if does == asSlow {
			does = c.slow
		}
		c.prepare(s)
		for _, f := range s.host.Functions {
			f.Rest() // what is warm stays so
		}
		service := c.service(s)
		before := service.count(c.asks)
		service.add(t, c.toxic, 3500*time.Millisecond, c.mid)
		hits := func() int { return service.count(c.asks) - before }
		var a answer
		aside(func() {
			a = c.act(s)
			eventually(func() bool { return does == never || hits() > 0 })
		})
		a.want(t, "in the fault", c.status[does])
		if a.took > s.budget(c.function) {
			t.Errorf("the answer took %v", a.took)
		}
		if (hits() > 0) != (does != never) { // more than one: the SDK repeats what failed, twice
			t.Errorf("%d calls came through", hits())
		}
		service.mend(t)
		c.after(s, does)
	})
}
