package linkedin_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/secret"
)

const (
	clientID    = "77testclientid"
	redirectURL = "https://app.example/callback"
	tokenPath   = "/oauth/v2/accessToken"
	inspectPath = "/oauth/v2/introspectToken"
	revokePath  = "/oauth/v2/revoke"
	keysPath    = "/oauth/openid/jwks"
	userPath    = "/v2/userinfo"
	sdkPath     = "/uas/oauth/accessToken"
)

// Secrets with every character that an encoding may change.
const (
	clientSecret   = "WPL_AP1.Canary/Secret,0.ab+/=="
	previousSecret = "WPL_AP1.Canary/Before,9.cd+/=="
	accessToken    = "AQVcanaryAccess-token_0123456789.ab"
	refreshToken   = "AQRcanaryRefresh-token_0123456789.cd"
	authCode       = "AQTcanaryCode-0123456789_abcdef"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// request is one that arrived.
type request struct {
	method, path string
	header       http.Header
	form         url.Values
	body         string
}

// upstream stands for LinkedIn: both hosts, one answer for each path.
type upstream struct {
	*httptest.Server
	mu       sync.Mutex
	requests []request
	answers  map[string]http.HandlerFunc
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{answers: map[string]http.HandlerFunc{}}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		u.mu.Lock()
		u.requests = append(u.requests, request{r.Method, r.URL.RequestURI(), r.Header.Clone(), form, string(body)})
		answer := u.answers[r.URL.Path]
		u.mu.Unlock()
		if answer == nil {
			http.NotFound(w, r)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(u.Close)
	u.answer(keysPath, 200, keySetOf(signerOne()))
	return u
}

// answer makes path answer status and body.
func (u *upstream) answer(path string, status int, body string, headers ...string) {
	u.handle(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Li-Uuid", "AAX2TIh6unm3s+DezlC6rw==")
		w.Header().Set("X-Li-Fabric", "prod-ltx1")
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func (u *upstream) handle(path string, h http.HandlerFunc) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answers[path] = h
}

// seen returns the requests that arrived for path.
func (u *upstream) seen(path string) []request {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []request
	for _, r := range u.requests {
		if p, _, _ := cut(r.path); p == path {
			all = append(all, r)
		}
	}
	return all
}

func cut(uri string) (path, query string, err error) {
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		return "", "", err
	}
	return u.Path, u.RawQuery, nil
}

// client makes a Client of u; change may alter its Config.
func (u *upstream) client(t *testing.T, change ...func(*linkedin.Config)) *linkedin.Client {
	t.Helper()
	cfg := config(u.URL)
	for _, f := range change {
		f(&cfg)
	}
	c, err := linkedin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func config(address string) linkedin.Config {
	return linkedin.Config{
		LinkedInURL: address, APIURL: address, Issuer: address + "/oauth", RedirectURL: redirectURL,
		Scopes: []string{"openid", "profile", "email"}, SDKExchange: address + sdkPath,
		Credentials: func(context.Context, bool) (linkedin.Credentials, error) {
			return linkedin.Credentials{ClientID: clientID, Secret: secret.New(clientSecret)}, nil
		},
		Now: func() time.Time { return now },
	}
}

// callError insists on what every error must be.
func callError(t *testing.T, err error) *keeper.CallError {
	t.Helper()
	if err == nil {
		t.Fatal("got no error")
	}
	failed, ok := errors.AsType[*keeper.CallError](err)
	if !ok {
		t.Fatalf("got a %T, want a *keeper.CallError", err)
	}
	return failed
}

// signer is a key of LinkedIn's.
type signer struct {
	id  string
	key *rsa.PrivateKey
}

var (
	signerOne = sync.OnceValue(func() signer { return newSigner("key-1", 2048) })
	signerTwo = sync.OnceValue(func() signer { return newSigner("key-2", 2048) })
)

func newSigner(id string, bits int) signer {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return signer{id, key}
}

func b64(s []byte) string { return base64.RawURLEncoding.EncodeToString(s) }

// jwk has no use, as LinkedIn's have none.
func (s signer) jwk() map[string]any {
	return map[string]any{"kty": "RSA", "kid": s.id, "n": b64(s.key.N.Bytes()), "e": b64(big.NewInt(int64(s.key.E)).Bytes())}
}

func keySetOf(signers ...signer) string {
	keys := []any{}
	for _, s := range signers {
		keys = append(keys, s.jwk())
	}
	return mustJSON(map[string]any{"keys": keys})
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// sign makes a compact JWS of raw JSON.
func (s signer) sign(header, payload string) string {
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(nil, s.key, crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return input + "." + b64(signature)
}

// object is claims, a header or an answer; with replaces members, and nil
// removes them.
type object map[string]any

func (o object) with(changes object) object {
	all := maps.Clone(o)
	for name, value := range changes {
		if value == nil {
			delete(all, name)
			continue
		}
		all[name] = value
	}
	return all
}

func jwtHeader() object { return object{"alg": "RS256", "typ": "JWT", "kid": "key-1"} }

func idClaims(issuer string) object {
	return object{
		"iss": issuer, "aud": clientID, "sub": "782bbtaQ", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"name": "Ada Canary", "picture": "https://media.example/a.jpg", "email": "ada@canary.example",
		"email_verified": "true", "locale": object{"country": "US", "language": "en"},
	}
}

func (u *upstream) idToken() string {
	return signerOne().sign(mustJSON(jwtHeader()), mustJSON(idClaims(u.URL+"/oauth")))
}

func tokenAnswer() object {
	return object{
		"access_token": accessToken, "expires_in": 5183999, "refresh_token": refreshToken,
		"refresh_token_expires_in": 31536000, "scope": "email,openid,profile",
	}
}

func authorization() keeper.Authorization {
	return keeper.Authorization{State: secret.New("canary-state-0123456789"), IssuedAt: now.Add(-2 * time.Minute)}
}

func credentials(current, previous string) func(context.Context, bool) (linkedin.Credentials, error) {
	return func(context.Context, bool) (linkedin.Credentials, error) {
		return linkedin.Credentials{ClientID: clientID, Secret: secret.New(current), Previous: secret.New(previous)}, nil
	}
}
