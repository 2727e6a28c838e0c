package linkedinsim_test

import (
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

func TestIntrospectionErrors(t *testing.T) {
	for name, c := range map[string]struct {
		pairs  []string
		status int
		code   string
		text   string
	}{
		"no client id":   {[]string{"client_id", ""}, 400, "invalid_request", `A required parameter "client_id" is missing`},
		"no secret":      {[]string{"client_secret", ""}, 400, "invalid_request", `A required parameter "client_secret" is missing`},
		"no token":       {[]string{"token", ""}, 400, "invalid_request", `A required parameter "token" is missing`},
		"unknown client": {[]string{"client_id", "nobody"}, 400, "invalid_request", `The passed in client_id is invalid "nobody"`},
		"wrong secret":   {[]string{"client_secret", "wrong"}, 401, "invalid_client", "Client authentication failed"},
		"unknown token":  {[]string{"token", "garbage"}, 400, "invalid_request", "Invalid token"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			token := r.signIn("ada", allScope).str("access_token")
			a := r.post("/oauth/v2/introspectToken", form(append([]string{"token", token}, c.pairs...)...))
			if a.status != c.status || a.str("error") != c.code || a.str("error_description") != c.text {
				t.Errorf("got  %d %s\nwant %d %s %q", a.status, a.body, c.status, c.code, c.text)
			}
		})
	}
}

func TestIntrospectionTellsTheState(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(rig)
		status string
	}{
		"active":  {func(rig) {}, "active"},
		"expired": {func(r rig) { r.Clock().Advance(60 * days) }, "expired"},
		"revoked": {func(r rig) { r.must(r.RevokeAccess("ada")) }, "revoked"},
		"removed": {func(r rig) { r.must(r.RemoveApp("ada")) }, "revoked"},
		"active while the API does not honour it yet": {func(r rig) {
			r.set(func(s *linkedinsim.Switches) { s.PropagationDelay = time.Hour })
		}, "active"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			token := r.signIn("ada", allScope).str("access_token")
			c.do(r)
			a := r.introspect(token)
			if a.status != 200 || a.str("status") != c.status || a.json["active"] != (c.status == "active") {
				t.Errorf("%d %s", a.status, a.body)
			}
			if a.num("created_at") != float64(start.Unix()) || a.num("expires_at") != float64(start.Add(60*days).Unix()) ||
				a.num("authorized_at") != float64(start.Unix()) || a.str("client_id") != clientID {
				t.Errorf("times and client: %s", a.body)
			}
		})
	}
}

func TestIntrospectionAfterARefreshKeepsTheDayOfConsent(t *testing.T) {
	r := newRig(t)
	token := r.signIn("ada", allScope).str("refresh_token")
	r.Clock().Advance(50 * days)
	a := r.introspect(r.refresh(token).str("access_token"))
	if a.num("authorized_at") != float64(start.Unix()) || a.num("created_at") != float64(start.Add(50*days).Unix()) {
		t.Errorf("%s", a.body)
	}
}

func TestIntrospectionHidesAnotherAppsToken(t *testing.T) {
	r := newRig(t, twoApps)
	token := r.signIn("ada", allScope).str("access_token")
	a := r.post("/oauth/v2/introspectToken", form("token", token, "client_id", otherApp))
	if a.status != 200 || a.body != `{"active":false}` {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestRefreshTokensAreIntrospectedUnderTheSwitch(t *testing.T) {
	r := newRig(t)
	token := r.signIn("ada", allScope).str("refresh_token")
	if a := r.introspect(token); a.status != 400 {
		t.Errorf("%d", a.status)
	}
	r.set(func(s *linkedinsim.Switches) { s.IntrospectRefresh = true })
	if a := r.introspect(token); a.json["active"] != true {
		t.Errorf("%s", a.body)
	}
}
