package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// nothingIsRepeated sends secrets of strangers, and those of other people's
// mistakes, wherever a request can hold one: keepin neither logs nor answers
// any, also where it says that something is wrong with them.
func nothingIsRepeated(t *testing.T, x *Target) {
	secret := func(kind string) string {
		s := rand.Text() // too short for the log's own guard, which hides what has the shape of a token
		x.Wire.hunt.note(kind, s)
		return s
	}
	b := x.browser(t)
	b.signIn("ada")
	key, password := secret("stranger's bearer key"), secret("stranger's basic credentials")
	basic := base64.StdEncoding.EncodeToString([]byte("admin:" + password))
	x.Wire.hunt.note("stranger's basic credentials", basic)
	session := strings.Repeat("A", 22) + "." + secret("stranger's session")
	header := secret("stranger's token in a header")
	for _, c := range []struct {
		method, address, body string
		headers               []string
	}{
		{"GET", "/members/AAAAAAAAAAAAAAAAAAAAAA/token", "", []string{"Authorization", "Bearer " + key}},
		{"GET", "/members/AAAAAAAAAAAAAAAAAAAAAA", "", []string{"Authorization", "Basic " + basic}},
		{"DELETE", "/members/" + secret("stranger's token in a path"), "", []string{"Authorization", "Bearer " + key}},
		{"GET", "/validate", "", []string{"Cookie", "keepin=" + session + "; __Host-keepin=" + session + "; app=" + secret("another application's cookie")}},
		{"GET", "/callback?code=" + secret("stranger's code") + "&state=" + secret("stranger's state"), "", nil},
		{"GET", "/callback?error=server_error&error_description=" + secret("LinkedIn's words to a stranger") + "&state=" + secret("stranger's state"), "", nil},
		{"GET", "/validate?access_token=" + secret("stranger's token in a query"), "", nil},
		{"GET", "/login?return_to=" + url.QueryEscape("https://evil.example/"+secret("stranger's token in a query")), "", nil},
		{"GET", "/login?scope=" + secret("stranger's token in a query"), "", nil},
		{"GET", "/" + secret("stranger's token in a path"), "", nil},
		{"GET", "/", "", []string{"Accept", "text/html", "Referer", "https://app.example/?token=" + header, "X-Forwarded-Host", header, "User-Agent", header, "X-Api-Key", header}},
		{"POST", "/redeem", `{"ticket":"` + secret("stranger's ticket") + `"}`, []string{"Content-Type", "application/json"}},
		{"POST", "/logout", "token=" + secret("stranger's token in a body"), []string{"Content-Type", "application/x-www-form-urlencoded", "Origin", "https://evil.example"}},
		{"POST", "/exchange", `{"cookie":"` + secret("stranger's SDK cookie") + `"}`, []string{"Content-Type", "application/json", "Origin", origin(x.BaseURL)}},
		{"POST", "/exchange", `{"cookie":7,"` + secret("stranger's token in a body") + `":1}`, []string{"Content-Type", "application/json", "Origin", origin(x.BaseURL)}},
	} {
		for _, accept := range []string{"application/json", "text/html"} {
			b.do(c.method, c.address, c.body, append([]string{"Accept", accept}, c.headers...)...)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), "POST", x.BaseURL+"/redeem", strings.NewReader(`{"ticket":"`+secret("stranger's ticket")+`"}`))
	must(t, err)
	req.Header.Set("Content-Type", "application/json")
	x.Backend(req)
	res, err := b.client.Do(req)
	must(t, err)
	if a := read(t, res); a.StatusCode != http.StatusBadRequest {
		t.Errorf("a foreign ticket = %d %s", a.StatusCode, a.body)
	}
	x.Operate(t, "keys", "rotate")
}
