package web_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/storetest"
	"github.com/keepin/keepin/shared/web"
)

// TestEveryRouteAnswersAsTheContractHasIt walks every outcome of every route;
// the bench holds each against docs/openapi.yaml too. At its end no status of
// the contract may be left that no case had.
func TestEveryRouteAnswersAsTheContractHasIt(t *testing.T) {
	ada := string(keeper.NewMemberID(clientID, "ada-sub"))
	linkedInFails := func(class keeper.Class) func(*browser) {
		return func(b *browser) { b.linkedin.err = &keeper.CallError{Class: class} }
	}
	signedIn := func(b *browser) { b.signIn("") }
	reconnect := func(b *browser) {
		b.signIn("")
		b.fatal(b.keeper.change(b.Context(), keeper.MemberID(ada), func(g *keeper.Grant) { g.Status = keeper.Reconnect }))
	}
	pending := func(b *browser) {
		b.signIn("")
		b.fatal(b.keeper.change(b.Context(), keeper.MemberID(ada), func(g *keeper.Grant) { g.Access.RefusedAt = b.now }))
	}
	down := func(ops ...string) func(*browser) {
		return func(b *browser) {
			b.signIn("")
			b.fail(ops[0])
		}
	}
	const (
		key    = "Authorization: Bearer " + backendKey
		isJSON = "Content-Type: application/json"
	)
	sdk := []string{isJSON, "Cookie: " + sdkName + "=" + sdkValue("ada-sub", "1")}
	const (
		session43 = `[A-Za-z0-9_-]{43}`
		newTx     = `__Host-keepin_tx_[A-Za-z0-9_-]{8}=[A-Za-z0-9_-]{100,600}; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax`
		noTx      = `__Host-keepin_tx_[A-Za-z0-9_-]{8}=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax`
		noSession = `__Host-keepin=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax`
	)
	newSession := `__Host-keepin=` + ada + `\.` + session43 + `; Path=/; Max-Age=34560000; HttpOnly; Secure; SameSite=Lax`

	for _, c := range []struct {
		name    string
		before  func(*browser)
		method  string
		path    string // "@": a callback of a sign-in just begun, with this query after it
		header  []string
		status  int
		code    string   // of the problem
		to      string   // Location, a regexp
		cookies []string // Set-Cookie, regexps, in order
	}{
		{"login", nil, "GET", "/login", nil, 303, "", `https://www\.linkedin\.com/.*state=` + session43, []string{newTx}},
		{"login, every parameter", nil, "GET", "/login?return_to=/x&scope=openid+email&ticket=1&renew=1&other=1", nil, 303, "", `https://www\.linkedin\.com/.*`, []string{newTx}},
		{"login, covered", signedIn, "GET", "/login?return_to=/x&scope=openid", nil, 303, "", `https://app\.example/x`, nil},
		{"login, covered, with a ticket", signedIn, "GET", "/login?ticket=1", nil, 303, "", `https://app\.example/auth/\?keepin_ticket=[\w-]{100,}`, nil},
		{"login, pending", pending, "GET", "/login", nil, 303, "", `https://app\.example/auth/`, nil},
		{"login, renew", signedIn, "GET", "/login?renew=1", nil, 303, "", `https://www\.linkedin\.com/.*`, []string{newTx}},
		{"login, reconnect", reconnect, "GET", "/login", nil, 303, "", `https://www\.linkedin\.com/.*`, []string{newTx}},
		{"login, not covered", func(b *browser) {
			b.signIn("")
			b.fatal(b.keeper.change(b.Context(), keeper.MemberID(ada), func(g *keeper.Grant) { g.Scopes = []string{"openid"} }))
		}, "GET", "/login", nil, 303, "", `https://www\.linkedin\.com/.*`, []string{newTx}},
		{"login, foreign return address", nil, "GET", "/login?return_to=https://evil.example/", nil, 400, "bad_request", "", nil},
		{"login, scope not configured", nil, "GET", "/login?scope=openid+w_member_social", nil, 400, "bad_request", "", nil},
		{"login, no flag", nil, "GET", "/login?ticket=yes", nil, 400, "bad_request", "", nil},
		{"login, twice", nil, "GET", "/login?return_to=/a&return_to=/b", nil, 400, "bad_request", "", nil},
		{"login, broken query", nil, "GET", "/login?return_to=%zz", nil, 400, "bad_request", "", nil},
		{"login, prefetch", nil, "GET", "/login", []string{"Sec-Purpose: prefetch;prerender"}, 503, "try_again", "", nil},
		{"login, store down", down("Look"), "GET", "/login", nil, 503, "try_again", "", nil},
		{"login, keys down", func(b *browser) { b.sealer.err = errors.New("canary: no keys") }, "GET", "/login", nil, 503, "try_again", "", nil},
		{"login, credentials down", func(b *browser) { b.linkedin.urlErr = errors.New("canary: no secret") }, "GET", "/login", nil, 503, "try_again", "", []string{newTx, noTx}},
		{"login, POST", nil, "POST", "/login", nil, 405, "method_not_allowed", "", nil},
		{"login, HEAD", nil, "HEAD", "/login", nil, 405, "", "", nil},
		{"login, a panic", func(b *browser) { b.store.Before = func(string) (bool, error) { panic("canary: boom") } }, "GET", "/login", []string{"Cookie: __Host-keepin=" + ada + "." + strings.Repeat("A", 43)}, 500, "internal", "", nil},
		{"login, query too large", nil, "GET", "/login?x=" + strings.Repeat("a", 4096), nil, 413, "too_large", "", nil},

		{"callback", nil, "GET", "@code=" + code, nil, 303, "", `https://app\.example/auth/`, []string{noTx, newSession}},
		{"callback with iss", nil, "GET", "@iss=https://www.linkedin.com/oauth&code=" + code, nil, 303, "", `https://app\.example/auth/`, []string{noTx, newSession}},
		{"callback, member cancels the login", nil, "GET", "@error=user_cancelled_login&error_description=canary", nil, 303, "", `https://app\.example/auth/\?login=denied`, []string{noTx}},
		{"callback, member refuses", nil, "GET", "@error=user_cancelled_authorize", nil, 303, "", `https://app\.example/auth/\?login=denied`, []string{noTx}},
		{"callback, access denied", nil, "GET", "@error=access_denied", nil, 303, "", `https://app\.example/auth/\?login=denied`, []string{noTx}},
		{"callback, server error", nil, "GET", "@error=server_error", nil, 503, "try_again", "", []string{noTx}},
		{"callback, unavailable", nil, "GET", "@error=temporarily_unavailable", nil, 503, "try_again", "", []string{noTx}},
		{"callback, scope not authorized", nil, "GET", "@error=unauthorized_scope_error&error_description=%3Cscript%3Ecanary", nil, 502, "linkedin_error", "", []string{noTx}},
		{"callback, scope unknown", nil, "GET", "@error=invalid_scope_error", nil, 502, "linkedin_error", "", []string{noTx}},
		{"callback, unknown error", nil, "GET", "@error=canary", nil, 502, "linkedin_error", "", []string{noTx}},
		{"callback, code refused", linkedInFails(keeper.ClassMember), "GET", "@code=" + code, nil, 400, "code_refused", "", []string{noTx}},
		{"callback, LinkedIn out", linkedInFails(keeper.ClassOutage), "GET", "@code=" + code, nil, 503, "try_again", "", []string{noTx}},
		{"callback, LinkedIn busy", linkedInFails(keeper.ClassBusy), "GET", "@code=" + code, nil, 503, "try_again", "", []string{noTx}},
		{"callback, our secret refused", linkedInFails(keeper.ClassApplication), "GET", "@code=" + code, nil, 503, "try_again", "", []string{noTx}},
		{"callback, ID token bad", linkedInFails(keeper.ClassUnknown), "GET", "@code=" + code, nil, 502, "linkedin_error", "", []string{noTx}},
		{"callback, no call error", func(b *browser) { b.linkedin.err = errors.New("canary: what") }, "GET", "@code=" + code, nil, 502, "linkedin_error", "", []string{noTx}},
		{"callback, other issuer", nil, "GET", "@iss=https://www.linkedin.com/oauth/&code=" + code, nil, 400, "bad_request", "", nil},
		{"callback, empty issuer", nil, "GET", "@iss=&code=" + code, nil, 400, "bad_request", "", nil},
		{"callback, two codes", nil, "GET", "@code=" + code + "&code=" + code, nil, 400, "bad_request", "", nil},
		{"callback, two states", nil, "GET", "@code=" + code + "&state=x", nil, 400, "bad_request", "", nil},
		{"callback, code and error", nil, "GET", "@code=" + code + "&error=access_denied", nil, 400, "bad_request", "", nil},
		{"callback, neither", nil, "GET", "@x=1", nil, 400, "bad_request", "", nil},
		{"callback, short code", nil, "GET", "@code=" + code[:19], nil, 400, "bad_request", "", nil},
		{"callback, long code", nil, "GET", "@code=" + strings.Repeat("a", 1025), nil, 400, "bad_request", "", nil},
		{"callback, odd code", nil, "GET", "@code=" + code + "%0a", nil, 400, "bad_request", "", nil},
		{"callback, long error", nil, "GET", "@error=" + strings.Repeat("a", 101), nil, 400, "bad_request", "", nil},
		{"callback, no state", nil, "GET", "/callback?code=" + code, nil, 400, "bad_state", "", nil},
		{"callback, unknown state", nil, "GET", "/callback?code=" + code + "&state=" + strings.Repeat("A", 43), nil, 400, "bad_state", "", nil},
		{"callback, prefetch", nil, "GET", "@code=" + code, []string{"Sec-Purpose: prefetch"}, 503, "try_again", "", nil},
		{"callback, burn fails", func(b *browser) { b.fail("Burn") }, "GET", "@code=" + code, nil, 503, "try_again", "", nil},
		{"callback, grant not kept", func(b *browser) { b.fail("Put") }, "GET", "@code=" + code, nil, 503, "try_again", "", []string{noTx}},
		{"callback, session not kept", func(b *browser) { b.fail("PutSession") }, "GET", "@code=" + code, nil, 503, "try_again", "", []string{noTx}},
		{"callback, not settled", func(b *browser) { b.fail("Settle") }, "GET", "@code=" + code, nil, 303, "", `https://app\.example/auth/`, []string{noTx, newSession}},
		{"callback, HEAD", nil, "HEAD", "@code=" + code, nil, 405, "", "", nil},
		{"callback, POST", nil, "POST", "@code=" + code, nil, 405, "method_not_allowed", "", nil},
		{"callback, a panic", func(b *browser) { b.linkedin.during = func() { panic("canary: boom") } }, "GET", "@code=" + code, nil, 500, "internal", "", nil},
		{"callback, too large", nil, "GET", "/callback?" + strings.Repeat("a", 4097), nil, 413, "too_large", "", nil},

		{"validate", signedIn, "GET", "/validate", nil, 200, "", "", nil},
		{"validate, HEAD", signedIn, "HEAD", "/validate", nil, 200, "", "", nil},
		{"validate, pending", pending, "GET", "/validate", nil, 200, "", "", nil},
		{"validate, nobody", nil, "GET", "/validate", nil, 401, "signed_out", "", nil},
		{"validate, reconnect", reconnect, "GET", "/validate", nil, 401, "reconnect_required", "", nil},
		{"validate, malformed cookie", nil, "GET", "/validate", []string{"Cookie: __Host-keepin=x"}, 401, "signed_out", "", []string{noSession}},
		{"validate, store down", down("Look"), "GET", "/validate", nil, 503, "try_again", "", nil},
		{"validate, trusted origin", signedIn, "GET", "/validate", []string{"Origin: https://shop.example"}, 200, "", "", nil},
		{"validate, preflight", nil, "OPTIONS", "/validate", []string{"Origin: https://shop.example", "Access-Control-Request-Method: GET"}, 204, "", "", nil},
		{"validate, foreign preflight", nil, "OPTIONS", "/validate", []string{"Origin: https://evil.example", "Access-Control-Request-Method: GET"}, 403, "cross_site", "", nil},
		{"validate, POST", nil, "POST", "/validate", nil, 405, "method_not_allowed", "", nil},
		{"validate, too many cookies", nil, "GET", "/validate", []string{"Cookie: " + strings.Repeat("a=b; ", 50) + "a=b"}, 413, "too_large", "", nil},
		{"validate, cookies too large", nil, "GET", "/validate", []string{"Cookie: a=" + strings.Repeat("b", 6<<10)}, 413, "too_large", "", nil},
		{"validate, preflight too large", nil, "OPTIONS", "/validate?" + strings.Repeat("a", 4097), nil, 413, "too_large", "", nil},
		{"validate, a panic", func(b *browser) {
			b.signIn("")
			b.store.Before = func(string) (bool, error) { panic("canary: boom") }
		}, "GET", "/validate", nil, 500, "internal", "", nil},

		{"logout", signedIn, "POST", "/logout", nil, 204, "", "", []string{noSession}},
		{"logout, nobody", nil, "POST", "/logout", nil, 204, "", "", []string{noSession}},
		{"logout, reconnect", reconnect, "POST", "/logout", nil, 204, "", "", []string{noSession}},
		{"logout, form", signedIn, "POST", "/logout", []string{"Accept: text/html", "Origin: https://app.example", "Sec-Fetch-Site: same-origin"}, 303, "", `https://app\.example/auth/`, []string{noSession}},
		{"logout, transactions too", func(b *browser) { b.signIn(""); b.begin("?renew=1") }, "POST", "/logout", nil, 204, "", "", []string{noSession, noTx}},
		{"logout, cross-site", signedIn, "POST", "/logout", []string{"Sec-Fetch-Site: cross-site"}, 403, "cross_site", "", nil},
		{"logout, store down", down("Look"), "POST", "/logout", nil, 503, "try_again", "", nil},
		{"logout, not put", down("Put"), "POST", "/logout", nil, 503, "try_again", "", nil},
		{"logout, preflight", nil, "OPTIONS", "/logout", []string{"Origin: https://shop.example", "Access-Control-Request-Method: POST"}, 204, "", "", nil},
		{"logout, foreign preflight", nil, "OPTIONS", "/logout", []string{"Origin: null", "Access-Control-Request-Method: POST"}, 403, "cross_site", "", nil},
		{"logout, GET", signedIn, "GET", "/logout", nil, 405, "method_not_allowed", "", nil},
		{"logout, too large", nil, "POST", "/logout?" + strings.Repeat("a", 4097), nil, 413, "too_large", "", nil},
		{"logout, preflight too large", nil, "OPTIONS", "/logout?" + strings.Repeat("a", 4097), nil, 413, "too_large", "", nil},
		{"logout, a panic", func(b *browser) {
			b.signIn("")
			b.store.Before = func(string) (bool, error) { panic("canary: boom") }
		}, "POST", "/logout", nil, 500, "internal", "", nil},

		{"account", signedIn, "GET", "/", nil, 200, "", "", nil},
		{"account, nobody", nil, "GET", "/", nil, 200, "", "", nil},
		{"account, base URL as it is", nil, "GET", "", nil, 200, "", "", nil},
		{"account, reconnect", reconnect, "GET", "/", nil, 200, "", "", nil},
		{"account, malformed cookie", nil, "GET", "/", []string{"Cookie: __Host-keepin=x"}, 200, "", "", []string{noSession}},
		{"account, store down", down("Look"), "GET", "/", nil, 503, "try_again", "", nil},
		{"account, too large", nil, "GET", "/?" + strings.Repeat("a", 4097), nil, 413, "too_large", "", nil},
		{"account, a panic", func(b *browser) {
			b.signIn("")
			b.store.Before = func(string) (bool, error) { panic("canary: boom") }
		}, "GET", "/", nil, 500, "internal", "", nil},
		{"badge", nil, "GET", "/badge.js", nil, 200, "", "", nil},
		{"badge, a part", nil, "GET", "/badge.js", []string{"Range: bytes=0-9"}, 206, "", "", nil},
		{"badge, too large", nil, "GET", "/badge.js?" + strings.Repeat("a", 4097), nil, 413, "too_large", "", nil},

		{"elsewhere", nil, "GET", "/nothing", nil, 404, "not_found", "", nil},
		{"elsewhere, unclean", nil, "GET", "/members/../login", nil, 404, "not_found", "", nil},
		{"elsewhere, doubled slash", nil, "GET", "//login", nil, 404, "not_found", "", nil},
		{"elsewhere, slash at the end", nil, "GET", "/login/", nil, 404, "not_found", "", nil},
		{"exchange", nil, "POST", "/exchange", sdk, 200, "", "", []string{newSession}},
		{"exchange, trusted origin", nil, "POST", "/exchange", append([]string{"Origin: https://shop.example"}, sdk...), 200, "", "", []string{newSession}},
		{"exchange, signed in already", signedIn, "POST", "/exchange", sdk, 200, "", "", []string{newSession}},
		{"exchange, no cookie", nil, "POST", "/exchange", []string{isJSON}, 400, "bad_sdk_cookie", "", nil},
		{"exchange, two cookies", nil, "POST", "/exchange", []string{isJSON, sdk[1] + "; " + strings.TrimPrefix(sdk[1], "Cookie: ")}, 400, "bad_sdk_cookie", "", nil},
		{"exchange, a cookie of nobody's", nil, "POST", "/exchange", []string{isJSON, "Cookie: " + sdkName + "=canary"}, 400, "bad_sdk_cookie", "", nil},
		{"exchange, used before", func(b *browser) { b.do("POST", "/auth/exchange", sdk...); clear(b.jar) }, "POST", "/exchange", sdk, 400, "bad_sdk_cookie", "", nil},
		{"exchange, token refused", linkedInFails(keeper.ClassMember), "POST", "/exchange", sdk, 400, "bad_sdk_cookie", "", nil},
		{"exchange, not JSON", nil, "POST", "/exchange", []string{sdk[1]}, 400, "bad_request", "", nil},
		{"exchange, a form", nil, "POST", "/exchange", []string{sdk[1], "Content-Type: application/x-www-form-urlencoded"}, 400, "bad_request", "", nil},
		{"exchange, cross-site", nil, "POST", "/exchange", append([]string{"Sec-Fetch-Site: cross-site"}, sdk...), 403, "cross_site", "", nil},
		{"exchange, foreign origin", nil, "POST", "/exchange", append([]string{"Origin: http://app.example"}, sdk...), 403, "cross_site", "", nil},
		{"exchange, LinkedIn odd", linkedInFails(keeper.ClassUnknown), "POST", "/exchange", sdk, 502, "linkedin_error", "", nil},
		{"exchange, LinkedIn out", linkedInFails(keeper.ClassOutage), "POST", "/exchange", sdk, 503, "try_again", "", nil},
		{"exchange, LinkedIn busy", linkedInFails(keeper.ClassBusy), "POST", "/exchange", sdk, 503, "try_again", "", nil},
		{"exchange, our secret refused", linkedInFails(keeper.ClassApplication), "POST", "/exchange", sdk, 503, "try_again", "", nil},
		{"exchange, credentials down", func(b *browser) { b.linkedin.urlErr = errors.New("canary: no secret") }, "POST", "/exchange", sdk, 503, "try_again", "", nil},
		{"exchange, burn fails", func(b *browser) { b.fail("Burn") }, "POST", "/exchange", sdk, 503, "try_again", "", nil},
		{"exchange, grant not kept", func(b *browser) { b.fail("Put") }, "POST", "/exchange", sdk, 503, "try_again", "", nil},
		{"exchange, session not kept", func(b *browser) { b.fail("PutSession") }, "POST", "/exchange", sdk, 503, "try_again", "", nil},
		{"exchange, not settled", func(b *browser) { b.fail("Settle") }, "POST", "/exchange", sdk, 503, "try_again", "", nil},
		{"exchange, preflight", nil, "OPTIONS", "/exchange", []string{"Origin: https://shop.example", "Access-Control-Request-Method: POST"}, 204, "", "", nil},
		{"exchange, foreign preflight", nil, "OPTIONS", "/exchange", []string{"Origin: https://evil.example", "Access-Control-Request-Method: POST"}, 403, "cross_site", "", nil},
		{"exchange, GET", nil, "GET", "/exchange", nil, 405, "method_not_allowed", "", nil},
		{"exchange, too large", nil, "POST", "/exchange?" + strings.Repeat("a", 4097), nil, 413, "too_large", "", nil},
		{"exchange, preflight too large", nil, "OPTIONS", "/exchange?" + strings.Repeat("a", 4097), nil, 413, "too_large", "", nil},
		{"exchange, a panic", func(b *browser) { b.store.Before = func(string) (bool, error) { panic("canary: boom") } }, "POST", "/exchange", sdk, 500, "internal", "", nil},

		{"token", signedIn, "GET", "/members/" + ada + "/token", []string{key}, 200, "", "", nil},
		{"token, longest", signedIn, "GET", "/members/" + ada + "/token?min_seconds=86400", []string{key}, 200, "", "", nil},
		{"token, too long", signedIn, "GET", "/members/" + ada + "/token?min_seconds=86401", []string{key}, 400, "bad_request", "", nil},
		{"token, negative", signedIn, "GET", "/members/" + ada + "/token?min_seconds=-1", []string{key}, 400, "bad_request", "", nil},
		{"token, odd number", signedIn, "GET", "/members/" + ada + "/token?min_seconds=+60", []string{key}, 400, "bad_request", "", nil},
		{"token, another spelling", signedIn, "GET", "/members/" + ada + "/token?min_seconds=060", []string{key}, 400, "bad_request", "", nil},
		{"token, a sign", signedIn, "GET", "/members/" + ada + "/token?min_seconds=%2B60", []string{key}, 400, "bad_request", "", nil},
		{"token, empty number", signedIn, "GET", "/members/" + ada + "/token?min_seconds=", []string{key}, 400, "bad_request", "", nil},
		{"token, two numbers", signedIn, "GET", "/members/" + ada + "/token?min_seconds=1&min_seconds=2", []string{key}, 400, "bad_request", "", nil},
		{"token, no key", signedIn, "GET", "/members/" + ada + "/token", nil, 401, "unauthorized", "", nil},
		{"token, wrong key", signedIn, "GET", "/members/" + ada + "/token", []string{key + "x"}, 401, "unauthorized", "", nil},
		{"token, other scheme", signedIn, "GET", "/members/" + ada + "/token", []string{"Authorization: Basic " + backendKey}, 401, "unauthorized", "", nil},
		{"token, session for a key", signedIn, "GET", "/members/" + ada + "/token", nil, 401, "unauthorized", "", nil},
		{"token, unknown", nil, "GET", "/members/" + ada + "/token", []string{key}, 404, "not_connected", "", nil},
		{"token, malformed id", nil, "GET", "/members/x/token", []string{key}, 404, "not_connected", "", nil},
		{"token, signed out", func(b *browser) { b.signIn(""); b.api("POST", "/auth/logout") }, "GET", "/members/" + ada + "/token", []string{key}, 404, "not_connected", "", nil},
		{"token, reconnect", reconnect, "GET", "/members/" + ada + "/token", []string{key}, 409, "reconnect_required", "", nil},
		{"token, pending", pending, "GET", "/members/" + ada + "/token", []string{key}, 503, "try_again", "", nil},
		{"token, store down", down("Get"), "GET", "/members/" + ada + "/token", []string{key}, 503, "try_again", "", nil},
		{"token, POST", nil, "POST", "/members/" + ada + "/token", []string{key}, 405, "method_not_allowed", "", nil},
		{"token, too large", nil, "GET", "/members/" + ada + "/token?" + strings.Repeat("a", 4097), []string{key}, 413, "too_large", "", nil},
		{"token, a panic", func(b *browser) { b.store.Before = func(string) (bool, error) { panic("canary: boom") } }, "GET", "/members/" + ada + "/token", []string{key}, 500, "internal", "", nil},

		{"member", signedIn, "GET", "/members/" + ada, []string{key}, 200, "", "", nil},
		{"member, fresh", signedIn, "GET", "/members/" + ada + "?fresh=1", []string{key}, 200, "", "", nil},
		{"member, reconnect", reconnect, "GET", "/members/" + ada, []string{key}, 200, "", "", nil},
		{"member, no flag", signedIn, "GET", "/members/" + ada + "?fresh=2", []string{key}, 400, "bad_request", "", nil},
		{"member, no key", signedIn, "GET", "/members/" + ada, nil, 401, "unauthorized", "", nil},
		{"member, unknown", nil, "GET", "/members/" + ada, []string{key}, 404, "not_connected", "", nil},
		{"member, signed out", func(b *browser) { b.signIn(""); b.api("POST", "/auth/logout") }, "GET", "/members/" + ada, []string{key}, 404, "not_connected", "", nil},
		{"member, store down", down("Get"), "GET", "/members/" + ada, []string{key}, 503, "try_again", "", nil},
		{"member, PUT", nil, "PUT", "/members/" + ada, []string{key}, 405, "method_not_allowed", "", nil},
		{"member, too large", nil, "GET", "/members/" + ada + "?" + strings.Repeat("a", 4097), []string{key}, 413, "too_large", "", nil},
		{"member, a panic", func(b *browser) { b.store.Before = func(string) (bool, error) { panic("canary: boom") } }, "GET", "/members/" + ada, []string{key}, 500, "internal", "", nil},
		{"delete", signedIn, "DELETE", "/members/" + ada, []string{key}, 204, "", "", nil},
		{"delete, unknown", nil, "DELETE", "/members/" + ada, []string{key}, 204, "", "", nil},
		{"delete, malformed id", nil, "DELETE", "/members/x", []string{key}, 204, "", "", nil},
		{"delete, no key", signedIn, "DELETE", "/members/" + ada, nil, 401, "unauthorized", "", nil},
		{"delete, store down", down("Put"), "DELETE", "/members/" + ada, []string{key}, 503, "try_again", "", nil},
		{"delete, too large", nil, "DELETE", "/members/" + ada + "?" + strings.Repeat("a", 4097), []string{key}, 413, "too_large", "", nil},
		{"delete, a panic", func(b *browser) { b.store.Before = func(string) (bool, error) { panic("canary: boom") } }, "DELETE", "/members/" + ada, []string{key}, 500, "internal", "", nil},
		{"redeem, no key", nil, "POST", "/redeem", nil, 401, "unauthorized", "", nil},
		{"redeem, no body", nil, "POST", "/redeem", []string{key}, 400, "bad_request", "", nil},
		{"redeem, too large", nil, "POST", "/redeem?" + strings.Repeat("a", 4097), []string{key}, 413, "too_large", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t).browser()
			path := "/auth" + c.path
			if query, ok := strings.CutPrefix(c.path, "@"); ok {
				path = "/auth/callback?state=" + b.begin("") + "&" + query
			}
			if c.before != nil {
				c.before(b)
			}
			for _, accept := range []string{"application/json", "text/html"} {
				if accept == "text/html" && (c.status < 400 || strings.HasPrefix(c.path, "@")) {
					continue // it changed something
				}
				res := b.do(c.method, path, append([]string{"Accept: " + accept}, c.header...)...)
				if res.StatusCode != c.status {
					t.Fatalf("status %d, want %d: %s", res.StatusCode, c.status, body(res))
				}
				if got := res.Header.Get("Location"); !regexp.MustCompile(`^(?:` + c.to + `)$`).MatchString(got) {
					t.Errorf("Location %q, want %s", got, c.to)
				}
				setCookies(t, res, c.cookies)
				text := body(res)
				if strings.Contains(text, "canary:") || strings.Contains(text, "<script>canary") {
					t.Errorf("the answer quotes what is none of its business: %s", text)
				}
				if accept == "application/json" && c.code != "" && !strings.Contains(text, `"code":"`+c.code+`"`) {
					t.Errorf("got %s, want code %s", text, c.code)
				}
				if c.status == 405 && res.Header.Get("Allow") == "" {
					t.Error("no Allow")
				}
				if got := res.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
					t.Errorf("HSTS %q", got)
				}
			}
			logged(t, b.log.String(), c.status)
		})
	}

	// Redeem's outcomes, and statuses that need a request of their own.
	b := newBench(t)
	ada2 := b.browser()
	ticket := ticketOf(t, ada2.signIn("?ticket=1"))
	for _, want := range []int{200, 400} {
		if res := b.backend("POST", "/redeem", `{"ticket":"`+ticket+`"}`); res.StatusCode != want {
			t.Errorf("redeem: %d %s", res.StatusCode, body(res))
		}
	}
	ticket = ticketOf(t, ada2.get("/auth/login?ticket=1"))
	b.fail("Burn")
	if res := b.backend("POST", "/redeem", `{"ticket":"`+ticket+`"}`); res.StatusCode != 503 {
		t.Errorf("redeem without a store: %d", res.StatusCode)
	}
	b.store.Before = func(string) (bool, error) { panic("canary") }
	if res := b.backend("POST", "/redeem", `{"ticket":"`+ticket+`"}`); res.StatusCode != 500 {
		t.Errorf("redeem in a panic: %d", res.StatusCode)
	}
	etag := ada2.get("/auth/badge.js").Header.Get("ETag")
	if res := ada2.get("/auth/badge.js", "If-None-Match: "+etag); res.StatusCode != 304 {
		t.Errorf("badge again: %d", res.StatusCode)
	}

	off := httptest.NewRecorder()
	r := ada2.request("POST", "/auth/exchange", sdk...)
	web.Mux(b.site, "/auth", web.Routes{}).ServeHTTP(off, r)
	if err := b.contract.Check("/auth", r, off.Result()); err != nil || off.Code != 404 {
		t.Errorf("an exchange that is switched off: %d, %v", off.Code, err)
	}

	// A preflight and the badge touch nothing that could fail.
	unseen := slices.DeleteFunc(b.contract.Unseen(), func(s string) bool {
		return slices.Contains([]string{"OPTIONS /validate 500", "OPTIONS /logout 500", "OPTIONS /exchange 500", "GET /badge.js 500"}, s)
	})
	if len(unseen) > 0 {
		t.Errorf("no case has met %q", unseen)
	}
}

// setCookies holds Set-Cookie lines against regexps.
func setCookies(t *testing.T, res *http.Response, want []string) {
	t.Helper()
	got := res.Header.Values("Set-Cookie")
	if len(got) != len(want) {
		t.Errorf("got cookies %q, want %d", got, len(want))
		return
	}
	for i, line := range got {
		if !regexp.MustCompile(`^` + want[i] + `$`).MatchString(line) {
			t.Errorf("got cookie %q, want %s", line, want[i])
		}
		if len(line) > 4096 {
			t.Errorf("a cookie of %d bytes", len(line))
		}
	}
}

// logged holds the log: a line for each failure, and no query, token or code in it.
func logged(t *testing.T, log string, status int) {
	t.Helper()
	lines := strings.Count(log, `"msg":"request failed"`)
	if (status >= 400) != (lines > 0) {
		if !strings.Contains(log, `"code":"unauthorized"`) && status != 401 {
			t.Errorf("status %d, and %d lines: %s", status, lines, log)
		}
	}
	for _, secret := range []string{code, "sdk-canary", "signature-canary", "access-canary", "refresh-canary", backendKey, "return_to", "state=", "__Host-", "boom"} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q: %s", secret, log)
		}
	}
}

func ticketOf(t *testing.T, res *http.Response) string {
	t.Helper()
	u, err := res.Location()
	if err != nil || u.Query().Get("keepin_ticket") == "" {
		t.Fatalf("no ticket in %q", res.Header.Get("Location"))
	}
	return u.Query().Get("keepin_ticket")
}

func TestEveryProblemCodeIsInTheContract(t *testing.T) {
	c, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	got := web.Codes()
	slices.Sort(got)
	want := c.Codes()
	slices.Sort(want)
	if !slices.Equal(slices.Compact(got), want) {
		t.Errorf("the table has %q, the contract %q", got, want)
	}
}

func TestLoopbackNeedsNoHTTPS(t *testing.T) {
	b := newBench(t, func(c *web.Config) { c.BaseURL = "http://localhost:8080" }).browser()
	res := b.get("/login")
	if got := res.Header.Get("Set-Cookie"); !regexp.MustCompile(`^keepin_tx_[\w-]{8}=[\w-]+; Path=/; Max-Age=600; HttpOnly; SameSite=Lax$`).MatchString(got) {
		t.Errorf("cookie %q", got)
	}
	if res.Header.Get("Strict-Transport-Security") != "" {
		t.Error("HSTS over http")
	}
	u, err := res.Location()
	b.fatal(err)
	res = b.get("/callback?code=" + code + "&state=" + u.Query().Get("state"))
	if got := res.Header.Values("Set-Cookie"); len(got) != 2 || !regexp.MustCompile(`^keepin=[\w-]{22}\.[\w-]{43}; Path=/; Max-Age=34560000; HttpOnly; SameSite=Lax$`).MatchString(got[1]) {
		t.Errorf("cookies %q", got)
	}
	if got := res.Header.Get("Location"); got != "http://localhost:8080/" {
		t.Errorf("Location %q", got)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		method, path string
		size, status int
	}{
		{"GET", "/auth/validate", 1, 413},
		{"GET", "/auth/login", 1, 413},
		{"POST", "/auth/logout", 8 << 10, 204},
		{"POST", "/auth/logout", 8<<10 + 1, 413},
		{"POST", "/auth/exchange", 8 << 10, 400},
		{"POST", "/auth/exchange", 8<<10 + 1, 413},
	} {
		for _, chunked := range []bool{false, true} {
			r := httptest.NewRequestWithContext(t.Context(), c.method, "https://app.example"+c.path, strings.NewReader(strings.Repeat("a", c.size)))
			if chunked {
				r.ContentLength = -1
			}
			if res := b.send(r); res.StatusCode != c.status {
				t.Errorf("%s %s with %d bytes, chunked %v: %d", c.method, c.path, c.size, chunked, res.StatusCode)
			}
		}
	}
}

func TestPrefixIsWhereTheSiteIs(t *testing.T) {
	b := newBench(t)
	for path, status := range map[string]int{"/validate": 404, "/authvalidate": 404, "/auth/validate": 401, "/": 404} {
		if res := b.browser().api("GET", path); res.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, status)
		}
	}
	// On Lambda the prefix is gone already, and addresses still have it.
	mux := web.Mux(b.site, "", web.Routes{Validate: web.Validate(b.site, b.sessions)})
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/validate", nil))
	if w.Code != 401 || !strings.Contains(w.Body.String(), `"login_url":"https://app.example/auth/login"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/login", nil))
	if w.Code != 404 {
		t.Errorf("a route that is not there: %d", w.Code)
	}
}

// TestValidateReadsOnceAndNeedsNoMore: with a store alone, one Look.
func TestValidateReadsOnceAndNeedsNoMore(t *testing.T) {
	b := newBench(t)
	ada := b.browser()
	ada.signIn("")
	sessions, err := session.New(session.Config{Store: b.store, Secure: true, Now: func() time.Time { return b.now }})
	b.fatal(err)
	mux := web.Mux(b.site, "/auth", web.Routes{Validate: web.Validate(b.site, sessions), Account: web.Account(b.site, sessions)})
	for _, path := range []string{"/auth/validate", "/auth/"} {
		b.ops = nil
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, ada.request("GET", path))
		if got := fmt.Sprint(b.ops); w.Code != 200 || got != "[Look]" {
			t.Errorf("%s: %d, store asked %s", path, w.Code, got)
		}
	}
}

var _ session.Store = (*storetest.Memory)(nil)
