package web_test

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestMemberSignsInIsShownAndSignsOut(t *testing.T) {
	b := newBench(t)
	ada := b.browser()
	res := ada.signIn("?return_to=/app%3Fx%3D1")
	if res.StatusCode != 303 || res.Header.Get("Location") != "https://app.example/app?x=1" {
		t.Fatalf("callback: %d to %q: %s", res.StatusCode, res.Header.Get("Location"), body(res))
	}
	res = ada.api("GET", "/auth/validate")
	if res.StatusCode != 200 {
		t.Fatalf("validate: %d %s", res.StatusCode, body(res))
	}
	var v struct{ Member struct{ ID, Sub string } }
	b.fatal(json.Unmarshal([]byte(body(res)), &v))
	if got := res.Header.Get("X-Keepin-Member"); got != v.Member.ID || got == "" || v.Member.Sub != "ada-sub" {
		t.Errorf("validate: header %q, body %+v", got, v)
	}
	if page := body(ada.get("/auth/")); !strings.Contains(page, "Ada &lt;b&gt;Lovelace&lt;/b&gt;") {
		t.Errorf("account page: %s", page)
	}
	if res := b.backend("GET", "/members/"+v.Member.ID+"/token", ""); res.StatusCode != 200 || !strings.Contains(body(res), `"access_token":"access-canary-ada-sub"`) {
		t.Errorf("token: %d %s", res.StatusCode, body(res))
	}
	if res := ada.api("POST", "/auth/logout"); res.StatusCode != 204 || len(ada.jar) != 0 {
		t.Errorf("logout: %d, left %v", res.StatusCode, ada.jar)
	}
	if res := ada.api("GET", "/auth/validate"); res.StatusCode != 401 {
		t.Errorf("validate after logout: %d", res.StatusCode)
	}
	if res := b.backend("GET", "/members/"+v.Member.ID+"/token", ""); res.StatusCode != 404 {
		t.Errorf("token after logout: %d %s", res.StatusCode, body(res))
	}
}
