package linkedin_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/test/bounds"
)

const fuzzed = "https://www.linkedin.example"

// answering is a Client whose LinkedIn answers without a network: body where
// path is asked, keys and a dull introspection elsewhere.
func answering(t testing.TB, path string, status int, body string) *linkedin.Client {
	t.Helper()
	cfg := config(fuzzed)
	cfg.Transport = transport(func(r *http.Request) (*http.Response, error) {
		resp := &http.Response{StatusCode: 200, Header: http.Header{}, Request: r}
		switch r.URL.Path {
		case path:
			resp.StatusCode = status
			resp.Body = io.NopCloser(strings.NewReader(body))
		case keysPath:
			resp.Body = io.NopCloser(strings.NewReader(keySetOf(signerOne())))
		default:
			resp.Body = io.NopCloser(strings.NewReader(`{"active":true}`))
		}
		return resp, nil
	})
	c, err := linkedin.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// judged insists on what every failure must be.
func judged(t *testing.T, err error, body string) keeper.Class {
	t.Helper()
	failed := callError(t, err)
	switch failed.Class {
	case keeper.ClassMember, keeper.ClassApplication, keeper.ClassBusy, keeper.ClassOutage, keeper.ClassUnknown:
	default:
		t.Fatalf("got class %q", failed.Class)
	}
	if len(body) > 40 && strings.Contains(failed.Error(), body) {
		t.Fatal("the error quotes the body")
	}
	if len(failed.Record.ResponseBody) > 4096 || !utf8.ValidString(failed.Record.ResponseBody) {
		t.Fatal("the record's body is too long or no text")
	}
	return failed.Class
}

func FuzzTokenAnswer(f *testing.F) {
	for _, change := range []object{
		{}, {"expires_in": "5183999"}, {"expires_in": nil}, {"expires_in": -1}, {"expires_in": 1e300}, {"scope": "a%20b,c d"},
		{"token_type": "mac"}, {"token_type": "Bearer"}, {"refresh_token": nil}, {"refresh_token": 7}, {"access_token": ""},
		{"error": "invalid_grant"}, {"error": nil, "id_token": "a.b.c"}, {"refresh_token_expires_in": "x"},
	} {
		f.Add(mustJSON(tokenAnswer().with(change)))
	}
	f.Add("")
	f.Add("<html>")
	f.Add(`{"access_token":"a","access_token":"b"}`)
	f.Add(`{"access_token":"a","expires_in":0x10}`)
	f.Fuzz(func(t *testing.T, body string) {
		c := answering(t, tokenPath, 200, body)
		var got keeper.Tokens
		var err error
		bounds.Check(t, func() { got, err = c.Refresh(t.Context(), secret.New(refreshToken)) })
		if err != nil {
			if class := judged(t, err, body); class != keeper.ClassUnknown && class != keeper.ClassOutage {
				t.Fatalf("a success was judged %s", class)
			}
			return
		}
		if got.Access.IsZero() || len(got.Access.Reveal()) > 16<<10 || !got.IssuedAt.Equal(now) ||
			!got.ExpiresAt.After(now) || got.ExpiresAt.After(now.Add(11*365*24*time.Hour)) ||
			(!got.RefreshExpiresAt.IsZero() && (got.Refresh.IsZero() || !got.RefreshExpiresAt.After(now))) ||
			!slices.IsSorted(got.Scopes) || slices.Contains(got.Scopes, "") || (got.Scopes != nil && len(got.Scopes) == 0) {
			t.Fatalf("got %+v of %q", got, body)
		}
	})
}

func FuzzTokenError(f *testing.F) {
	for _, text := range []string{
		"The provided authorization grant or refresh token is invalid, expired or revoked", "Client authentication failed",
		`A required parameter "refresh_token" is missing`, `The passed in client_id is invalid "x"`, "",
	} {
		for _, code := range []string{"invalid_request", "invalid_client", "invalid_grant", ""} {
			f.Add(400, mustJSON(object{"error": code, "error_description": text}))
		}
	}
	f.Add(401, "")
	f.Add(401, `{"status":401,"serviceErrorCode":65601,"code":"REVOKED_ACCESS_TOKEN","message":"x"}`)
	f.Add(429, `{"message":"Resource level throttle APPLICATION DAY limit"}`)
	f.Add(500, "<html>"+`%`+`\`+`&#x`+`\u00`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 300 || status > 999 {
			return
		}
		echo := body + refreshToken + body + clientSecret + body
		c := answering(t, tokenPath, status, body)
		var err error
		bounds.Check(t, func() { _, err = c.Refresh(t.Context(), secret.New(refreshToken)) })
		class := judged(t, err, body)
		dead := strings.Contains(strings.ToLower(body), "refresh token is invalid") || strings.Contains(strings.ToLower(body), "invalid_grant") ||
			strings.Contains(body, `\`) // escaped
		if class == keeper.ClassMember && (!dead || (status != 400 && status != 401)) {
			t.Fatalf("%d %q was judged the member's fault", status, body)
		}
		if wantBusy := status == 429; wantBusy != (class == keeper.ClassBusy) {
			t.Fatalf("%d was judged %s", status, class)
		}
		if wantOutage := status >= 500 && status < 600; wantOutage != (class == keeper.ClassOutage) {
			t.Fatalf("%d was judged %s", status, class)
		}
		_, err = answering(t, tokenPath, status, echo).Refresh(t.Context(), secret.New(refreshToken))
		judged(t, err, echo)
		for _, canary := range []string{refreshToken, clientSecret} {
			if strings.Contains(callError(t, err).Record.ResponseBody, canary) {
				t.Fatalf("the record of %q holds a secret", echo)
			}
		}
	})
}

func FuzzIntrospection(f *testing.F) {
	for _, body := range []string{
		`{"active":true,"client_id":"` + clientID + `","authorized_at":1493055596,"created_at":1493055596,"status":"active","expires_at":1497497620,"scope":"a,b","auth_type":"3L"}`,
		`{"active":false}`, `{"active":"true","expires_at":"9e99"}`, `{"active":true,"expires_at":-1}`, `{"active":null}`, `{"active":true,"created_at":1493055596000}`, `[]`, ``,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		c := answering(t, inspectPath, 200, body)
		var got keeper.Inspection
		var err error
		bounds.Check(t, func() { got, err = c.Inspect(t.Context(), secret.New(accessToken)) })
		if err != nil {
			if class := judged(t, err, body); class != keeper.ClassUnknown && class != keeper.ClassOutage {
				t.Fatalf("a success was judged %s", class)
			}
			return
		}
		for _, at := range []time.Time{got.IssuedAt, got.ExpiresAt} {
			if !at.IsZero() && (at.Unix() < 0 || at.Year() > 5200 || at.Location() != time.UTC) {
				t.Fatalf("got %v of %q", at, body)
			}
		}
		if !slices.Contains([]string{"", "active", "expired", "revoked"}, got.Status) || !slices.IsSorted(got.Scopes) {
			t.Fatalf("got %+v of %q", got, body)
		}
	})
}

func FuzzUserinfo(f *testing.F) {
	for _, body := range []string{
		`{"sub":"782bbtaQ","email_verified":true,"name":"A B","locale":{"country":"US"},"email":"a@x.example","picture":"https://m.example/p"}`,
		`{"sub":"782bbtaQ","email_verified":"false","email":"a@x.example","locale":"en_US"}`, `{"sub":""}`, `{"sub":"a","sub":"b"}`,
		`{"sub":"a","name":"\u0000\u2028\ufffd","given_name":"x"}`, `{"sub":"a","picture":"javascript:x"}`, `null`, ``,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		c := answering(t, userPath, 200, body)
		var got keeper.Identity
		var err error
		bounds.Check(t, func() { got, err = c.Identify(t.Context(), secret.New(accessToken)) })
		if err != nil {
			if class := judged(t, err, body); class != keeper.ClassUnknown && class != keeper.ClassOutage {
				t.Fatalf("a success was judged %s", class)
			}
			return
		}
		p := got.Profile
		if got.Subject == "" || len(got.Subject) > 255 || strings.ContainsFunc(got.Subject, func(r rune) bool { return r <= ' ' || r > '~' }) ||
			utf8.RuneCountInString(p.Name) > 256 || strings.ContainsFunc(p.Name+p.Email+p.Picture, unicode.IsControl) ||
			(p.Picture != "" && !strings.HasPrefix(strings.ToLower(p.Picture), "http")) {
			t.Fatalf("got %+v of %q", got, body)
		}
	})
}

func FuzzIDToken(f *testing.F) {
	good := mustJSON(idClaims(fuzzed + "/oauth"))
	for _, header := range []string{mustJSON(jwtHeader()), `{"alg":"none"}`, `{"alg":"RS256","crit":["x"]}`, `{"alg":"RS256"}`, `{"alg":"RS256","alg":"none"}`, `[]`, ``} {
		f.Add(header, good, false)
		f.Add(header, good, true)
	}
	for _, change := range []object{{"aud": []string{clientID, "x"}}, {"iss": nil}, {"exp": "1"}, {"iat": 1e300}, {"sub": ""}, {"nonce": 7}, {"at_hash": "x"}, {"_claim_names": object{"a": "b"}}} {
		f.Add(mustJSON(jwtHeader()), mustJSON(idClaims(fuzzed+"/oauth").with(change)), true)
	}
	f.Add("a.b.c", "", false)
	f.Fuzz(func(t *testing.T, header, claims string, signed bool) {
		id := header + claims // any text at all
		if signed {
			id = signerOne().sign(header, claims)
		}
		body := mustJSON(tokenAnswer().with(object{"id_token": id}))
		c := answering(t, tokenPath, 200, body)
		var who keeper.Identity
		var tokens keeper.Tokens
		var err error
		bounds.Check(t, func() { who, tokens, err = c.Exchange(t.Context(), secret.New(authCode), authorization()) })
		if err != nil {
			if class := judged(t, err, id); class != keeper.ClassUnknown || !tokens.Access.IsZero() {
				t.Fatalf("an ID token was judged %s", class)
			}
			return
		}
		var h struct{ Alg string }
		var said struct {
			Iss, Sub string
			Exp, Iat float64
		}
		if !signed || json.Unmarshal([]byte(header), &h) != nil || h.Alg != "RS256" || json.Unmarshal([]byte(claims), &said) != nil {
			t.Fatalf("%q, %q was taken", header, claims)
		}
		if who.Subject == "" || !strings.Contains(claims, "iss") || !strings.Contains(claims, "exp") || !strings.Contains(claims, "iat") {
			t.Fatalf("%q was taken", claims)
		}
	})
}

func FuzzKeys(f *testing.F) {
	id := signerOne().sign(mustJSON(jwtHeader()), mustJSON(idClaims(fuzzed+"/oauth")))
	for _, body := range []string{keySetOf(signerOne(), signerTwo()), `{"keys":[]}`, `{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}`, `{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}`, `{"keys":null}`, ``} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		cfg := config(fuzzed)
		cfg.Transport = transport(func(r *http.Request) (*http.Response, error) {
			answer := mustJSON(tokenAnswer().with(object{"id_token": id}))
			if r.URL.Path == keysPath {
				answer = body
			}
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer))}, nil
		})
		c, err := linkedin.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		bounds.Check(t, func() { _, _, err = c.Exchange(t.Context(), secret.New(authCode), authorization()) })
		if err != nil {
			if class := judged(t, err, ""); class != keeper.ClassOutage && class != keeper.ClassUnknown {
				t.Fatalf("keys were judged %s", class)
			}
		}
	})
}
