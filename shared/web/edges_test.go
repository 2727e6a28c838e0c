package web_test

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/web"
)

// LinkedIn changed its issuer once: a sign-in that began with the old one must
// not end by the rules of the new one.
func TestSignInThatBeganWithAnotherIssuerIsOver(t *testing.T) {
	b := newBench(t)
	ada := b.browser()
	state := ada.begin("")
	site, err := web.NewSite(web.Config{BaseURL: "https://app.example/auth", Scopes: []string{"openid"}, Issuer: "https://www.linkedin.com", Now: func() time.Time { return b.now }})
	b.fatal(err)
	b.mux = web.Mux(site, site.Path(), web.Routes{Callback: web.Callback(site, b.sessions, b.linkedin, b.keeper)})
	b.ops = nil
	if res := ada.api("GET", callback(state)); res.StatusCode != 400 || b.linkedin.exchanges != 0 || b.writes() != 0 {
		t.Errorf("%d %s, %d exchanges, %d writes", res.StatusCode, body(res), b.linkedin.exchanges, b.writes())
	}
}

func TestTwoBackEndKeysAreNone(t *testing.T) {
	b := newBench(t)
	r := b.browser().request("GET", "/auth/members/0123456789abcdefghijkl")
	r.Header["Authorization"] = []string{"Bearer " + backendKey, "Bearer " + backendKey}
	if res := b.send(r); res.StatusCode != 401 {
		t.Errorf("%d %s", res.StatusCode, body(res))
	}
}

func TestSubjectThatIsNoHeaderStaysInTheBody(t *testing.T) {
	b := newBench(t)
	ada := b.browser()
	ada.signIn("")
	b.fatal(b.keeper.change(t.Context(), keeper.NewMemberID(clientID, "ada-sub"), func(g *keeper.Grant) { g.Subject = "ä\r\nX-Keepin-Member: eve" }))
	res := ada.api("GET", "/auth/validate")
	if got, ok := res.Header["X-Keepin-Sub"]; res.StatusCode != 200 || ok {
		t.Errorf("%d, X-Keepin-Sub: %q", res.StatusCode, got)
	}
}

func TestAPathThatACleanerWouldChangeIsNone(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/auth//validate", "/auth/./validate", "/auth/x/../validate", "/auth/validate/", "//auth/validate", "/authvalidate", "/auth/members//token"} {
		r := b.browser().request("GET", "/")
		r.URL.Path = path
		if res := b.send(r); res.StatusCode != 404 || res.Header.Get("Location") != "" {
			t.Errorf("%s: %d to %q", path, res.StatusCode, res.Header.Get("Location"))
		}
	}
}

func TestIssuerMayBeMissingOnlyWhereTheProviderAnnouncesNone(t *testing.T) {
	for announced, want := range map[bool]int{false: 303, true: 400} {
		b := newBench(t, func(c *web.Config) { c.ResponseIssuer = announced }).browser()
		state := b.begin("")
		if res := b.get(callback(state)); res.StatusCode != want {
			t.Errorf("announced %v, and missing: %d, want %d", announced, res.StatusCode, want)
		}
		state = b.begin("?renew=1")
		if res := b.get(callback(state) + "&iss=https://www.linkedin.com/oauth"); res.StatusCode != 303 {
			t.Errorf("announced %v, and there: %d", announced, res.StatusCode)
		}
	}
}

// TestTheScriptIsTheSameForEverybody: nothing of a member is in it.
func TestTheScriptIsTheSameForEverybody(t *testing.T) {
	b := newBench(t)
	ada, bob := b.browser(), b.browser()
	ada.signIn("")
	b.linkedin.sub = "bob-sub"
	bob.signIn("")
	nobody := b.browser().get("/auth/badge.js")
	want := body(nobody)
	for _, who := range []*browser{ada, bob} {
		res := who.get("/auth/badge.js?for=me", "Origin: https://shop.example", "Referer: https://shop.example/x")
		if got := body(res); got != want || res.StatusCode != 200 || res.Header.Get("Etag") != nobody.Header.Get("Etag") || len(res.Header["Set-Cookie"]) > 0 {
			t.Errorf("%d, %d characters, want 200, %d", res.StatusCode, len(got), len(want))
		}
	}
}

// TestEverySignInAndLogoutIsALine: who, when and what, and nothing secret.
func TestEverySignInAndLogoutIsALine(t *testing.T) {
	b := newBench(t).browser()
	ada := string(keeper.NewMemberID(clientID, "ada-sub"))
	for _, step := range []struct {
		do   func()
		want []string
	}{
		{func() { b.signIn("") }, []string{`"msg":"member signed in"`, `"member":"` + ada + `"`}},
		{func() { b.api("POST", "/auth/logout") }, []string{`"msg":"member signed out"`, `"member":"` + ada + `"`}},
		{func() { b.get("/auth/callback?state=" + b.begin("") + "&error=access_denied") }, []string{`"msg":"sign-in refused by the member"`}},
		{func() { b.get("/auth/callback?state=x&code=" + code) }, []string{`"code":"bad_state"`, `"status":400`, `"route":"/callback"`}},
		{func() { b.backend("DELETE", "/members/"+ada, "") }, []string{`"msg":"member signed out"`, `"member":"` + ada + `"`}},
	} {
		b.log.Reset()
		step.do()
		found := false
		for line := range strings.Lines(b.log.String()) {
			all := strings.Contains(line, `"time":"20`)
			for _, want := range step.want {
				all = all && strings.Contains(line, want)
			}
			found = found || all
		}
		if !found {
			t.Errorf("no line has %q: %s", step.want, b.log.String())
		}
		if strings.Contains(b.log.String(), code) {
			t.Errorf("a line has the code: %s", b.log.String())
		}
	}
}

// TestNoAnswerNamesAVersionAndNoDebugPageIsThere.
func TestNoAnswerNamesAVersionAndNoDebugPageIsThere(t *testing.T) {
	b := newBench(t).browser()
	b.signIn("")
	debug := []string{"/debug/pprof/", "/debug/vars", "/metrics", "/version", "/.git/config", "/.env", "/server-status", "/actuator/env"}
	for _, path := range append(debug, "/", "/login?return_to=//x", "/validate", "/badge.js", "/nothing", "/members/x") {
		res := b.get("/auth" + path)
		for _, name := range []string{"Server", "X-Powered-By", "Via", "X-Version", "X-Runtime"} {
			if got := res.Header.Get(name); got != "" {
				t.Errorf("%s: %s: %s", path, name, got)
			}
		}
		if slices.Contains(debug, path) && res.StatusCode != 404 || strings.Contains(body(res), runtime.Version()) {
			t.Errorf("%s: %d %s", path, res.StatusCode, body(res))
		}
	}
}

// TestNobodyIsToldApart: who asks for a member that is not there, has signed out,
// or never was one, gets the same answer for the same reads.
func TestNobodyIsToldApart(t *testing.T) {
	b := newBench(t).browser()
	ada := string(keeper.NewMemberID(clientID, "ada-sub"))
	b.signIn("")
	cookie := b.jar["__Host-keepin"]
	b.api("POST", "/auth/logout")
	stranger := strings.Repeat("A", 22)
	for _, pair := range [][2]func() *http.Response{
		{func() *http.Response { return b.backend("GET", "/members/"+ada, "") }, func() *http.Response { return b.backend("GET", "/members/"+stranger, "") }},
		{func() *http.Response { return b.backend("GET", "/members/"+ada+"/token", "") }, func() *http.Response { return b.backend("GET", "/members/"+stranger+"/token", "") }},
		{func() *http.Response { return b.backend("DELETE", "/members/"+stranger, "") }, func() *http.Response { return b.backend("DELETE", "/members/"+stranger[:21]+"B", "") }},
		{func() *http.Response { return b.api("GET", "/auth/validate", "Cookie: __Host-keepin="+cookie) }, func() *http.Response {
			return b.api("GET", "/auth/validate", "Cookie: __Host-keepin="+stranger+cookie[22:])
		}},
	} {
		var seen [2]string
		for i, ask := range pair {
			b.ops = nil
			res := ask()
			seen[i] = fmt.Sprint(res.StatusCode, res.Header, body(res), b.ops)
		}
		if seen[0] != seen[1] {
			t.Errorf("%s\nis not\n%s", seen[0], seen[1])
		}
	}
}
