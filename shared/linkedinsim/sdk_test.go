package linkedinsim_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

// sdkToken is what the SDK's cookie holds, read as an application reads it.
func (r rig) sdkToken(member string) (token, memberID string) {
	r.t.Helper()
	c, err := r.SDKCookie(clientID, member)
	r.must(err)
	text, err := url.PathUnescape(c.Value)
	r.must(err)
	var v struct {
		Version   string   `json:"signature_version"`
		Method    string   `json:"signature_method"`
		Order     []string `json:"signature_order"`
		Token     string   `json:"access_token"`
		Signature string   `json:"signature"`
		Member    string   `json:"member_id"`
	}
	r.must(json.Unmarshal([]byte(text), &v))
	if c.Name != "linkedin_oauth_"+clientID || c.Path != "/" || c.HttpOnly || c.MaxAge != 1800 || v.Version != "1" || v.Method != "HMAC-SHA1" || v.Order[0]+v.Order[1] != "access_tokenmember_id" {
		r.t.Errorf("got %s with %+v", c, v)
	}
	if want := mac(secret, v.Token+v.Member); v.Signature != want {
		r.t.Errorf("signed %s, want %s", v.Signature, want)
	}
	return v.Token, v.Member
}

func mac(key, text string) string {
	h := hmac.New(sha1.New, []byte(key))
	h.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// oauth1 is a request for the exchange of a token, signed with the app's secret;
// change alters a parameter before it is signed, spoil after.
func (r rig) oauth1(token, key string, change, spoil map[string]string) reply {
	r.t.Helper()
	params := map[string]string{
		"oauth_consumer_key": clientID, "oauth_nonce": strconv.Itoa(r.Count(linkedinsim.EveryEndpoint)), "oauth_signature_method": "HMAC-SHA1",
		"oauth_timestamp": strconv.FormatInt(r.Clock().Now().Unix(), 10), "oauth_version": "1.0",
	}
	for name, value := range change {
		params[name] = value
	}
	text := ""
	for _, name := range []string{"oauth_consumer_key", "oauth_nonce", "oauth_signature_method", "oauth_timestamp", "oauth_version"} {
		text += name + "=" + url.QueryEscape(params[name]) + "&"
	}
	text += "xoauth_oauth2_access_token=" + url.QueryEscape(token)
	params["oauth_signature"] = mac(url.QueryEscape(key)+"&", "POST&"+url.QueryEscape("http://linkedin.test/uas/oauth/accessToken")+"&"+url.QueryEscape(text))
	for name, value := range spoil {
		params[name] = value
	}
	var parts []string
	for name, value := range params {
		parts = append(parts, name+`="`+url.QueryEscape(value)+`"`)
	}
	req := httptest.NewRequest("POST", "http://linkedin.test/uas/oauth/accessToken", strings.NewReader(url.Values{"xoauth_oauth2_access_token": {token}}.Encode()))
	req.RequestURI = ""
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "OAuth "+strings.Join(parts, ", "))
	return r.do(req)
}

func TestAnSDKTokenIsExchanged(t *testing.T) {
	r := newRig(t)
	token, member := r.sdkToken("ada")
	if member != linkedinsim.Subject(clientID, "ada") || len(member) != 10 {
		t.Errorf("the member is %s", member)
	}
	if a := r.get("/v2/userinfo", token); a.status != 401 || a.num("serviceErrorCode") != 65600 {
		t.Errorf("the REST API takes the SDK's token: %d %s", a.status, a.body)
	}
	if a := r.post("/oauth/v2/introspectToken", form("token", token)); a.status != 400 {
		t.Errorf("introspection knows the SDK's token: %d %s", a.status, a.body)
	}
	a := r.oauth1(token, secret, nil, nil)
	if a.status != 200 || a.str("access_token") == "" || a.str("refresh_token") == "" || a.str("scope") != "email,openid,profile,w_member_social" || a.str("id_token") != "" {
		t.Fatalf("exchange: %d %s", a.status, a.body)
	}
	if who := r.get("/v2/userinfo", a.str("access_token")); who.str("sub") != member || who.str("name") != "Ada Lovelace" {
		t.Errorf("userinfo: %d %s", who.status, who.body)
	}
	if next := r.refresh(a.str("refresh_token")); next.status != 200 {
		t.Errorf("refresh: %d %s", next.status, next.body)
	}
	calls := r.Calls()
	if c := calls[len(calls)-3]; c.Endpoint != linkedinsim.SDKEndpoint || c.Member != "ada" || c.ClientID != clientID || len(c.Issued) != 2 {
		t.Errorf("the log of calls has %+v", c)
	}
	for name, wrong := range map[string]struct {
		switches func(*linkedinsim.Switches)
		want     string
		status   int
	}{
		"form":   {func(s *linkedinsim.Switches) { s.SDKAnswer = "form" }, "access_token=AQ", 200},
		"oauth1": {func(s *linkedinsim.Switches) { s.SDKAnswer = "oauth1" }, "oauth_token_secret=AQ", 200},
		"gone":   {func(s *linkedinsim.Switches) { s.SDKAnswer = "gone" }, "no longer available", 410},
	} {
		r.set(wrong.switches)
		if a := r.oauth1(token, secret, nil, nil); a.status != wrong.status || !strings.Contains(a.body, wrong.want) || strings.Contains(a.body, "e+") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

func TestOnlyAFreshSignedRequestExchanges(t *testing.T) {
	r := newRig(t, withApp(func(a *linkedinsim.App) { a.PreviousSecret = "before" }))
	token, _ := r.sdkToken("ada")
	at := func(d time.Duration) map[string]string {
		return map[string]string{"oauth_timestamp": strconv.FormatInt(start.Add(d).Unix(), 10)}
	}
	for name, c := range map[string]struct {
		token, key    string
		change, spoil map[string]string
		problem       string
	}{
		"good":                     {token, secret, nil, nil, ""},
		"the previous secret":      {token, "before", nil, nil, ""},
		"five minutes old":         {token, secret, at(-5 * time.Minute), nil, ""},
		"older":                    {token, secret, at(-5*time.Minute - time.Second), nil, "timestamp_refused"},
		"of the future":            {token, secret, at(5*time.Minute + time.Second), nil, "timestamp_refused"},
		"no time":                  {token, secret, map[string]string{"oauth_timestamp": ""}, nil, "timestamp_refused"},
		"no nonce":                 {token, secret, map[string]string{"oauth_nonce": ""}, nil, "parameter_absent"},
		"another app":              {token, secret, map[string]string{"oauth_consumer_key": "x"}, nil, "consumer_key_unknown"},
		"another method":           {token, secret, map[string]string{"oauth_signature_method": "PLAINTEXT"}, nil, "signature_method_rejected"},
		"another secret":           {token, "wrong", nil, nil, "signature_invalid"},
		"a nonce that was changed": {token, secret, nil, map[string]string{"oauth_nonce": "x"}, "signature_invalid"},
		"no signature":             {token, secret, nil, map[string]string{"oauth_signature": ""}, "signature_invalid"},
		"no token":                 {"", secret, nil, nil, "token_rejected"},
		"not an SDK's token":       {r.signIn("grace", allScope).str("access_token"), secret, nil, nil, "token_rejected"},
	} {
		a := r.oauth1(c.token, c.key, c.change, c.spoil)
		if c.problem == "" && a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if c.problem != "" && (a.status != 401 || a.body != "oauth_problem="+c.problem || a.header.Get("oauth_problem") != c.problem) {
			t.Errorf("%s: %d %s, want %s", name, a.status, a.body, c.problem)
		}
	}
	once := map[string]string{"oauth_nonce": "once"}
	for _, want := range []int{200, 401} {
		if a := r.oauth1(token, secret, once, nil); a.status != want {
			t.Errorf("a nonce: %d %s, want %d", a.status, a.body, want)
		}
	}
	r.must(r.Fault(linkedinsim.Fault{Endpoint: linkedinsim.SDKEndpoint, Kind: linkedinsim.WrongSecret, Times: 1}))
	if a := r.oauth1(token, secret, nil, nil); a.body != "oauth_problem=signature_invalid" {
		t.Errorf("the fault: %s", a.body)
	}
	r.Clock().Advance(30 * time.Minute)
	if a := r.oauth1(token, secret, nil, nil); a.body != "oauth_problem=token_rejected" {
		t.Errorf("after half an hour: %s", a.body)
	}
}

func TestATokenOfAnotherAppCanBeSlippedIn(t *testing.T) {
	r := newRig(t)
	token, _ := r.sdkToken("ada")
	r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.OtherApp, Times: 1}))
	a := r.oauth1(token, secret, nil, nil)
	if got := r.post("/oauth/v2/introspectToken", form("token", a.str("access_token"))); got.body != `{"active":false}` {
		t.Errorf("introspection: %s", got.body)
	}
}

func TestThePageOfTheSDKSetsItsCookie(t *testing.T) {
	r := newRig(t, withApp(func(a *linkedinsim.App) { a.RedirectURLs = []string{"http://localhost:8080/auth/callback"} }))
	if page := r.get("/_sim/sdk", ""); page.status != 200 || !strings.Contains(page.body, `id="sdk-ada"`) || strings.Contains(page.body, `id="login"`) {
		t.Errorf("the page: %d %s", page.status, page.body)
	}
	a := r.post("/_sim/sdk", url.Values{"client_id": {clientID}, "member": {"ada"}})
	set := a.header.Get("Set-Cookie")
	if a.status != 303 || a.header.Get("Location") != "/_sim/sdk" || !strings.HasPrefix(set, "linkedin_oauth_"+clientID+"=%7B%22") || strings.Contains(set, "HttpOnly") {
		t.Errorf("signed in: %d %q", a.status, set)
	}
	req := httptest.NewRequest("GET", "http://linkedin.test/_sim/sdk", nil)
	req.RequestURI = ""
	cookie, _, _ := strings.Cut(set, ";")
	req.Header.Set("Cookie", cookie)
	if page := r.do(req); !strings.Contains(page.body, `href="http://localhost:8080/auth/login" id="login"`) {
		t.Errorf("the page has no way on: %s", page.body)
	}
	for _, wrong := range []url.Values{{"client_id": {clientID}, "member": {"nobody"}}, {"client_id": {"x"}, "member": {"ada"}}, {}} {
		if a := r.post("/_sim/sdk", wrong); a.status != 400 || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%v: %d", wrong, a.status)
		}
	}
	if a := r.api("sdk", `{"client_id":"`+clientID+`","member":"ada"}`); a.status != 200 || a.str("name") != "linkedin_oauth_"+clientID || !strings.HasPrefix(a.str("value"), "%7B") {
		t.Errorf("by JSON: %d %s", a.status, a.body)
	}
	if a := r.api("sdk", `{"client_id":"`+clientID+`","member":"nobody"}`); a.status != 400 {
		t.Errorf("by JSON, nobody: %d", a.status)
	}
	if page := r.get("/_sim/", ""); !strings.Contains(page.body, `href="/_sim/sdk"`) {
		t.Error("the control page does not lead there")
	}
}
