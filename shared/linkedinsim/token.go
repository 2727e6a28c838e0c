package linkedinsim

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// token answers POST /oauth/v2/accessToken, for every grant type.
func (s *Sim) token(c *call) answer {
	c.GrantType, c.ClientID = c.params.Get("grant_type"), c.params.Get("client_id")
	if c.sw.RejectDuplicates {
		for name, values := range c.params {
			if len(values) > 1 {
				return oauthError(400, "invalid_request", "missing required parameters, includes an invalid parameter value, parameter more than once. : "+name)
			}
		}
	}
	// LinkedIn takes the id, but not the secret, of a Basic header; both only
	// for client credentials.
	secret := c.params.Get("client_secret")
	if user, password, ok := basicAuth(c.r); ok && c.ClientID == "" {
		c.ClientID = user
		if c.GrantType == "client_credentials" && secret == "" {
			secret = password
		}
	}
	native := c.GrantType == "authorization_code" && c.params.Get("code_verifier") != "" ||
		c.GrantType == "refresh_token" && c.sw.NativeRefresh
	app := s.app(c.ClientID)
	native = native && secret == "" && app != nil && app.NativePKCE

	switch {
	case c.GrantType == "":
		return missing("grant_type")
	case c.ClientID == "":
		return missing("client_id")
	case secret == "" && !native:
		return missing("client_secret")
	case !native && c.params.Has("code_verifier"):
		return oauthError(401, "invalid_client", "Client authentication failed")
	}
	if !native {
		if refusal, ok := s.authenticate(c, secret); !ok {
			return refusal
		}
	}
	switch c.GrantType {
	case "authorization_code":
		return s.exchange(c, app, native)
	case "refresh_token":
		return s.refresh(c, app, native)
	case "client_credentials":
		return s.clientCredentials(c, app)
	}
	return oauthError(400, "invalid_request", "The passed in grant_type is invalid")
}

// authenticate checks client id and secret as the token endpoint does.
func (s *Sim) authenticate(c *call, secret string) (answer, bool) {
	app := s.app(c.ClientID)
	if app == nil {
		return oauthError(400, "invalid_client_id", `The passed in client_id is invalid "`+c.ClientID+`"`), false
	}
	if _, struck := c.strike(WrongSecret); struck || !app.knows(secret) {
		code := "invalid_client"
		if c.sw.DocErrorCodes {
			code = "invalid_client_id"
		}
		return oauthError(401, code, "Client authentication failed"), false
	}
	return answer{}, true
}

func (a *App) knows(secret string) bool {
	is := func(s string) bool { return s != "" && subtle.ConstantTimeCompare([]byte(s), []byte(secret)) == 1 }
	return is(a.Secret) || is(a.PreviousSecret)
}

// exchange gives tokens for a code.
func (s *Sim) exchange(c *call, app *App, native bool) answer {
	value, redirectURI := c.params.Get("code"), c.params.Get("redirect_uri")
	if value == "" {
		return missing("code")
	}
	c.Presented = fingerprint(value)
	if redirectURI == "" {
		return missing("redirect_uri")
	}
	k := s.state.codes[value]
	if k == nil {
		return oauthError(401, "invalid_request", "Unable to retrieve access token: authorization code not found")
	}
	c.Member = k.key.member
	if k.used && c.sw.CodeReuseRevokes && k.key.client == app.ClientID {
		for _, t := range k.brought {
			t.revoked = true
		}
	}
	fits := !k.used && k.key.client == app.ClientID && k.redirectURI == redirectURI && k.native == native &&
		c.now.Before(k.issuedAt.Add(c.sw.codeLifetime()))
	if native {
		sum := sha256.Sum256([]byte(c.params.Get("code_verifier")))
		fits = fits && k.challenge == base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if !fits {
		code := "invalid_request"
		if c.sw.DocErrorCodes {
			code = "invalid_redirect_uri"
		}
		return oauthError(400, code, "Unable to retrieve access token: appid/redirect uri/code verifier does not match authorization code. Or authorization code expired. Or external member binding exists")
	}
	k.used = true
	if !c.sw.VoidAtConsent {
		s.record(c, k.key, k.scopes)
	}
	a := s.issue(c, access, k.key, k.scopes, c.now.Add(c.sw.accessLifetime()))
	a.authorizedAt = k.issuedAt
	k.brought = append(k.brought, a)
	if app.Refresh && (!native || c.sw.NativeRefresh) {
		r := s.issue(c, refresh, k.key, k.scopes, c.now.Add(c.sw.refreshLifetime()))
		r.authorizedAt, r.native = k.issuedAt, native
		a.parent = r
		k.brought = append(k.brought, r)
	}
	return s.granted(c, a, true)
}

// refresh gives a new access token. LinkedIn does not rotate: the refresh token
// stays, and ends on the day that was fixed when it was first given.
func (s *Sim) refresh(c *call, app *App, native bool) answer {
	value := c.params.Get("refresh_token")
	if value == "" {
		return missing("refresh_token")
	}
	c.Presented = fingerprint(value)
	if c.sw.RefreshQuota > 0 {
		today := app.ClientID + c.now.Format(" 2006-01-02")
		if s.state.refreshes[today] >= c.sw.RefreshQuota {
			return ill(Fault{Status: 429})
		}
		if s.state.refreshes[today] == 0 {
			clear(s.state.refreshes) // another day
		}
		s.state.refreshes[today]++
	}
	r := s.state.tokens[value]
	alive := r != nil && r.kind == refresh && r.key.client == app.ClientID && r.native == native && r.state(c.now) == "active"
	if alive && !r.rotatedAt.IsZero() {
		alive = c.now.Before(r.rotatedAt.Add(c.sw.RotationGrace))
	}
	if r != nil {
		c.Member = r.key.member
	}
	if _, struck := c.strike(RefuseRefresh); struck || !alive {
		text := "The provided authorization grant or refresh token is invalid, expired or revoked"
		if c.sw.MessagePeriod {
			text += "."
		}
		return oauthError(400, "invalid_request", text)
	}
	if c.sw.RefreshVoidsAccess {
		s.void(r.key, func(t *token) bool { return t.kind == access && t.parent == r })
	}
	end := c.now.Add(c.sw.accessLifetime())
	if end.After(r.expiresAt) {
		end = r.expiresAt
	}
	a := s.issue(c, access, r.key, r.scopes, end)
	a.authorizedAt, a.parent = r.authorizedAt, r
	if c.sw.Rotate {
		next := s.issue(c, refresh, r.key, r.scopes, r.expiresAt)
		next.authorizedAt, next.native = r.authorizedAt, native
		a.parent = next
		if r.rotatedAt.IsZero() {
			r.rotatedAt = c.now
		}
	}
	return s.granted(c, a, c.sw.IDTokenOnRefresh)
}

// clientCredentials gives a token for the application itself.
func (s *Sim) clientCredentials(c *call, app *App) answer {
	if !app.TwoLegged {
		return oauthError(401, "access_denied", "This application is not allowed to create application tokens")
	}
	life := c.sw.twoLeggedLifetime()
	t := s.issue(c, twoLegged, grantKey{client: app.ClientID}, nil, c.now.Add(life))
	seconds := int64(life / time.Second)
	var expires any = strconv.FormatInt(seconds, 10)
	if c.sw.TwoLeggedNumber {
		expires = seconds
	}
	return jsonAnswer(200, map[string]any{"access_token": t.value, "expires_in": expires})
}

// granted is the good answer of a member's grant: a and, where there is one,
// its refresh token.
func (s *Sim) granted(c *call, a *token, idToken bool) answer {
	c.Member = a.key.member
	openID := slices.Contains(a.scopes, "openid")
	body := map[string]any{
		"access_token": a.value,
		"expires_in":   seconds(a.expiresAt.Sub(c.now), !c.sw.ExpiresInExact),
		"scope":        strings.Join(a.scopes, c.sw.scopeSeparator()),
	}
	if c.sw.TokenType == "always" || c.sw.TokenType == "" && openID {
		body["token_type"] = "Bearer"
	}
	if r := a.parent; r != nil {
		body["refresh_token"] = r.value
		body["refresh_token_expires_in"] = seconds(r.expiresAt.Sub(c.now), false)
	}
	if idToken && openID {
		if t, ok := s.idToken(c, a); ok {
			body["id_token"] = t
		}
	}
	if _, struck := c.strike(NoExpiresIn); struck {
		delete(body, "expires_in")
	}
	if _, struck := c.strike(ForeignTokenType); struck {
		body["token_type"] = "mac"
	}
	return jsonAnswer(200, body)
}

// seconds is d in whole seconds; real servers mostly send one less.
func seconds(d time.Duration, less bool) int64 {
	n := int64(d / time.Second)
	if less && n > 0 {
		n--
	}
	return n
}

// revoke answers POST /oauth/v2/revoke. LinkedIn documents no such endpoint;
// under the switch it is RFC 7009.
func (s *Sim) revoke(c *call) answer {
	if !c.sw.RevokeEndpoint {
		return apiError(404, 0, "NOT_FOUND", "No virtual resource found")
	}
	c.ClientID = c.params.Get("client_id")
	if c.ClientID == "" {
		return missing("client_id")
	}
	if refusal, ok := s.authenticate(c, c.params.Get("client_secret")); !ok {
		return refusal
	}
	value := c.params.Get("token")
	if value == "" {
		return missing("token")
	}
	c.Presented = fingerprint(value)
	if t := s.state.tokens[value]; t != nil && t.key.client == c.ClientID {
		c.Member = t.key.member
		t.revoked = true
		if t.kind == refresh { // RFC 7009, section 2.1: its access tokens too
			s.void(t.key, func(a *token) bool { return a.parent == t })
		} else if t.parent != nil && !c.sw.RevokeSparesRefresh {
			t.parent.revoked = true
		}
	}
	return answer{status: 200}
}

func missing(name string) answer {
	return oauthError(400, "invalid_request", `A required parameter "`+name+`" is missing`)
}

// basicAuth is r.BasicAuth for a client that form-encodes both parts (RFC 6749,
// section 2.3.1) or does not.
func basicAuth(r *http.Request) (user, password string, ok bool) {
	user, password, ok = r.BasicAuth()
	for _, p := range []*string{&user, &password} {
		if clear, err := url.QueryUnescape(*p); err == nil && strings.Contains(*p, "%") {
			*p = clear
		}
	}
	return user, password, ok
}
