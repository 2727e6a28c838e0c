package linkedinsim_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

func (r rig) browse(method, rawURL string, form url.Values, cookies ...*http.Cookie) reply {
	r.t.Helper()
	req := httptest.NewRequest(method, rawURL, strings.NewReader(form.Encode()))
	req.RequestURI = ""
	if method == "POST" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range cookies {
		req.AddCookie(c)
	}
	return r.do(req)
}

func (a reply) cookie() *http.Cookie {
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		return c
	}
	return nil
}

func TestAuthorizeErrors(t *testing.T) {
	native := "http://linkedin.test/oauth/native-pkce/authorization?response_type=code&client_id=" + clientID + "&state=st4te"
	for name, c := range map[string]struct {
		url      string
		status   int
		page     string // text of LinkedIn's own page
		redirect string // query of the way back
		app      func(*linkedinsim.App)
		sw       func(*linkedinsim.Switches)
	}{
		"unknown client":      {url: authorizeURL(allScope, "client_id", "nobody"), status: 401, page: "Client_id doesn&#39;t match"},
		"no client":           {url: authorizeURL(allScope, "client_id", ""), status: 401, page: "Client_id doesn&#39;t match"},
		"client before uri":   {url: authorizeURL(allScope, "client_id", "nobody", "redirect_uri", "http://evil/"), status: 401, page: "Client_id"},
		"foreign redirect":    {url: authorizeURL(allScope, "redirect_uri", "http://evil/"), status: 401, page: "The redirect_uri does not match the registered value"},
		"no redirect":         {url: authorizeURL(allScope, "redirect_uri", ""), status: 401, page: "The redirect_uri does not match"},
		"trailing slash":      {url: authorizeURL(allScope, "redirect_uri", callback+"/"), status: 401, page: "The redirect_uri does not match"},
		"other port":          {url: authorizeURL(allScope, "redirect_uri", "http://localhost:8081/callback"), status: 401, page: "The redirect_uri does not match"},
		"other scheme":        {url: authorizeURL(allScope, "redirect_uri", "https://localhost:8080/callback"), status: 401, page: "The redirect_uri does not match"},
		"query added":         {url: authorizeURL(allScope, "redirect_uri", callback+"?a=1"), status: 401, page: "The redirect_uri does not match"},
		"query, switch":       {url: authorizeURL(allScope, "redirect_uri", callback+"?a=1"), status: 200, page: "would like to", sw: func(s *linkedinsim.Switches) { s.RedirectQuery = true }},
		"registered query":    {url: authorizeURL(allScope), status: 200, page: "would like to", app: func(a *linkedinsim.App) { a.RedirectURLs = []string{callback + "?id=1"} }},
		"uri before scope":    {url: authorizeURL("r_liteprofile", "redirect_uri", "http://evil/"), status: 401, page: "The redirect_uri"},
		"scope not given":     {url: authorizeURL("openid r_liteprofile"), status: 302, redirect: "error=unauthorized_scope_error&error_description=Scope+%26quot%3Br_liteprofile%26quot%3B+is+not+authorized+for+your+application&state=st4te"},
		"scope malformed":     {url: authorizeURL("openid pro:file"), status: 302, redirect: "error=invalid_scope_error&error_description=&state=st4te"},
		"no scope":            {url: authorizeURL(""), status: 302, redirect: "error=invalid_scope_error&error_description=&state=st4te"},
		"response type":       {url: authorizeURL(allScope, "response_type", "token"), status: 302, redirect: "error=invalid_request&error_description=A+required+parameter+%22response_type%22+is+missing+or+not+supported&state=st4te"},
		"no state, no state":  {url: authorizeURL("", "state", ""), status: 302, redirect: "error=invalid_scope_error&error_description="},
		"commas":              {url: authorizeURL("openid,profile,email"), status: 200, page: "would like to"},
		"nonce and PKCE":      {url: authorizeURL(allScope, "nonce", "n", "code_challenge", "c", "code_challenge_method", "S256", "enable_extended_login", "true", "prompt", "none"), status: 200, page: "would like to"},
		"native, not enabled": {url: native + "&redirect_uri=http://127.0.0.1:9/callback&scope=w_member_social", status: 401, page: "Client_id"},
		"native, no challenge": {url: native + "&redirect_uri=http://127.0.0.1:9/callback&scope=w_member_social", status: 302,
			redirect: "error=invalid_request&error_description=A+required+parameter+%22code_challenge%22+is+missing+or+not+supported&state=st4te", app: nativeApp},
		"native, plain": {url: native + "&redirect_uri=http://127.0.0.1:9/callback&scope=w_member_social&code_challenge=c&code_challenge_method=plain", status: 302,
			redirect: "error=invalid_request&error_description=A+required+parameter+%22code_challenge%22+is+missing+or+not+supported&state=st4te", app: nativeApp},
		"native, openid": {url: native + "&redirect_uri=http://127.0.0.1:9/callback&scope=openid&code_challenge=c&code_challenge_method=S256", status: 302,
			redirect: "error=unauthorized_scope_error&error_description=Scope+%26quot%3Bopenid%26quot%3B+is+not+authorized+for+your+application&state=st4te", app: nativeApp},
		"native, localhost":        {url: native + "&redirect_uri=http://localhost:9/callback&scope=w_member_social&code_challenge=c&code_challenge_method=S256", status: 401, page: "The redirect_uri", app: nativeApp},
		"native, localhost on":     {url: native + "&redirect_uri=http://localhost:9/callback&scope=w_member_social&code_challenge=c&code_challenge_method=S256", status: 200, page: "would like", app: nativeApp, sw: func(s *linkedinsim.Switches) { s.NativeLocalhost = true }},
		"native, IPv6":             {url: native + "&redirect_uri=" + url.QueryEscape("http://[::1]:9/callback") + "&scope=w_member_social&code_challenge=c&code_challenge_method=S256", status: 200, page: "would like", app: nativeApp},
		"native, not this machine": {url: native + "&redirect_uri=http://10.0.0.1:9/callback&scope=w_member_social&code_challenge=c&code_challenge_method=S256", status: 401, page: "The redirect_uri", app: nativeApp},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, withApp(func(a *linkedinsim.App) {
				if c.app != nil {
					c.app(a)
				}
			}))
			if c.sw != nil {
				r.SetSwitches(c.sw)
			}
			a := r.browse("GET", c.url, nil)
			if a.status != c.status || !strings.Contains(a.body, c.page) {
				t.Errorf("got %d %s, want %d with %q", a.status, a.body, c.status, c.page)
			}
			_, query, _ := strings.Cut(a.header.Get("Location"), "?")
			if query != c.redirect {
				t.Errorf("redirect\ngot  %s\nwant %s", query, c.redirect)
			}
		})
	}
}

func nativeApp(a *linkedinsim.App) { a.NativePKCE = true }

func TestConsentPageHoldsWhatTestsPress(t *testing.T) {
	r := newRig(t)
	a := r.browse("GET", authorizeURL(allScope), nil)
	for _, want := range []string{`method="post"`, `name="member"`, `value="ada"`, `id="allow"`, `id="cancel"`,
		"Use your name and photo", "<code>openid</code>", clientID} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the consent page lacks %s", want)
		}
	}
	if strings.Contains(a.body, `value="zoe"`) {
		t.Error("a member who is not logged in is offered for consent")
	}
}

func TestRefusalsGoBackToTheApp(t *testing.T) {
	r := newRig(t)
	if got, _ := r.Authorize(authorizeURL(allScope), ""); got != callback+"?error=user_cancelled_authorize&error_description=The+user+cancelled+the+authorization&state=st4te" {
		t.Errorf("cancelled consent: %s", got)
	}
	for _, m := range linkedinsim.DefaultMembers() {
		r.must(r.LogIn(m.Key, false))
	}
	if a := r.browse("GET", authorizeURL(allScope), nil); !strings.Contains(a.body, `id="signin"`) || !strings.Contains(a.body, "You are not signed in") {
		t.Errorf("nobody is logged in, and the page does not ask who signs in: %s", a.body)
	}
	if got, _ := r.Authorize(authorizeURL(allScope), ""); got != callback+"?error=user_cancelled_login&error_description=The+user+cancelled+LinkedIn+login&state=st4te" {
		t.Errorf("cancelled login: %s", got)
	}
	if got, err := r.Authorize(authorizeURL(allScope), "zoe"); err != nil || !strings.Contains(got, "?code=AQ") {
		t.Errorf("sign-in, then consent: %s, %v", got, err)
	}
}

func TestConsentRefusesAMemberWhoIsNotLoggedIn(t *testing.T) {
	r := newRig(t)
	a := r.browse("POST", authorizeURL(allScope), url.Values{"action": {"allow"}, "member": {"zoe"}})
	if a.status != 200 || a.header.Get("Location") != "" {
		t.Errorf("allowed without a login: %d", a.status)
	}
}

func TestConsentRefusesCrossSitePosts(t *testing.T) {
	r := newRig(t)
	req := httptest.NewRequest("POST", authorizeURL(allScope), strings.NewReader("action=allow&member=ada"))
	req.RequestURI = ""
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	if a := r.do(req); a.status != 403 {
		t.Errorf("a cross-site consent answers %d", a.status)
	}
}

// TestConsentIsSkipped walks every condition of the bypass: each case is a
// browser with ada's session, after what is done to it.
func TestConsentIsSkipped(t *testing.T) {
	for name, c := range map[string]struct {
		do    func(rig)
		scope string
		fresh bool // another browser, without the session
		skip  bool
	}{
		"same scopes":         {skip: true},
		"fewer scopes":        {scope: "openid", skip: true},
		"more scopes":         {scope: allScope + " w_member_social"},
		"no session":          {fresh: true},
		"logged out":          {do: func(r rig) { r.must(r.LogIn("ada", false)) }},
		"logged out and in":   {do: func(r rig) { r.must(r.LogIn("ada", false)); r.must(r.LogIn("ada", true)) }},
		"app removed":         {do: func(r rig) { r.must(r.RemoveApp("ada")) }},
		"access revoked":      {do: func(r rig) { r.must(r.RevokeAccess("ada")) }},
		"refresh revoked":     {do: func(r rig) { r.must(r.RevokeRefresh("ada")) }, skip: true},
		"access expired":      {do: func(r rig) { r.Clock().Advance(60 * 24 * time.Hour) }},
		"a second before":     {do: func(r rig) { r.Clock().Advance(60*24*time.Hour - time.Second) }, skip: true},
		"an old app (switch)": {do: func(r rig) { r.set(func(s *linkedinsim.Switches) { s.AlwaysConsent = true }) }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			allowed := r.browse("POST", authorizeURL(allScope), url.Values{"action": {"allow"}, "member": {"ada"}})
			back, _ := url.Parse(allowed.header.Get("Location"))
			if a := r.exchange(back.Query().Get("code")); a.status != 200 {
				t.Fatalf("exchange: %s", a.body)
			}
			if c.do != nil {
				c.do(r)
			}
			var cookies []*http.Cookie
			if !c.fresh {
				cookies = append(cookies, allowed.cookie())
			}
			scope := allScope
			if c.scope != "" {
				scope = c.scope
			}
			a := r.browse("GET", authorizeURL(scope), nil, cookies...)
			if skipped := a.status == 302 && strings.Contains(a.header.Get("Location"), "?code="); skipped != c.skip {
				t.Errorf("skipped %v, want %v (%d)", skipped, c.skip, a.status)
			}
		})
	}
}

func TestConsentIsAskedBeforeTheFirstExchange(t *testing.T) {
	r := newRig(t)
	allowed := r.browse("POST", authorizeURL(allScope), url.Values{"action": {"allow"}, "member": {"ada"}})
	if a := r.browse("GET", authorizeURL(allScope), nil, allowed.cookie()); a.status != 200 {
		t.Errorf("no token was ever issued, and consent is skipped: %d", a.status)
	}
}

func TestCodesAndTokensHaveLinkedInsForm(t *testing.T) {
	r := newRig(t)
	code := r.code("ada", allScope)
	if len(code) != 211 || !strings.HasPrefix(code, "AQ") {
		t.Errorf("a code of %d characters", len(code))
	}
	a := r.exchange(code)
	if got := a.str("access_token"); len(got) != 350 || !strings.HasPrefix(got, "AQ") {
		t.Errorf("an access token of %d characters", len(got))
	}
	for n, want := range map[int]int{1000: 1000, 1: 24, -1: 24, 1_000_000: 10_000} {
		r.set(func(s *linkedinsim.Switches) { s.TokenLength = n })
		if got := r.refresh(a.str("refresh_token")).str("access_token"); len(got) != want {
			t.Errorf("with token_length %d an access token of %d characters", n, len(got))
		}
	}
}
