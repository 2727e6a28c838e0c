package linkedinsim_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

func (r rig) api(action, body string) reply {
	r.t.Helper()
	req := httptest.NewRequest("POST", "http://linkedin.test/_sim/api/"+action, strings.NewReader(body))
	req.RequestURI = ""
	req.Header.Set("Content-Type", "application/json")
	return r.do(req)
}

func (r rig) press(action string, pairs ...string) reply {
	r.t.Helper()
	return r.browse("POST", "http://linkedin.test/_sim/api/"+action, formOnly(pairs))
}

// TestJSONDoesWhatGoDoes drives the simulator as a test in another process
// would.
func TestJSONDoesWhatGoDoes(t *testing.T) {
	var passed []time.Duration
	r := newRig(t, func(c *linkedinsim.Config) { c.Pass = func(d time.Duration) { passed = append(passed, d) } })

	body, _ := json.Marshal(map[string]string{"url": authorizeURL(allScope), "member": "ada"})
	back, err := url.Parse(r.api("authorize", string(body)).str("callback"))
	r.must(err)
	a := r.exchange(back.Query().Get("code"))
	if a.status != 200 {
		t.Fatalf("authorize: %s", a.body)
	}

	if b := r.api("clock", `{"advance":"59d"}`); b.str("now") != "2026-04-29T12:00:00Z" || !r.Clock().Now().Equal(start.Add(59*days)) {
		t.Errorf("clock: %s", b.body)
	}
	if !slices.Equal(passed, []time.Duration{59 * days}) {
		t.Errorf("Pass was called with %v", passed)
	}

	fault := linkedinsim.Fault{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.StallBefore, For: 3 * time.Second, Times: 2}
	body, _ = json.Marshal(fault)
	if b := r.api("fault", string(body)); b.status != 200 || len(r.Faults()) != 1 || r.Faults()[0] != fault {
		t.Errorf("fault: %s %+v", b.body, r.Faults())
	}
	if b := r.get("/_sim/api/faults", ""); b.body != `[{"endpoint":"token","kind":"stall_before","times":2,"for":"3s"}]` {
		t.Errorf("faults: %s", b.body)
	}
	if r.api("clear", ""); len(r.Faults()) != 0 {
		t.Errorf("not cleared: %+v", r.Faults())
	}

	if b := r.api("switches", `{"propagation_delay":"90s","token_length":1000,"rotate":true,"scope_separator":" "}`); b.str("propagation_delay") != "1m30s" || b.json["rotate"] != true {
		t.Errorf("switches: %s", b.body)
	}
	fresh := r.refresh(a.str("refresh_token"))
	if len(fresh.str("access_token")) != 1000 || fresh.str("refresh_token") == a.str("refresh_token") || fresh.str("scope") != "email openid profile" {
		t.Errorf("under switches: %s", fresh.body)
	}
	if b := r.api("switches", `{"rotate":false,"propagation_delay":"","token_length":0,"scope_separator":""}`); b.json["rotate"] != false || b.str("propagation_delay") != "" {
		t.Errorf("switches back: %s", b.body)
	}

	var grants []linkedinsim.Grant
	r.must(json.Unmarshal([]byte(r.get("/_sim/api/grants", "").body), &grants))
	if len(grants) != 1 || len(grants[0].Tokens) != 4 || grants[0].Sub != linkedinsim.Subject(clientID, "ada") {
		t.Errorf("grants: %+v", grants)
	}
	var calls []linkedinsim.Call
	r.must(json.Unmarshal([]byte(r.get("/_sim/api/calls", "").body), &calls))
	if len(calls) != 4 || calls[3].GrantType != "refresh_token" {
		t.Errorf("calls: %+v", calls)
	}

	r.api("revoke", `{"member":"ada","kind":"access"}`)
	if b := r.get("/v2/userinfo", fresh.str("access_token")); b.num("serviceErrorCode") != 65601 {
		t.Errorf("revoke access: %s", b.body)
	}
	if b := r.refresh(fresh.str("refresh_token")); b.status != 200 {
		t.Errorf("and nothing else: %s", b.body)
	}
	r.api("revoke", `{"member":"ada","kind":"refresh"}`)
	if b := r.refresh(fresh.str("refresh_token")); b.status != 400 {
		t.Errorf("revoke refresh: %s", b.body)
	}
	r.api("remove", `{"member":"ada"}`)
	if g := r.Grants(); !g[0].Revoked {
		t.Error("remove: not removed")
	}

	if b := r.api("member", `{"key":"mae","name":"Mae Jemison","logged_in":true}`); b.status != 200 {
		t.Errorf("member: %s", b.body)
	}
	if b := r.signIn("mae", allScope); b.status != 200 {
		t.Errorf("the new member: %s", b.body)
	}
	if r.api("login", `{"member":"mae","in":false}`); strings.Contains(r.get("/_sim/api/members", "").body, `"key":"mae","name":"Mae Jemison","given_name":"","family_name":"","logged_in":true`) {
		t.Error("login: still logged in")
	}
	r.api("app", `{"client_id":"77third","secret":"s","redirect_urls":["http://localhost/x"],"scopes":["openid"],"refresh":true}`)
	r.api("secret", `{"client_id":"77third","secret":"t","previous":"s"}`)
	if b := r.get("/_sim/api/apps", ""); !strings.Contains(b.body, `"client_id":"77third","secret":"t","previous_secret":"s"`) {
		t.Errorf("apps: %s", b.body)
	}
}

func TestJSONRefusesNonsense(t *testing.T) {
	r := newRig(t)
	for action, body := range map[string]string{
		"clock": `{"advance":"soon"}`, "fault": `{"kind":"hiccup"}`, "remove": `{"member":"nobody"}`, "revoke": `{"member":"ada","kind":"all"}`,
		"login": `{"member":"nobody"}`, "secret": `{"client_id":"` + clientID + `","secret":""}`, "switches": `{"nonsense":true}`,
		"authorize": `{"url":"http://linkedin.test/","member":"ada"}`, "member": `{"key":"a b"}`, "app": `{"client_id":"x","secret":"y","redirect_urls":["/relative"]}`,
	} {
		if a := r.api(action, body); a.status != 400 || a.str("error") == "" {
			t.Errorf("%s %s: %d %s", action, body, a.status, a.body)
		}
	}
	if a := r.api("clear", "["); a.status != 400 {
		t.Errorf("broken JSON: %d", a.status)
	}
	if a := r.api("nonsense", "{}"); a.status != 404 {
		t.Errorf("unknown action: %d", a.status)
	}
	if a := r.api("switches", `{"rotate":true,"token_length":"many"}`); a.status != 400 || strings.Contains(r.get("/_sim/api/switches", "").body, `"rotate":true`) {
		t.Error("half of a bad change of switches was made")
	}
}

func TestControlPageWorksWithoutJavaScript(t *testing.T) {
	r := newRig(t)
	token := r.signIn("ada", allScope).str("refresh_token")
	for action, pairs := range map[string][]string{
		"clock":    {"advance", "1d"},
		"fault":    {"endpoint", "token", "kind", "500", "times", "1", "for", "", "retry_after", ""},
		"switches": {"rotate", "true", "propagation_delay", "5s", "token_length", ""},
		"login":    {"member", "grace", "in", "false"},
	} {
		if a := r.press(action, pairs...); a.status != 303 || a.header.Get("Location") != "/_sim/" {
			t.Errorf("%s: %d %s", action, a.status, a.body)
		}
	}
	page := r.get("/_sim/", "")
	for _, want := range []string{"2026-03-02 12:00:00", "<b>status 500</b> at token, 1 more", `name="rotate" value="true" checked`, `value="5s"`,
		"Log in to LinkedIn", "Remove the app", "in 364 days", "sha256:", `value="300d"`, "authorization_code"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(page.body, token) || strings.Contains(page.body, "<script") {
		t.Error("the page holds a token, or a script")
	}
	if a := r.refresh(token); a.status != 500 {
		t.Errorf("the fault of the page: %d", a.status)
	}
	if a := r.press("clock", "advance", "soon"); a.status != 400 || !strings.Contains(a.body, "soon") {
		t.Errorf("a bad span: %d %s", a.status, a.body)
	}
	if a := r.get("/_sim", ""); a.status/100 != 3 {
		t.Errorf("/_sim: %d", a.status)
	}
}

// TestEveryKindHasAButton: a new kind must reach the page.
func TestEveryKindHasAButton(t *testing.T) {
	r := newRig(t)
	page := r.get("/_sim/", "").body
	for _, kind := range []linkedinsim.Kind{linkedinsim.ResetBefore, linkedinsim.ResetAfter, linkedinsim.StallBefore, linkedinsim.StallAfter,
		linkedinsim.Truncate, linkedinsim.WrongSecret, linkedinsim.RefuseRefresh, linkedinsim.NoExpiresIn, linkedinsim.ForeignTokenType,
		linkedinsim.OtherSubject, linkedinsim.OtherApp, linkedinsim.RotateKeys, linkedinsim.NoIDToken, linkedinsim.IDTokenIssuer, linkedinsim.IDTokenAudience,
		linkedinsim.IDTokenExpired, linkedinsim.IDTokenUnsigned, linkedinsim.IDTokenKeyID, linkedinsim.IDTokenSignature, linkedinsim.IDTokenSubject,
		"500", "504", "429"} {
		if !strings.Contains(page, `name="kind" value="`+string(kind)+`"`) {
			t.Errorf("no button for %s", kind)
		}
		if a := r.press("fault", "kind", string(kind)); a.status != 303 {
			t.Errorf("the button for %s: %s", kind, a.body)
		}
	}
}

func TestControlRefusesOtherSites(t *testing.T) {
	r := newRig(t)
	for name, header := range map[string][2]string{"a foreign Origin": {"Origin", "http://evil.example"}, "Fetch Metadata": {"Sec-Fetch-Site", "cross-site"}} {
		req := httptest.NewRequest("POST", "http://linkedin.test/_sim/api/clear", nil)
		req.RequestURI = ""
		req.Header.Set(header[0], header[1])
		r.must(r.Fault(linkedinsim.Fault{Kind: linkedinsim.Truncate, Endpoint: linkedinsim.APIEndpoint}))
		if a := r.do(req); a.status != 403 || len(r.Faults()) == 0 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}

func TestClocks(t *testing.T) {
	frozen := linkedinsim.NewClock(start)
	frozen.Advance(time.Hour)
	if got := frozen.Now(); !got.Equal(start.Add(time.Hour)) || got.Location() != time.UTC {
		t.Errorf("frozen: %s", got)
	}
	running := linkedinsim.RunningClock()
	running.Advance(days)
	if ahead := time.Until(running.Now()); ahead < days-time.Minute || ahead > days {
		t.Errorf("running: %s ahead", ahead)
	}
}

func TestConfigMistakesAreNamed(t *testing.T) {
	for name, cfg := range map[string]linkedinsim.Config{
		"URL":          {URL: "localhost"},
		"redirect URL": {Apps: []linkedinsim.App{{ClientID: "a", Secret: "b", RedirectURLs: []string{"http://h/cb#x"}}}},
		"secret":       {Apps: []linkedinsim.App{{ClientID: "a"}}},
		"member key":   {Members: []linkedinsim.Member{{Key: "a/b"}}},
	} {
		if _, err := linkedinsim.New(cfg); err == nil {
			t.Errorf("a bad %s was accepted", name)
		}
	}
	if _, err := linkedinsim.New(linkedinsim.Config{}); err != nil {
		t.Errorf("the empty Config: %v", err)
	}
}

func TestJSONIsTakenWhateverItIsCalled(t *testing.T) {
	r := newRig(t)
	req := httptest.NewRequest("POST", "http://linkedin.test/_sim/api/clock", strings.NewReader(`{"advance":"1h"}`))
	req.RequestURI = ""
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded") // as curl -d does
	if a := r.do(req); a.status != 200 || !r.Clock().Now().Equal(start.Add(time.Hour)) {
		t.Errorf("%d %s", a.status, a.body)
	}
}
