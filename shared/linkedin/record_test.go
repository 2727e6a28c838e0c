package linkedin_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/secret"
)

// canaries are all secrets that are about in a test.
var canaries = map[string]string{
	"client secret": clientSecret, "previous secret": previousSecret, "access token": accessToken,
	"refresh token": refreshToken, "code": authCode, "state": "canary-state-0123456789",
	"SDK token": "AQJcanarySDK-token_0123456789.ef", "nonce": "canary/nonce=0??>>~~>>9", "verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
	"e-mail": "ada@canary.example", "short token": "odd%2541%25+s", "new token": "AQUcanaryUnknownToken-0123456789_0123456789",
}

// disguises are the forms in which LinkedIn may give a secret back.
var disguises = map[string]func(string) string{
	"raw":           func(s string) string { return s },
	"URL query":     url.QueryEscape,
	"URL path":      url.PathEscape,
	"URL twice":     func(s string) string { return url.QueryEscape(url.QueryEscape(s)) },
	"URL, all":      func(s string) string { return "%" + strings.ToUpper(strings.Join(pairs(s), "%")) },
	"URL, lower":    func(s string) string { return "%" + strings.Join(pairs(s), "%") },
	"hex":           func(s string) string { return hex.EncodeToString([]byte(s)) },
	"HEX":           func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"base64":        func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 +1":     func(s string) string { return base64.StdEncoding.EncodeToString([]byte("x" + s + "yz")) },
	"base64 +2":     func(s string) string { return base64.StdEncoding.EncodeToString([]byte("xy" + s + "z")) },
	"base64url":     func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"basic":         func(s string) string { return base64.StdEncoding.EncodeToString([]byte(clientID + ":" + s)) },
	"base64 in URL": func(s string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s))) },
	"JSON":          func(s string) string { b, _ := json.Marshal(s); return string(b) },
	"JSON, slashes": func(s string) string { return strings.ReplaceAll(s, "/", `\/`) },
	"JSON, all":     func(s string) string { return `\u00` + strings.Join(pairs(s), `\u00`) },
	"HTML":          html.EscapeString,
	"HTML, all":     func(s string) string { return "&#x" + strings.Join(pairs(s), ";&#x") + ";" },
	"Go":            func(s string) string { return fmt.Sprintf("%q", s) },
}

func pairs(s string) []string {
	digits := hex.EncodeToString([]byte(s))
	var all []string
	for i := 0; i < len(digits); i += 2 {
		all = append(all, digits[i:i+2])
	}
	return all
}

// leaks reports which canaries text gives away, in any disguise, whole or by
// 16 bytes of an end.
func leaks(text string) []string {
	var found []string
	for name, canary := range canaries {
		parts := []string{canary}
		if len(canary) > 20 {
			parts = append(parts, canary[:16], canary[len(canary)-16:])
		}
		for _, part := range parts {
			for how, disguise := range disguises {
				if how == "base64 +1" || how == "base64 +2" || how == "basic" {
					continue // found by what does not depend on what is around, below
				}
				if strings.Contains(text, disguise(part)) {
					found = append(found, name+" "+how)
				}
			}
			for before := range 3 {
				b := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + part))
				if inner := b[4 : len(b)-4]; len(inner) > 6 && strings.Contains(text, inner) {
					found = append(found, name+" in base64")
				}
			}
		}
	}
	return found
}

// everything shows err in every way that something might.
func everything(t *testing.T, err error) string {
	t.Helper()
	failed := callError(t, err)
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Error("x", "err", err, "record", failed.Record)
	slog.New(slog.NewTextHandler(&logged, nil)).Error("x", "err", err, "record", failed.Record)
	return fmt.Sprintf("%v %+v %#v %s %q|%v %+v %#v|%s|%s", err, err, err, err, err, failed.Record, *failed, failed.Record, mustJSON(failed), logged.String())
}

func TestNoErrorAndNoRecordHoldsASecret(t *testing.T) {
	a := authorization()
	a.Nonce, a.Verifier = secret.New(canaries["nonce"]), secret.New(canaries["verifier"])
	shown := 0
	for how, disguise := range disguises {
		for where := range 4 {
			u := newUpstream(t)
			echo := func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-Li-Request-Id", disguise(clientSecret))
				w.Header().Set("Content-Type", "text/"+disguise(accessToken))
				var all strings.Builder
				for _, name := range slices.Sorted(mapKeys(canaries)) {
					if name == "new token" && how != "raw" {
						continue // known by its shape alone
					}
					if name == "e-mail" && how != "raw" && how != "JSON" {
						continue
					}
					all.WriteString(" <" + disguise(canaries[name]) + ">")
				}
				switch where {
				case 0: // a refusal in JSON
					w.WriteHeader(400)
					_, _ = io.WriteString(w, mustJSON(object{"error": "invalid_request", "error_description": all.String()}))
				case 1: // a page
					w.WriteHeader(502)
					_, _ = io.WriteString(w, "<html>"+all.String())
				case 2: // a broken success
					_, _ = io.WriteString(w, all.String())
				case 3: // cut in the middle of a secret
					w.Header().Set("Content-Length", "100000")
					w.WriteHeader(400)
					_, _ = io.WriteString(w, all.String()[:all.Len()-8])
				}
			}
			for _, path := range []string{tokenPath, inspectPath, revokePath, userPath, sdkPath} {
				u.handle(path, echo)
			}
			c := u.client(t, func(cfg *linkedin.Config) {
				cfg.Nonce, cfg.PKCE = true, true
				cfg.Credentials = credentials(clientSecret, previousSecret)
			})
			var errs []error
			for _, access := range []string{accessToken, canaries["short token"]} {
				_, e1 := c.Inspect(t.Context(), secret.New(access))
				_, e2 := c.Identify(t.Context(), secret.New(access))
				errs = append(errs, e1, e2, c.Revoke(t.Context(), secret.New(access)))
			}
			_, e1 := c.Refresh(t.Context(), secret.New(refreshToken))
			_, _, e2 := c.Exchange(t.Context(), secret.New(authCode), a)
			_, _, e3 := c.ExchangeSDK(t.Context(), secret.New(sdkCookie(object{"access_token": canaries["SDK token"]})))
			for i, err := range append(errs, e1, e2, e3) {
				if err == nil && where == 2 {
					continue // any 200 is a revocation
				}
				failed := callError(t, err)
				text := everything(t, err)
				// A call knows the secrets of its own; the others are found by shape.
				for _, leak := range leaks(text) {
					if known(failed, i, leak) {
						t.Errorf("%s, answer %d, call %d: leaks %s\n%s", how, where, i, leak, failed.Record.ResponseBody)
					}
				}
				if failed.Record.RequestBody != "" {
					shown++
				}
			}
			u.Close()
		}
	}
	if shown == 0 {
		t.Error("no record shows a request's body: nothing was tested")
	}
}

// known: what the call that failed had in hand, or what has a shape.
func known(failed *keeper.CallError, call int, leak string) bool {
	has := map[string][]string{
		"exchange": {"code", "state", "nonce", "verifier"}, "refresh": {"refresh token"}, "sdk_exchange": {"SDK token"},
	}[failed.Record.Operation]
	if call < 3 {
		has = append(has, "access token")
	} else if call < 6 {
		has = append(has, "short token")
	}
	for _, name := range append(has, "client secret", "previous secret", "e-mail", "new token") {
		if strings.HasPrefix(leak, name) {
			return true
		}
	}
	return false
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestARecordHoldsWhatLinkedInsSupportAsksFor(t *testing.T) {
	u := newUpstream(t)
	u.answer(tokenPath, 500, `{"message":"Internal error for `+url.QueryEscape(clientSecret)+`","status":500}`,
		"X-Li-Request-Id", "0a1b2c", "X-Li-Pop", "azd-prod-lzx7-x", "X-Li-Proto", "http/2", "Retry-After", "9",
		"Set-Cookie", "canary=1", "Date", "Sun, 01 Mar 2026 12:00:00 GMT")
	err := operations["refresh"].call(t.Context(), u.client(t))
	got := callError(t, err).Record
	if got.Operation != "refresh" || !got.At.Equal(now) || got.ClientID != clientID || got.Method != "POST" || got.URL != u.URL+tokenPath || got.Status != 500 {
		t.Errorf("got %+v", got)
	}
	wantBody := "client_id=" + clientID + "&client_secret=" + secret.New(clientSecret).Fingerprint() +
		"&grant_type=refresh_token&refresh_token=" + secret.New(refreshToken).Fingerprint()
	if got.RequestBody != wantBody {
		t.Errorf("got request body %s\nwant %s", got.RequestBody, wantBody)
	}
	if got.RequestHeaders["content-type"] != "application/x-www-form-urlencoded" {
		t.Errorf("got request headers %v", got.RequestHeaders)
	}
	want := map[string]string{
		"x-li-uuid": "AAX2TIh6unm3s+DezlC6rw==", "x-li-fabric": "prod-ltx1", "x-li-request-id": "0a1b2c", "x-li-pop": "azd-prod-lzx7-x",
		"x-li-proto": "http/2", "retry-after": "9", "content-type": "application/json", "date": "Sun, 01 Mar 2026 12:00:00 GMT",
	}
	if fmt.Sprint(got.ResponseHeaders) != fmt.Sprint(want) {
		t.Errorf("got response headers %v\nwant %v", got.ResponseHeaders, want)
	}
	if want := `{"message":"Internal error for ` + secret.New(clientSecret).Fingerprint() + `","status":500}`; got.ResponseBody != want {
		t.Errorf("got response body %s\nwant %s", got.ResponseBody, want)
	}

	_, err = u.client(t).Refresh(t.Context(), secret.New("abc")) // too short to be looked for
	if body := callError(t, err).Record.RequestBody; !strings.HasSuffix(body, "&refresh_token="+secret.New("abc").Fingerprint()) {
		t.Errorf("got request body %s", body)
	}

	u.answer(userPath, 403, `{"message":"Not enough permissions, ada@canary.example","serviceErrorCode":100}`)
	got = callError(t, operations["userinfo"].call(t.Context(), u.client(t))).Record
	if got.RequestHeaders["authorization"] != "Bearer "+secret.New(accessToken).Fingerprint() || got.RequestBody != "" || got.Method != "GET" {
		t.Errorf("userinfo: got %+v", got)
	}
	if !strings.HasPrefix(got.ResponseBody, `{"message":"Not enough permissions, sha256:`) {
		t.Errorf("userinfo: got %s", got.ResponseBody)
	}
}

// LinkedIn's support asks for the id of a call, whatever it looks like; a secret
// in its place is one all the same.
func TestTheIDOfACallIsKeptThoughItLooksLikeAToken(t *testing.T) {
	u := newUpstream(t)
	for id, want := range map[string]string{
		"AQX2TIh6unm3s_DezlC6rw==": "AQX2TIh6unm3s_DezlC6rw==",
		"AQX2TIh6unm3s_DezlC6rwAA": secret.New("AQX2TIh6unm3s_DezlC6rwAA").Fingerprint(),
		refreshToken:               secret.New(refreshToken).Fingerprint(),
	} {
		u.answer(tokenPath, 500, `{}`, "X-Li-Uuid", id)
		if got := callError(t, operations["refresh"].call(t.Context(), u.client(t))).Record.ResponseHeaders["x-li-uuid"]; got != want {
			t.Errorf("%s: got %s, want %s", id, got, want)
		}
	}
}

func TestABrokenSuccessIsRecordedAsLengthAndFingerprint(t *testing.T) {
	body := `{"name":"Ada Canary","access_token":`
	for _, op := range []string{"exchange", "refresh", "introspect", "userinfo", "sdk_exchange"} {
		u := newUpstream(t)
		u.answer(operations[op].path, 200, body)
		got := callError(t, operations[op].call(t.Context(), u.client(t))).Record.ResponseBody
		if want := fmt.Sprintf("[%d bytes, %s]", len(body), secret.New(body).Fingerprint()); got != want {
			t.Errorf("%s: got %s, want %s", op, got, want)
		}
	}
}

func TestSecretsOfUnknownValueAreFoundByTheirShape(t *testing.T) {
	u := newUpstream(t)
	for _, unknown := range []string{
		"AQUnknown-Token_0123456", "WPL_AP1.Unknown.a+/b==", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.", strings.Repeat("0123456789abcdef", 3),
		"grace@hopper.example", "grace%40hopper.example",
	} {
		for _, before := range []int{0, 4080, 4090} {
			u.answer(tokenPath, 400, strings.Repeat(". ", before/2)+`"`+unknown+`" `+strings.Repeat("- ", 9000))
			got := callError(t, operations["refresh"].call(t.Context(), u.client(t))).Record.ResponseBody
			if _, end, _ := strings.Cut(got, `"`); len(end) > 0 && !strings.HasPrefix("sha256:", end[:min(7, len(end))]) {
				t.Errorf("%s after %d: got %.60s", unknown, before, end)
			}
		}
	}
}

func TestALongBodyIsCutAfterItsSecretsWereReplaced(t *testing.T) {
	for _, before := range []int{0, 4070, 4080, 4090, 4095, 4096, 5000} {
		u := newUpstream(t)
		body := strings.Repeat("é ", before/3) + strings.Repeat(".", before%3) + refreshToken + strings.Repeat(" "+refreshToken, 3000)
		u.answer(tokenPath, 503, body)
		got := callError(t, operations["refresh"].call(t.Context(), u.client(t))).Record.ResponseBody
		if len(got) > 4096 || len(got) < 4000 || !utf8.ValidString(got) {
			t.Errorf("after %d: got %d bytes", before, len(got))
		}
		if strings.Contains(got, refreshToken[:6]) {
			t.Errorf("after %d: a token shows: %s", before, got[len(got)-60:])
		}
	}
}
