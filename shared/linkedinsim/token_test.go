package linkedinsim_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

const (
	days      = 24 * time.Hour
	mismatch  = "Unable to retrieve access token: appid/redirect uri/code verifier does not match authorization code. Or authorization code expired. Or external member binding exists"
	refused   = "The provided authorization grant or refresh token is invalid, expired or revoked"
	verifier  = "a-verifier-of-forty-three-characters-or-more-0"
	otherApp  = "77otherapp0000"
	otherBack = "http://localhost:9/cb"
)

func twoApps(c *linkedinsim.Config) {
	c.Apps = append(c.Apps, linkedinsim.App{ClientID: otherApp, Secret: secret, RedirectURLs: []string{otherBack}, Scopes: []string{"openid"}, Refresh: true})
}

func TestTokenErrors(t *testing.T) {
	code := func(pairs ...string) func(rig) url.Values {
		return func(r rig) url.Values {
			return form(append([]string{"grant_type", "authorization_code", "code", r.code("ada", allScope), "redirect_uri", callback}, pairs...)...)
		}
	}
	refresh := func(pairs ...string) func(rig) url.Values {
		return func(r rig) url.Values {
			a := r.signIn("ada", allScope)
			return form(append([]string{"grant_type", "refresh_token", "refresh_token", a.str("refresh_token")}, pairs...)...)
		}
	}
	doc := func(s *linkedinsim.Switches) { s.DocErrorCodes = true }
	for name, c := range map[string]struct {
		form   func(rig) url.Values
		then   func(rig, url.Values) // after the form was made
		sw     func(*linkedinsim.Switches)
		status int
		code   string
		text   string
	}{
		"unknown code":          {form: code("code", "AQgarbage"), status: 401, code: "invalid_request", text: "Unable to retrieve access token: authorization code not found"},
		"no code":               {form: code("code", ""), status: 400, code: "invalid_request", text: `A required parameter "code" is missing`},
		"no redirect":           {form: code("redirect_uri", ""), status: 400, code: "invalid_request", text: `A required parameter "redirect_uri" is missing`},
		"no grant type":         {form: code("grant_type", ""), status: 400, code: "invalid_request", text: `A required parameter "grant_type" is missing`},
		"no client id":          {form: code("client_id", ""), status: 400, code: "invalid_request", text: `A required parameter "client_id" is missing`},
		"no secret":             {form: code("client_secret", ""), status: 400, code: "invalid_request", text: `A required parameter "client_secret" is missing`},
		"no refresh token":      {form: refresh("refresh_token", ""), status: 400, code: "invalid_request", text: `A required parameter "refresh_token" is missing`},
		"other redirect":        {form: code("redirect_uri", callback+"/"), status: 400, code: "invalid_request", text: mismatch},
		"other redirect, doc":   {form: code("redirect_uri", callback+"/"), sw: doc, status: 400, code: "invalid_redirect_uri", text: mismatch},
		"another app's code":    {form: code("client_id", otherApp), status: 400, code: "invalid_request", text: mismatch},
		"code expired":          {form: code(), then: func(r rig, _ url.Values) { r.Clock().Advance(30 * time.Minute) }, status: 400, code: "invalid_request", text: mismatch},
		"code used":             {form: code(), then: func(r rig, v url.Values) { r.post("/oauth/v2/accessToken", v) }, status: 400, code: "invalid_request", text: mismatch},
		"app removed meanwhile": {form: code(), then: func(r rig, _ url.Values) { r.must(r.RemoveApp("ada")) }, status: 400, code: "invalid_request", text: mismatch},
		"wrong secret":          {form: code("client_secret", "wrong"), status: 401, code: "invalid_client", text: "Client authentication failed"},
		"wrong secret, doc":     {form: code("client_secret", "wrong"), sw: doc, status: 401, code: "invalid_client_id", text: "Client authentication failed"},
		"unknown client":        {form: code("client_id", "abcdefghijk"), status: 400, code: "invalid_client_id", text: `The passed in client_id is invalid "abcdefghijk"`},
		"verifier on web":       {form: code("code_verifier", verifier), status: 401, code: "invalid_client", text: "Client authentication failed"},
		"verifier, no client":   {form: code("code_verifier", verifier, "client_id", "abcdefghijk"), status: 401, code: "invalid_client", text: "Client authentication failed"},
		"2-legged not allowed":  {form: func(rig) url.Values { return form("grant_type", "client_credentials") }, status: 401, code: "access_denied", text: "This application is not allowed to create application tokens"},
		"unknown grant type":    {form: code("grant_type", "password"), status: 400, code: "invalid_request", text: "The passed in grant_type is invalid"},
		"unknown refresh":       {form: refresh("refresh_token", "AQgarbage"), status: 400, code: "invalid_request", text: refused},
		"with a period":         {form: refresh("refresh_token", "AQgarbage"), sw: func(s *linkedinsim.Switches) { s.MessagePeriod = true }, status: 400, code: "invalid_request", text: refused + "."},
		"another app's refresh": {form: refresh("client_id", otherApp), status: 400, code: "invalid_request", text: refused},
		"access token": {form: func(r rig) url.Values {
			return form("grant_type", "refresh_token", "refresh_token", r.signIn("ada", allScope).str("access_token"))
		}, status: 400, code: "invalid_request", text: refused},
		"refresh expired":        {form: refresh(), then: func(r rig, _ url.Values) { r.Clock().Advance(365 * days) }, status: 400, code: "invalid_request", text: refused},
		"refresh revoked":        {form: refresh(), then: func(r rig, _ url.Values) { r.must(r.RevokeRefresh("ada")) }, status: 400, code: "invalid_request", text: refused},
		"app removed":            {form: refresh(), then: func(r rig, _ url.Values) { r.must(r.RemoveApp("ada")) }, status: 400, code: "invalid_request", text: refused},
		"duplicates, switch":     {form: func(r rig) url.Values { v := code()(r); v.Add("code", "x"); return v }, sw: func(s *linkedinsim.Switches) { s.RejectDuplicates = true }, status: 400, code: "invalid_request", text: "missing required parameters, includes an invalid parameter value, parameter more than once. : code"},
		"refresh quota (switch)": {form: refresh(), then: func(r rig, v url.Values) { r.post("/oauth/v2/accessToken", v) }, sw: func(s *linkedinsim.Switches) { s.RefreshQuota = 1 }, status: 429},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, twoApps)
			if c.sw != nil {
				r.SetSwitches(c.sw)
			}
			v := c.form(r)
			if c.then != nil {
				c.then(r, v)
			}
			a := r.post("/oauth/v2/accessToken", v)
			if a.status != c.status || a.str("error") != c.code || a.str("error_description") != c.text {
				t.Errorf("got  %d %s\nwant %d %s %q", a.status, a.body, c.status, c.code, c.text)
			}
		})
	}
}

func TestCodeLivesThirtyMinutes(t *testing.T) {
	r := newRig(t)
	code := r.code("ada", allScope)
	r.Clock().Advance(30*time.Minute - time.Second)
	if a := r.exchange(code); a.status != 200 {
		t.Errorf("a code of 29:59 is refused: %s", a.body)
	}
}

func TestBothSecretsWorkWhileOneIsRolled(t *testing.T) {
	r := newRig(t)
	r.must(r.SetSecret(clientID, "new", secret))
	a := r.signIn("ada", allScope) // with the old one
	v := form("grant_type", "refresh_token", "refresh_token", a.str("refresh_token"), "client_secret", "new")
	if b := r.post("/oauth/v2/accessToken", v); b.status != 200 {
		t.Errorf("the new secret: %s", b.body)
	}
	r.must(r.SetSecret(clientID, "new", ""))
	if b := r.refresh(a.str("refresh_token")); b.status != 401 {
		t.Errorf("the old secret still works: %d", b.status)
	}
	if r.SetSecret("nobody", "a", "b") == nil {
		t.Error("an unknown app's secret was set")
	}
}

// TestRefreshTokenEndsOnAFixedDay is the documented example (Programmatic
// Refresh Tokens): day 59 gives 60 and 306 days, day 360 gives 5 and 5.
func TestRefreshTokenEndsOnAFixedDay(t *testing.T) {
	r := newRig(t).set(func(s *linkedinsim.Switches) { s.ExpiresInExact = true })
	a := r.signIn("ada", allScope)
	token := a.str("refresh_token")
	for _, c := range []struct {
		day             int
		access, refresh int
	}{{0, 60, 365}, {59, 60, 306}, {305, 60, 60}, {306, 59, 59}, {360, 5, 5}} {
		r.Clock().Advance(start.Add(time.Duration(c.day) * days).Sub(r.Clock().Now()))
		b := r.refresh(token)
		if b.num("expires_in") != float64(c.access*86400) || b.num("refresh_token_expires_in") != float64(c.refresh*86400) {
			t.Errorf("day %d: %v and %v, want %d and %d days", c.day, b.json["expires_in"], b.json["refresh_token_expires_in"], c.access, c.refresh)
		}
		if b.str("refresh_token") != token {
			t.Errorf("day %d: the refresh token changed", c.day)
		}
	}
}

func TestAccessTokenEndsAfterSixtyDays(t *testing.T) {
	r := newRig(t)
	a := r.signIn("ada", allScope).str("access_token")
	r.Clock().Advance(60*days - time.Second)
	if got := r.get("/v2/userinfo", a); got.status != 200 {
		t.Errorf("a second before: %d", got.status)
	}
	r.Clock().Advance(time.Second)
	if got := r.get("/v2/userinfo", a); got.num("serviceErrorCode") != 65602 {
		t.Errorf("at the end: %s", got.body)
	}
}

func TestAppWithoutRefreshGetsNoRefreshToken(t *testing.T) {
	r := newRig(t, withApp(func(a *linkedinsim.App) { a.Refresh = false }))
	if a := r.signIn("ada", allScope); strings.Contains(a.body, "refresh_token") {
		t.Errorf("refresh token fields: %s", a.body)
	}
}

func TestOtherScopesVoidOlderTokens(t *testing.T) {
	for name, c := range map[string]struct {
		second      string
		sw          func(*linkedinsim.Switches)
		voidAccess  bool
		voidRefresh bool
	}{
		"same scopes":            {second: allScope},
		"same scopes, reordered": {second: "email,openid,profile"},
		"more scopes":            {second: allScope + " w_member_social", voidAccess: true, voidRefresh: true},
		"fewer scopes":           {second: "openid", voidAccess: true, voidRefresh: true},
		"refresh spared":         {second: "openid", sw: func(s *linkedinsim.Switches) { s.ScopeChangeSpares = true }, voidAccess: true},
		"same, refresh voided":   {second: allScope, sw: func(s *linkedinsim.Switches) { s.ReauthorizeVoids = true }, voidRefresh: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if c.sw != nil {
				r.SetSwitches(c.sw)
			}
			old := r.signIn("ada", allScope)
			code := r.code("ada", c.second)
			if a := r.get("/v2/userinfo", old.str("access_token")); a.status != 200 {
				t.Errorf("voided before the exchange: %s", a.body)
			}
			next := r.exchange(code)
			if a := r.get("/v2/userinfo", old.str("access_token")); (a.num("serviceErrorCode") == 65601) != c.voidAccess {
				t.Errorf("old access token: %s", a.body)
			}
			if a := r.get("/v2/userinfo", next.str("access_token")); a.status != 200 {
				t.Errorf("new access token: %s", a.body)
			}
			if a := r.refresh(old.str("refresh_token")); (a.status == 400) != c.voidRefresh {
				t.Errorf("old refresh token: %s", a.body)
			}
			if a := r.refresh(next.str("refresh_token")); a.status != 200 {
				t.Errorf("new refresh token: %s", a.body)
			}
		})
	}
}

func TestOtherScopesVoidAtConsentUnderTheSwitch(t *testing.T) {
	r := newRig(t).set(func(s *linkedinsim.Switches) { s.VoidAtConsent = true })
	old := r.signIn("ada", allScope)
	r.code("ada", allScope+" w_member_social")
	if a := r.get("/v2/userinfo", old.str("access_token")); a.num("serviceErrorCode") != 65601 {
		t.Errorf("still honoured: %s", a.body)
	}
}

func TestMembersDoNotTouchEachOther(t *testing.T) {
	r := newRig(t)
	ada, grace := r.signIn("ada", allScope), r.signIn("grace", allScope)
	r.must(r.RemoveApp("ada"))
	if a := r.get("/v2/userinfo", ada.str("access_token")); a.num("serviceErrorCode") != 65601 {
		t.Errorf("ada removed the app: %s", a.body)
	}
	if a := r.refresh(grace.str("refresh_token")); a.status != 200 {
		t.Errorf("grace: %s", a.body)
	}
	if r.RemoveApp("nobody") == nil || r.RevokeAccess("nobody") == nil || r.LogIn("nobody", true) == nil {
		t.Error("a member who does not exist")
	}
}

func TestSeveralDevicesHoldValidTokens(t *testing.T) {
	r := newRig(t)
	a, b := r.signIn("ada", allScope), r.signIn("ada", allScope)
	c := r.refresh(a.str("refresh_token"))
	for _, held := range []reply{a, b, c} {
		if me := r.get("/v2/userinfo", held.str("access_token")); me.status != 200 {
			t.Errorf("%s", me.body)
		}
	}
	r.set(func(s *linkedinsim.Switches) { s.RefreshVoidsAccess = true })
	r.refresh(a.str("refresh_token"))
	for held, want := range map[*reply]int{&a: 401, &c: 401, &b: 200} {
		if me := r.get("/v2/userinfo", held.str("access_token")); me.status != want {
			t.Errorf("refresh_voids_access: got %d, want %d", me.status, want)
		}
	}
}

func TestRotation(t *testing.T) {
	for name, grace := range map[string]time.Duration{"without grace": 0, "with grace": time.Minute} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).set(func(s *linkedinsim.Switches) { s.Rotate, s.RotationGrace = true, grace })
			a := r.signIn("ada", allScope)
			b := r.refresh(a.str("refresh_token"))
			if b.str("refresh_token") == a.str("refresh_token") {
				t.Fatal("not rotated")
			}
			if again := r.refresh(a.str("refresh_token")); (again.status == 200) != (grace > 0) {
				t.Errorf("the old one at once: %s", again.body)
			}
			r.Clock().Advance(time.Minute)
			if again := r.refresh(a.str("refresh_token")); again.status != 400 {
				t.Errorf("the old one after a minute: %s", again.body)
			}
			c := r.refresh(b.str("refresh_token"))
			if c.status != 200 || c.num("refresh_token_expires_in") != (365*days-time.Minute).Seconds() {
				t.Errorf("the new one: %s", c.body)
			}
		})
	}
}

func TestCodeReuseRevokesUnderTheSwitch(t *testing.T) {
	for _, on := range []bool{false, true} {
		r := newRig(t).set(func(s *linkedinsim.Switches) { s.CodeReuseRevokes = on })
		code := r.code("ada", allScope)
		a := r.exchange(code)
		r.exchange(code)
		if me := r.get("/v2/userinfo", a.str("access_token")); (me.status == 401) != on {
			t.Errorf("switch %v: %d", on, me.status)
		}
		if b := r.refresh(a.str("refresh_token")); (b.status == 400) != on {
			t.Errorf("switch %v: refresh %d", on, b.status)
		}
	}
}

func TestTokenAnswerUnderSwitches(t *testing.T) {
	for name, c := range map[string]struct {
		sw    func(*linkedinsim.Switches)
		scope string
		field string
		want  any // nil: absent
	}{
		"expires_in":               {scope: allScope, field: "expires_in", want: 5183999.0},
		"expires_in exact":         {scope: allScope, field: "expires_in", want: 5184000.0, sw: func(s *linkedinsim.Switches) { s.ExpiresInExact = true }},
		"token type with openid":   {scope: allScope, field: "token_type", want: "Bearer"},
		"token type without":       {scope: "w_member_social", field: "token_type"},
		"token type always":        {scope: "w_member_social", field: "token_type", want: "Bearer", sw: func(s *linkedinsim.Switches) { s.TokenType = "always" }},
		"token type never":         {scope: allScope, field: "token_type", sw: func(s *linkedinsim.Switches) { s.TokenType = "never" }},
		"scope with spaces":        {scope: allScope, field: "scope", want: "email openid profile", sw: func(s *linkedinsim.Switches) { s.ScopeSeparator = " " }},
		"no ID token w/o openid":   {scope: "w_member_social", field: "id_token"},
		"access lifetime":          {scope: allScope, field: "expires_in", want: 3599.0, sw: func(s *linkedinsim.Switches) { s.AccessLifetime = time.Hour }},
		"refresh lifetime":         {scope: allScope, field: "refresh_token_expires_in", want: 7200.0, sw: func(s *linkedinsim.Switches) { s.RefreshLifetime = 2 * time.Hour }},
		"refresh_token_expires_in": {scope: allScope, field: "refresh_token_expires_in", want: 31536000.0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if c.sw != nil {
				r.SetSwitches(c.sw)
			}
			if got := r.signIn("ada", c.scope).json[c.field]; got != c.want {
				t.Errorf("%s is %v, want %v", c.field, got, c.want)
			}
		})
	}
}

func TestIDTokenOnRefreshUnderTheSwitch(t *testing.T) {
	r := newRig(t).set(func(s *linkedinsim.Switches) { s.IDTokenOnRefresh = true })
	if b := r.refresh(r.signIn("ada", allScope).str("refresh_token")); b.str("id_token") == "" {
		t.Error("no ID token")
	}
}

func TestClientCredentials(t *testing.T) {
	r := newRig(t, withApp(func(a *linkedinsim.App) { a.TwoLegged = true }))
	a := r.post("/oauth/v2/accessToken", form("grant_type", "client_credentials"))
	if a.status != 200 || a.json["expires_in"] != "1800" || len(a.json) != 2 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if in := r.introspect(a.str("access_token")); in.str("auth_type") != "2L" || in.json["scope"] != nil {
		t.Errorf("introspection: %s", in.body)
	}
	if me := r.get("/v2/userinfo", a.str("access_token")); me.status != 403 {
		t.Errorf("userinfo: %d", me.status)
	}
	for name, password := range map[string]string{"raw": secret, "form-encoded": url.QueryEscape(secret)} {
		req := httptest.NewRequest("POST", "http://linkedin.test/oauth/v2/accessToken", strings.NewReader("grant_type=client_credentials"))
		req.RequestURI = ""
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(clientID, password)
		if b := r.do(req); b.status != 200 {
			t.Errorf("Basic, %s: %s", name, b.body)
		}
	}
	r.Clock().Advance(30 * time.Minute)
	if in := r.introspect(a.str("access_token")); in.str("status") != "expired" {
		t.Errorf("after half an hour: %s", in.body)
	}
	r.set(func(s *linkedinsim.Switches) { s.TwoLeggedNumber = true })
	if b := r.post("/oauth/v2/accessToken", form("grant_type", "client_credentials")); b.json["expires_in"] != 1800.0 {
		t.Errorf("as a number: %s", b.body)
	}
}

func TestBasicIsNotEnoughForMembersGrants(t *testing.T) {
	r := newRig(t)
	body := url.Values{"grant_type": {"authorization_code"}, "code": {r.code("ada", allScope)}, "redirect_uri": {callback}}.Encode()
	req := httptest.NewRequest("POST", "http://linkedin.test/oauth/v2/accessToken", strings.NewReader(body))
	req.RequestURI = ""
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(clientID, secret)
	if a := r.do(req); a.status != 400 || a.str("error_description") != `A required parameter "client_secret" is missing` {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestNativePKCE(t *testing.T) {
	back := "http://127.0.0.1:54321/callback"
	sum := sha256.Sum256([]byte(verifier))
	authorize := authorizeURL("w_member_social", "redirect_uri", back, "code_challenge_method", "S256",
		"code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]))
	authorize = strings.Replace(authorize, "/oauth/v2/", "/oauth/native-pkce/", 1)
	for name, c := range map[string]struct {
		verifier, secret, redirect string
		status                     int
		text                       string
	}{
		"right verifier":   {verifier, "", back, 200, ""},
		"wrong verifier":   {verifier + "x", "", back, 400, mismatch},
		"other port":       {verifier, "", "http://127.0.0.1:1/callback", 400, mismatch},
		"no verifier":      {"", "", back, 400, `A required parameter "client_secret" is missing`},
		"secret instead":   {"", secret, back, 400, mismatch},
		"secret and proof": {verifier, secret, back, 401, "Client authentication failed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, withApp(nativeApp))
			to, err := r.Authorize(authorize, "ada")
			r.must(err)
			u, _ := url.Parse(to)
			v := form("grant_type", "authorization_code", "code", u.Query().Get("code"), "redirect_uri", c.redirect, "client_secret", c.secret)
			if c.verifier != "" {
				v.Set("code_verifier", c.verifier)
			}
			a := r.post("/oauth/v2/accessToken", v)
			if a.status != c.status || a.str("error_description") != c.text {
				t.Errorf("%d %s", a.status, a.body)
			}
			if a.str("refresh_token") != "" {
				t.Error("a native app got a refresh token")
			}
		})
	}
	t.Run("refresh under the switch", func(t *testing.T) {
		r := newRig(t, withApp(nativeApp)).set(func(s *linkedinsim.Switches) { s.NativeRefresh = true })
		to, err := r.Authorize(authorize, "ada")
		r.must(err)
		u, _ := url.Parse(to)
		a := r.post("/oauth/v2/accessToken", form("grant_type", "authorization_code", "code", u.Query().Get("code"), "redirect_uri", back, "client_secret", "", "code_verifier", verifier))
		b := r.post("/oauth/v2/accessToken", form("grant_type", "refresh_token", "refresh_token", a.str("refresh_token"), "client_secret", ""))
		if b.status != 200 {
			t.Errorf("%d %s", b.status, b.body)
		}
	})
	t.Run("a web code is not a native one", func(t *testing.T) {
		r := newRig(t, withApp(nativeApp))
		a := r.post("/oauth/v2/accessToken", form("grant_type", "authorization_code", "code", r.code("ada", allScope), "redirect_uri", callback, "client_secret", "", "code_verifier", verifier))
		if a.status != 400 || a.str("error_description") != mismatch {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
}

func TestRevokeIsMissingUnlessSwitchedOn(t *testing.T) {
	r := newRig(t)
	a := r.signIn("ada", allScope)
	if b := r.post("/oauth/v2/revoke", form("token", a.str("access_token"))); b.status != 404 {
		t.Errorf("%d", b.status)
	}
	for name, c := range map[string]struct {
		which                string
		spares               bool
		access, refreshAfter int
	}{
		"access token kills both":   {"access_token", false, 401, 400},
		"access token alone":        {"access_token", true, 401, 200},
		"refresh token kills both":  {"refresh_token", true, 401, 400},
		"an unknown token is a 200": {"", false, 200, 200},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).set(func(s *linkedinsim.Switches) { s.RevokeEndpoint, s.RevokeSparesRefresh = true, c.spares })
			a := r.signIn("ada", allScope)
			token := a.str(c.which)
			if token == "" {
				token = "AQunknown"
			}
			if b := r.post("/oauth/v2/revoke", form("token", token)); b.status != 200 || b.body != "" {
				t.Errorf("revoke: %d %q", b.status, b.body)
			}
			if b := r.get("/v2/userinfo", a.str("access_token")); b.status != c.access {
				t.Errorf("access token: %d", b.status)
			}
			if b := r.refresh(a.str("refresh_token")); b.status != c.refreshAfter {
				t.Errorf("refresh token: %d", b.status)
			}
		})
	}
	r.set(func(s *linkedinsim.Switches) { s.RevokeEndpoint = true })
	if b := r.post("/oauth/v2/revoke", form("token", "x", "client_secret", "wrong")); b.status != 401 {
		t.Errorf("wrong secret: %d", b.status)
	}
}

func TestRefreshQuotaIsNewAtMidnightUTC(t *testing.T) {
	r := newRig(t).set(func(s *linkedinsim.Switches) { s.RefreshQuota = 2 })
	token := r.signIn("ada", allScope).str("refresh_token")
	var got []string
	for range 3 {
		got = append(got, strconv.Itoa(r.refresh(token).status))
	}
	r.Clock().Advance(12*time.Hour - time.Second)
	got = append(got, strconv.Itoa(r.refresh(token).status))
	r.Clock().Advance(time.Second)
	got = append(got, strconv.Itoa(r.refresh(token).status))
	if strings.Join(got, " ") != "200 200 429 429 200" {
		t.Errorf("%v", got)
	}
}

func TestManyTokensDoNotGrowWithoutBound(t *testing.T) {
	r := newRig(t).set(func(s *linkedinsim.Switches) { s.AccessLifetime = time.Hour })
	token := r.signIn("ada", "w_member_social").str("refresh_token")
	for i := range 12_000 {
		if i%100 == 0 {
			r.Clock().Advance(time.Minute)
		}
		r.refresh(token)
	}
	if n := len(r.Secrets()); n > 10_000 {
		t.Errorf("%d tokens are held", n)
	}
	if b := r.refresh(token); b.status != 200 {
		t.Errorf("the refresh token was forgotten: %s", b.body)
	}
	if n := len(r.Calls()); n != 1000 {
		t.Errorf("%d calls are remembered", n)
	}
}
