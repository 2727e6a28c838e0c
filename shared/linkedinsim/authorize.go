package linkedinsim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

//go:embed pages
var files embed.FS

// pages are parsed once; a template that does not parse is a bug in this package.
var pages = template.Must(template.New("").Funcs(funcs).ParseFS(files, "pages/*.html"))

// authorizeRequest is an authorization request that passed the checks which
// LinkedIn answers with a page of its own.
type authorizeRequest struct {
	app         *App
	native      bool
	redirectURI string
	state       string
	scopes      []string // sorted
	challenge   string
}

// authorize answers GET of both authorization endpoints: the consent page, or
// straight back to the app where a grant covers the request.
func (s *Sim) authorize(c *call) answer {
	req, refusal := s.parseAuthorize(c)
	if req == nil {
		return refusal
	}
	member := s.session(c.r)
	if member != nil && s.skipConsent(c, req, member) {
		return s.allow(c, req, member)
	}
	return s.consentPage(c, req, member)
}

// decide answers the form of the consent page. Its fields, stable for tests:
// action is allow or cancel (consent), or signin or cancel_login (when nobody
// is logged in); member is the member's key.
func (s *Sim) decide(c *call) answer {
	if err := http.NewCrossOriginProtection().Check(c.r); err != nil {
		return page(403, "error.html", errorPage{Message: "This form was sent from another site."})
	}
	req, refusal := s.parseAuthorize(c)
	if req == nil {
		return refusal
	}
	member := s.members[c.r.PostForm.Get("member")]
	switch c.r.PostForm.Get("action") {
	case "cancel":
		return req.fail("user_cancelled_authorize", "The user cancelled the authorization")
	case "cancel_login":
		return req.fail("user_cancelled_login", "The user cancelled LinkedIn login")
	case "signin":
		if member == nil {
			break
		}
		member.LoggedIn = true
		a := redirect(303, c.r.URL.RequestURI()) // the same request again, now with a session
		a.header.Set("Set-Cookie", s.sessionCookie(member).String())
		return a
	case "allow":
		if member == nil || !member.LoggedIn {
			break
		}
		a := s.allow(c, req, member)
		a.header.Set("Set-Cookie", s.sessionCookie(member).String())
		return a
	}
	return s.consentPage(c, req, s.session(c.r))
}

// scopeGrammar is what a scope looks like; another is invalid, not unauthorized.
var scopeGrammar = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

// parseAuthorize checks a request in the order seen at LinkedIn: client and
// redirect address (a page), then response type and scopes (a redirect).
func (s *Sim) parseAuthorize(c *call) (*authorizeRequest, answer) {
	q := c.r.URL.Query()
	req := &authorizeRequest{
		app:         s.app(q.Get("client_id")),
		native:      strings.Contains(c.r.URL.Path, "native-pkce"),
		redirectURI: q.Get("redirect_uri"),
		state:       q.Get("state"),
		scopes:      splitScopes(q.Get("scope")),
	}
	c.ClientID = q.Get("client_id")
	if req.app == nil || req.native && !req.app.NativePKCE {
		return nil, page(401, "error.html", errorPage{Message: "Client_id doesn't match"})
	}
	if !s.redirectMatches(req) {
		return nil, page(401, "error.html", errorPage{Message: "The redirect_uri does not match the registered value"})
	}
	if q.Get("response_type") != "code" {
		return nil, req.fail("invalid_request", "A required parameter \"response_type\" is missing or not supported")
	}
	if len(req.scopes) == 0 || slices.ContainsFunc(req.scopes, func(sc string) bool { return !scopeGrammar.MatchString(sc) }) {
		return nil, req.fail("invalid_scope_error", "")
	}
	for _, sc := range req.scopes {
		if !slices.Contains(req.app.Scopes, sc) || req.native && slices.Contains([]string{"openid", "profile", "email"}, sc) {
			// LinkedIn escapes the quotes for HTML, and then for the URL.
			return nil, req.fail("unauthorized_scope_error", "Scope &quot;"+sc+"&quot; is not authorized for your application")
		}
	}
	if req.native {
		req.challenge = q.Get("code_challenge")
		if req.challenge == "" || q.Get("code_challenge_method") != "S256" {
			return nil, req.fail("invalid_request", "A required parameter \"code_challenge\" is missing or not supported")
		}
	}
	return req, answer{}
}

func (s *Sim) redirectMatches(req *authorizeRequest) bool {
	if req.native { // any port of this machine
		u, err := url.Parse(req.redirectURI)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Fragment != "" || u.User != nil {
			return false
		}
		host := u.Hostname()
		return host == "127.0.0.1" || host == "::1" || host == "localhost" && s.switches.NativeLocalhost
	}
	asked := req.redirectURI
	if s.switches.RedirectQuery {
		asked, _, _ = strings.Cut(asked, "?")
	}
	return slices.ContainsFunc(req.app.RedirectURLs, func(registered string) bool {
		base, _, _ := strings.Cut(registered, "?")
		return asked == base
	})
}

// skipConsent: the member is logged in, the grant covers the request, and an
// access token of it still lives (Authorization Code Flow, step 5).
func (s *Sim) skipConsent(c *call, req *authorizeRequest, m *Member) bool {
	g := s.state.grants[grantKey{req.app.ClientID, m.Key}]
	if c.sw.AlwaysConsent || g == nil || g.revoked || !covers(g.scopes, req.scopes) {
		return false
	}
	return slices.ContainsFunc(g.tokens, func(t *token) bool { return t.kind == access && t.state(c.now) == "active" })
}

// allow gives the app a code.
func (s *Sim) allow(c *call, req *authorizeRequest, m *Member) answer {
	key := grantKey{req.app.ClientID, m.Key}
	value := opaque(211)
	s.state.codes[value] = &code{
		key: key, redirectURI: req.redirectURI, scopes: req.scopes,
		issuedAt: c.now, native: req.native, challenge: req.challenge,
	}
	c.Member, c.Issued = m.Key, append(c.Issued, fingerprint(value))
	if c.sw.VoidAtConsent {
		s.record(c, key, req.scopes)
	}
	return req.back(url.Values{"code": {value}})
}

// record notes that a member granted scopes, and voids what that voids.
func (s *Sim) record(c *call, key grantKey, scopes []string) {
	g := s.state.grants[key]
	if g == nil {
		g = &grant{}
		s.state.grants[key] = g
	}
	switch {
	case g.scopes == nil || g.revoked:
	case !slices.Equal(g.scopes, scopes):
		s.void(key, func(t *token) bool { return t.kind == access || !c.sw.ScopeChangeSpares })
	case c.sw.ReauthorizeVoids:
		s.void(key, isKind(refresh))
	}
	g.scopes, g.authorizedAt, g.revoked = scopes, c.now, false
}

// back redirects to the app.
func (r *authorizeRequest) back(params url.Values) answer {
	if r.state != "" {
		params.Set("state", r.state)
	}
	sep := "?"
	if strings.Contains(r.redirectURI, "?") {
		sep = "&"
	}
	return redirect(302, r.redirectURI+sep+params.Encode())
}

func (r *authorizeRequest) fail(code, description string) answer {
	return r.back(url.Values{"error": {code}, "error_description": {description}})
}

func redirect(status int, to string) answer {
	return answer{status: status, header: http.Header{"Location": {to}}}
}

// cookieName is LinkedIn's session cookie: who is logged in in this browser.
const cookieName = "sim_li_at"

func (s *Sim) sessionCookie(m *Member) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: m.Key + "." + s.sign(m.Key), Path: "/oauth/", MaxAge: 400 * 24 * 3600,
		HttpOnly: true, Secure: strings.HasPrefix(s.url, "https:"), SameSite: http.SameSiteLaxMode,
	}
}

// session is the member who is logged in in the browser that sent r, or nil.
func (s *Sim) session(r *http.Request) *Member {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	key, mac, _ := strings.Cut(cookie.Value, ".")
	m := s.members[key]
	if m == nil || !m.LoggedIn || !hmac.Equal([]byte(mac), []byte(s.sign(key))) {
		return nil
	}
	return m
}

func (s *Sim) sign(key string) string {
	h := hmac.New(sha256.New, s.seal[:])
	fmt.Fprintf(h, "%s\n%d", key, s.logouts[key])
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

type consentPage struct {
	ClientID string
	Scopes   []scopeWords
	Members  []memberChoice
	SignIn   bool // nobody is logged in
	Action   string
}

type scopeWords struct{ Name, Words string }

type memberChoice struct {
	Member
	Portrait string
	Chosen   bool
}

type errorPage struct {
	Message string
	Back    string // address of a link back; "": none
}

var scopeText = map[string]string{
	"openid":          "Know who you are: your LinkedIn identifier for this app",
	"profile":         "Use your name and photo",
	"email":           "Use the primary e-mail address of your LinkedIn account",
	"w_member_social": "Create, change and delete posts, comments and reactions on your behalf",
}

// consentPage asks those who are logged in, or asks who signs in.
func (s *Sim) consentPage(c *call, req *authorizeRequest, current *Member) answer {
	p := consentPage{ClientID: req.app.ClientID, Action: c.r.URL.RequestURI()}
	for _, sc := range req.scopes {
		p.Scopes = append(p.Scopes, scopeWords{sc, cmp.Or(scopeText[sc], "Use "+sc)})
	}
	p.SignIn = !slices.ContainsFunc(s.order, func(key string) bool { return s.members[key].LoggedIn })
	for _, key := range s.order {
		m := s.members[key]
		if m.LoggedIn || p.SignIn {
			p.Members = append(p.Members, memberChoice{*m, s.portrait(m, c.now), current == m})
		}
	}
	if current == nil && len(p.Members) > 0 {
		p.Members[0].Chosen = true
	}
	return page(200, "consent.html", p)
}

func page(status int, name string, data any) answer {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		return answer{status: 500, body: []byte(err.Error())}
	}
	return answer{status: status, body: b.Bytes(), header: pageHeader()}
}

// pageHeader has no form-action: browsers hold it against the redirect to the
// app that follows the form.
func pageHeader() http.Header {
	return http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Content-Security-Policy": {"default-src 'none'; style-src 'self'; img-src 'self' https: data:; base-uri 'none'; frame-ancestors 'none'"},
		"Referrer-Policy":         {"same-origin"},
	}
}

// Authorize does what a browser would in which memberKey is logged in to
// LinkedIn: it opens rawURL, an authorization request to this simulator, signs
// in and allows where it is asked to, and returns the address it is sent back
// to, which may carry an error. With an empty memberKey it presses Cancel. A
// page that leads nowhere, such as an unknown redirect_uri's, is an error.
func (s *Sim) Authorize(rawURL, memberKey string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", fmt.Errorf("linkedinsim: authorize: %w", err)
	}
	own, _ := url.Parse(s.url)
	u.Scheme, u.Host = own.Scheme, own.Host
	var cookie *http.Cookie
	s.mu.Lock()
	m, nobody := s.members[memberKey], true
	for _, each := range s.members {
		nobody = nobody && !each.LoggedIn
	}
	if m != nil && m.LoggedIn {
		cookie = s.sessionCookie(m)
	}
	signIn := m != nil && !m.LoggedIn
	s.mu.Unlock()
	if m == nil && memberKey != "" {
		return "", unknownMember(memberKey)
	}
	actions := []string{"", "allow"}
	switch {
	case m == nil && nobody:
		actions = []string{"", "cancel_login"}
	case m == nil:
		actions = []string{"", "cancel"}
	case signIn:
		actions = []string{"signin", "", "allow"}
	}
	for _, action := range actions {
		method, body := "GET", ""
		if action != "" {
			method, body = "POST", url.Values{"action": {action}, "member": {memberKey}}.Encode()
		}
		r, err := http.NewRequestWithContext(context.Background(), method, u.String(), strings.NewReader(body))
		if err != nil {
			return "", fmt.Errorf("linkedinsim: authorize: %w", err)
		}
		if action != "" {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if cookie != nil {
			r.AddCookie(cookie)
		}
		resp, err := s.RoundTrip(r)
		if err != nil {
			return "", fmt.Errorf("linkedinsim: authorize: %w", err)
		}
		for _, set := range resp.Cookies() {
			cookie = set
		}
		switch resp.StatusCode {
		case http.StatusOK, http.StatusSeeOther:
		case http.StatusFound:
			return resp.Header.Get("Location"), nil
		default:
			return "", errors.New("linkedinsim: authorize: LinkedIn answers " + strconv.Itoa(resp.StatusCode))
		}
	}
	return "", errors.New("linkedinsim: authorize: LinkedIn does not redirect")
}
