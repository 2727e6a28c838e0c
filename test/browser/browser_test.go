// Package browser holds keepin's pages and its badge against a real Chromium:
// what a Content-Security-Policy, a CORS answer or a cookie's attributes really
// allow, only a browser tells.
package browser_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/storetest"
	"github.com/keepin/keepin/shared/web"
	"github.com/keepin/keepin/test/e2e"
	"github.com/keepin/keepin/test/tool"
)

// world is keepin, LinkedIn and an application's page, each on a port of
// localhost: one site for cookies, three origins for everything else.
type world struct {
	*testing.T
	ctx                   context.Context
	keepin, linkedIn, app string
	sim                   *linkedinsim.Sim
	log                   e2e.Log

	mu         sync.Mutex
	complaints []string // of the browser's console
}

func newWorld(t *testing.T) *world {
	path := chromium(t)
	w := &world{T: t}
	w.serve()

	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true), chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(400, 800))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	w.ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	w.must(chromedp.Listen(w.ctx, func(event any) {
		w.mu.Lock()
		defer w.mu.Unlock()
		switch e := event.(type) {
		case *cdplog.EventEntryAdded:
			w.complaints = append(w.complaints, e.Entry.Text+" "+e.Entry.URL)
		case *runtime.EventExceptionThrown:
			w.complaints = append(w.complaints, e.ExceptionDetails.Text)
		}
	}))
	return w
}

// chromium is the program, by the names that test/setup.sh takes for one.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	tool.Missing(t, "Chromium", "test/setup.sh")
	return ""
}

func (w *world) serve() {
	var inner, appPage, simulator http.Handler
	late := func(h *http.Handler) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { (*h).ServeHTTP(rw, r) }))
		w.Cleanup(s.Close)
		return s
	}
	local := func(s *httptest.Server) string { return strings.Replace(s.URL, "127.0.0.1", "localhost", 1) }
	w.keepin, w.linkedIn, w.app = local(late(&inner)), local(late(&simulator)), local(late(&appPage))

	app := linkedinsim.DefaultApp()
	app.RedirectURLs = []string{w.keepin + "/callback"}
	sim, err := linkedinsim.New(linkedinsim.Config{URL: w.linkedIn, Apps: []linkedinsim.App{app}})
	w.must(err)
	w.sim, simulator = sim, sim

	log := slog.New(slog.NewJSONHandler(&w.log, nil))
	scopes := []string{"openid", "profile", "email"}
	site, err := web.NewSite(web.Config{
		BaseURL: w.keepin, ReturnOrigins: []string{w.app}, Scopes: scopes,
		Issuer: w.linkedIn + "/oauth", PictureOrigins: []string{w.linkedIn}, Log: log,
	})
	w.must(err)
	client, err := linkedin.New(linkedin.Config{
		LinkedInURL: w.linkedIn, APIURL: w.linkedIn, Issuer: w.linkedIn + "/oauth", RedirectURL: site.RedirectURL(), Scopes: scopes,
		SDKExchange: w.linkedIn + "/uas/oauth/accessToken",
		Credentials: func(context.Context, bool) (linkedin.Credentials, error) {
			return linkedin.Credentials{ClientID: app.ClientID, Secret: secret.New(app.Secret)}, nil
		},
	})
	w.must(err)
	store := storetest.NewMemory(nil)
	keyset := seal.NewKeyset()
	sealer := seal.New(seal.Config{Source: func(context.Context, bool) (secret.String, error) { return keyset, nil }})
	k, err := keeper.New(keeper.Config{Store: store, Desk: store, Provider: client, Sealer: sealer, Log: log})
	w.must(err)
	sessions, err := session.New(session.Config{Store: store, Burns: store, Sealer: sealer, Secure: site.Secure()})
	w.must(err)
	inner = web.Mux(site, site.Path(), web.AllRoutes(site, sessions, client, k, true, web.BearerAuth(secrets.NewBackendKey())))
	appPage = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		// As strict a policy as an application may have that shows the badge.
		rw.Header().Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; script-src "+w.keepin+"; connect-src "+w.keepin+"; img-src data: "+w.linkedIn)
		kind := ""
		if r.URL.Path == "/module" {
			kind = ` type="module"`
		}
		fmt.Fprintf(rw, `<!doctype html><html lang="en"><title>App</title><link rel="icon" href="data:,"><script%s src="%s/badge.js" defer></script><keepin-badge></keepin-badge>`, kind, w.keepin)
	})
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) run(what string, steps ...chromedp.Action[chromedp.Void]) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.Fatalf("%s: %v; console %q; log %s", what, err, w.complaints, w.log.String())
	}
}

// eval is a JavaScript expression's value, as text.
func (w *world) eval(expression string) string {
	w.Helper()
	v, err := chromedp.Run(w.ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		w.Fatalf("%s: %v", expression, err)
	}
	return v
}

// js is a step that runs a script.
func (w *world) js(script string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](script)
}

// press clicks on what a selector names. On keepin's own pages chromedp's Click
// cannot: their policy stops the script that it waits with.
func (w *world) press(selector string) chromedp.Action[chromedp.Void] {
	return w.js("document.querySelector(" + strconv.Quote(selector) + ").click()")
}

// until waits for an expression to be true, also on a page that is yet to come.
func (w *world) until(expression string) {
	w.Helper()
	if w.comes(func() bool {
		v, err := chromedp.Run(w.ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		return err == nil && v
	}) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Fatalf("it never came to %s; console %q; log %s", expression, w.complaints, w.log.String())
}

// comes waits for what the browser or keepin does, and reports whether it did.
func (w *world) comes(ok func() bool) bool {
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// calm fails when the console has complained, but of what it always does: a 401,
// and that the simulator has no icon.
func (w *world) calm() {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.complaints {
		if !strings.Contains(c, "status of 401") && !strings.HasSuffix(c, w.linkedIn+"/favicon.ico") {
			w.Errorf("the console says %s", c)
		}
	}
}

// badge is an expression inside the badge's shadow.
func badge(rest string) string { return `document.querySelector("keepin-badge")?.shadowRoot?.` + rest }

// shoot keeps a picture of the page in artifacts/, for a person to look at.
func (w *world) shoot(name string) {
	w.Helper()
	png, err := chromedp.Run(w.ctx, chromedp.CaptureScreenshot())
	w.must(err)
	dir := filepath.Join("..", "..", "artifacts")
	w.must(os.MkdirAll(dir, 0o755))
	w.must(os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}

func TestMemberSignsInSeesTheAccountPageAndSignsOut(t *testing.T) {
	w := newWorld(t)
	w.run("the account page", chromedp.Navigate(w.keepin+"/"))
	if got := w.eval(`getComputedStyle(document.querySelector("main")).borderTopLeftRadius`); got != "16px" {
		t.Errorf("the policy stops the style: radius %s", got)
	}
	w.shoot("signed-out")
	w.run("to LinkedIn", w.press("a.button.main"), chromedp.WaitVisible("#allow"), chromedp.Click("#member-ada"))
	w.run("and back", chromedp.Click("#allow"))
	w.until(`document.querySelector(".portrait")`)
	if got := w.eval(`document.querySelector("h1").textContent + " " + location.href`); got != "Ada Lovelace "+w.keepin+"/" {
		t.Errorf("got %s", got)
	}
	w.until(`document.querySelector(".portrait img").naturalWidth > 0`)
	w.shoot("account")
	if got := w.eval(`document.cookie`); got != "" {
		t.Errorf("a script may read %q", got)
	}
	// One press of Tab and the way out is seen to have the focus.
	w.run("Tab", chromedp.KeyEvent(kb.Tab))
	if got := w.eval(`document.activeElement.textContent + " " + getComputedStyle(document.activeElement).outlineStyle`); got != "Sign out solid" {
		t.Errorf("the focus is on %s", got)
	}
	if got := w.eval(`document.documentElement.scrollWidth <= innerWidth`); got != "true" {
		t.Error("the page scrolls sideways on a phone")
	}
	w.run("sign out", chromedp.KeyEvent(kb.Enter))
	w.until(`document.querySelector("a.button.main")`)
	if got := w.eval(`document.querySelector("h1").textContent`); got != "You are not signed in" {
		t.Errorf("got %s", got)
	}
	w.calm()
}

func TestBadgeWorksOnAnotherOrigin(t *testing.T) {
	for _, page := range []string{"/", "/module"} {
		t.Run(page, func(t *testing.T) {
			w := newWorld(t)
			w.run("the application", chromedp.Navigate(w.app+page))
			w.until(badge(`querySelector("a")`))
			w.run("sign in", w.js(badge(`querySelector("a").click()`)), chromedp.WaitVisible("#allow"), chromedp.Click("#member-grace"))
			w.run("and back", chromedp.Click("#allow"), chromedp.WaitReady("keepin-badge"))
			w.until(badge(`querySelector(".name")`))
			if got := w.eval(`location.href + " " + ` + badge(`querySelector(".name").textContent`)); got != w.app+page+" Grace Hopper" {
				t.Errorf("got %s", got)
			}
			w.until(badge(`querySelector("img")?.naturalWidth > 0`))
			if got := w.eval(`getComputedStyle(` + badge(`querySelector("img")`) + `).borderTopLeftRadius`); got != "50%" {
				t.Errorf("the page's policy stops the badge's style: %s", got)
			}
			w.run("listen", w.js(`document.addEventListener("keepin-change", e => { window.heard = e.detail })`))
			w.run("sign out", w.js(badge(`querySelector("button").click()`)))
			w.until(badge(`querySelector("a")`))
			if got := w.eval(`String(window.heard)`); got != "null" {
				t.Errorf("heard %s", got)
			}
			w.run("again", chromedp.Reload())
			w.until(badge(`querySelector("a")`))
			w.calm()
		})
	}
}

func TestRefusedAndBrokenSignInsShowAPage(t *testing.T) {
	w := newWorld(t)
	w.run("refuse", chromedp.Navigate(w.keepin+"/login?return_to=/%23here"), chromedp.WaitVisible("#cancel"), chromedp.Click("#cancel"))
	w.until(`location.search == "?login=denied" && location.hash == "#here"`)
	w.run("a state that is unknown", chromedp.Navigate(w.keepin+"/callback?state=x&code=y"))
	if got := w.eval(`document.querySelector("h1").textContent`); got != "This sign-in is over" {
		t.Errorf("got %s", got)
	}
	w.run("start again", w.press("a.button.main"), chromedp.WaitVisible("#allow"))
}
