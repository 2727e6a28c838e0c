package browser_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/keepin/keepin/shared/linkedinsim"
)

// TestAMemberOfTheJavaScriptSDKArrivesWithoutTheConsentPage goes from the page
// that stands in for the SDK's straight to keepin's account page.
func TestAMemberOfTheJavaScriptSDKArrivesWithoutTheConsentPage(t *testing.T) {
	w := newWorld(t)
	w.run("a page with the SDK", chromedp.Navigate(w.linkedIn+"/_sim/sdk"))
	w.shoot("sdk")
	w.run("sign in there", chromedp.Click("#sdk-ada"), chromedp.WaitVisible("#login"))
	if got := w.eval("document.cookie"); !strings.HasPrefix(got, "linkedin_oauth_"+linkedinsim.DefaultApp().ClientID+"=%7B%22signature_version") {
		t.Errorf("the SDK's cookie, which scripts read, is not there: %q", got)
	}
	w.run("on to the application", chromedp.Click("#login"))
	w.until(`document.querySelector(".portrait")`)
	if got := w.eval(`document.querySelector("h1").textContent + " " + location.href`); got != "Ada Lovelace "+w.keepin+"/" {
		t.Errorf("got %s", got)
	}
	if got := w.eval(`document.cookie`); strings.Contains(got, "keepin=") {
		t.Errorf("a script may read keepin's session: %q", got)
	}
	// The SDK's cookie is used up: after a sign-out it signs nobody in.
	w.run("sign out", w.press("form button"))
	w.until(`document.querySelector("a.button.main")`)
	w.run("and sign in", w.press("a.button.main"), chromedp.WaitVisible("#allow"))
	if n := w.sim.Count(linkedinsim.SDKEndpoint); n != 1 {
		t.Errorf("%d exchanges", n)
	}
	w.calm()
}

// TestAPageExchangesTheSDKsCookieByItself is the application's page, on an
// origin of its own, that hands over the cookie which the SDK has set there.
func TestAPageExchangesTheSDKsCookieByItself(t *testing.T) {
	w := newWorld(t)
	w.run("a page with the SDK", chromedp.Navigate(w.linkedIn+"/_sim/sdk"), chromedp.Click("#sdk-grace"), chromedp.WaitVisible("#login"))
	w.run("the application", chromedp.Navigate(w.app+"/"))
	exchange := `const cookie = document.cookie.split("; ").find(c => c.startsWith("linkedin_oauth_")).replace(/^[^=]*=/, "");
		const r = await fetch(` + strconv.Quote(w.keepin+"/exchange") + `, {method: "POST", credentials: "include", headers: {"Content-Type": "application/json"}, body: JSON.stringify({cookie})});
		return r.status + " " + ((await r.json()).member?.name ?? "nobody")`
	if got := w.ask(exchange); got != "got 200 Grace Hopper" {
		t.Errorf("%s; log %s", got, w.log.String())
	}
	w.run("the application again", chromedp.Reload())
	w.until(badge(`querySelector(".name")`))
	if got := w.eval(badge(`querySelector(".name").textContent`)); got != "Grace Hopper" {
		t.Errorf("the badge says %s", got)
	}
	if n := w.sim.Count(linkedinsim.AuthorizeEndpoint); n != 0 {
		t.Errorf("the consent page was opened %d times", n)
	}
	w.calm()
}
