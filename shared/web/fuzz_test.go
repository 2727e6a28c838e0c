package web_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/test/bounds"
)

// FuzzCookieHeader: whatever a Cookie header holds, nobody is signed in by it
// but by our cookie to the letter, once; and nothing is written.
func FuzzCookieHeader(f *testing.F) {
	const member, id = "J1yYOe3CncST9FcqUwNkWO", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	for _, seed := range []string{
		"", "GOOD", "GOOD; GOOD", "a=b; GOOD", "GOOD;", ";GOOD", " GOOD ", "\tGOOD", "GOOD\x00", `__Host-keepin="` + member + "." + id + `"`,
		"__Host-keepin=" + member + "." + id, "__Host-keepin", "__Host-keepin=", "__Host-keepin=.", "__Host-keepin_tx_AAAAAAAA=x; GOOD", "__host-keepin=x; GOOD", "=x; GOOD", "GOOD, GOOD",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		b := newBench(t).browser()
		b.signIn("")
		good := "__Host-keepin=" + b.jar["__Host-keepin"]
		header = strings.ReplaceAll(header, "GOOD", good)
		b.ops = nil
		r := b.request("GET", "/auth/validate", "Accept: application/json")
		r.Header["Cookie"] = []string{header}
		var res *http.Response
		bounds.Check(t, func() { res = b.send(r) })
		mine := 0
		for part := range strings.SplitSeq(header, ";") {
			if name, _, _ := strings.Cut(strings.Trim(part, " \t"), "="); name == "__Host-keepin" {
				mine++
			}
		}
		want := 401
		if mine == 1 && slices.ContainsFunc(strings.Split(header, ";"), func(p string) bool { return strings.Trim(p, " \t") == good }) {
			want = 200
		}
		if len(header) > 6<<10 || strings.Count(header, ";") >= 50 {
			want = 413
		}
		if res.StatusCode != want || b.writes() != 0 {
			t.Errorf("%q: %d, want %d, with %d writes", header, res.StatusCode, want, b.writes())
		}
		// The other routes live through it too.
		for _, path := range []string{"/auth/", "/auth/login", "/auth/callback?code=" + code + "&state=" + id} {
			r := b.request("GET", path)
			r.Header["Cookie"] = []string{header}
			if res := b.send(r); res.StatusCode >= 500 {
				t.Errorf("%s with %q: %d", path, header, res.StatusCode)
			}
		}
	})
}

// FuzzCallbackQuery: whatever the query holds, only the state of this browser
// brings anything about, and then at most one exchange; the browser is sent
// nowhere but to its return address; and each try costs one burn at most.
func FuzzCallbackQuery(f *testing.F) {
	for _, seed := range []string{
		"", "state=STATE", "code=CODE", "state=STATE&code=CODE", "code=CODE&state=STATE&iss=https://www.linkedin.com/oauth", "state=STATE&error=access_denied",
		"state=STATE&error=server_error", "state=STATE&error=x&error_description=%3Cscript%3E", "state=STATE&state=STATE&code=CODE", "state=STATE;code=CODE", "state=STATE&code=CODE&code=",
		"state=STATE%00&code=CODE", "STATE=STATE&CODE=CODE", "state=STATE&code=CODE&return_to=https://evil.example", "%", "&&&", "state=STATE&code=" + strings.Repeat("a", 1025),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		b := newBench(t).browser()
		state := b.begin("?return_to=/x")
		query = strings.NewReplacer("STATE", state, "CODE", code).Replace(query)
		jar := maps.Clone(b.jar)
		b.ops = nil
		asked := 0
		for range 2 {
			r := b.request("GET", "/auth/callback")
			r.URL.RawQuery = query
			r.Header.Set("Cookie", cookieHeader(jar))
			var res *http.Response
			bounds.Check(t, func() {
				asked++
				res = b.send(r)
			})
			to := res.Header.Get("Location")
			said := r.URL.Query().Get("error") // by the browser, of LinkedIn
			switch {
			case res.StatusCode == 303 && to != "https://app.example/x" && to != "https://app.example/x?login=denied":
				t.Errorf("%q: sent to %q", query, to)
			case res.StatusCode != 303 && (to != "" || len(res.Header["Set-Cookie"]) > 1):
				t.Errorf("%q: %d with %q %q", query, res.StatusCode, to, res.Header["Set-Cookie"])
			case strings.Contains(body(res), "<script"):
				t.Errorf("%q is reflected", query)
			case res.StatusCode == 502 && said != "", res.StatusCode == 503 && (said == "server_error" || said == "temporarily_unavailable"):
			case res.StatusCode >= 500:
				t.Errorf("%q: %d", query, res.StatusCode)
			}
		}
		burns := 0
		for _, op := range b.ops {
			if op == "Burn" {
				burns++
			}
		}
		if b.linkedin.exchanges > 1 || burns > asked || burns == 0 && b.writes() > 0 {
			t.Errorf("%q: %d exchanges, store asked %q", query, b.linkedin.exchanges, b.ops)
		}
		if !strings.Contains(query, state) && len(b.ops) > 0 {
			t.Errorf("%q without a state: store asked %q", query, b.ops)
		}
	})
}

func cookieHeader(jar map[string]string) string {
	var pairs []string
	for name, value := range jar {
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "; ")
}

// FuzzTicket: no text but a ticket of ours is one.
func FuzzTicket(f *testing.F) {
	for _, seed := range []string{"", "A", "GOOD", "GOODA", "GOOD=", " GOOD", "GOOD\n", strings.Repeat("A", 1025), "AAAA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := newBench(t).browser()
		good := ticketOf(t, b.signIn("?ticket=1"))
		text = strings.ReplaceAll(text, "GOOD", good)
		g, err := b.sessions.Redeem(t.Context(), text, b.keeper.Grant)
		bounds.Check(t, func() { _, _ = b.sessions.Redeem(t.Context(), text, b.keeper.Grant) })
		if (err == nil) != (text == good) || err == nil && g.Member != keeper.NewMemberID(clientID, "ada-sub") {
			t.Errorf("%q: %v, %v", text, g.Member, err)
		}
	})
}
