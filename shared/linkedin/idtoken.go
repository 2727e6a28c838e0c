package linkedin

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

// leeway is how far LinkedIn's clock and ours may differ.
const leeway = time.Minute

// expected is what an ID token is held against.
type expected struct {
	clientID  string
	notBefore time.Time     // when the authorization, or the refresh, began
	nonce     secret.String // zero: none was sent, and none is looked at
	access    secret.String // for at_hash
}

// claims is what is used of an ID token.
type claims struct {
	subject string
	profile keeper.Profile
}

// bad is an ID token that is not taken.
func bad(problem string) error { return trouble{keeper.ClassUnknown, problem} }

// verify proves an ID token (OpenID Connect Core section 3.1.3.7). go-oidc
// checks the signature and at_hash. The claims are checked here, each with a
// phrase of its own, for go-oidc has no leeway and does not look at iat, azp
// and sub. The error is ClassUnknown, or ClassOutage when LinkedIn's keys
// cannot be had.
func (c *Client) verify(ctx context.Context, raw secret.String, want expected) (claims, error) {
	jwt := raw.Reveal()
	if jwt == "" {
		return claims{}, bad("the ID token is missing")
	}
	kid, err := readHeader(jwt)
	if err != nil {
		return claims{}, err
	}
	keys, err := c.keys.get(ctx, kid, want.clientID)
	if err != nil {
		return claims{}, err
	}
	set := &oidc.StaticKeySet{}
	for _, key := range keys {
		set.PublicKeys = append(set.PublicKeys, key)
	}
	token, err := oidc.NewVerifier(c.cfg.Issuer, set, &oidc.Config{
		SupportedSigningAlgs: []string{oidc.RS256},
		SkipIssuerCheck:      true, SkipClientIDCheck: true, SkipExpiryCheck: true, // below
	}).Verify(ctx, jwt)
	if err != nil {
		return claims{}, bad("the ID token does not verify")
	}

	_, payload, _ := strings.Cut(jwt, ".")
	payload, _, _ = strings.Cut(payload, ".")
	body, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return claims{}, bad("the ID token is malformed")
	}
	members, err := object(body)
	if err != nil {
		return claims{}, bad("the ID token's claims are malformed")
	}
	now := c.cfg.Now()
	instant := func(name string) (time.Time, bool) {
		n, ok := number(members[name])
		if !ok || strings.HasPrefix(string(members[name]), `"`) || n < 0 || n > 1e11 {
			return time.Time{}, false
		}
		return time.Unix(int64(n), 0), true
	}
	expires, hasExpires := instant("exp")
	issued, hasIssued := instant("iat")
	begins, hasBegins := instant("nbf")
	nonce := secret.New(text(members, "nonce"))
	subject := text(members, "sub")
	switch {
	case text(members, "iss") != c.cfg.Issuer:
		return claims{}, bad("the ID token's issuer is wrong")
	case !slices.Contains(token.Audience, want.clientID):
		return claims{}, bad("the ID token is for another client")
	case slices.ContainsFunc(token.Audience, func(a string) bool { return a != want.clientID }): // none other is trusted
		return claims{}, bad("the ID token is for other clients, too")
	case present(members, "azp") && text(members, "azp") != want.clientID:
		return claims{}, bad("the ID token was issued to another client")
	case !hasExpires || !expires.After(now.Add(-leeway)):
		return claims{}, bad("the ID token has expired")
	case present(members, "nbf") && (!hasBegins || begins.After(now.Add(leeway))):
		return claims{}, bad("the ID token is not valid yet")
	case !hasIssued:
		return claims{}, bad("the ID token does not say when it was issued")
	case issued.After(now.Add(leeway)):
		return claims{}, bad("the ID token was issued in the future")
	case issued.Before(want.notBefore.Add(-leeway)):
		return claims{}, bad("the ID token is older than the authorization")
	case !isSubject(subject):
		return claims{}, bad("the ID token names no subject")
	case !want.nonce.IsZero() && !nonce.Equal(want.nonce):
		return claims{}, bad("the ID token's nonce is wrong")
	case present(members, "events"): // a logout token
		return claims{}, bad("the token is no ID token")
	case present(members, "at_hash") && token.VerifyAccessToken(want.access.Reveal()) != nil:
		return claims{}, bad("the ID token is not for this access token")
	}
	return claims{subject: subject, profile: profile(members)}, nil
}

// readHeader accepts a compact RS256 JWS of at most 16 KiB that asks for
// nothing unusual, and returns its key id. jku, x5u, x5c and jwk are ignored:
// keys come from the configured address alone.
func readHeader(jwt string) (kid string, err error) {
	if len(jwt) > maxToken || strings.Count(jwt, ".") != 2 {
		return "", bad("the ID token is malformed")
	}
	encoded, _, _ := strings.Cut(jwt, ".")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return "", bad("the ID token is malformed")
	}
	header, err := object(raw)
	if err != nil {
		return "", bad("the ID token is malformed")
	}
	for _, name := range []string{"crit", "zip", "enc", "b64"} {
		if _, there := header[name]; there {
			return "", bad("the ID token asks for an extension")
		}
	}
	if text(header, "alg") != oidc.RS256 {
		return "", bad("the ID token is not signed with RS256")
	}
	if present(header, "typ") && !strings.EqualFold(text(header, "typ"), "JWT") {
		return "", bad("the token is no ID token")
	}
	return text(header, "kid"), nil
}

const (
	maxKeys      = 100
	keysSpacing  = 30 * time.Second // between fetches for an unknown key id
	keysLifetime = 24 * time.Hour   // then a key that LinkedIn withdrew is forgotten
)

// keySet keeps LinkedIn's signing keys. It fetches them in the call that needs
// them (go-oidc's would do so in a goroutine that outlives it), one fetch at a
// time, and for a key id it does not know at most every 30 s: what names one
// costs LinkedIn nothing.
type keySet struct {
	now   func() time.Time
	wait  time.Duration // the longest that a caller of get waits
	fetch func(ctx context.Context, clientID string) ([]jose.JSONWebKey, error)

	turn    chan struct{} // holds one: the right to use what follows
	keys    []jose.JSONWebKey
	fetched time.Time // when keys came
	asked   time.Time // last fetch, whatever came of it
}

func newKeySet(now func() time.Time, wait time.Duration, fetch func(context.Context, string) ([]jose.JSONWebKey, error)) *keySet {
	return &keySet{now: now, wait: wait, fetch: fetch, turn: make(chan struct{}, 1)}
}

// get returns the keys with this id; every key for "". It returns an error of
// ClassOutage when they must be fetched and cannot be, and no key when LinkedIn
// has none such.
func (k *keySet) get(ctx context.Context, kid, clientID string) ([]*rsa.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, k.wait)
	defer cancel()
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
	case <-ctx.Done():
		return nil, trouble{keeper.ClassOutage, "LinkedIn's keys could not be read in time"}
	}
	now := k.now()
	stale := len(k.keys) == 0 || now.Sub(k.fetched) >= keysLifetime || now.Before(k.fetched)
	found := k.find(kid)
	if !stale && (len(found) > 0 || (now.Sub(k.asked) < keysSpacing && !now.Before(k.asked))) {
		return found, nil
	}
	k.asked = now
	keys, err := k.fetch(ctx, clientID)
	if err != nil {
		return nil, err
	}
	k.keys, k.fetched = keys, now
	return k.find(kid), nil
}

func (k *keySet) find(kid string) []*rsa.PublicKey {
	var found []*rsa.PublicKey
	for _, key := range k.keys {
		if public, ok := key.Key.(*rsa.PublicKey); ok && (kid == "" || key.KeyID == kid) {
			found = append(found, public)
		}
	}
	return found
}

// fetchKeys reads the key set (RFC 7517) and keeps what can check RS256: RSA
// keys of 2048 bits or more (RFC 7518 section 3.3). LinkedIn's have no use.
func (c *Client) fetchKeys(ctx context.Context, clientID string) ([]jose.JSONWebKey, error) {
	call := c.newCall(opKeys, Credentials{ClientID: clientID})
	call.get(ctx, c.endpoints.Keys, http.Header{"Accept": {"application/json"}, "Cache-Control": {"no-cache"}})
	if err := call.failure(); err != nil {
		return nil, err
	}
	var raw []json.RawMessage
	members, err := object(call.body)
	if err != nil || json.Unmarshal(members["keys"], &raw) != nil || len(raw) > maxKeys {
		return nil, call.fail(trouble{keeper.ClassOutage, "LinkedIn's keys are malformed or too many"})
	}
	var keys []jose.JSONWebKey
	for _, value := range raw {
		var key jose.JSONWebKey
		if json.Unmarshal(value, &key) != nil || (key.Use != "" && key.Use != "sig") || (key.Algorithm != "" && key.Algorithm != oidc.RS256) {
			continue
		}
		if public, ok := key.Key.(*rsa.PublicKey); ok && key.Valid() && public.N.BitLen() >= 2048 {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, call.fail(trouble{keeper.ClassOutage, "LinkedIn's keys hold none for RS256"})
	}
	return keys, nil
}
