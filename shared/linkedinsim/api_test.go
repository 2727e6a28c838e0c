package linkedinsim_test

import (
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

func TestAPIRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		header string // "TOKEN" stands for the member's token
		do     func(rig)
		scope  string
		status int
		body   string
	}{
		"no token":     {"", nil, allScope, 401, `{"status":401,"serviceErrorCode":65604,"code":"EMPTY_ACCESS_TOKEN","message":"Empty oauth2 access token"}`},
		"empty token":  {"Bearer ", nil, allScope, 401, `{"status":401,"serviceErrorCode":65604,"code":"EMPTY_ACCESS_TOKEN","message":"Empty oauth2 access token"}`},
		"other scheme": {"Basic TOKEN", nil, allScope, 401, `{"status":401,"message":"Unknown authentication schema"}`},
		"garbage":      {"Bearer garbage", nil, allScope, 401, `{"status":401,"serviceErrorCode":65600,"code":"INVALID_ACCESS_TOKEN","message":"Invalid access token"}`},
		"revoked":      {"Bearer TOKEN", func(r rig) { r.must(r.RevokeAccess("ada")) }, allScope, 401, `{"status":401,"serviceErrorCode":65601,"code":"REVOKED_ACCESS_TOKEN","message":"The token used in the request has been revoked by the user"}`},
		"removed":      {"Bearer TOKEN", func(r rig) { r.must(r.RemoveApp("ada")) }, allScope, 401, `{"status":401,"serviceErrorCode":65601,"code":"REVOKED_ACCESS_TOKEN","message":"The token used in the request has been revoked by the user"}`},
		"expired":      {"Bearer TOKEN", func(r rig) { r.Clock().Advance(60 * days) }, allScope, 401, `{"status":401,"serviceErrorCode":65602,"code":"EXPIRED_ACCESS_TOKEN","message":"The token used in the request has expired"}`},
		"no openid":    {"Bearer TOKEN", nil, "w_member_social", 403, `{"status":403,"serviceErrorCode":100,"code":"ACCESS_DENIED","message":"Not enough permissions to access: GET /userinfo"}`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			token := r.signIn("ada", c.scope).str("access_token")
			if c.do != nil {
				c.do(r)
			}
			req := httptest.NewRequest("GET", "http://linkedin.test/v2/userinfo", nil)
			req.RequestURI = ""
			if c.header != "" {
				req.Header.Set("Authorization", strings.Replace(c.header, "TOKEN", token, 1))
			}
			if a := r.do(req); a.status != c.status || a.body != c.body {
				t.Errorf("got  %d %s\nwant %d %s", a.status, a.body, c.status, c.body)
			}
		})
	}
}

func TestCodesAndRefreshTokensAreNoAccessTokens(t *testing.T) {
	r := newRig(t)
	code := r.code("ada", allScope)
	refresh := r.exchange(code).str("refresh_token")
	for name, value := range map[string]string{"code": code, "refresh token": refresh} {
		if a := r.get("/v2/userinfo", value); a.num("serviceErrorCode") != 65600 {
			t.Errorf("%s: %s", name, a.body)
		}
	}
}

func TestNewTokensAreHonouredAfterThePropagationDelay(t *testing.T) {
	r := newRig(t).set(func(s *linkedinsim.Switches) { s.PropagationDelay = 30 * time.Second })
	a := r.signIn("ada", allScope)
	token := a.str("access_token")
	if got := r.get("/v2/userinfo", token); got.num("serviceErrorCode") != 65601 {
		t.Errorf("at once: %s", got.body)
	}
	if g := r.Grants(); g[0].Tokens[0].State != "pending" {
		t.Errorf("state %s", g[0].Tokens[0].State)
	}
	r.Clock().Advance(30 * time.Second)
	if got := r.get("/v2/userinfo", token); got.status != 200 {
		t.Errorf("after the delay: %s", got.body)
	}
	fresh := r.refresh(a.str("refresh_token")).str("access_token")
	if got := r.get("/v2/userinfo", fresh); got.num("serviceErrorCode") != 65601 {
		t.Errorf("a refreshed one at once: %s", got.body)
	}
	if got := r.get("/v2/userinfo", token); got.status != 200 {
		t.Errorf("the older one meanwhile: %s", got.body)
	}
}

func TestOldScopesAreRememberedUnderTheSwitch(t *testing.T) {
	r := newRig(t).set(func(s *linkedinsim.Switches) { s.StaleScopeCache = 5 * time.Minute })
	r.get("/v2/userinfo", r.signIn("ada", "openid").str("access_token"))
	token := r.signIn("ada", allScope).str("access_token")
	if a := r.get("/v2/userinfo", token); a.status != 200 || a.str("name") != "" {
		t.Errorf("within five minutes: %s", a.body)
	}
	r.Clock().Advance(5 * time.Minute)
	if a := r.get("/v2/userinfo", token); a.str("name") == "" {
		t.Errorf("after five minutes: %s", a.body)
	}
}

func TestUserinfoFollowsScopesAndSwitches(t *testing.T) {
	for name, c := range map[string]struct {
		member, scope string
		sw            func(*linkedinsim.Switches)
		want          string // claims; LOC is the locale
		locale        string
	}{
		"openid alone":    {member: "ada", scope: "openid", want: "sub"},
		"with profile":    {member: "ada", scope: "openid profile", want: "family_name given_name locale name picture sub"},
		"with email":      {member: "ada", scope: "openid email", want: "email email_verified sub"},
		"email not known": {member: "linus", scope: "openid email", want: "sub"},
		"locale string":   {member: "ada", scope: "openid profile", sw: func(s *linkedinsim.Switches) { s.LocaleString, s.LocaleHyphen = true, true }, want: "family_name given_name locale name picture sub", locale: `"locale":"en-US"`},
		"locale object":   {member: "ada", scope: "openid profile", want: "family_name given_name locale name picture sub", locale: `"locale":{"country":"US","language":"en"}`},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if c.sw != nil {
				r.SetSwitches(c.sw)
			}
			a := r.get("/v2/userinfo", r.signIn(c.member, c.scope).str("access_token"))
			var names []string
			for n := range a.json {
				names = append(names, n)
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != c.want || !strings.Contains(a.body, c.locale) {
				t.Errorf("%s", a.body)
			}
			if v, ok := a.json["email_verified"]; ok && v != true {
				t.Errorf("email_verified is %T", v)
			}
		})
	}
}

func TestSubjectIsPairwise(t *testing.T) {
	sub := linkedinsim.Subject(clientID, "ada")
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{10}$`).MatchString(sub) {
		t.Errorf("sub %q", sub)
	}
	if sub == linkedinsim.Subject(otherApp, "ada") || sub == linkedinsim.Subject(clientID, "grace") {
		t.Error("two apps or two members share a sub")
	}
}

func TestPortraitIsServedUntilItsAddressEnds(t *testing.T) {
	r := newRig(t)
	picture := r.get("/v2/userinfo", r.signIn("ada", allScope).str("access_token")).str("picture")
	path := strings.TrimPrefix(picture, "http://linkedin.test")
	if a := r.get(path, ""); a.status != 200 || a.header.Get("Content-Type") != "image/svg+xml" || !strings.Contains(a.body, ">AL</text>") {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.Clock().Advance(90 * days)
	if a := r.get(path, ""); a.status != 403 {
		t.Errorf("after its end: %d", a.status)
	}
	if a := r.get("/_sim/portrait/nobody.svg?e=99999999999", ""); a.status != 404 {
		t.Errorf("of nobody: %d", a.status)
	}
}

func TestPostsNeedAVersionAndAScope(t *testing.T) {
	for name, c := range map[string]struct {
		scope, version string
		status         int
		text           string
	}{
		"this month":        {"openid w_member_social", "202603", 201, ""},
		"with a revision":   {"openid w_member_social", "202603.01", 201, ""},
		"a year ago":        {"openid w_member_social", "202503", 201, ""},
		"no version":        {"openid w_member_social", "", 400, "A version must be present. Please specify a version by adding the Linkedin-Version header."},
		"too old":           {"openid w_member_social", "202502", 426, "Requested version 20250201 is not active"},
		"not yet":           {"openid w_member_social", "202604", 426, "Requested version 20260401 is not active"},
		"no version at all": {"openid w_member_social", "latest", 426, "Requested version latest is not active"},
		"no scope":          {"openid", "202603", 403, "Not enough permissions to access: POST /posts"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			req := httptest.NewRequest("POST", "http://linkedin.test/rest/posts", strings.NewReader(`{"commentary":"hello"}`))
			req.RequestURI = ""
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+r.signIn("ada", c.scope).str("access_token"))
			if c.version != "" {
				req.Header.Set("LinkedIn-Version", c.version)
			}
			a := r.do(req)
			if a.status != c.status || a.str("message") != c.text {
				t.Errorf("%d %s", a.status, a.body)
			}
			if (a.header.Get("X-Restli-Id") != "") != (c.status == 201) {
				t.Errorf("x-restli-id %q", a.header.Get("X-Restli-Id"))
			}
		})
	}
}

func TestEveryAnswerCarriesLinkedInsHeaders(t *testing.T) {
	r := newRig(t)
	r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.AnswerStatus, Status: 500, Endpoint: linkedinsim.JWKSEndpoint}))
	for _, path := range []string{"/v2/userinfo", "/oauth/.well-known/openid-configuration", "/oauth/openid/jwks", "/nowhere", "/oauth/v2/authorization"} {
		a := r.get(path, "")
		for _, name := range []string{"x-li-uuid", "x-li-fabric", "x-li-request-id", "x-li-pop", "x-li-proto", "cache-control", "pragma", "expires"} {
			if a.header.Get(name) == "" {
				t.Errorf("%s lacks %s", path, name)
			}
		}
	}
	if a := r.get("/nowhere", ""); a.status != 404 || a.str("code") != "NOT_FOUND" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if x, y := r.get("/nowhere", ""), r.get("/nowhere", ""); x.header.Get("x-li-uuid") == y.header.Get("x-li-uuid") {
		t.Error("two answers have one x-li-uuid")
	}
}

func TestDiscoverySaysWhatLinkedInSaysAndNoMore(t *testing.T) {
	r := newRig(t)
	a := r.get("/oauth/.well-known/openid-configuration", "")
	if a.str("issuer") != "http://linkedin.test/oauth" || len(a.json) != 10 {
		t.Errorf("%s", a.body)
	}
	for _, absent := range []string{"token_endpoint_auth_methods_supported", "code_challenge_methods_supported", "grant_types_supported",
		"introspection_endpoint", "revocation_endpoint", "end_session_endpoint"} {
		if _, there := a.json[absent]; there {
			t.Errorf("%s is there", absent)
		}
	}
	r.set(func(s *linkedinsim.Switches) { s.OldIssuer = true })
	if a := r.get("/oauth/.well-known/openid-configuration", ""); a.str("issuer") != "http://linkedin.test" {
		t.Errorf("old issuer: %s", a.str("issuer"))
	}
	if k := r.get("/oauth/openid/jwks", ""); strings.Contains(k.body, `"use"`) || !strings.Contains(k.body, `"kid"`) {
		t.Errorf("keys: %s", k.body)
	}
}

func TestTheRestOfTheAPIIsForbidden(t *testing.T) {
	r := newRig(t)
	token := r.signIn("ada", allScope).str("access_token")
	if a := r.get("/v2/me?projection=(id)", token); a.status != 403 || a.str("message") != "Not enough permissions to access: GET /me" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.get("/v2/me", "garbage"); a.num("serviceErrorCode") != 65600 {
		t.Errorf("%d %s", a.status, a.body)
	}
}
