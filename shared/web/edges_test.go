package web_test

import (
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
