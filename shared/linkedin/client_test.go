package linkedin_test

import (
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/secret"
)

// operations are all calls that a Client makes, by the path they go to.
var operations = map[string]struct {
	path string
	call func(context.Context, *linkedin.Client) error
}{
	"exchange": {tokenPath, func(ctx context.Context, c *linkedin.Client) error {
		_, _, err := c.Exchange(ctx, secret.New(authCode), authorization())
		return err
	}},
	"refresh": {tokenPath, func(ctx context.Context, c *linkedin.Client) error {
		_, err := c.Refresh(ctx, secret.New(refreshToken))
		return err
	}},
	"introspect": {inspectPath, func(ctx context.Context, c *linkedin.Client) error {
		_, err := c.Inspect(ctx, secret.New(accessToken))
		return err
	}},
	"userinfo": {userPath, func(ctx context.Context, c *linkedin.Client) error {
		_, err := c.Identify(ctx, secret.New(accessToken))
		return err
	}},
	"sdk_exchange": {sdkPath, func(ctx context.Context, c *linkedin.Client) error {
		_, _, err := c.ExchangeSDK(ctx, secret.New(sdkCookie(nil)))
		return err
	}},
	"revoke": {revokePath, func(ctx context.Context, c *linkedin.Client) error {
		return c.Revoke(ctx, secret.New(accessToken))
	}},
}

func TestEveryRefusalHasItsClass(t *testing.T) {
	oauth := func(code, text string) string {
		return mustJSON(object{"error": code, "error_description": text})
	}
	api := func(status, service int, code, message string) string {
		o := object{"status": status, "message": message}
		if service != 0 {
			o["serviceErrorCode"] = service
		}
		if code != "" {
			o["code"] = code
		}
		return mustJSON(o)
	}
	const (
		catchAll = "Unable to retrieve access token: appid/redirect uri/code verifier does not match authorization code. Or authorization code expired. Or external member binding exists"
		dead     = "The provided authorization grant or refresh token is invalid, expired or revoked"
		html     = "<html><body>Bummer, something went wrong.</body></html>"
	)
	for _, row := range []struct {
		operations string
		status     int
		body       string
		want       keeper.Class
	}{
		// The token endpoint.
		{"exchange", 401, oauth("invalid_request", "Unable to retrieve access token: authorization code not found"), keeper.ClassMember},
		{"exchange", 400, oauth("invalid_request", catchAll), keeper.ClassMember},
		{"exchange", 400, oauth("invalid_redirect_uri", catchAll), keeper.ClassMember},
		{"exchange", 400, oauth("invalid_request", "It does not match authorization code."), keeper.ClassMember},
		{"exchange", 400, oauth("invalid_request", "Authorization code expired"), keeper.ClassMember},
		{"exchange", 400, oauth("invalid_grant", ""), keeper.ClassMember},
		{"exchange", 400, oauth("invalid_request", dead), keeper.ClassUnknown},
		{"refresh", 400, oauth("invalid_request", dead), keeper.ClassMember},
		{"refresh", 400, oauth("invalid_request", dead+"."), keeper.ClassMember},
		{"refresh", 400, oauth("invalid_request", strings.ToUpper(dead)), keeper.ClassMember},
		{"refresh", 400, oauth("invalid_grant", "anything"), keeper.ClassMember},
		{"refresh", 400, oauth("invalid_client", dead), keeper.ClassApplication},
		{"refresh", 401, oauth("invalid_request", dead), keeper.ClassUnknown},
		{"refresh", 403, oauth("invalid_grant", dead), keeper.ClassUnknown},
		{"refresh", 200, oauth("invalid_grant", dead), keeper.ClassUnknown},
		{"refresh", 200, `{"error":{"message":"odd"},"access_token":"AQabc","expires_in":5}`, keeper.ClassUnknown},
		{"refresh", 400, oauth("invalid_request", catchAll), keeper.ClassUnknown},
		{"refresh exchange", 400, oauth("invalid_request", `A required parameter "redirect_uri" is missing`), keeper.ClassUnknown},
		{"refresh exchange", 400, oauth("invalid_request", `A required parameter "code" is missing`), keeper.ClassUnknown},
		{"refresh exchange", 400, oauth("invalid_request", `A required parameter "grant_type" is missing`), keeper.ClassUnknown},
		{"refresh exchange", 400, oauth("invalid_request", `A required parameter "client_id" is missing`), keeper.ClassUnknown},
		{"refresh exchange", 400, oauth("invalid_request", `A required parameter "client_secret" is missing`), keeper.ClassUnknown},
		{"refresh exchange", 400, oauth("invalid_request", `A required parameter "refresh_token" is missing`), keeper.ClassUnknown},
		{"refresh exchange", 401, oauth("invalid_client", "Client authentication failed"), keeper.ClassApplication},
		{"refresh exchange", 401, oauth("invalid_client_id", "Client authentication failed"), keeper.ClassApplication},
		{"refresh exchange", 401, oauth("invalid_request", "Client authentication failed"), keeper.ClassApplication},
		{"refresh exchange", 400, oauth("invalid_client_id", `The passed in client_id is invalid "abcdefghijk"`), keeper.ClassApplication},
		{"refresh exchange", 400, oauth("invalid_request", `The passed in client_id is invalid "abcdefghijk"`), keeper.ClassApplication},
		{"refresh exchange", 401, oauth("unauthorized_client", ""), keeper.ClassApplication},
		{"refresh exchange", 401, html, keeper.ClassApplication},
		{"refresh exchange", 401, "", keeper.ClassApplication},
		{"refresh exchange", 401, oauth("access_denied", "This application is not allowed to create application tokens"), keeper.ClassUnknown},
		{"refresh exchange", 400, html, keeper.ClassUnknown},
		{"refresh exchange", 400, `{"error":"invalid_request","error":"invalid_grant"}`, keeper.ClassUnknown},
		{"refresh exchange", 404, html, keeper.ClassUnknown},
		{"refresh exchange", 418, `{}`, keeper.ClassUnknown},
		{"refresh exchange", 302, "", keeper.ClassUnknown},
		{"refresh exchange", 201, `{"access_token":"AQabc","expires_in":100}`, keeper.ClassUnknown},
		{"refresh exchange", 999, "", keeper.ClassUnknown},

		// The JavaScript SDK's token.
		{"sdk_exchange", 401, "oauth_problem=token_rejected", keeper.ClassMember},
		{"sdk_exchange", 401, "oauth_problem=token_expired&oauth_problem_advice=x", keeper.ClassMember},
		{"sdk_exchange", 400, "oauth_problem=token_revoked", keeper.ClassMember},
		{"sdk_exchange", 401, "oauth_problem=token_used", keeper.ClassMember},
		{"sdk_exchange", 401, "oauth_problem=signature_invalid", keeper.ClassApplication},
		{"sdk_exchange", 401, "oauth_problem=consumer_key_unknown", keeper.ClassApplication},
		{"sdk_exchange", 401, "oauth_problem=consumer_key_rejected", keeper.ClassApplication},
		{"sdk_exchange", 401, "oauth_problem=timestamp_refused", keeper.ClassUnknown},
		{"sdk_exchange", 401, "oauth_problem=nonce_used", keeper.ClassUnknown},
		{"sdk_exchange", 403, "oauth_problem=token_rejected", keeper.ClassUnknown},
		{"sdk_exchange", 401, "", keeper.ClassUnknown},
		{"sdk_exchange", 401, html, keeper.ClassUnknown},
		{"sdk_exchange", 404, html, keeper.ClassUnknown},
		{"sdk_exchange", 410, api(410, 0, "", "This resource is no longer available under v1 APIs"), keeper.ClassUnknown},
		{"sdk_exchange", 200, "oauth_problem=token_rejected", keeper.ClassUnknown},
		{"sdk_exchange", 200, oauth("invalid_grant", ""), keeper.ClassUnknown},

		// Introspection.
		{"introspect revoke", 401, "", keeper.ClassApplication},
		{"introspect revoke", 401, oauth("invalid_client", ""), keeper.ClassApplication},
		{"introspect revoke", 401, oauth("surprise", ""), keeper.ClassApplication},
		{"introspect revoke", 400, oauth("invalid_client_id", ""), keeper.ClassApplication},
		{"introspect revoke", 400, oauth("invalid_request", ""), keeper.ClassUnknown},
		{"introspect revoke", 400, "", keeper.ClassUnknown},
		{"introspect", 400, oauth("invalid_grant", dead), keeper.ClassUnknown},
		{"introspect", 200, `{"status":"active"}`, keeper.ClassUnknown},
		{"introspect", 200, `{"active":null}`, keeper.ClassUnknown},
		{"introspect", 200, `{"active":true,"client_id":"another"}`, keeper.ClassUnknown},
		{"introspect", 204, "", keeper.ClassUnknown},
		{"revoke", 404, html, keeper.ClassUnknown},

		// Userinfo.
		{"userinfo", 401, api(401, 65600, "INVALID_ACCESS_TOKEN", "Invalid access token"), keeper.ClassMember},
		{"userinfo", 401, api(401, 65601, "REVOKED_ACCESS_TOKEN", "The token used in the request has been revoked by the user"), "revoked"},
		{"userinfo", 401, api(401, 65602, "EXPIRED_ACCESS_TOKEN", "The token used in the request has expired"), keeper.ClassMember},
		{"userinfo", 401, api(401, 65604, "EMPTY_ACCESS_TOKEN", "Empty oauth2 access token"), keeper.ClassUnknown},
		{"userinfo", 401, api(401, 401, "", "Empty oauth2_access_token"), keeper.ClassUnknown},
		{"userinfo", 401, api(401, 0, "", "Unknown authentication schema"), keeper.ClassUnknown},
		{"userinfo", 401, api(401, 65600, "", ""), keeper.ClassMember},
		{"userinfo", 401, api(401, 65601, "", ""), "revoked"},
		{"userinfo", 401, api(401, 65602, "", ""), keeper.ClassMember},
		{"userinfo", 401, api(401, 0, "INVALID_ACCESS_TOKEN", ""), keeper.ClassMember},
		{"userinfo", 401, api(401, 0, "REVOKED_ACCESS_TOKEN", ""), "revoked"},
		{"userinfo", 401, api(401, 0, "EXPIRED_ACCESS_TOKEN", ""), keeper.ClassMember},
		{"userinfo", 401, api(401, 401, "", "Invalid access token"), keeper.ClassMember},
		{"userinfo", 401, api(401, 401, "", "Expired access token"), keeper.ClassMember},
		{"userinfo", 401, api(401, 401, "", "The token has been revoked"), "revoked"},
		{"userinfo", 401, api(401, 401, "", "The token used in the request has expired"), keeper.ClassMember},
		{"userinfo", 401, api(401, 65604, "", "Invalid access token"), keeper.ClassUnknown},
		{"userinfo", 401, `{"error":"invalid_token"}`, keeper.ClassMember},
		{"userinfo", 401, "", keeper.ClassUnknown},
		{"userinfo", 401, html, keeper.ClassUnknown},
		{"userinfo", 403, api(403, 100, "ACCESS_DENIED", "Not enough permissions to access: GET /userinfo"), keeper.ClassUnknown},
		{"userinfo", 403, api(403, 65601, "", "revoked"), keeper.ClassUnknown},
		{"userinfo", 404, api(404, 0, "RESOURCE_NOT_FOUND", ""), keeper.ClassUnknown},
		{"userinfo", 426, api(426, 0, "NONEXISTENT_VERSION", "Requested version 20250401 is not active"), keeper.ClassUnknown},
		{"userinfo", 400, api(400, 0, "VERSION_MISSING", "A version must be present."), keeper.ClassUnknown},
		{"userinfo", 200, `{}`, keeper.ClassUnknown},
		{"userinfo", 200, `{"sub":7}`, keeper.ClassUnknown},
		{"userinfo", 200, `{"sub":"a\nb"}`, keeper.ClassUnknown},
		{"userinfo", 200, `{"SUB":"a"}`, keeper.ClassUnknown},

		// Whatever was asked.
		{"exchange refresh introspect userinfo revoke sdk_exchange", 429, "", keeper.ClassBusy},
		{"exchange refresh introspect userinfo revoke sdk_exchange", 429, oauth("invalid_client", dead), keeper.ClassBusy},
		{"exchange refresh introspect userinfo revoke sdk_exchange", 429, html, keeper.ClassBusy},
		{"exchange refresh introspect userinfo revoke sdk_exchange", 500, api(500, 65601, "REVOKED_ACCESS_TOKEN", "has been revoked"), keeper.ClassOutage},
		{"exchange refresh introspect userinfo revoke sdk_exchange", 500, oauth("invalid_grant", dead), keeper.ClassOutage},
		{"exchange refresh introspect userinfo revoke sdk_exchange", 502, html, keeper.ClassOutage},
		{"exchange refresh introspect userinfo revoke sdk_exchange", 503, "", keeper.ClassOutage},
		{"exchange refresh introspect userinfo revoke sdk_exchange", 504, "", keeper.ClassOutage},

		// Broken successes.
		{"exchange refresh introspect userinfo sdk_exchange", 200, html, keeper.ClassOutage},
		{"exchange refresh introspect userinfo sdk_exchange", 200, "", keeper.ClassOutage},
		{"exchange refresh introspect userinfo sdk_exchange", 200, `{"access_token":"AQcut`, keeper.ClassOutage},
		{"exchange refresh introspect userinfo sdk_exchange", 200, `[]`, keeper.ClassOutage},
		{"exchange refresh introspect userinfo sdk_exchange", 200, `{"active":true,"sub":"a","access_token":"AQabc"} trailing`, keeper.ClassOutage},
	} {
		for op := range strings.FieldsSeq(row.operations) {
			u := newUpstream(t)
			u.answer(operations[op].path, row.status, row.body)
			err := operations[op].call(t.Context(), u.client(t))
			if err == nil {
				t.Errorf("%s: %d %s: got no error, want %s", op, row.status, row.body, row.want)
				continue
			}
			failed := callError(t, err)
			got := failed.Class
			if got == keeper.ClassMember && failed.Revoked {
				got = "revoked"
			}
			if got != row.want {
				t.Errorf("%s: %d %s: got %s (%s), want %s", op, row.status, row.body, got, failed.Record.Problem, row.want)
			}
			if failed.Record.Operation != op || failed.Record.Status != row.status || failed.Record.ClientID != clientID {
				t.Errorf("%s: %d: the record says %q, %d, %q", op, row.status, failed.Record.Operation, failed.Record.Status, failed.Record.ClientID)
			}
			if n := len(u.seen(operations[op].path)); n != 1 {
				t.Errorf("%s: %d %s: LinkedIn was called %d times, want once", op, row.status, row.body, n)
			}
			u.Close()
		}
	}
}

func TestBusyTellsWhenToComeBack(t *testing.T) {
	message := func(s string) string { return mustJSON(object{"status": 429, "message": s}) }
	midnight := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		status      int
		body, after string
		want        time.Time
	}{
		{429, "", "", time.Time{}},
		{429, "", "120", now.Add(2 * time.Minute)},
		{429, "", " 7 ", now.Add(7 * time.Second)},
		{429, "", "0", time.Time{}},
		{429, "", "-5", time.Time{}},
		{429, "", "soon", time.Time{}},
		{429, "", "999999999999", now.Add(6 * time.Hour)},
		{429, "", "99999999999999999999999999", time.Time{}},
		{429, "", now.Add(time.Hour).Format(http.TimeFormat), now.Add(time.Hour)},
		{429, "", now.Add(90 * time.Hour).Format(http.TimeFormat), now.Add(6 * time.Hour)},
		{429, "", now.Add(-time.Hour).Format(http.TimeFormat), time.Time{}},
		{429, message("Resource level throttle APPLICATION DAY limit for calls to this resource is reached."), "", midnight},
		{429, message("Resource level throttle APPLICATION_AND_MEMBER DAY limit for calls to this resource is reached."), "", midnight},
		{429, mustJSON(object{"error": "daily_quota", "error_description": "Throttled"}), "", midnight},
		{429, message("Resource level throttle DAY limit"), "60", now.Add(time.Minute)},
		{429, message("Resource level throttle limit for calls to this resource is reached."), "", time.Time{}},
		{429, message("Not today, Monday"), "", time.Time{}},
		{503, "", "30", now.Add(30 * time.Second)},
		{503, message("DAY limit"), "", time.Time{}},
		{400, "", "30", time.Time{}},
	} {
		u := newUpstream(t)
		u.answer(tokenPath, row.status, row.body, "Retry-After", row.after)
		failed := callError(t, operations["refresh"].call(t.Context(), u.client(t)))
		if !failed.RetryAt.Equal(row.want) {
			t.Errorf("%d %s Retry-After %q: got %v, want %v", row.status, row.body, row.after, failed.RetryAt, row.want)
		}
		u.Close()
	}
}

func TestRequestsAreExactlyWhatLinkedInDocuments(t *testing.T) {
	u := newUpstream(t)
	u.answer(tokenPath, 200, mustJSON(tokenAnswer().with(object{"id_token": u.idToken()})))
	u.answer(inspectPath, 200, `{"active":true}`)
	u.answer(revokePath, 200, "")
	u.answer(userPath, 200, `{"sub":"782bbtaQ"}`)
	c := u.client(t)
	id := url.Values{"client_id": {clientID}, "client_secret": {clientSecret}}
	for name, want := range map[string]url.Values{
		"exchange":   {"grant_type": {"authorization_code"}, "code": {authCode}, "redirect_uri": {redirectURL}},
		"introspect": {"token": {accessToken}},
		"revoke":     {"token": {accessToken}},
	} {
		maps.Copy(want, id)
		if err := operations[name].call(t.Context(), c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		checkForm(t, name, u.seen(operations[name].path), want)
	}
	u.requests = nil
	u.answer(tokenPath, 200, mustJSON(tokenAnswer()))
	if err := operations["refresh"].call(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	want := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}
	maps.Copy(want, id)
	checkForm(t, "refresh", u.seen(tokenPath), want)

	if err := operations["userinfo"].call(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	got := u.seen(userPath)
	if len(got) != 1 || got[0].method != "GET" || got[0].body != "" || got[0].header.Get("Transfer-Encoding") != "" || got[0].path != userPath {
		t.Fatalf("userinfo: got %+v", got)
	}
	if h := got[0].header.Get("Authorization"); h != "Bearer "+accessToken {
		t.Errorf("userinfo: got Authorization %q", h)
	}
}

func checkForm(t *testing.T, name string, got []request, want url.Values) {
	t.Helper()
	if len(got) != 1 {
		t.Fatalf("%s: got %d requests, want 1", name, len(got))
	}
	r := got[0]
	if r.method != "POST" || strings.Contains(r.path, "?") {
		t.Errorf("%s: got %s %s, want a POST without query", name, r.method, r.path)
	}
	if r.body != want.Encode() {
		t.Errorf("%s: got body %s\nwant %s", name, r.body, want.Encode())
	}
	if _, there := r.header["Authorization"]; there {
		t.Errorf("%s: an Authorization header beside the credentials in the form", name)
	}
	if ct := r.header.Get("Content-Type"); ct != "application/x-www-form-urlencoded" {
		t.Errorf("%s: got Content-Type %q", name, ct)
	}
}

func TestTokensAreReadAsLinkedInReallySendsThem(t *testing.T) {
	end := now.Add(5183999 * time.Second)
	for name, row := range map[string]struct {
		change  object
		scopes  []string
		refresh string
		ends    time.Time // of the refresh token
	}{
		"as observed":           {object{}, []string{"email", "openid", "profile"}, refreshToken, now.Add(31536000 * time.Second)},
		"spaces":                {object{"scope": "profile openid  email"}, []string{"email", "openid", "profile"}, refreshToken, now.Add(31536000 * time.Second)},
		"URL-encoded spaces":    {object{"scope": "profile%20openid"}, []string{"openid", "profile"}, refreshToken, now.Add(31536000 * time.Second)},
		"URL-encoded commas":    {object{"scope": "profile%2Copenid%2copenid"}, []string{"openid", "profile"}, refreshToken, now.Add(31536000 * time.Second)},
		"pluses":                {object{"scope": "profile+openid"}, []string{"openid", "profile"}, refreshToken, now.Add(31536000 * time.Second)},
		"no scope":              {object{"scope": nil}, nil, refreshToken, now.Add(31536000 * time.Second)},
		"strings for numbers":   {object{"expires_in": "5183999", "refresh_token_expires_in": "60"}, []string{"email", "openid", "profile"}, refreshToken, now.Add(time.Minute)},
		"lower-case bearer":     {object{"token_type": "bearer"}, []string{"email", "openid", "profile"}, refreshToken, now.Add(31536000 * time.Second)},
		"empty token type":      {object{"token_type": json0("null")}, []string{"email", "openid", "profile"}, refreshToken, now.Add(31536000 * time.Second)},
		"no refresh token":      {object{"refresh_token": nil}, []string{"email", "openid", "profile"}, "", time.Time{}},
		"no refresh end":        {object{"refresh_token_expires_in": nil}, []string{"email", "openid", "profile"}, refreshToken, time.Time{}},
		"absurd refresh end":    {object{"refresh_token_expires_in": 1e30}, []string{"email", "openid", "profile"}, refreshToken, time.Time{}},
		"negative refresh end":  {object{"refresh_token_expires_in": -4}, []string{"email", "openid", "profile"}, refreshToken, time.Time{}},
		"members we never saw":  {object{"scopes": []int{1}, "Expires_In": 3, "error": json0("null")}, []string{"email", "openid", "profile"}, refreshToken, now.Add(31536000 * time.Second)},
		"a very long new token": {object{"refresh_token": strings.Repeat("r", 16<<10)}, []string{"email", "openid", "profile"}, strings.Repeat("r", 16<<10), now.Add(31536000 * time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			u.answer(tokenPath, 200, mustJSON(tokenAnswer().with(row.change)))
			got, err := u.client(t).Refresh(t.Context(), secret.New("AQRold"))
			if err != nil {
				t.Fatal(err, callError(t, err).Record.Problem)
			}
			if got.Access.Reveal() != accessToken || got.Refresh.Reveal() != row.refresh || got.Subject != "" {
				t.Errorf("got other tokens")
			}
			if !slices.Equal(got.Scopes, row.scopes) || (row.scopes == nil) != (got.Scopes == nil) {
				t.Errorf("got scopes %#v, want %#v", got.Scopes, row.scopes)
			}
			if !got.IssuedAt.Equal(now) || !got.ExpiresAt.Equal(end) || !got.RefreshExpiresAt.Equal(row.ends) {
				t.Errorf("got %v, %v, %v", got.IssuedAt, got.ExpiresAt, got.RefreshExpiresAt)
			}
		})
	}
}

// json0 is raw JSON inside an object.
type json0 string

func (j json0) MarshalJSON() ([]byte, error) { return []byte(j), nil }

func TestLifetimesCountFromTheStartOfTheRequest(t *testing.T) {
	u := newUpstream(t)
	clock := now.Add(1500 * time.Nanosecond)
	u.handle(tokenPath, func(w http.ResponseWriter, _ *http.Request) {
		clock = clock.Add(8 * time.Second) // a slow answer
		_, _ = io.WriteString(w, mustJSON(tokenAnswer()))
	})
	got, err := u.client(t, func(cfg *linkedin.Config) { cfg.Now = func() time.Time { return clock } }).Refresh(t.Context(), secret.New(refreshToken))
	if err != nil {
		t.Fatal(err)
	}
	if want := now.Add(time.Microsecond); !got.IssuedAt.Equal(want) || !got.ExpiresAt.Equal(want.Add(5183999*time.Second)) {
		t.Errorf("got %v to %v", got.IssuedAt, got.ExpiresAt)
	}
}

func TestRefusedTokenAnswers(t *testing.T) {
	for name, row := range map[string]struct {
		change object
		want   keeper.Class
	}{
		"foreign token type":      {object{"token_type": "mac"}, keeper.ClassUnknown},
		"token type no string":    {object{"token_type": 7}, keeper.ClassUnknown},
		"no access token":         {object{"access_token": nil}, keeper.ClassUnknown},
		"empty access token":      {object{"access_token": ""}, keeper.ClassUnknown},
		"access token no string":  {object{"access_token": 7}, keeper.ClassUnknown},
		"access token with CRLF":  {object{"access_token": "AQ\r\nX-Evil: 1"}, keeper.ClassUnknown},
		"access token in a case":  {object{"access_token": nil, "Access_Token": accessToken}, keeper.ClassUnknown},
		"endless access token":    {object{"access_token": strings.Repeat("a", 16<<10+1)}, keeper.ClassUnknown},
		"endless refresh token":   {object{"refresh_token": strings.Repeat("a", 16<<10+1)}, keeper.ClassUnknown},
		"ID token does not prove": {object{"id_token": "a.b.c"}, keeper.ClassUnknown},
	} {
		u := newUpstream(t)
		u.answer(tokenPath, 200, mustJSON(tokenAnswer().with(row.change)))
		failed := callError(t, operations["refresh"].call(t.Context(), u.client(t)))
		if failed.Class != row.want || failed.Record.Problem == "" {
			t.Errorf("%s: got %s %q, want %s", name, failed.Class, failed.Record.Problem, row.want)
		}
		if n := len(u.seen(tokenPath)); n != 1 {
			t.Errorf("%s: got %d calls", name, n)
		}
	}
}

func TestAnEndThatWasNotToldIsFoundByIntrospectionOrRefused(t *testing.T) {
	for name, value := range map[string]any{
		"missing": nil, "null": json0("null"), "zero": 0, "negative": -3, "past ten years": 315360001, "overflowing": 1e11, "fraction of nothing": 0.2, "absurd": 1e18, "word": "soon", "list": []int{1},
	} {
		u := newUpstream(t)
		u.answer(tokenPath, 200, mustJSON(tokenAnswer().with(object{"expires_in": value, "id_token": u.idToken()})))
		u.answer(inspectPath, 200, mustJSON(object{"active": true, "expires_at": now.Add(time.Hour).Unix()}))
		c := u.client(t)
		got, err := c.Refresh(t.Context(), secret.New(refreshToken))
		if err != nil || !got.ExpiresAt.Equal(now.Add(time.Hour)) || got.Subject != "782bbtaQ" {
			t.Errorf("%s: refresh: got %v, %q, %v", name, got.ExpiresAt, got.Subject, err)
		}
		_, got, err = c.Exchange(t.Context(), secret.New(authCode), authorization())
		if err != nil || !got.ExpiresAt.Equal(now.Add(time.Hour)) {
			t.Errorf("%s: exchange: got %v, %v", name, got.ExpiresAt, err)
		}
		for _, silent := range []string{`{"active":true}`, `{"active":true,"expires_at":0}`, `{"active":false,"expires_at":1}`, `<html>`} {
			u.answer(inspectPath, 200, silent)
			for _, op := range []string{"refresh", "exchange"} {
				if got := keeper.ClassOf(operations[op].call(t.Context(), c)); got != keeper.ClassUnknown {
					t.Errorf("%s: %s: introspection %s: got %q, want unknown", name, op, silent, got)
				}
			}
		}
	}
}

func TestIntrospectionIsReadAsDocumented(t *testing.T) {
	issued, ends := time.Unix(1493055596, 0).UTC(), time.Unix(1497497620, 0).UTC()
	for body, want := range map[string]keeper.Inspection{
		`{"active":true,"client_id":"` + clientID + `","authorized_at":1,"created_at":1493055596,"status":"active","expires_at":1497497620,"scope":"r_liteprofile,r_emailaddress,w_member_social","auth_type":"3L"}`: {
			Active: true, Status: "active", IssuedAt: issued, ExpiresAt: ends, Scopes: []string{"r_emailaddress", "r_liteprofile", "w_member_social"}},
		`{"active":false}`: {},
		`{"active":false,"status":"revoked","expires_at":1497497620}`:  {Status: "revoked", ExpiresAt: ends},
		`{"active":false,"status":"Expired"}`:                          {Status: "expired"},
		`{"active":true,"status":"novel"}`:                             {Active: true},
		`{"active":"true","expires_at":"1497497620"}`:                  {Active: true, ExpiresAt: ends},
		`{"active":true,"created_at":1493055596000,"expires_at":1e40}`: {Active: true, IssuedAt: issued},
		`{"active":true,"iat":1493055596,"exp":1497497620,"scope":""}`: {Active: true, IssuedAt: issued, ExpiresAt: ends},
	} {
		u := newUpstream(t)
		u.answer(inspectPath, 200, body)
		got, err := u.client(t).Inspect(t.Context(), secret.New(accessToken))
		if err != nil || got.Active != want.Active || got.Status != want.Status || !got.IssuedAt.Equal(want.IssuedAt) ||
			!got.ExpiresAt.Equal(want.ExpiresAt) || !slices.Equal(got.Scopes, want.Scopes) {
			t.Errorf("%s: got %+v, %v, want %+v", body, got, err, want)
		}
	}
}

func TestUserinfoIsReadTolerantly(t *testing.T) {
	for body, want := range map[string]keeper.Profile{
		`{"sub":"782bbtaQ","email_verified":true,"name":"A B","locale":{"country":"US"},"email":"a@x.example","picture":"https://m.example/p?e=1&v=b"}`: {
			Name: "A B", Email: "a@x.example", Picture: "https://m.example/p?e=1&v=b"},
		`{"sub":"782bbtaQ","email_verified":"true","locale":"en-US","email":"a@x.example"}`:      {Email: "a@x.example"},
		`{"sub":"782bbtaQ","email_verified":"false","email":"a@x.example"}`:                      {},
		`{"sub":"782bbtaQ","email":"a@x.example"}`:                                               {Email: "a@x.example"},
		`{"sub":"782bbtaQ","given_name":"Ada","family_name":"L"}`:                                {Name: "Ada L"},
		`{"sub":"782bbtaQ","name":"A\u0000\nB\u202e","picture":"javascript:alert(1)","email":7}`: {Name: "AB\u202e"},
		`{"sub":"782bbtaQ","name":["x"],"email":"no address","picture":"//m.example/p"}`:         {},
	} {
		u := newUpstream(t)
		u.answer(userPath, 200, body)
		got, err := u.client(t).Identify(t.Context(), secret.New(accessToken))
		if err != nil || got.Subject != "782bbtaQ" || got.ClientID != clientID || got.Profile != want {
			t.Errorf("%s: got %+v, %v", body, got, err)
		}
	}
}

func TestAnApplicationRefusalTriesTheOtherSecretsOnceEach(t *testing.T) {
	creds := func(current, previous string) linkedin.Credentials {
		return linkedin.Credentials{ClientID: clientID, Secret: secret.New(current), Previous: secret.New(previous)}
	}
	for name, row := range map[string]struct {
		cached, reread linkedin.Credentials
		rereadFails    bool
		good           string
		want           []string // secrets in the order they were sent
		class          keeper.Class
	}{
		"rolled":                  {creds("old", ""), creds("new", "old"), false, "new", []string{"old", "new"}, ""},
		"rolled too early":        {creds("new", "old"), creds("new", "old"), false, "old", []string{"new", "old"}, ""},
		"rolled twice":            {creds("a", ""), creds("c", "b"), false, "b", []string{"a", "c", "b"}, ""},
		"old one is not repeated": {creds("old", ""), creds("new", "old"), false, "none", []string{"old", "new"}, keeper.ClassApplication},
		"nothing else to try":     {creds("one", ""), creds("one", ""), false, "none", []string{"one"}, keeper.ClassApplication},
		"same twice":              {creds("one", "one"), creds("one", "one"), false, "none", []string{"one"}, keeper.ClassApplication},
		"all are wrong":           {creds("a", "x"), creds("c", "b"), false, "none", []string{"a", "c", "b"}, keeper.ClassApplication},
		"re-reading fails":        {creds("a", "b"), linkedin.Credentials{}, true, "b", []string{"a", "b"}, ""},
		"at once":                 {creds("a", "b"), creds("c", "b"), false, "a", []string{"a"}, ""},
	} {
		for _, op := range []string{"refresh", "introspect"} {
			u := newUpstream(t)
			u.handle(operations[op].path, func(w http.ResponseWriter, r *http.Request) {
				sent := u.requests[len(u.requests)-1].form.Get("client_secret")
				if sent != row.good {
					w.WriteHeader(401)
					_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"Client authentication failed"}`)
					return
				}
				_, _ = io.WriteString(w, mustJSON(tokenAnswer().with(object{"active": true})))
			})
			rereads := 0
			c := u.client(t, func(cfg *linkedin.Config) {
				cfg.Credentials = func(_ context.Context, reread bool) (linkedin.Credentials, error) {
					if !reread {
						return row.cached, nil
					}
					rereads++
					if row.rereadFails {
						return linkedin.Credentials{}, errors.New("canary: no secret")
					}
					return row.reread, nil
				}
			})
			err := operations[op].call(t.Context(), c)
			var got []string
			for _, r := range u.seen(operations[op].path) {
				got = append(got, r.form.Get("client_secret"))
			}
			if !slices.Equal(got, row.want) || keeper.ClassOf(err) != row.class {
				t.Errorf("%s: %s: sent %q, got %q; want %q, %q", name, op, got, keeper.ClassOf(err), row.want, row.class)
			}
			if wantRereads := min(1, len(row.want)-1); len(row.want) > 1 && rereads != wantRereads {
				t.Errorf("%s: %s: re-read %d times", name, op, rereads)
			}
		}
	}
}

func TestOtherRefusalsAreNotRepeated(t *testing.T) {
	for _, op := range []string{"refresh", "introspect"} {
		for _, status := range []int{400, 429, 500} {
			u := newUpstream(t)
			u.answer(operations[op].path, status, "")
			c := u.client(t, func(cfg *linkedin.Config) {
				cfg.Credentials = func(_ context.Context, reread bool) (linkedin.Credentials, error) {
					if reread {
						t.Errorf("%s %d: the credentials were re-read", op, status)
					}
					return linkedin.Credentials{ClientID: clientID, Secret: secret.New("a"), Previous: secret.New("b")}, nil
				}
			})
			_ = operations[op].call(t.Context(), c)
			if n := len(u.seen(operations[op].path)); n != 1 {
				t.Errorf("%s %d: got %d calls, want 1", op, status, n)
			}
		}
	}
}

func TestACodeIsSentOnceAndTheSecretReadAgainForTheNext(t *testing.T) {
	u := newUpstream(t)
	u.answer(tokenPath, 401, `{"error":"invalid_client"}`)
	rereads := 0
	c := u.client(t, func(cfg *linkedin.Config) {
		cfg.Credentials = func(_ context.Context, reread bool) (linkedin.Credentials, error) {
			if reread {
				rereads++
			}
			return linkedin.Credentials{ClientID: clientID, Secret: secret.New("wrong"), Previous: secret.New("right")}, nil
		}
	})
	err := operations["exchange"].call(t.Context(), c)
	if n := len(u.seen(tokenPath)); n != 1 || rereads != 1 || keeper.ClassOf(err) != keeper.ClassApplication {
		t.Errorf("got %d calls, %d re-reads, %v", n, rereads, err)
	}
}

func TestWithoutCredentialsLinkedInIsNotCalled(t *testing.T) {
	for _, creds := range []func(context.Context, bool) (linkedin.Credentials, error){
		func(context.Context, bool) (linkedin.Credentials, error) {
			return linkedin.Credentials{}, errors.New("canary of the secret's store")
		},
		func(context.Context, bool) (linkedin.Credentials, error) { return linkedin.Credentials{}, nil },
	} {
		u := newUpstream(t)
		c := u.client(t, func(cfg *linkedin.Config) { cfg.Credentials = creds })
		for name, op := range operations {
			failed := callError(t, op.call(t.Context(), c))
			if failed.Class != keeper.ClassOutage || failed.Record.Problem != "the client secret could not be read" {
				t.Errorf("%s: got %s, %q", name, failed.Class, failed.Record.Problem)
			}
			if strings.Contains(failed.Error(), "canary") {
				t.Errorf("%s: the error quotes its cause", name)
			}
		}
		if len(u.requests) != 0 {
			t.Errorf("LinkedIn was called: %+v", u.requests)
		}
	}
}

func TestACutBusyAnswerIsBusyAllTheSame(t *testing.T) {
	u := newUpstream(t)
	u.handle(tokenPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5000")
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(429)
	})
	failed := callError(t, operations["refresh"].call(t.Context(), u.client(t)))
	if failed.Class != keeper.ClassBusy || !failed.RetryAt.Equal(now.Add(time.Minute)) {
		t.Errorf("got %s, %v", failed.Class, failed.RetryAt)
	}
}

func TestNothingIsSentForAnEmptyToken(t *testing.T) {
	u := newUpstream(t)
	c := u.client(t)
	_, _, exchange := c.Exchange(t.Context(), secret.String{}, authorization())
	_, refresh := c.Refresh(t.Context(), secret.String{})
	_, inspect := c.Inspect(t.Context(), secret.String{})
	_, identify := c.Identify(t.Context(), secret.New("two words"))
	for _, err := range []error{exchange, refresh, inspect, identify, c.Revoke(t.Context(), secret.String{})} {
		if got := keeper.ClassOf(err); got != keeper.ClassUnknown {
			t.Errorf("got %q, want unknown", got)
		}
	}
	if len(u.requests) != 0 {
		t.Errorf("LinkedIn was called: %+v", u.requests)
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for name, op := range operations {
			u := newUpstream(t)
			u.answer("/elsewhere", 200, mustJSON(tokenAnswer().with(object{"sub": "a", "active": true})))
			u.answer(op.path, status, "", "Location", u.URL+"/elsewhere")
			if got := keeper.ClassOf(op.call(t.Context(), u.client(t))); got != keeper.ClassUnknown {
				t.Errorf("%s: %d: got %q, want unknown", name, status, got)
			}
			if n := len(u.seen("/elsewhere")); n != 0 {
				t.Errorf("%s: %d: the redirect was followed", name, status)
			}
			u.Close()
		}
	}
	u := newUpstream(t)
	u.answer("/keys", 200, keySetOf(signerOne()))
	u.answer(keysPath, 302, "", "Location", u.URL+"/keys")
	u.answer(tokenPath, 200, mustJSON(tokenAnswer().with(object{"id_token": u.idToken()})))
	if got := keeper.ClassOf(operations["exchange"].call(t.Context(), u.client(t))); got != keeper.ClassOutage {
		t.Errorf("keys: got %q, want outage", got)
	}
	if len(u.seen("/keys")) != 0 {
		t.Error("keys: the redirect was followed")
	}
}

func TestTheDeadlineCutsWhatStalls(t *testing.T) {
	stop := make(chan struct{})
	for where, h := range map[string]http.HandlerFunc{
		"before the answer": func(http.ResponseWriter, *http.Request) { <-stop },
		"in the body": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"`)
			_ = http.NewResponseController(w).Flush()
			<-stop
		},
		"in a refusal's body": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"error":"invalid_grant"`)
			_ = http.NewResponseController(w).Flush()
			<-stop
		},
	} {
		for name, op := range operations {
			u := newUpstream(t)
			u.handle(op.path, h)
			began := time.Now()
			failed := callError(t, op.call(t.Context(), u.client(t, func(cfg *linkedin.Config) { cfg.Timeout = 250 * time.Millisecond })))
			if failed.Class != keeper.ClassOutage || failed.Record.Problem != "time-out" {
				t.Errorf("%s: %s: got %s, %q", name, where, failed.Class, failed.Record.Problem)
			}
			if took := time.Since(began); took > 9*time.Second {
				t.Errorf("%s: %s: took %v", name, where, took)
			}
			if n := len(u.seen(op.path)); n > 1 { // none, where a busy machine has not even sent it
				t.Errorf("%s: %s: got %d calls", name, where, n)
			}
		}
	}
	close(stop)
}

func TestACallerWhoLeavesEndsTheCall(t *testing.T) {
	u := newUpstream(t)
	ctx, cancel := context.WithCancel(t.Context())
	u.handle(tokenPath, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	failed := callError(t, operations["refresh"].call(ctx, u.client(t)))
	if failed.Class != keeper.ClassOutage || failed.Record.Problem != "cancelled by the caller" {
		t.Errorf("got %s, %q", failed.Class, failed.Record.Problem)
	}
}

func TestBrokenConnectionsAreOutages(t *testing.T) {
	for name, row := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"closed without an answer": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "the connection closed early"},
		"cut in the body": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = io.WriteString(w, `{"access_token":"AQcut`)
		}, "the connection closed early"},
		"cut in a refusal": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"The refresh token is invalid"}`)
		}, "the connection closed early"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			chunk := []byte(strings.Repeat(" ", 64<<10))
			for range 1000 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
			t.Error("64 MB of a body were read")
		}, "the answer is too large"},
	} {
		for name2, op := range operations {
			u := newUpstream(t)
			u.handle(op.path, row.h)
			failed := callError(t, op.call(t.Context(), u.client(t)))
			if failed.Class != keeper.ClassOutage || failed.Record.Problem != row.want {
				t.Errorf("%s: %s: got %s, %q, want %q", name2, name, failed.Class, failed.Record.Problem, row.want)
			}
			if n := len(u.seen(op.path)); n != 1 {
				t.Errorf("%s: %s: got %d calls", name2, name, n)
			}
			u.Close()
		}
	}
	u := newUpstream(t)
	u.Close()
	if failed := callError(t, operations["refresh"].call(t.Context(), u.client(t))); failed.Record.Problem != "connection refused" {
		t.Errorf("nobody there: got %q", failed.Record.Problem)
	}
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	c := u.client(t, func(cfg *linkedin.Config) { cfg.LinkedInURL = secure.URL })
	if failed := callError(t, operations["refresh"].call(t.Context(), c)); failed.Record.Problem != "TLS failed" || failed.Class != keeper.ClassOutage {
		t.Errorf("a stranger's certificate: got %s, %q", failed.Class, failed.Record.Problem)
	}
}

func TestNoCallIsRepeatedOnAConnectionThatDies(t *testing.T) {
	for name, op := range operations {
		u := newUpstream(t)
		c := u.client(t)
		u.answer(op.path, 429, "") // leaves a connection that will be reused
		_ = op.call(t.Context(), c)
		u.handle(op.path, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		if got := keeper.ClassOf(op.call(t.Context(), c)); got != keeper.ClassOutage {
			t.Errorf("%s: got %q, want outage", name, got)
		}
		if n := len(u.seen(op.path)); n != 2 {
			t.Errorf("%s: got %d calls, want 2", name, n)
		}
	}
}

func TestOnlyTheConfiguredHostsAreDialled(t *testing.T) {
	u := newUpstream(t)
	var hosts []string
	c := u.client(t, func(cfg *linkedin.Config) {
		cfg.Endpoints.Userinfo = "/v2/userinfo"
		cfg.Transport = transport(func(r *http.Request) (*http.Response, error) {
			hosts = append(hosts, r.URL.Host)
			// A hostile answer that names every other place a client might go.
			return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"https://evil.example/"}}, Body: http.NoBody}, nil
		})
	})
	for _, op := range operations {
		_ = op.call(t.Context(), c)
	}
	for _, host := range hosts {
		if host != strings.TrimPrefix(u.URL, "http://") {
			t.Errorf("dialled %s", host)
		}
	}
	if len(hosts) != len(operations) {
		t.Errorf("got %d calls, want %d", len(hosts), len(operations))
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestNewCallsNobodyAndRefusesWhatCannotWork(t *testing.T) {
	u := newUpstream(t)
	u.client(t)
	if len(u.requests) != 0 {
		t.Errorf("New called %+v", u.requests)
	}
	for name, change := range map[string]func(*linkedin.Config){
		"no LinkedInURL":      func(c *linkedin.Config) { c.LinkedInURL = "" },
		"no host":             func(c *linkedin.Config) { c.APIURL = "https:///x" },
		"other scheme":        func(c *linkedin.Config) { c.APIURL = "ftp://api.example" },
		"query":               func(c *linkedin.Config) { c.LinkedInURL += "?a=b" },
		"user":                func(c *linkedin.Config) { c.LinkedInURL = "https://u:p@www.example" },
		"no issuer":           func(c *linkedin.Config) { c.Issuer = "" },
		"no redirect URL":     func(c *linkedin.Config) { c.RedirectURL = "" },
		"redirect fragment":   func(c *linkedin.Config) { c.RedirectURL += "#x" },
		"no credentials":      func(c *linkedin.Config) { c.Credentials = nil },
		"no openid":           func(c *linkedin.Config) { c.Scopes = []string{"profile"} },
		"endpoint is no path": func(c *linkedin.Config) { c.Endpoints.Token = "@evil.example/" },
	} {
		cfg := config("https://www.example")
		change(&cfg)
		if _, err := linkedin.New(cfg); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
