package contract_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keepin/keepin/test/contract"
)

// headers are those of every answer.
const headers = "Cache-Control: no-store\nX-Content-Type-Options: nosniff\nReferrer-Policy: no-referrer\n" +
	"Cross-Origin-Opener-Policy: same-origin\nCross-Origin-Resource-Policy: same-origin\nContent-Security-Policy: default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'\n"

func answer(status int, header, body string) *http.Response {
	res := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for line := range strings.Lines(header) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		res.Header.Set(name, value)
	}
	return res
}

func TestAnswersOutsideTheContractAreCaught(t *testing.T) {
	c, err := contract.Load()
	if err != nil {
		t.Fatal(err)
	}
	const (
		json    = "Content-Type: application/json\nVary: Origin\nX-Keepin-Member: J1yYOe3CncST9FcqUwNkWO\n"
		problem = "Content-Type: application/problem+json\n"
		member  = `{"member":{"id":"J1yYOe3CncST9FcqUwNkWO","sub":"a"},"grant":{"status":"active","scopes":[]}}`
		out     = `{"type":"about:blank","title":"Unauthorized","status":401,"code":"signed_out","login_url":"https://app.example/login"}`
		lost    = `{"type":"about:blank","title":"Not Found","status":404,"code":"not_found"}`
	)
	for name, tt := range map[string]struct {
		request string
		res     *http.Response
		want    string // in the error; "": none
	}{
		"good":                   {"GET /auth/validate", answer(200, headers+json, member), ""},
		"good, nobody":           {"GET /auth/validate", answer(401, headers+problem+"Vary: Origin", out), ""},
		"good, elsewhere":        {"GET /auth/x", answer(404, headers+problem, lost), ""},
		"good, outside":          {"GET /validate", answer(404, headers+problem, lost), ""},
		"another status":         {"GET /auth/validate", answer(418, headers+json, member), "no such status"},
		"no header of every":     {"GET /auth/validate", answer(200, json+"Content-Security-Policy: default-src 'none'; x", member), "header"},
		"cacheable":              {"GET /auth/validate", answer(200, strings.Replace(headers, "no-store", "public", 1)+json, member), "Cache-Control"},
		"no policy":              {"GET /auth/validate", answer(200, strings.Replace(headers, "default-src 'none'", "default-src *", 1)+json, member), "Content-Security-Policy"},
		"may be framed":          {"GET /auth/validate", answer(200, strings.Replace(headers, "frame-ancestors 'none'", "frame-ancestors 'self'", 1)+json, member), "frame-ancestors"},
		"forms go anywhere":      {"GET /auth/validate", answer(200, strings.Replace(headers, "form-action 'self'", "form-action *", 1)+json, member), "forms"},
		"a header is missing":    {"GET /auth/validate", answer(200, headers+"Content-Type: application/json\nVary: Origin", member), "X-Keepin-Member"},
		"a header is unknown":    {"GET /auth/validate", answer(200, headers+json+"X-Powered-By: x", member), "X-Powered-By"},
		"a header's value":       {"GET /auth/validate", answer(200, headers+strings.Replace(json, "Origin", "*", 1), member), "Vary"},
		"a member too many":      {"GET /auth/validate", answer(200, headers+json, strings.Replace(member, `"sub"`, `"x":1,"sub"`, 1)), "body"},
		"a member is missing":    {"GET /auth/validate", answer(200, headers+json, strings.Replace(member, `,"scopes":[]`, "", 1)), "scopes"},
		"another status in it":   {"GET /auth/validate", answer(200, headers+json, strings.Replace(member, "active", "great", 1)), "status"},
		"a time is none":         {"GET /auth/validate", answer(200, headers+json, strings.Replace(member, `"scopes"`, `"verified_at":"now","scopes"`, 1)), "verified_at"},
		"another code":           {"GET /auth/validate", answer(401, headers+problem+"Vary: Origin", strings.Replace(out, "signed_out", "not_found", 1)), "code"},
		"no login_url":           {"GET /auth/validate", answer(401, headers+problem+"Vary: Origin", strings.Replace(out, "login_url", "x", 1)), "login_url"},
		"another media type":     {"GET /auth/validate", answer(200, headers+strings.Replace(json, "/json", "/xml", 1), member), "application/xml"},
		"not JSON":               {"GET /auth/validate", answer(200, headers+json, member[1:]), "not JSON"},
		"elsewhere, 200":         {"GET /auth/x", answer(200, headers+json, member), "no such operation"},
		"another method, no 405": {"PUT /auth/validate", answer(200, headers+json, member), "no such operation"},
		"405 without Allow":      {"PUT /auth/validate", answer(405, headers+problem, lost), "Allow"},
		"a body with a 204":      {"POST /auth/logout", answer(204, headers+"Vary: Origin", "x"), "body"},
		"request not allowed":    {"GET /auth/login?ticket=2", answer(303, headers+"Location: /x", ""), "refuses"},
		"503 without a wait":     {"GET /auth/login", answer(503, headers+problem, `{"type":"about:blank","title":"x","status":503,"code":"try_again"}`), "Retry-After"},
	} {
		t.Run(name, func(t *testing.T) {
			method, path, _ := strings.Cut(tt.request, " ")
			err := c.Check("/auth", httptest.NewRequestWithContext(t.Context(), method, "https://app.example"+path, nil), tt.res)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// failures counts what a Transport complains of.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Errorf(string, ...any) { f.n++ }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTransportFailsTheTestAndPassesTheAnswerOn(t *testing.T) {
	c, err := contract.Load()
	if err != nil {
		t.Fatal(err)
	}
	f := &failures{TB: t}
	transport := c.Transport(f, "https://app.example/auth/", roundTrip(func(r *http.Request) (*http.Response, error) {
		sent, err := io.ReadAll(r.Body)
		if err != nil || string(sent) != `{"ticket":"a"}` {
			t.Errorf("sent %q, %v", sent, err)
		}
		return answer(200, "", "hello"), nil
	}))
	for url, want := range map[string]int{"https://app.example/auth/redeem": 1, "https://linkedin.example/auth/redeem": 0, "https://app.example/authority": 0} {
		f.n = 0
		r := httptest.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(`{"ticket":"a"}`))
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if all, _ := io.ReadAll(res.Body); string(all) != "hello" || f.n != want {
			t.Errorf("%s: %q, %d complaints, want %d", url, all, f.n, want)
		}
	}
}
