package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// stranger is a page of an origin that nobody has configured, first on keepin's
// own site, where the browser sends every cookie along, then on another.
func (w *world) stranger() (sameSite, otherSite string) {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		fmt.Fprint(rw, `<!doctype html><title>Stranger</title><link rel="icon" href="data:,">`)
	}))
	w.Cleanup(s.Close)
	return strings.Replace(s.URL, "127.0.0.1", "localhost", 1), s.URL
}

// ask runs what awaits in the page, and returns its value, or "failed".
func (w *world) ask(script string) string {
	w.Helper()
	w.run(script, w.js(`window.got = ""; (async () => { `+script+` })().then(v => { window.got = "got " + v }, e => { window.got = "failed" }); undefined`))
	w.until("window.got")
	return w.eval("window.got")
}

// signIn signs ada in, from the account page.
func (w *world) signIn() {
	w.Helper()
	w.run("sign in", chromedp.Navigate(w.keepin+"/login"), chromedp.WaitVisible("#allow"), chromedp.Click("#member-ada"), chromedp.Click("#allow"))
	w.until(`document.querySelector(".portrait")`)
}

// wantSignedIn looks at the account page.
func (w *world) wantSignedIn(after string) {
	w.Helper()
	w.run("the account page", chromedp.Navigate(w.keepin+"/"))
	if got := w.eval(`document.querySelector("h1").textContent`); got != "Ada Lovelace" {
		w.Fatalf("after %s the account page says %q", after, got)
	}
}

// refusals is how many requests keepin has refused as another site's.
func (w *world) refusals() int { return strings.Count(w.log.String(), `"code":"cross_site"`) }

func TestAForeignPageCanNeitherSignAnybodyOutNorLookIn(t *testing.T) {
	w := newWorld(t)
	w.signIn()
	sameSite, otherSite := w.stranger()
	quoted := func(path string) string { return strconv.Quote(w.keepin + path) }
	form := func(path, kind string) string {
		return `const f = document.createElement("form"); f.method = "post"; f.enctype = "` + kind + `"; f.action = ` + quoted(path) +
			`; const i = document.createElement("input"); i.name = '{"cookie":"'; i.value = '"}'; f.append(i); document.body.append(f); f.submit()`
	}
	for _, origin := range []string{sameSite, otherSite} {
		for _, path := range []string{"/logout", "/exchange"} {
			for _, c := range []struct{ what, script, want string }{
				{"a fetch", `return (await fetch(` + quoted(path) + `, {method: "POST", credentials: "include"})).status`, "failed"},
				{"a fetch that wants no answer", `return (await fetch(` + quoted(path) + `, {method: "POST", credentials: "include", mode: "no-cors"})).type`, "failed"},
				{"a fetch without a referrer", `return (await fetch(` + quoted(path) + `, {method: "POST", credentials: "include", mode: "no-cors", referrerPolicy: "no-referrer"})).type`, "failed"},
				{"a fetch of JSON", `return (await fetch(` + quoted(path) + `, {method: "POST", credentials: "include", headers: {"Content-Type": "application/json"}, body: "{}"})).status`, "failed"}, // its preflight
				{"a beacon", `return navigator.sendBeacon(` + quoted(path) + `, "x")`, "got true"},
			} {
				what := origin + ": " + c.what + " to " + path
				before := w.refusals()
				w.run(what, chromedp.Navigate(origin+"/"))
				if got := w.ask(c.script); got != c.want {
					t.Errorf("%s: %s, want %s", what, got, c.want)
				}
				w.comes(func() bool { return w.refusals() > before }) // a beacon is not waited for
				if n := w.refusals() - before; n != 1 {
					t.Errorf("%s: keepin refused %d times, want once", what, n)
				}
				if strings.Contains(w.log.String(), "member signed out") {
					t.Fatalf("%s signed ada out", what)
				}
			}
			for _, kind := range []string{"application/x-www-form-urlencoded", "text/plain"} {
				what := origin + ": a form of " + kind + " to " + path
				w.run(what, chromedp.Navigate(origin+"/"), w.js(form(path, kind)))
				w.until(`document.querySelector("h1")?.textContent == "That came from another site"`)
				w.wantSignedIn(what)
			}
		}
		// Nor may it read who is signed in, or put keepin's pages into its own.
		w.run("look in", chromedp.Navigate(origin+"/"))
		if got := w.ask(`return (await fetch(` + quoted("/validate") + `, {credentials: "include"})).text()`); got != "failed" {
			t.Errorf("%s reads %s", origin, got)
		}
		if got := w.ask(`return (await (await fetch(` + quoted("/validate") + `, {credentials: "include", mode: "no-cors"})).text()).length`); got != "got 0" && got != "failed" {
			t.Errorf("%s reads %s characters", origin, got)
		}
		if got := w.ask(`const f = document.createElement("iframe"); f.src = ` + quoted("/") + `; const loaded = new Promise(r => { f.onload = r }); document.body.append(f); await loaded;
			try { return f.contentDocument === null } catch { return true }`); got != "got true" {
			t.Errorf("%s looks into a frame: %s", origin, got)
		}
		w.complained(`frame-ancestors`)
		w.wantSignedIn("a look from " + origin)
	}
}

// complained waits for the console to say something, and takes that away.
func (w *world) complained(part string) {
	w.Helper()
	said := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		found := slices.ContainsFunc(w.complaints, func(c string) bool { return strings.Contains(c, part) })
		if found {
			w.complaints = nil
		}
		return found
	}
	if !w.comes(said) {
		w.Errorf("the console says nothing of %s", part)
	}
}

func TestAConfiguredOriginMayLookInAndSignOut(t *testing.T) {
	w := newWorld(t)
	w.signIn()
	// The application's page has a policy of its own, which lets it call keepin.
	w.run("the application", chromedp.Navigate(w.app+"/"))
	validate := func(credentials string) string {
		return w.ask(`const r = await fetch(` + strconv.Quote(w.keepin+"/validate") + `, {credentials: "` + credentials + `"}); return r.status + " " + ((await r.json()).member?.name ?? "nobody")`)
	}
	if got := validate("include"); got != "got 200 Ada Lovelace" {
		t.Errorf("with cookies: %s", got)
	}
	if got := validate("omit"); got != "got 401 nobody" {
		t.Errorf("without cookies: %s", got)
	}
	if got := w.ask(`return (await fetch(` + strconv.Quote(w.keepin+"/validate") + `, {credentials: "include", headers: {"X-Other": "1"}})).status`); got != "failed" {
		t.Errorf("a header that no preflight allows: %s", got)
	}
	// JSON is not simple: the browser asks by OPTIONS first.
	if got := w.ask(`return (await fetch(` + strconv.Quote(w.keepin+"/logout") + `, {method: "POST", credentials: "include", headers: {"Content-Type": "application/json"}, body: "{}"})).status`); got != "got 204" {
		t.Errorf("logout: %s", got)
	}
	if got := validate("include"); got != "got 401 nobody" {
		t.Errorf("after the logout: %s", got)
	}
}
