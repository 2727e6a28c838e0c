// Package fuzz_test throws events at keepin as its Lambda functions have it:
// event, lambdahttp, web, session, keeper, LinkedIn's client and the simulator
// of it, all but the engines of AWS.
package fuzz_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/lambdahttp"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/storetest"
	"github.com/keepin/keepin/shared/web"
	"github.com/keepin/keepin/test/bounds"
)

const base = "https://app.example/auth"

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// signingKey is the simulator's: making one takes long.
var signingKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// keepin is one with nothing in it.
type keepin struct {
	testing.TB
	lambdahttp.Function
	store  *storetest.Memory
	sim    *linkedinsim.Sim
	mux    http.Handler
	writes int
	dues   int
}

func newKeepin(t testing.TB) *keepin {
	k := &keepin{TB: t}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	now := func() time.Time { return start }
	k.store = storetest.NewMemory(now)
	k.store.Before = func(op string) (bool, error) {
		switch op {
		case "Get", "Look", "Control", "Incidents":
		case "Due":
			k.dues++
		default:
			k.writes++
		}
		return true, nil
	}
	key, err := signingKey()
	must(err)
	app := linkedinsim.DefaultApp()
	app.RedirectURLs = []string{base + "/callback"}
	k.sim, err = linkedinsim.New(linkedinsim.Config{Clock: linkedinsim.NewClock(start), URL: "https://www.linkedin.example", Apps: []linkedinsim.App{app}, Key: key})
	must(err)
	scopes := []string{"openid", "profile", "email"}
	site, err := web.NewSite(web.Config{BaseURL: base, ReturnOrigins: []string{"https://shop.example"}, Scopes: scopes, Issuer: "https://www.linkedin.example/oauth", Now: now})
	must(err)
	client, err := linkedin.New(linkedin.Config{
		LinkedInURL: "https://www.linkedin.example", APIURL: "https://www.linkedin.example", Issuer: "https://www.linkedin.example/oauth",
		RedirectURL: site.RedirectURL(), Scopes: scopes, Transport: k.sim, Now: now, SDKExchange: "https://www.linkedin.example/uas/oauth/accessToken",
		Credentials: func(context.Context, bool) (linkedin.Credentials, error) {
			return linkedin.Credentials{ClientID: app.ClientID, Secret: secret.New(app.Secret)}, nil
		},
	})
	must(err)
	sealer := seal.New(seal.Config{Now: now, Source: func(context.Context, bool) (secret.String, error) { return keyset(), nil }})
	domain, err := keeper.New(keeper.Config{Store: k.store, Desk: k.store, Provider: client, Sealer: sealer, Now: now, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	must(err)
	sessions, err := session.New(session.Config{Store: k.store, Burns: k.store, Sealer: sealer, Secure: true, Now: now, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	must(err)
	// The gateway has taken the path of the base URL away.
	k.mux = web.Mux(site, "", web.AllRoutes(site, sessions, client, domain, true, web.CallerAuth(lambdahttp.Caller)))
	k.Function = lambdahttp.Function{HTTP: k.mux, Validate: k.mux, Tick: func(ctx context.Context, from, to int) error {
		_, err := domain.Pass(ctx, keeper.Range{From: from, To: to})
		return err
	}}
	return k
}

var keyset = sync.OnceValue(seal.NewKeyset)

// get is one request of a browser with these cookies, and the cookies after it.
func (k *keepin) get(path string, jar map[string]string) (*http.Response, map[string]string) {
	k.Helper()
	r := httptest.NewRequestWithContext(k.Context(), "GET", "https://app.example"+path, nil)
	r.Header.Set("Cookie", header(jar))
	w := httptest.NewRecorder()
	k.mux.ServeHTTP(w, r)
	after := map[string]string{}
	maps.Copy(after, jar)
	for _, c := range w.Result().Cookies() {
		if after[c.Name] = c.Value; c.MaxAge < 0 {
			delete(after, c.Name)
		}
	}
	return w.Result(), after
}

func header(jar map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(jar)) {
		pairs = append(pairs, name+"="+jar[name])
	}
	return strings.Join(pairs, "; ")
}

// begin goes to /login and through the consent page, and returns the query of
// the callback.
func (k *keepin) begin(path string, jar map[string]string) (string, map[string]string) {
	k.Helper()
	res, jar := k.get(path, jar)
	back, err := k.sim.Authorize(res.Header.Get("Location"), "ada")
	if err != nil {
		k.Fatalf("%s: %v", res.Status, err)
	}
	_, query, _ := strings.Cut(back, "?")
	return query, jar
}

// FuzzGatewayEvent: whatever the gateway hands over, keepin answers it whole, not
// as a failure of its own, within the bounds; it sends a browser nowhere but to
// where it may; and only who brings a sign-in of this browser's makes it write.
//
// SESSION, TX, TICKET, QUERY, MEMBER and SDK in an event stand for good ones.
func FuzzGatewayEvent(f *testing.F) {
	for _, e := range events() {
		f.Add(e)
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		k := newKeepin(t)
		query, jar := k.begin("/login?ticket=1&return_to=/x", nil)
		res, signedIn := k.get("/callback?"+query, jar)
		to, err := res.Location()
		if err != nil || signedIn["__Host-keepin"] == "" {
			t.Fatalf("the sign-in: %s", res.Status)
		}
		member, _, _ := strings.Cut(signedIn["__Host-keepin"], ".")
		query, tx := k.begin("/login", nil)
		sdk, err := k.sim.SDKCookie(linkedinsim.DefaultApp().ClientID, "grace")
		if err != nil {
			t.Fatal(err)
		}
		whole := strings.NewReplacer("SDK", sdk.Value, "SESSION", header(signedIn), "TX", header(tx), "TICKET", to.Query().Get("keepin_ticket"), "QUERY", query, "MEMBER", member).Replace(string(event))
		mine := strings.Contains(whole, header(signedIn)) || strings.Contains(whole, header(tx)) || strings.Contains(whole, sdk.Value) || strings.Contains(whole, "userArn")
		k.writes = 0
		calls := len(k.sim.Calls())
		var raw []byte
		bounds.Check(t, func() { raw, err = k.Invoke(t.Context(), []byte(whole)) })
		if !mine && (k.writes > 0 || len(k.sim.Calls()) > calls) && !isTick(whole) {
			t.Errorf("a stranger's event makes %d writes and %d calls", k.writes, len(k.sim.Calls())-calls)
		}
		if k.writes > 12 {
			t.Errorf("one event makes %d writes", k.writes)
		}
		if err != nil {
			if !errors.Is(err, lambdahttp.ErrTick) && !errors.Is(err, lambdahttp.ErrEvent) {
				t.Errorf("got %v", err)
			}
			return
		}
		checkAnswer(t, whole, raw)
	})
}

func isTick(event string) bool {
	var e struct{ From, To *int }
	return json.Unmarshal([]byte(event), &e) == nil && e.From != nil && e.To != nil
}

// mayFail tells by which failures of keepin's an event may be answered: what
// only prefetches is put off, and the browser may say that LinkedIn has failed.
func mayFail(event string) (unavailable, refused bool) {
	var e struct {
		RawQueryString string
		Headers        map[string]string
	}
	_ = json.Unmarshal([]byte(event), &e)
	for _, value := range e.Headers {
		value = strings.ToLower(value)
		unavailable = unavailable || strings.HasPrefix(value, "prefetch") || strings.HasPrefix(value, "preview")
	}
	q, _ := url.ParseQuery(e.RawQueryString)
	return unavailable || q.Get("error") == "server_error" || q.Get("error") == "temporarily_unavailable", q.Get("error") != ""
}

// checkAnswer holds what comes out for an event to what every answer must be.
func checkAnswer(t *testing.T, event string, raw []byte) {
	t.Helper()
	if bytes.Equal(raw, []byte("null")) || bytes.Equal(raw, []byte(`{"isAuthorized":false}`)) || bytes.HasPrefix(raw, []byte(`{"context":`)) {
		return
	}
	var a struct {
		StatusCode      int
		Headers         map[string]string
		Cookies         []string
		Body            *string
		IsBase64Encoded bool
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil || a.Body == nil {
		t.Fatalf("%v: %s", err, raw)
	}
	unavailable, refused := mayFail(event)
	if a.StatusCode < 200 || a.StatusCode >= 500 && !(a.StatusCode == 503 && unavailable) && !(a.StatusCode == 502 && refused) {
		t.Errorf("%.300q: got %d %s", event, a.StatusCode, *a.Body)
	}
	get := func(name string) string {
		for n, v := range a.Headers {
			if strings.EqualFold(n, name) {
				return v
			}
		}
		return ""
	}
	if to := get("Location"); to != "" {
		u, err := url.Parse(to)
		if err != nil || !slices.Contains([]string{"https://app.example", "https://shop.example", "https://www.linkedin.example"}, u.Scheme+"://"+u.Host) || u.User != nil {
			t.Errorf("a browser is sent to %q", to)
		}
	}
	script := get("Cross-Origin-Resource-Policy") == "cross-origin" // the badge's, the one answer that is everybody's
	if get("X-Content-Type-Options") != "nosniff" || get("Referrer-Policy") == "" || get("Cache-Control") != "no-store" && !script {
		t.Errorf("%d comes with %v", a.StatusCode, a.Headers)
	}
	if origin := get("Access-Control-Allow-Origin"); origin != "" && origin != "https://shop.example" && !script {
		t.Errorf("%q may read", origin)
	}
	for _, c := range a.Cookies {
		if !strings.HasPrefix(c, "__Host-keepin") || !strings.HasSuffix(c, "; HttpOnly; Secure; SameSite=Lax") || strings.Contains(c, "Domain") {
			t.Errorf("Set-Cookie: %s", c)
		}
	}
	body := *a.Body
	if a.IsBase64Encoded {
		if _, err := base64.StdEncoding.DecodeString(body); err != nil {
			t.Error(err)
		}
	}
}

// events are what comes in the wild, and some of what should not.
func events() (all [][]byte) {
	type m = map[string]any
	add := func(method, route, path, query string, cookies []string, headers m, body string, more m) {
		http := m{"method": method, "path": path, "sourceIp": "203.0.113.7"}
		e := m{"version": "2.0", "routeKey": route, "rawPath": path, "rawQueryString": query, "cookies": cookies, "headers": headers, "body": body, "isBase64Encoded": false,
			"requestContext": m{"stage": "$default", "http": http}}
		for name, value := range more {
			e[name] = value
			if name == "iam" {
				e["requestContext"] = m{"stage": "$default", "http": http, "authorizer": m{"iam": m{"userArn": value}}}
			}
		}
		text, err := json.Marshal(e)
		if err != nil {
			panic(fmt.Sprint(err)) //nolint:forbidigo // a map of texts
		}
		all = append(all, text)
	}
	role := m{"iam": "arn:aws:sts::111122223333:assumed-role/backend/i-07"}
	add("GET", "ANY /login", "/login", "return_to=%2Fx%3Fa%3Db&scope=openid&ticket=1&renew=1", nil, m{"accept": "text/html"}, "", nil)
	add("GET", "ANY /login", "/login", "return_to=https://evil.example/", nil, m{}, "", nil)
	add("GET", "ANY /login", "/login", "", []string{"SESSION"}, m{"host": "evil.example", "x-forwarded-host": "evil.example"}, "", nil)
	add("GET", "ANY /callback", "/callback", "QUERY", []string{"TX"}, m{"accept": "text/html"}, "", nil)
	add("GET", "ANY /callback", "/callback", "QUERY", nil, m{}, "", nil)
	add("GET", "ANY /callback", "/callback", "QUERY&code=x", []string{"TX"}, m{}, "", nil)
	add("GET", "ANY /callback", "/callback", "QUERY", []string{"TX", "TX"}, m{}, "", nil)
	add("GET", "ANY /callback", "/callback", "error=access_denied&error_description=%3Cscript%3E&state=x", []string{"TX"}, m{"accept": "text/html"}, "", nil)
	add("GET", "ANY /callback", "/callback", "error=server_error&QUERY", []string{"TX"}, m{"sec-purpose": "prefetch"}, "", nil)
	for _, value := range []string{"SDK", "SDKx", "xSDK", "%7B%7D"} {
		name := "linkedin_oauth_" + linkedinsim.DefaultApp().ClientID + "="
		add("POST", "ANY /exchange", "/exchange", "", []string{name + value}, m{"content-type": "application/json"}, "", nil)
		add("POST", "ANY /exchange", "/exchange", "", nil, m{"content-type": "application/json", "origin": "https://shop.example"}, `{"cookie":"`+value+`"}`, nil)
		add("GET", "ANY /login", "/login", "return_to=/x&ticket=1", []string{name + value}, m{}, "", nil)
	}
	add("POST", "ANY /exchange", "/exchange", "", []string{"SESSION"}, m{"content-type": "application/json", "origin": "https://evil.example"}, `{"cookie":"SDK"}`, nil)
	add("OPTIONS", "ANY /exchange", "/exchange", "", nil, m{"origin": "https://shop.example", "access-control-request-method": "POST"}, "", nil)
	add("GET", "ANY /validate", "/validate", "", []string{"SESSION"}, m{"origin": "https://shop.example"}, "", nil)
	add("GET", "ANY /validate", "/validate", "", []string{"SESSION", "SESSION"}, m{"origin": "https://shop.example.evil.example"}, "", nil)
	add("OPTIONS", "ANY /validate", "/validate", "", nil, m{"origin": "https://shop.example", "access-control-request-method": "GET"}, "", nil)
	add("GET", "ANY /", "/", "", []string{"SESSION"}, m{"accept": "text/html"}, "", nil)
	add("GET", "ANY /badge.js", "/badge.js", "", nil, m{"range": "bytes=0-1,2-3,5-"}, "", nil)
	add("POST", "ANY /logout", "/logout", "", []string{"SESSION"}, m{"origin": "https://app.example", "sec-fetch-site": "same-origin"}, "", nil)
	add("POST", "ANY /logout", "/logout", "", []string{"SESSION"}, m{"origin": "null", "sec-fetch-site": "cross-site", "accept": "text/html"}, "a=b", nil)
	add("POST", "ANY /redeem", "/redeem", "", nil, m{"content-type": "application/json"}, `{"ticket":"TICKET"}`, role)
	add("POST", "ANY /redeem", "/redeem", "", nil, m{"content-type": "application/json"}, "eyJ0aWNrZXQiOiIifQ==", m{"iam": "arn:aws:iam::111122223333:user/x", "isBase64Encoded": true})
	for _, path := range []string{"/token", ""} {
		for _, id := range []string{"MEMBER", "..", "a/b", "%2e%2e", strings.Repeat("A", 22)} {
			more := maps.Clone(role)
			more["pathParameters"] = m{"id": id}
			add("GET", "ANY /members/{id}"+path, "/members/x"+path, "min_seconds=60&fresh=1", nil, m{}, "", more)
		}
	}
	add("DELETE", "ANY /members/{id}", "/members/x", "", nil, m{"authorization": "Bearer x"}, "", m{"iam": "arn:aws:sts::1:assumed-role/x", "pathParameters": m{"id": "MEMBER"}})
	add("GET", "$default", "//evil.example/%2f..", "", nil, m{}, "", nil)
	add("GET", "ANY /login", "/login", strings.Repeat("a", 5000), nil, m{}, "", nil)
	add("TRACE", "ANY /{x+}", "/x", "%zz", []string{"=;;", "\x00"}, m{"accept": "text/html"}, "\xff", m{"pathParameters": m{"x": "\u0000/é"}})
	all = append(all, []byte(`{"version":"2.0","type":"REQUEST","routeArn":"arn:aws:execute-api:x","cookies":["SESSION"]}`), []byte(`{"type":"REQUEST","routeArn":"x","cookies":null}`),
		[]byte(`{"from":0,"to":15}`), []byte(`{"from":-1,"to":99}`), []byte(`{"from":0,"to":15,"version":"2.0","routeKey":"ANY /login","requestContext":{"http":{"method":"GET"}}}`),
		[]byte(""), []byte("null"), []byte("[]"), []byte(`{"requestContext":{"http":{"method":7}}}`), []byte(`{"headers":{"a":null},"requestContext":{"http":{"method":"GET"}},"routeKey":"ANY /validate"}`))
	return all
}

// FuzzScheduleEvent: no tick but one of shards 0 to 15 reads the store, and none
// reads more than each shard's queue; what is no tick is refused.
func FuzzScheduleEvent(f *testing.F) {
	for _, e := range []string{
		`{"from":0,"to":15}`, `{"from":3,"to":3}`, `{"from":15,"to":0}`, `{"from":-1,"to":15}`, `{"from":0,"to":16}`, `{"from":0,"to":9223372036854775807}`, `{"from":0,"to":9223372036854775808}`,
		`{"from":0.5,"to":1}`, `{"from":"0","to":"15"}`, `{"from":0}`, `{"FROM":0,"TO":1}`, `{"from":0,"from":1,"to":15}`, `{"from":null,"to":15}`, `{"from":1e1,"to":15}`, `null`, ``, `[0,15]`, `{"time":"2026-03-01T00:00:00Z"}`,
	} {
		f.Add([]byte(e))
	}
	f.Fuzz(func(t *testing.T, event []byte) {
		k := newKeepin(t)
		refresh := lambdahttp.Function{Tick: k.Tick} // as functions/refresh has it
		var answer []byte
		var err error
		bounds.Check(t, func() {
			k.dues = 0
			answer, err = refresh.Invoke(t.Context(), event)
		})
		var e struct{ From, To *int }
		readable := json.Unmarshal(event, &e) == nil && e.From != nil && e.To != nil
		valid := readable && 0 <= *e.From && *e.From <= *e.To && *e.To <= 15
		switch {
		case valid && (err != nil || string(answer) != "null" || k.dues != *e.To-*e.From+1):
			t.Errorf("%q: %s, %v, %d queues read", event, answer, err, k.dues)
		case !valid && (err == nil || k.dues > 0 || k.writes > 0):
			t.Errorf("%q: %s, %d queues read", event, answer, k.dues)
		case readable && !valid && !errors.Is(err, lambdahttp.ErrTick), !readable && !errors.Is(err, lambdahttp.ErrEvent):
			t.Errorf("%q: %v", event, err)
		}
	})
}
