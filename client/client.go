// Package client gives an application's back end the live access tokens of its
// LinkedIn members, from keepin. It is all that a back end needs of keepin, and
// imports none of its server.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// What a back end branches on; errors.Is finds them in an *Error.
var (
	// ErrNotConnected: keepin knows no such member, or the member has signed out.
	ErrNotConnected = errors.New("client: the member is not connected")
	// ErrReconnectRequired: the member must sign in again, at the Error's LoginURL.
	ErrReconnectRequired = errors.New("client: the member must sign in again")
	// ErrTryAgain: there is no token now; there may be one after the Error's RetryAfter.
	ErrTryAgain = errors.New("client: try again")
	// ErrUnauthorized: keepin, or the gateway before it, does not take this back end's key or signature.
	ErrUnauthorized = errors.New("client: not let in")
)

// Error is an answer of keepin's that is no token.
type Error struct {
	Status     int           // of HTTP
	Code       string        // of keepin's problem, such as "not_connected"; "" where it was none of keepin's
	LoginURL   string        // where to send the member's browser, with ErrReconnectRequired and ErrNotConnected
	RetryAfter time.Duration // with ErrTryAgain; at least a second

	sentinel error
}

func (e *Error) Error() string {
	return fmt.Sprintf("client: get a token: %d %s", e.Status, e.Code)
}

func (e *Error) Unwrap() error { return e.sentinel }

// Config says where keepin is, and how it knows this back end.
type Config struct {
	// BaseURL is keepin's public address (KEEPIN_BASE_URL), maybe with a path.
	BaseURL string
	// HTTP sends the requests, and makes them this back end's own: BearerKey on
	// one machine, a round tripper that signs with SigV4 on AWS. Its Timeout
	// should leave keepin the 15 s that a refresh may take. Redirects are not followed.
	HTTP *http.Client
	// MinLeft is how long a token lives at least when it is handed out, up to a
	// day with Keep; 0 is a minute.
	MinLeft time.Duration
	// Keep is how long a token is handed out again without asking keepin. That
	// long a logout goes unnoticed here. 0: each call asks, which takes keepin
	// one read of its table.
	Keep time.Duration
	Now  func() time.Time // nil: time.Now
}

// Client asks one keepin. It is safe for concurrent use.
type Client struct {
	base    string
	http    http.Client
	minLeft time.Duration
	keep    time.Duration
	now     func() time.Time
}

// New makes a Client. It calls nobody.
func New(c Config) (*Client, error) {
	if u, err := url.Parse(c.BaseURL); err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("client: BaseURL must be keepin's address, such as https://members.example.com")
	}
	if c.HTTP == nil {
		return nil, errors.New("client: without an HTTP client that authenticates, keepin answers nothing: see BearerKey")
	}
	if c.MinLeft == 0 {
		c.MinLeft = time.Minute
	}
	if c.MinLeft < 0 || c.Keep < 0 || c.MinLeft+c.Keep > 24*time.Hour {
		return nil, errors.New("client: MinLeft and Keep together are not 0 to 24 hours")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	k := &Client{base: strings.TrimSuffix(c.BaseURL, "/"), http: *c.HTTP, minLeft: c.MinLeft, keep: c.Keep, now: c.Now}
	k.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return k, nil
}

// TokenSource hands out member's access token, for oauth2.NewClient and the
// like. It keeps a token for Config.Keep, and is safe for concurrent use. ctx is
// that of its requests, as with oauth2.Config.TokenSource.
func (c *Client) TokenSource(ctx context.Context, member string) oauth2.TokenSource {
	return oauth2.ReuseTokenSourceWithExpiry(nil, source{c, ctx, member}, time.Nanosecond) // 0 would be 10 s
}

type source struct {
	*Client
	ctx    context.Context
	member string
}

// Token implements oauth2.TokenSource.
func (s source) Token() (*oauth2.Token, error) { return s.Client.Token(s.ctx, s.member) }

// Token asks keepin for member's access token. Its Expiry is when keepin is to
// be asked again (Config.Keep from now), so that nobody holds it past a logout;
// when LinkedIn ends it is Extra("expires_at"), a time.Time, and what it is for
// Extra("scopes"), a []string.
func (c *Client) Token(ctx context.Context, member string) (*oauth2.Token, error) {
	least := int((c.minLeft + c.keep + time.Second - 1) / time.Second)
	address := c.base + "/members/" + url.PathEscape(member) + "/token?min_seconds=" + strconv.Itoa(least)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errors.New("client: get a token: the member's id makes no request")
	}
	asked := c.now()
	res, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("client: get a token: %w", err)
	}
	defer res.Body.Close()
	body := json.NewDecoder(io.LimitReader(res.Body, 1<<20))
	if res.StatusCode != http.StatusOK {
		var problem struct{ Code string }
		_ = body.Decode(&problem) // a gateway's own answer is no JSON
		return nil, c.failure(res, problem.Code)
	}
	var got struct {
		AccessToken string    `json:"access_token"`
		TokenType   string    `json:"token_type"`
		ExpiresAt   time.Time `json:"expires_at"`
		Scopes      []string  `json:"scopes"`
	}
	if err := body.Decode(&got); err != nil || got.AccessToken == "" || got.ExpiresAt.IsZero() {
		return nil, errors.New("client: get a token: the answer is not keepin's") // an error of JSON might quote it
	}
	t := &oauth2.Token{AccessToken: got.AccessToken, TokenType: got.TokenType, Expiry: asked.Add(c.keep)}
	return t.WithExtra(map[string]any{"expires_at": got.ExpiresAt, "scopes": got.Scopes}), nil
}

func (c *Client) failure(res *http.Response, code string) *Error {
	e := &Error{Status: res.StatusCode, Code: code}
	switch {
	case code == "not_connected":
		e.sentinel, e.LoginURL = ErrNotConnected, c.base+"/login"
	case code == "reconnect_required":
		e.sentinel, e.LoginURL = ErrReconnectRequired, c.base+"/login"
	case code == "try_again", res.StatusCode == http.StatusTooManyRequests, res.StatusCode >= 502: // the gateway's, too
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		e.sentinel, e.RetryAfter = ErrTryAgain, time.Duration(max(seconds, 1))*time.Second
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
		e.sentinel = ErrUnauthorized
	}
	return e
}

// BearerKey sends key, keepin's back-end key on one machine, by way of base
// (nil: http.DefaultTransport).
func BearerKey(key string, base http.RoundTripper) http.RoundTripper {
	return &oauth2.Transport{Source: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: key}), Base: base}
}
