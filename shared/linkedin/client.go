// Package linkedin is LinkedIn as keepin calls it: the only package that knows
// LinkedIn's addresses, quirks and error texts. It is built on
// golang.org/x/oauth2 and go-oidc, and fences both in: neither's errors, which
// quote what LinkedIn sent, ever leave it.
package linkedin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

// Credentials are the LinkedIn app's own. Previous is the secret before the
// last roll, which LinkedIn honours for a while; zero when there is none.
type Credentials struct {
	ClientID         string
	Secret, Previous secret.String
}

// Endpoints are the paths below the configured addresses. An empty one is
// LinkedIn's own; another is for an independent OpenID provider.
type Endpoints struct {
	Authorization string // /oauth/v2/authorization
	Token         string // /oauth/v2/accessToken
	Introspection string // /oauth/v2/introspectToken
	Revocation    string // /oauth/v2/revoke, which LinkedIn does not document
	Keys          string // /oauth/openid/jwks
	Userinfo      string // /v2/userinfo, below APIURL
}

// Config says where LinkedIn is and who asks.
type Config struct {
	LinkedInURL string   // https://www.linkedin.com
	APIURL      string   // https://api.linkedin.com
	Issuer      string   // https://www.linkedin.com/oauth; compared exactly
	RedirectURL string   // as registered with LinkedIn
	Scopes      []string // asked for by every authorization; must hold openid
	SDKExchange string   // where the JavaScript SDK's tokens are exchanged, a whole address; "": nowhere

	// Credentials reads the app's credentials; with reread it must not answer
	// from a cache that could be stale. It must be safe for concurrent use.
	Credentials func(ctx context.Context, reread bool) (Credentials, error)

	Now       func() time.Time  // nil: time.Now
	Transport http.RoundTripper // nil: one of our own, without a proxy
	Timeout   time.Duration     // of one operation, and the most for what may follow it; 0: 10 s

	// Nonce and PKCE are off for LinkedIn, which copies no nonce into its ID
	// tokens and answers invalid_client to a code_verifier on the web flow.
	Nonce, PKCE bool
	Endpoints   Endpoints
}

const (
	defaultTimeout = 10 * time.Second
	revokeTimeout  = 2 * time.Second // a logout waits for it
	extraTimeout   = 5 * time.Second // of what may follow a code exchange: keys, an introspection
)

// Client calls LinkedIn. It is safe for concurrent use. Every error it returns
// is a *keeper.CallError.
type Client struct {
	cfg       Config
	endpoints Endpoints // whole addresses
	transport http.RoundTripper
	origins   []string // scheme://host of all that may be called
	keys      *keySet
}

var _ keeper.Provider = (*Client)(nil)

// New checks cfg and returns a Client. It calls nobody: LinkedIn's keys are
// fetched when they are first needed.
func New(cfg Config) (*Client, error) {
	c := &Client{cfg: cfg, transport: cfg.Transport}
	if c.cfg.Now == nil {
		c.cfg.Now = time.Now
	}
	if c.cfg.Timeout <= 0 {
		c.cfg.Timeout = defaultTimeout
	}
	if c.transport == nil {
		c.transport = newTransport()
	}
	for _, address := range []struct{ name, value string }{
		{"LinkedInURL", cfg.LinkedInURL}, {"APIURL", cfg.APIURL}, {"RedirectURL", cfg.RedirectURL}, {"Issuer", cfg.Issuer},
		{"SDKExchange", cfg.SDKExchange},
	} {
		if address.name == "SDKExchange" && address.value == "" {
			continue
		}
		u, err := url.Parse(address.value)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") ||
			u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, fmt.Errorf("linkedin: %s is not an http or https address without query and fragment", address.name)
		}
		if address.name != "RedirectURL" && address.name != "Issuer" {
			c.origins = append(c.origins, origin(u))
		}
	}
	if cfg.Credentials == nil {
		return nil, errors.New("linkedin: no Credentials")
	}
	if !slices.Contains(cfg.Scopes, "openid") {
		return nil, errors.New("linkedin: Scopes must hold openid: without it there is no ID token")
	}
	c.cfg.Scopes = slices.Clone(cfg.Scopes)
	e := cfg.Endpoints
	for _, path := range []string{e.Authorization, e.Token, e.Introspection, e.Revocation, e.Keys, e.Userinfo} {
		if path != "" && !strings.HasPrefix(path, "/") {
			return nil, errors.New("linkedin: an endpoint's path must begin with /")
		}
	}
	web, api := strings.TrimRight(cfg.LinkedInURL, "/"), strings.TrimRight(cfg.APIURL, "/")
	c.endpoints = Endpoints{
		Authorization: web + or(e.Authorization, "/oauth/v2/authorization"),
		Token:         web + or(e.Token, "/oauth/v2/accessToken"),
		Introspection: web + or(e.Introspection, "/oauth/v2/introspectToken"),
		Revocation:    web + or(e.Revocation, "/oauth/v2/revoke"),
		Keys:          web + or(e.Keys, "/oauth/openid/jwks"),
		Userinfo:      api + or(e.Userinfo, "/v2/userinfo"),
	}
	c.keys = newKeySet(c.cfg.Now, c.extra(), c.fetchKeys)
	return c, nil
}

// extra is how long what follows a code exchange may take.
func (c *Client) extra() time.Duration { return min(extraTimeout, c.cfg.Timeout) }

// Refresh asks for a new access token (RFC 6749 section 6). LinkedIn gives the
// same refresh token back, with what is left of its fixed life. An ID token
// that comes along must verify; Tokens.Subject is whose it is.
func (c *Client) Refresh(ctx context.Context, refresh secret.String) (keeper.Tokens, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	call, err := c.eachSecret(ctx, opRefresh, refresh, func(call *call, conf *oauth2.Config) {
		// The answer is read from the call: see call.
		_, _ = conf.TokenSource(call.context(ctx), &oauth2.Token{RefreshToken: refresh.Reveal()}).Token()
	})
	if err != nil {
		return keeper.Tokens{}, err
	}
	answer, err := readTokens(call.body)
	if err != nil {
		return keeper.Tokens{}, call.fail(err)
	}
	tokens := answer.tokens(call.start)
	if !answer.id.IsZero() {
		claims, err := c.verify(ctx, answer.id, expected{
			clientID: call.clientID, notBefore: call.start, access: tokens.Access,
		})
		if err != nil {
			return keeper.Tokens{}, call.fail(err)
		}
		tokens.Subject = claims.subject
	}
	return c.dated(ctx, call, tokens)
}

// Inspect asks LinkedIn's introspection for an access token. A token of another
// app is inactive, and nothing else is said of it.
func (c *Client) Inspect(ctx context.Context, access secret.String) (keeper.Inspection, error) {
	_, inspection, err := c.introspect(ctx, access)
	return inspection, err
}

func (c *Client) introspect(ctx context.Context, access secret.String) (*call, keeper.Inspection, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	call, err := c.eachSecret(ctx, opIntrospect, access, func(call *call, conf *oauth2.Config) {
		call.post(ctx, c.endpoints.Introspection, credentialed(conf, access))
	})
	if err != nil {
		return call, keeper.Inspection{}, err
	}
	inspection, err := readInspection(call.body, call.clientID)
	if err != nil {
		return call, keeper.Inspection{}, call.fail(err)
	}
	return call, inspection, nil
}

// Identify asks userinfo who a token belongs to: a real API call, and the proof
// that LinkedIn honours the token.
func (c *Client) Identify(ctx context.Context, access secret.String) (keeper.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	creds, err := c.credentials(ctx, opUserinfo)
	if err != nil {
		return keeper.Identity{}, err
	}
	call := c.newCall(opUserinfo, creds, access)
	if !isToken(access.Reveal()) {
		return keeper.Identity{}, call.fail(errNothingToSend)
	}
	call.get(ctx, c.endpoints.Userinfo, http.Header{
		"Accept":        {"application/json"},
		"Authorization": {"Bearer " + access.Reveal()},
	})
	if err := call.failure(); err != nil {
		return keeper.Identity{}, err
	}
	subject, profile, err := readUserinfo(call.body)
	if err != nil {
		return keeper.Identity{}, call.fail(err)
	}
	return keeper.Identity{ClientID: creds.ClientID, Subject: subject, Profile: profile}, nil
}

// Revoke asks LinkedIn to forget a token, in the manner of RFC 7009. LinkedIn
// documents no such endpoint, so its answer proves nothing; it takes 2 s at most.
func (c *Client) Revoke(ctx context.Context, token secret.String) error {
	ctx, cancel := context.WithTimeout(ctx, min(revokeTimeout, c.cfg.Timeout))
	defer cancel()
	creds, err := c.credentials(ctx, opRevoke)
	if err != nil {
		return err
	}
	call := c.newCall(opRevoke, creds, token)
	if token.IsZero() {
		return call.fail(errNothingToSend)
	}
	call.post(ctx, c.endpoints.Revocation, credentialed(c.oauth(creds), token))
	return call.failure()
}

// eachSecret makes one call that carries the client secret. Only when LinkedIn
// refuses the application itself it re-reads the credentials and calls again,
// with the secret that came new and then with the previous one: three calls at
// most, of which LinkedIn let one in at most.
func (c *Client) eachSecret(ctx context.Context, op operation, token secret.String, send func(*call, *oauth2.Config)) (*call, error) {
	creds, err := c.credentials(ctx, op)
	if err != nil {
		return nil, err
	}
	call := c.newCall(op, creds, token)
	if token.IsZero() {
		return call, call.fail(errNothingToSend)
	}
	send(call, c.oauth(creds))
	err = call.failure()
	tried := []Credentials{creds}
	if keeper.ClassOf(err) != keeper.ClassApplication {
		return call, err
	}
	if again, rereadErr := c.cfg.Credentials(ctx, true); rereadErr == nil {
		creds = again
	}
	for _, use := range []secret.String{creds.Secret, creds.Previous} {
		other := Credentials{ClientID: creds.ClientID, Secret: use, Previous: creds.Previous}
		if use.IsZero() || slices.ContainsFunc(tried, other.same) {
			continue
		}
		tried = append(tried, other)
		call = c.newCall(op, other, token, creds.Secret)
		send(call, c.oauth(other))
		if err = call.failure(); keeper.ClassOf(err) != keeper.ClassApplication {
			break
		}
	}
	return call, err
}

// same reports whether LinkedIn would see the same caller.
func (c Credentials) same(d Credentials) bool {
	return c.ClientID == d.ClientID && c.Secret.Equal(d.Secret)
}

// credentials reads them for one call. Without them LinkedIn is not called.
func (c *Client) credentials(ctx context.Context, op operation) (Credentials, error) {
	creds, err := c.cfg.Credentials(ctx, false)
	if err != nil || creds.ClientID == "" || creds.Secret.IsZero() {
		return Credentials{}, c.newCall(op, creds).fail(errNoCredentials)
	}
	return creds, nil
}

// dated gives tokens whose end LinkedIn did not tell the end that introspection
// tells: an end is never made up.
func (c *Client) dated(ctx context.Context, call *call, tokens keeper.Tokens) (keeper.Tokens, error) {
	if !tokens.ExpiresAt.IsZero() {
		return tokens, nil
	}
	inspection, err := c.Inspect(ctx, tokens.Access)
	if err != nil || !inspection.ExpiresAt.After(tokens.IssuedAt) {
		return keeper.Tokens{}, call.fail(errNoExpiry)
	}
	tokens.ExpiresAt = inspection.ExpiresAt
	return tokens, nil
}

// oauth is the client of one call. AuthStyleInParams: LinkedIn wants the secret
// in the form; the library's default would probe, and send a code twice.
func (c *Client) oauth(creds Credentials) *oauth2.Config {
	return &oauth2.Config{
		ClientID:     creds.ClientID,
		ClientSecret: creds.Secret.Reveal(),
		RedirectURL:  c.cfg.RedirectURL,
		Scopes:       c.cfg.Scopes,
		Endpoint: oauth2.Endpoint{
			AuthURL:   c.endpoints.Authorization,
			TokenURL:  c.endpoints.Token,
			AuthStyle: oauth2.AuthStyleInParams,
		},
	}
}

// credentialed is the form of introspection and revocation.
func credentialed(conf *oauth2.Config, token secret.String) url.Values {
	return url.Values{
		"client_id":     {conf.ClientID},
		"client_secret": {conf.ClientSecret},
		"token":         {token.Reveal()},
	}
}

// newTransport is what calls LinkedIn unless the deployer brings another. A
// connection that idled for 10 s is not used again: a frozen Lambda wakes with
// dead ones, and a POST that dies on one may not be repeated.
func newTransport() http.RoundTripper {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:    3 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        10 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func origin(u *url.URL) string { return u.Scheme + "://" + strings.ToLower(u.Host) }

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
