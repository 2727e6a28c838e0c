package linkedinsim_test

// Other people's clients, unchanged but for the addresses: they must sign in,
// and stumble where they stumble at LinkedIn.

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/keepin/keepin/shared/linkedinsim"
)

// served is a simulator on a real port, on the wall clock.
func served(t *testing.T) (rig, *httptest.Server, oauth2.Config) {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	r := newRig(t, func(c *linkedinsim.Config) { c.URL, c.Clock = server.URL, linkedinsim.RunningClock() })
	handler = r.Sim
	return r, server, oauth2.Config{
		ClientID: clientID, ClientSecret: secret, RedirectURL: callback, Scopes: strings.Fields(allScope),
		Endpoint: oauth2.Endpoint{
			AuthURL:   server.URL + "/oauth/v2/authorization",
			TokenURL:  server.URL + "/oauth/v2/accessToken",
			AuthStyle: oauth2.AuthStyleInParams,
		},
	}
}

func (r rig) codeFor(rawURL string) string {
	r.t.Helper()
	back, err := r.Authorize(rawURL, "ada")
	r.must(err)
	u, _ := url.Parse(back)
	return u.Query().Get("code")
}

func TestOAuth2SignsInAndRefreshes(t *testing.T) {
	r, _, config := served(t)
	token, err := config.Exchange(t.Context(), r.codeFor(config.AuthCodeURL("state")))
	r.must(err)
	if !token.Valid() || token.Type() != "Bearer" || token.Extra("scope") != "email,openid,profile" {
		t.Errorf("%+v", token)
	}
	r.Clock().Advance(61 * days)
	token.Expiry = time.Now().Add(-time.Second)
	next, err := config.TokenSource(t.Context(), token).Token()
	r.must(err)
	if next.AccessToken == token.AccessToken || next.RefreshToken != token.RefreshToken {
		t.Error("not refreshed")
	}
}

func TestOAuth2StumblesAsAtLinkedIn(t *testing.T) {
	r, _, config := served(t)
	var refusal *oauth2.RetrieveError

	inHeader := config
	inHeader.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	_, err := inHeader.Exchange(t.Context(), r.codeFor(config.AuthCodeURL("state")))
	if !errors.As(err, &refusal) || refusal.ErrorCode != "invalid_request" || refusal.ErrorDescription != `A required parameter "client_secret" is missing` {
		t.Errorf("AuthStyleInHeader: %v", err)
	}

	verifier := oauth2.GenerateVerifier()
	code := r.codeFor(config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	_, err = config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
	if !errors.As(err, &refusal) || refusal.Response.StatusCode != 401 || refusal.ErrorCode != "invalid_client" {
		t.Errorf("PKCE: %v", err)
	}
	if _, err = config.Exchange(t.Context(), code); err != nil {
		t.Errorf("a challenge alone does no harm: %v", err)
	}

	guessing := config
	guessing.Endpoint.AuthStyle = oauth2.AuthStyleAutoDetect
	before := r.Count(linkedinsim.TokenEndpoint)
	if _, err = guessing.Exchange(t.Context(), r.codeFor(config.AuthCodeURL("state"))); err != nil || r.Count(linkedinsim.TokenEndpoint) != before+2 {
		t.Errorf("AuthStyleAutoDetect: %d calls, %v", r.Count(linkedinsim.TokenEndpoint)-before, err)
	}
}

func TestGoOIDCVerifiesTheIDToken(t *testing.T) {
	r, server, config := served(t)
	provider, err := oidc.NewProvider(t.Context(), server.URL+"/oauth")
	r.must(err)
	if e := provider.Endpoint(); e.AuthURL != config.Endpoint.AuthURL || e.TokenURL != config.Endpoint.TokenURL {
		t.Errorf("discovered %+v", e)
	}
	token, err := config.Exchange(t.Context(), r.codeFor(config.AuthCodeURL("state", oidc.Nonce("n"))))
	r.must(err)
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: clientID}).Verify(t.Context(), raw)
	r.must(err)
	if id.Subject != linkedinsim.Subject(clientID, "ada") || id.Nonce != "" || id.Issuer != server.URL+"/oauth" {
		t.Errorf("%+v: LinkedIn echoes no nonce", id)
	}
	var claims map[string]any
	r.must(id.Claims(&claims))
	if claims["email_verified"] != "true" || claims["locale"] != "en_US" || claims["name"] != "Ada Lovelace" {
		t.Errorf("claims %v", claims)
	}
	info, err := provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
	r.must(err)
	if info.Subject != id.Subject || info.Email != "ada@example.com" || !info.EmailVerified {
		t.Errorf("userinfo %+v", info)
	}
}

// TestGoOIDCRejectsSpoiltIDTokens: each way of spoiling one is found, and the
// token after it is good again.
func TestGoOIDCRejectsSpoiltIDTokens(t *testing.T) {
	r, server, config := served(t)
	verify := func() error {
		provider, err := oidc.NewProvider(t.Context(), server.URL+"/oauth")
		r.must(err)
		token, err := config.Exchange(t.Context(), r.codeFor(config.AuthCodeURL("state")))
		r.must(err)
		raw, _ := token.Extra("id_token").(string)
		_, err = provider.Verifier(&oidc.Config{ClientID: clientID}).Verify(t.Context(), raw)
		return err
	}
	for kind, want := range map[linkedinsim.Kind]string{
		linkedinsim.IDTokenIssuer:    "issued by a different provider",
		linkedinsim.IDTokenAudience:  "expected audience",
		linkedinsim.IDTokenExpired:   "token is expired",
		linkedinsim.IDTokenUnsigned:  `unexpected signature algorithm "none"`,
		linkedinsim.IDTokenKeyID:     "failed to verify signature",
		linkedinsim.IDTokenSignature: "failed to verify signature",
		linkedinsim.NoIDToken:        "malformed jwt",
	} {
		r.must(r.Fault(linkedinsim.Fault{Kind: kind, Times: 1}))
		if err := verify(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", kind, err, want)
		}
		if err := verify(); err != nil {
			t.Errorf("after %s: %v", kind, err)
		}
	}
	r.set(func(s *linkedinsim.Switches) { s.OldIssuer = true })
	if _, err := oidc.NewProvider(t.Context(), server.URL+"/oauth"); err == nil {
		t.Error("the old issuer is taken for the new one")
	}
}

func TestGoOIDCFetchesANewKey(t *testing.T) {
	r, server, config := served(t)
	keys := oidc.NewRemoteKeySet(context.Background(), server.URL+"/oauth/openid/jwks")
	verifier := oidc.NewVerifier(server.URL+"/oauth", keys, &oidc.Config{ClientID: clientID})
	for _, rotate := range []bool{false, false, true, false} {
		if rotate {
			r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.RotateKeys, Times: 1}))
		}
		token, err := config.Exchange(t.Context(), r.codeFor(config.AuthCodeURL("state")))
		r.must(err)
		raw, _ := token.Extra("id_token").(string)
		if _, err := verifier.Verify(t.Context(), raw); err != nil {
			t.Errorf("rotate %v: %v", rotate, err)
		}
	}
	if n := r.Count(linkedinsim.JWKSEndpoint); n != 2 {
		t.Errorf("keys were fetched %d times, want 2", n)
	}
}

func TestIDTokenSwitches(t *testing.T) {
	r, server, config := served(t)
	r.set(func(s *linkedinsim.Switches) {
		s.EmailVerifiedBool, s.LocaleHyphen, s.OldIssuer, s.IDTokenLifetime = true, true, true, 10*time.Minute
	})
	verifier := oidc.NewVerifier(server.URL, oidc.NewRemoteKeySet(t.Context(), server.URL+"/oauth/openid/jwks"), &oidc.Config{ClientID: clientID})
	token, err := config.Exchange(t.Context(), r.codeFor(config.AuthCodeURL("state")))
	r.must(err)
	raw, _ := token.Extra("id_token").(string)
	id, err := verifier.Verify(t.Context(), raw)
	r.must(err)
	var claims map[string]any
	r.must(id.Claims(&claims))
	if claims["email_verified"] != true || claims["locale"] != "en-US" || id.Expiry.Sub(id.IssuedAt) != 10*time.Minute {
		t.Errorf("%v", claims)
	}
}
