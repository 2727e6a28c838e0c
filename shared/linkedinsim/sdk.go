package linkedinsim

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // LinkedIn's JavaScript SDK signed with it
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sdkLifetime is how long a token of the JavaScript SDK lives.
const sdkLifetime = 30 * time.Minute

// oauth1Window is how far an OAuth 1.0a timestamp may be from LinkedIn's clock.
const oauth1Window = 5 * time.Minute

// SDKCookie does what LinkedIn's JavaScript SDK did in a page of the
// application once a member had allowed it there: it returns the cookie that the
// SDK set on the application's own host, which any script there may read. The
// member has then granted all that the application may ask for.
func (s *Sim) SDKCookie(clientID, memberKey string) (*http.Cookie, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	app := s.app(clientID)
	switch {
	case app == nil:
		return nil, fmt.Errorf("linkedinsim: no app is named %q", clientID)
	case s.members[memberKey] == nil:
		return nil, unknownMember(memberKey)
	}
	c := &call{sim: s, now: s.clock.Now(), sw: s.switches}
	key := grantKey{clientID, memberKey}
	scopes := slices.Sorted(slices.Values(app.Scopes))
	s.record(c, key, scopes)
	t := s.issue(c, sdk, key, scopes, c.now.Add(sdkLifetime))
	member := Subject(clientID, memberKey)
	text, err := json.Marshal(struct {
		Version   string   `json:"signature_version"`
		Method    string   `json:"signature_method"`
		Order     []string `json:"signature_order"`
		Token     string   `json:"access_token"`
		Signature string   `json:"signature"`
		Member    string   `json:"member_id"`
	}{"1", "HMAC-SHA1", []string{"access_token", "member_id"}, t.value, hmacSHA1(app.Secret, t.value+member), member})
	if err != nil {
		return nil, err
	}
	return &http.Cookie{
		Name: "linkedin_oauth_" + clientID, Value: percent(string(text)), Path: "/",
		MaxAge: int(sdkLifetime / time.Second), Secure: strings.HasPrefix(s.url, "https:"),
	}, nil
}

// sdkExchange answers POST /uas/oauth/accessToken: a token of the JavaScript SDK
// for one that the REST API takes. The request is signed by OAuth 1.0a (RFC
// 5849), with the application's secret and no token. What LinkedIn answered was
// a token of OAuth 1.0a; the switch sdk_answer has that. Its "Best Practices for
// Application Development" speak of OAuth 2.0, which is what is answered else.
func (s *Sim) sdkExchange(c *call) answer {
	params := oauth1Params(c)
	c.ClientID = params.Get("oauth_consumer_key")
	if c.sw.SDKAnswer == "gone" {
		return apiError(410, 0, "", "This resource is no longer available under v1 APIs")
	}
	app := s.app(c.ClientID)
	stamp, _ := strconv.ParseInt(params.Get("oauth_timestamp"), 10, 64)
	at, nonce := time.Unix(stamp, 0), params.Get("oauth_timestamp")+" "+params.Get("oauth_nonce")
	switch {
	case app == nil:
		return oauthProblem("consumer_key_unknown")
	case params.Get("oauth_signature_method") != "HMAC-SHA1":
		return oauthProblem("signature_method_rejected")
	case at.Before(c.now.Add(-oauth1Window)) || at.After(c.now.Add(oauth1Window)):
		return oauthProblem("timestamp_refused")
	case params.Get("oauth_nonce") == "":
		return oauthProblem("parameter_absent")
	case !s.nonces[nonce].IsZero():
		return oauthProblem("nonce_used")
	case !app.signed(s.url+c.r.URL.Path, params):
		return oauthProblem("signature_invalid")
	}
	if _, struck := c.strike(WrongSecret); struck {
		return oauthProblem("signature_invalid")
	}
	if len(s.nonces) > 1000 {
		maps.DeleteFunc(s.nonces, func(_ string, seen time.Time) bool { return c.now.Sub(seen) > 2*oauth1Window })
	}
	s.nonces[nonce] = c.now

	c.Presented = fingerprint(params.Get("xoauth_oauth2_access_token"))
	t := s.state.tokens[params.Get("xoauth_oauth2_access_token")]
	if t == nil || t.kind != sdk || t.key.client != app.ClientID || t.state(c.now) != "active" {
		return oauthProblem("token_rejected")
	}
	c.Member = t.key.member
	if c.sw.SDKAnswer == "oauth1" {
		return formAnswer(200, url.Values{
			"oauth_token": {"78--" + opaque(32)}, "oauth_token_secret": {opaque(36)},
			"oauth_expires_in": {"0"}, "oauth_authorization_expires_in": {"0"},
		})
	}
	key := t.key
	if _, struck := c.strike(OtherApp); struck {
		key.client = "77anotherapp00"
	}
	a := s.issue(c, access, key, t.scopes, c.now.Add(c.sw.accessLifetime()))
	if app.Refresh {
		a.parent = s.issue(c, refresh, key, t.scopes, c.now.Add(c.sw.refreshLifetime()))
	}
	given := s.granted(c, a, false)
	if c.sw.SDKAnswer != "form" {
		return given
	}
	var members map[string]any
	_ = json.Unmarshal(given.body, &members)
	form := url.Values{}
	for name, value := range members {
		if n, ok := value.(float64); ok {
			value = strconv.FormatFloat(n, 'f', -1, 64)
		}
		form.Set(name, fmt.Sprint(value))
	}
	return formAnswer(200, form)
}

// oauth1Params are the parameters of the body, the query and the Authorization
// header.
func oauth1Params(c *call) url.Values {
	params := url.Values{}
	for name, values := range c.params {
		params[name] = slices.Clone(values)
	}
	header, ok := strings.CutPrefix(c.r.Header.Get("Authorization"), "OAuth ")
	for part := range strings.SplitSeq(header, ",") {
		name, value, found := strings.Cut(strings.TrimSpace(part), "=")
		plain, err := url.PathUnescape(strings.Trim(value, `"`))
		if ok && found && err == nil && name != "realm" {
			params.Add(name, plain)
		}
	}
	return params
}

// signed reports whether the application's secret made the signature of a POST
// (RFC 5849, section 3.4).
func (a *App) signed(address string, params url.Values) bool {
	var pairs []string
	for name, values := range params {
		for _, value := range values {
			if name != "oauth_signature" {
				pairs = append(pairs, percent(name)+"="+percent(value))
			}
		}
	}
	slices.Sort(pairs)
	base := "POST&" + percent(address) + "&" + percent(strings.Join(pairs, "&"))
	is := func(secret string) bool {
		return secret != "" && hmac.Equal([]byte(hmacSHA1(percent(secret)+"&", base)), []byte(params.Get("oauth_signature")))
	}
	return is(a.Secret) || is(a.PreviousSecret)
}

func hmacSHA1(key, text string) string {
	mac := hmac.New(sha1.New, []byte(key))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// percent is the encoding of RFC 5849, section 3.6.
func percent(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func formAnswer(status int, form url.Values) answer {
	return answer{status: status, body: []byte(form.Encode()), header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
}

func oauthProblem(problem string) answer {
	a := formAnswer(401, url.Values{"oauth_problem": {problem}})
	a.header["Oauth_problem"] = []string{problem}
	return a
}

// sdkView is what sdk.html shows.
type sdkView struct {
	Members []memberView
	Apps    []sdkApp
}

type sdkApp struct {
	ClientID, Cookie string
	Login            string // where the application's users sign in
	SignedIn         bool   // the browser has the cookie
}

// sdkPage stands for a page of the application that has LinkedIn's SDK in it.
// The simulator serves it, so it helps where keepin has the same host name,
// whatever its port: cookies do not know ports.
func (s *Sim) sdkPage(w http.ResponseWriter, r *http.Request) {
	apps, members := s.registered()
	var v sdkView
	for _, m := range members {
		v.Members = append(v.Members, memberView{Member: m, Portrait: s.portrait(&m, s.clock.Now())})
	}
	for _, a := range apps {
		one := sdkApp{ClientID: a.ClientID, Cookie: "linkedin_oauth_" + a.ClientID}
		if len(a.RedirectURLs) > 0 {
			one.Login = strings.TrimSuffix(a.RedirectURLs[0], "/callback") + "/login"
		}
		_, err := r.Cookie(one.Cookie)
		one.SignedIn = err == nil
		v.Apps = append(v.Apps, one)
	}
	a := page(200, "sdk.html", v)
	a.header.Set("Content-Security-Policy", a.header.Get("Content-Security-Policy")+"; form-action 'self'")
	send(w, a)
}

// sdkSignIn answers the form of that page.
func (s *Sim) sdkSignIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	cookie, err := s.SDKCookie(r.FormValue("client_id"), r.FormValue("member"))
	if err != nil {
		send(w, page(400, "error.html", errorPage{Message: err.Error(), Back: "/_sim/sdk"}))
		return
	}
	http.SetCookie(w, cookie)
	send(w, redirect(303, "/_sim/sdk"))
}
