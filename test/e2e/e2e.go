// Package e2e is the end-to-end suite: a browser, a back end and the clock
// against a running keepin and the LinkedIn simulator. It knows nothing of how
// keepin runs, so that one machine and AWS pass the same suite.
package e2e

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

const (
	day     = 24 * time.Hour
	quarter = 6 * time.Hour
)

// Run runs the suite. open starts a fresh keepin whose LinkedIn app has refresh
// tokens or not.
//
// Each scenario ends with a search of all that keepin has said and stored, for
// every secret that has passed.
func Run(t *testing.T, open func(t *testing.T, refreshTokens bool) *Target) {
	var mu sync.Mutex
	var done []*Target
	scenarios := []struct {
		name    string
		without bool // refresh tokens
		run     func(*testing.T, *Target)
	}{
		{"B1ThePageShowsWhoIsSignedIn", false, showsWhoIsSignedIn},
		{"B2OneSignInAsksForEverything", false, oneSignInAsksForEverything},
		{"B3TheTokenIsReused", false, tokenIsReused},
		{"B4LogoutDestroysBothTokensEverywhere", false, logoutDestroysEverything},
		{"B5IntrospectionComesBeforeANewToken", false, introspectionComesFirst},
		{"B6B7AYearWithRefreshToken", false, yearWithRefreshToken},
		{"B7AYearWithoutRefreshToken", true, yearWithoutRefreshToken},
		{"B7BothTokensRevoked", false, bothTokensRevoked},
		{"B8AMemberOfTheJavaScriptSDKIsNotSentToLinkedIn", false, memberOfTheSDK},
		{"B9NobodyIsLoggedInToLinkedIn", false, nobodyIsLoggedIn},
		{"B10EveryFailedCallIsRecorded", false, failedCallIsRecorded},
		{"K1LogoutWinsOverARefreshInFlight", false, logoutWinsOverRefresh},
		{"K2FiftyCallersAtTheMomentOfExpiry", false, fiftyCallersOneRefresh},
		{"K4LinkedInIsDownForAWeek", false, downForAWeek},
		{"K4LinkedInRefusesEverybody", false, refusesEverybody},
		{"K4TheSecretIsWrongForADay", false, wrongSecretForADay},
		{"K5APropagationDelayOfFiveMinutes", false, propagationDelay},
		{"K6WhoeverMustConsentIsKnownBefore", true, ladder},
		{"K4TheClientSecretRollsUnderTraffic", false, secretRolls},
		{"K7KeysRotateUnderTraffic", false, keysRotate},
		{"K8NoSecretInAnyLog", false, noSecretInAnyLog},
		{"K8NothingThatAStrangerSendsIsRepeated", false, nothingIsRepeated},
		{"LinkedInIsDownAtSignIn", false, downAtSignIn},
		{"BadInputStoresNothing", false, badInput},
		{"ATicketIsRedeemedOnce", false, ticketOnce},
		{"ADuplicateCallbackGetsTheSameAnswer", false, duplicateCallback},
		{"AnotherMemberIsNeverSilent", false, switchedMember},
	}
	t.Cleanup(func() {
		if len(done) == len(scenarios) {
			enough(t, done)
		}
	})
	for _, c := range scenarios {
		t.Run(c.name, func(t *testing.T) {
			x := open(t, !c.without)
			c.run(t, x)
			x.search(t)
			mu.Lock()
			defer mu.Unlock()
			done = append(done, x)
		})
	}
}

func showsWhoIsSignedIn(t *testing.T, x *Target) {
	b := x.browser(t)
	b.wantSignedOut("signed_out")
	if page := b.get("/", "Accept", "text/html").body; !strings.Contains(page, "/login") {
		t.Errorf("the page of nobody has no way to sign in: %s", page)
	}
	v := b.signIn("ada")
	if v.Member.Name == "" || v.Member.Picture == "" || v.Grant.Status != "active" || v.Grant.Verified != nil {
		t.Errorf("right after the sign-in: %+v", v)
	}
	if !slices.Equal(v.Grant.Scopes, []string{"email", "openid", "profile", "w_member_social"}) {
		t.Errorf("scopes %q", v.Grant.Scopes)
	}
	if left := v.Grant.AccessEnd.Sub(x.Clock.Now()); left < 59*day || left > 60*day {
		t.Errorf("the access token has %v left", left)
	}
	page := b.get("/", "Accept", "text/html")
	allowed := []string{"See your e-mail address", "Know you by your LinkedIn account", "See your name and photo", "Post, comment and react in your name"}
	for _, want := range append(allowed, v.Member.Name, v.Member.Picture, "/logout") {
		if !strings.Contains(page.body, strings.ReplaceAll(want, "&", "&amp;")) {
			t.Errorf("the account page lacks %q", want)
		}
	}
	badge := b.get("/badge.js")
	if badge.StatusCode != 200 || !strings.Contains(badge.body, "keepin-badge") || !strings.Contains(badge.Header.Get("Content-Type"), "javascript") {
		t.Errorf("/badge.js = %d %s", badge.StatusCode, badge.Header)
	}
	x.advance(t, 2*time.Minute, time.Minute)
	if v := b.validate(); v.Grant.Verified == nil {
		t.Error("two minutes later nobody has verified the token")
	}
}

func oneSignInAsksForEverything(t *testing.T, x *Target) {
	b := x.browser(t)
	for _, path := range []string{"/login", "/login?scope=w_member_social", "/login?scope=openid&renew=1"} {
		got := strings.Fields(b.get(path).location(t).Query().Get("scope"))
		if slices.Sort(got); !slices.Equal(got, []string{"email", "openid", "profile", "w_member_social"}) {
			t.Errorf("%s asks for %q", path, got)
		}
	}
	b.signIn("ada")
	before := x.Sim.Count(linkedinsim.AuthorizeEndpoint)
	if to := b.get("/login?return_to=/inside&scope=w_member_social").location(t); to.String() != origin(x.BaseURL)+"/inside" {
		t.Errorf("a member whose grant covers the request is sent to %s", to)
	}
	if n := x.Sim.Count(linkedinsim.AuthorizeEndpoint); n != before {
		t.Error("LinkedIn was asked")
	}
	if to := b.get("/login?renew=1").location(t); !strings.Contains(to.Path, "authorization") {
		t.Errorf("renew=1 leads to %s", to)
	}
}

func tokenIsReused(t *testing.T, x *Target) {
	b := x.browser(t)
	id := b.signIn("ada").Member.ID
	first := b.mustToken(id)
	calls := x.Sim.Count(linkedinsim.TokenEndpoint) + x.Sim.Count(linkedinsim.IntrospectEndpoint)
	for range 20 {
		x.Clock.Advance(day)
		if k, a := b.token(id); k.Access != first.Access {
			t.Fatalf("another token after %v: %d", x.Clock.Now(), a.StatusCode)
		}
	}
	if n := x.Sim.Count(linkedinsim.TokenEndpoint) + x.Sim.Count(linkedinsim.IntrospectEndpoint); n != calls {
		t.Errorf("%d calls to LinkedIn for 20 answers", n-calls)
	}
	if first.Type != "Bearer" || !slices.Contains(first.Scopes, "w_member_social") {
		t.Errorf("the answer is %+v", first)
	}
}

func logoutDestroysEverything(t *testing.T, x *Target) {
	b, other := x.browser(t), x.browser(t)
	id := b.signIn("ada").Member.ID
	if got := other.signIn("ada").Member.ID; got != id {
		t.Fatalf("the same member is %s and %s", id, got)
	}
	b.mustToken(id)
	if a := b.do("POST", "/logout", "", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"); a.StatusCode != http.StatusForbidden {
		t.Errorf("a cross-site logout = %d", a.StatusCode)
	}
	if a := b.logout(); a.StatusCode != http.StatusNoContent {
		t.Fatalf("logout = %d %s", a.StatusCode, a.body)
	}
	b.wantSignedOut("signed_out")
	other.wantSignedOut("signed_out")
	if text := x.Operate(t, "keys", "list"); !regexp.MustCompile(`(?m)^1 +0 `).MatchString(text) {
		t.Errorf("tokens are stored after the logout: %s", text)
	}
	if _, a := b.token(id); a.StatusCode != http.StatusNotFound || a.code(t) != "not_connected" {
		t.Errorf("a token after the logout: %d %s", a.StatusCode, a.body)
	}
	if a := b.logout(); a.StatusCode != http.StatusNoContent {
		t.Errorf("a second logout = %d", a.StatusCode)
	}
	x.advance(t, 2*time.Minute, time.Minute)
	if !slices.Contains(x.Events(), "keepin.member.signed_out") {
		t.Errorf("events %q", x.Events())
	}
	again := b.signIn("ada")
	b.mustToken(again.Member.ID)
	other.wantSignedOut("signed_out")
	if a := b.do("DELETE", "/members/"+id, "", backend); a.StatusCode != http.StatusNoContent {
		t.Errorf("DELETE = %d", a.StatusCode)
	}
	b.wantSignedOut("signed_out")
}

func introspectionComesFirst(t *testing.T, x *Target) {
	b := x.browser(t)
	id := b.signIn("ada").Member.ID
	x.advance(t, 47*day, quarter)
	var order []string
	seen := len(x.Sim.Calls())
	x.advance(t, 4*day, quarter)
	for _, c := range x.Sim.Calls()[seen:] {
		order = append(order, string(c.Endpoint))
	}
	if i := slices.Index(order, "token"); i < 1 || order[i-1] != "introspect" {
		t.Errorf("calls around the refresh: %q", order)
	}
	b.mustToken(id)
	x.Clock.Advance(2 * time.Minute)
	if a := b.get("/members/"+id+"?fresh=1", backend); a.StatusCode != http.StatusOK {
		t.Errorf("fresh=1 = %d", a.StatusCode)
	} else {
		var v view
		if a.json(t, &v); v.Grant.Verified == nil || x.Clock.Now().Sub(*v.Grant.Verified) > time.Second {
			t.Errorf("verified_at %v at %v", v.Grant.Verified, x.Clock.Now())
		}
	}
	n := x.Sim.Count(linkedinsim.IntrospectEndpoint)
	b.get("/members/"+id+"?fresh=1", backend)
	if x.Sim.Count(linkedinsim.IntrospectEndpoint) != n {
		t.Error("introspected twice within a minute")
	}
}

func yearWithRefreshToken(t *testing.T, x *Target) {
	b := x.browser(t)
	id := b.signIn("ada").Member.ID
	consents := x.Sim.Count(linkedinsim.AuthorizeEndpoint)
	for begun := x.Clock.Now(); x.Clock.Now().Sub(begun) < 364*day; x.advance(t, day, 12*time.Hour) {
		k, v := b.mustToken(id), b.validate()
		if v.Grant.Status != "active" {
			t.Fatalf("%v: %s", x.Clock.Now(), v.Grant.Status)
		}
		// Renewed days before it dies, while LinkedIn gives a later end.
		if left := k.Expires.Sub(x.Clock.Now()); left < 8*day && v.Grant.Reconnect.Sub(k.Expires) > time.Hour {
			t.Fatalf("%v: the token has %v left, and LinkedIn would give more", x.Clock.Now(), left)
		}
	}
	if x.Sim.Count(linkedinsim.AuthorizeEndpoint) != consents {
		t.Error("the member was sent to LinkedIn")
	}
	x.advance(t, 2*day, quarter)
	b.wantSignedOut("reconnect_required")
	if _, a := b.token(id); a.StatusCode != http.StatusConflict || a.code(t) != "reconnect_required" {
		t.Errorf("after the fixed end: %d %s", a.StatusCode, a.body)
	}
	b.signIn("ada")
	for range 34 {
		b.mustToken(id)
		x.advance(t, day, quarter)
	}
	if n := count(x.Events(), "keepin.member.reconnect_required"); n != 1 {
		t.Errorf("reconnect_required was sent %d times: %q", n, x.Events())
	}
}

func yearWithoutRefreshToken(t *testing.T, x *Target) {
	b := x.browser(t)
	signIns, id := 0, ""
	var end time.Time // of the token
	for begun := x.Clock.Now(); x.Clock.Now().Sub(begun) < 400*day; x.advance(t, day, quarter) {
		if a := b.get("/validate"); a.StatusCode == http.StatusOK {
			b.mustToken(id)
			continue
		}
		if now := x.Clock.Now(); now.Before(end) {
			t.Errorf("%v: the member is asked, and the token lives until %v", now, end)
		}
		v := b.signIn("grace")
		id, end = v.Member.ID, v.Grant.AccessEnd
		signIns++
	}
	if signIns != 7 {
		t.Errorf("%d sign-ins in 400 days, want 7", signIns)
	}
	if n := x.Sim.Count(linkedinsim.TokenEndpoint); n != signIns {
		t.Errorf("%d token calls for %d sign-ins", n, signIns)
	}
}

func bothTokensRevoked(t *testing.T, x *Target) {
	b := x.browser(t)
	id := b.signIn("ada").Member.ID
	x.advance(t, day, quarter)
	must(t, x.Sim.RevokeRefresh("ada"))
	x.advance(t, 55*day, quarter)
	b.mustToken(id) // the access token still lives
	must(t, x.Sim.RemoveApp("ada"))
	x.advance(t, 8*day, time.Hour)
	b.wantSignedOut("reconnect_required")
	if n := count(x.Events(), "keepin.member.reconnect_required"); n != 1 {
		t.Errorf("events %q", x.Events())
	}
}

func memberOfTheSDK(t *testing.T, x *Target) {
	const answers = linkedinsim.SDKEndpoint

	// By a page's own call, with the cookie in the body.
	b, cookie := x.browser(t), x.sdkCookie(t, "ada")
	body := `{"cookie":"` + cookie.Value + `"}`
	if a := b.do("POST", "/exchange", body, "Content-Type", "application/json", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"); a.StatusCode != http.StatusForbidden {
		t.Errorf("a cross-site exchange = %d", a.StatusCode)
	}
	a := b.exchange(body)
	if a.StatusCode != http.StatusOK {
		t.Fatalf("exchange = %d %s", a.StatusCode, a.body)
	}
	var v view
	a.json(t, &v)
	if v.Grant.Status != "active" || v.Member.Name != "Ada Lovelace" || v.Member.Sub != linkedinsim.Subject(linkedinsim.DefaultApp().ClientID, "ada") {
		t.Errorf("exchange answers %+v", v)
	}
	if got := b.validate(); got.Member.ID != v.Member.ID {
		t.Errorf("signed in as %+v", got)
	}
	b.mustToken(v.Member.ID)

	// Once: the browser that it has signed in is answered as before, another is not.
	if a := b.exchange(body); a.StatusCode != http.StatusOK {
		t.Errorf("again in the same browser: %d %s", a.StatusCode, a.body)
	}
	if a := x.browser(t).exchange(body); a.StatusCode != http.StatusBadRequest || a.code(t) != "bad_sdk_cookie" {
		t.Errorf("again in another browser: %d %s", a.StatusCode, a.body)
	}
	if n := x.Sim.Count(answers); n != 1 {
		t.Errorf("LinkedIn was asked %d times", n)
	}

	// By /login, with the cookie as a cookie: straight back to the application.
	c := x.browser(t)
	u, err := url.Parse(x.BaseURL)
	must(t, err)
	c.jar.SetCookies(u, []*http.Cookie{x.sdkCookie(t, "grace")})
	if to := c.get("/login?return_to=/inside").location(t); to.String() != origin(x.BaseURL)+"/inside" {
		t.Errorf("/login leads to %s", to)
	}
	if got := c.validate(); got.Member.Name != "Grace Hopper" {
		t.Errorf("signed in as %+v", got)
	}
	if n := x.Sim.Count(linkedinsim.AuthorizeEndpoint); n != 0 {
		t.Errorf("the consent page was opened %d times", n)
	}
	// Another member's cookie is not silent.
	c.jar.SetCookies(u, []*http.Cookie{x.sdkCookie(t, "linus")})
	if a := c.exchange(""); a.StatusCode != http.StatusOK || !strings.Contains(a.body, `"login":"switched"`) {
		t.Errorf("another member: %d %s", a.StatusCode, a.body)
	}

	// From then on it is a grant like any other.
	x.advance(t, 56*day, 2*day)
	b.mustToken(v.Member.ID)
	if a := b.logout(); a.StatusCode != http.StatusNoContent {
		t.Errorf("logout = %d", a.StatusCode)
	}
	b.wantSignedOut("signed_out")

	// Where the exchange does not work, the member comes in by the normal way,
	// nothing is stored, and the operator is told of what is LinkedIn's fault.
	told := count(x.Events(), "keepin.incident.opened")
	d := x.browser(t)
	x.Sim.SetSwitches(func(s *linkedinsim.Switches) { s.SDKAnswer = "oauth1" })
	d.jar.SetCookies(u, []*http.Cookie{x.sdkCookie(t, "zoe")})
	if a := d.exchange(""); a.StatusCode != http.StatusBadGateway || a.code(t) != "linkedin_error" {
		t.Errorf("an answer of OAuth 1.0a: %d %s", a.StatusCode, a.body)
	}
	d.wantSignedOut("signed_out")
	if got := d.signIn("zoe"); got.Member.Name != "Zoë Åström" {
		t.Errorf("signed in as %+v", got)
	}
	x.advance(t, 2*time.Minute, time.Minute)
	if n := count(x.Events(), "keepin.incident.opened") - told; n != 1 {
		t.Errorf("%d incidents: %q", n, x.Events())
	}
	x.Sim.SetSwitches(func(s *linkedinsim.Switches) { s.SDKAnswer = "" })
	must(t, x.Sim.Fault(linkedinsim.Fault{Endpoint: answers, Kind: linkedinsim.AnswerStatus, Status: 500, Times: 1}))
	e, late := x.browser(t), `{"cookie":"`+x.sdkCookie(t, "ada").Value+`"}`
	if a := e.exchange(late); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("LinkedIn down: %d %s", a.StatusCode, a.body)
	}
	if a := e.exchange(late); a.StatusCode != http.StatusOK {
		t.Errorf("and well again: %d %s", a.StatusCode, a.body)
	}
	x.advance(t, 2*time.Minute, time.Minute)
	if n := count(x.Events(), "keepin.incident.closed"); n != 1 {
		t.Errorf("the incident is not closed: %q", x.Events())
	}
}

func nobodyIsLoggedIn(t *testing.T, x *Target) {
	b := x.browser(t)
	b.signIn("zoe") // not logged in to linkedin.com
	x.advance(t, 60*day, day)
	b.mustToken(b.validate().Member.ID)
	c := x.browser(t)
	back := c.get(c.consent("/login?return_to=/home", ""))
	if to := back.location(t); to.Path != "/home" || to.Query().Get("login") != "denied" {
		t.Errorf("cancelled: %s", to)
	}
	c.wantSignedOut("signed_out")
}

func failedCallIsRecorded(t *testing.T, x *Target) {
	b := x.browser(t)
	id := b.signIn("ada").Member.ID
	x.advance(t, 2*time.Minute, time.Minute)
	must(t, x.Sim.Fault(linkedinsim.Fault{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.AnswerStatus, Status: 500}))
	x.advance(t, 53*day, quarter)
	logs := x.Logs()
	for _, want := range []string{"x-li-uuid", "x-li-fabric", "x-li-request-id", "/oauth/v2/accessToken", "POST", "client_id", "sha256:"} {
		if !strings.Contains(strings.ToLower(logs), strings.ToLower(want)) {
			t.Errorf("no log line has %q", want)
		}
	}
	if !slices.Contains(x.Events(), "keepin.incident.opened") {
		t.Errorf("a day of failures opened no incident: %q", x.Events())
	}
	x.Sim.Clear()
	x.advance(t, day, time.Hour)
	b.mustToken(id)
	if n := count(x.Events(), "keepin.incident.opened"); n != 1 || count(x.Events(), "keepin.incident.closed") != 1 {
		t.Errorf("incidents: %q", x.Events())
	}
}

func logoutWinsOverRefresh(t *testing.T, x *Target) {
	b := x.browser(t)
	id := b.signIn("ada").Member.ID
	x.advance(t, day, quarter)
	x.Clock.Advance(60 * day) // nobody swept: the token is dead
	must(t, x.Sim.Fault(linkedinsim.Fault{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.StallAfter, Times: 1}))
	asked := make(chan answer)
	go func() {
		a, err := b.try("GET", "/members/"+id+"/token", "", backend)
		if err != nil {
			t.Error(err)
		}
		asked <- a
	}()
	waitFor(t, "the refresh to begin", func() bool { return x.Sim.InFlight(linkedinsim.TokenEndpoint) > 0 })
	if a := b.logout(); a.StatusCode != http.StatusNoContent {
		t.Fatalf("logout = %d", a.StatusCode)
	}
	x.Sim.Clear()
	if a := <-asked; a.StatusCode != http.StatusNotFound {
		t.Errorf("the waiting caller got %d %s, want 404", a.StatusCode, a.body)
	}
	for range 3 {
		x.advance(t, time.Minute, time.Minute)
		if _, a := b.token(id); a.StatusCode != http.StatusNotFound {
			t.Errorf("after the logout: %d", a.StatusCode)
		}
	}
	b.wantSignedOut("signed_out")
}

func fiftyCallersOneRefresh(t *testing.T, x *Target) {
	b := x.browser(t)
	id := b.signIn("ada").Member.ID
	x.advance(t, day, quarter)
	x.Clock.Advance(60 * day)
	before := x.Sim.Count(linkedinsim.TokenEndpoint)
	var mu sync.Mutex
	got := map[string]int{}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			a, err := b.try("GET", "/members/"+id+"/token", "", backend)
			for n := 0; err == nil && a.StatusCode == http.StatusServiceUnavailable && n < 20; n++ { // as it is told to
				time.Sleep(50 * time.Millisecond)
				a, err = b.try("GET", "/members/"+id+"/token", "", backend)
			}
			if err != nil {
				t.Error(err)
				return
			}
			var k token
			a.json(t, &k)
			mu.Lock()
			got[k.Access]++
			mu.Unlock()
			if a.StatusCode != http.StatusOK {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	}
	all.Wait()
	if n := x.Sim.Count(linkedinsim.TokenEndpoint) - before; n != 1 {
		t.Errorf("LinkedIn was asked for %d tokens", n)
	}
	if len(got) != 1 {
		t.Errorf("%d different tokens were handed out", len(got))
	}
}

func downForAWeek(t *testing.T, x *Target) {
	b := x.browser(t)
	id := b.signIn("ada").Member.ID
	x.advance(t, 47*day, quarter)
	must(t, x.Sim.Fault(linkedinsim.Fault{Kind: linkedinsim.ResetBefore}))
	x.advance(t, 9*day, quarter)
	if s := b.validate().Grant.Status; s != "active" {
		t.Errorf("in the outage: %s", s)
	}
	if k, a := b.token(id); a.StatusCode != http.StatusOK || k.Expires.Before(x.Clock.Now()) {
		t.Errorf("in the outage: %d %s", a.StatusCode, a.body)
	}
	x.advance(t, 6*day, quarter) // past the end of the access token
	if s := b.validate().Grant.Status; s != "pending" {
		t.Errorf("in an outage that outlives the token: %s", s)
	}
	x.Sim.Clear()
	x.advance(t, day, quarter)
	b.mustToken(id)
	if n := count(x.Events(), "keepin.incident.opened"); n != 1 {
		t.Errorf("%d incidents were opened: %q", n, x.Events())
	}
	if slices.Contains(x.Events(), "keepin.member.reconnect_required") || count(x.Events(), "keepin.incident.closed") != 1 {
		t.Errorf("events %q", x.Events())
	}
}

func refusesEverybody(t *testing.T, x *Target) {
	members := map[string]*browser{}
	for _, m := range []string{"ada", "grace", "linus", "zoe"} {
		members[m] = x.browser(t)
		members[m].signIn(m)
	}
	x.advance(t, 47*day, quarter)
	must(t, x.Sim.Fault(linkedinsim.Fault{Kind: linkedinsim.RefuseRefresh}))
	x.advance(t, 16*day, quarter) // past the end of every access token
	for m, b := range members {
		if s := b.validate().Grant.Status; s != "pending" {
			t.Errorf("%s is %s, want pending", m, s)
		}
		if _, a := b.token(b.validate().Member.ID); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", m, a.StatusCode, a.body)
		}
	}
	x.Sim.Clear()
	x.advance(t, 2*day, quarter)
	for _, b := range members {
		b.mustToken(b.validate().Member.ID)
	}
	if slices.Contains(x.Events(), "keepin.member.reconnect_required") || count(x.Events(), "keepin.incident.opened") != 1 {
		t.Errorf("events %q", x.Events())
	}
}

func wrongSecretForADay(t *testing.T, x *Target) {
	members := map[string]*browser{} // by id
	for _, m := range []string{"ada", "grace", "linus", "zoe"} {
		b := x.browser(t)
		members[b.signIn(m).Member.ID] = b
	}
	all := func() {
		t.Helper()
		for id, b := range members {
			b.mustToken(id)
		}
	}
	x.advance(t, 47*day, quarter)
	must(t, x.Sim.Fault(linkedinsim.Fault{Kind: linkedinsim.WrongSecret}))
	calls := x.Sim.Count(linkedinsim.TokenEndpoint)
	x.advance(t, 4*day, time.Hour)
	if n := x.Sim.Count(linkedinsim.TokenEndpoint) - calls; n == 0 || n > 96 {
		t.Errorf("%d token calls in four days of a wrong secret", n)
	}
	all()
	x.Sim.Clear()
	x.advance(t, quarter, time.Hour)
	all()
	x.advance(t, 12*day, quarter)
	all()
	if n := count(x.Events(), "keepin.incident.opened"); n != 1 || count(x.Events(), "keepin.incident.closed") != 1 {
		t.Errorf("events %q", x.Events())
	}
}

func propagationDelay(t *testing.T, x *Target) {
	x.Sim.SetSwitches(func(s *linkedinsim.Switches) { s.PropagationDelay = 5 * time.Minute })
	b := x.browser(t)
	id := b.signIn("ada").Member.ID
	answers := map[int]int{}
	for range 25 {
		k, a := b.token(id)
		answers[a.StatusCode]++
		if a.StatusCode == http.StatusOK && !x.honours(t, k.Access) {
			t.Fatal("a token was handed out that LinkedIn refuses")
		}
		x.advance(t, 15*time.Second, 15*time.Second)
	}
	if answers[503] == 0 || answers[200] == 0 || len(answers) != 2 {
		t.Errorf("answers %v", answers)
	}
	for range 30 { // around the refresh nobody waits
		x.advance(t, 2*day, quarter)
		for range 8 {
			b.mustToken(id)
			x.advance(t, time.Minute, time.Minute)
		}
	}
}

func ladder(t *testing.T, x *Target) {
	b := x.browser(t)
	b.signIn("ada")
	x.advance(t, 61*day, quarter)
	b.wantSignedOut("reconnect_required")
	var got []string
	for _, e := range x.Events() {
		got = append(got, strings.TrimPrefix(e, "keepin.member."))
	}
	want := []string{"connected", "reconnect_due", "reconnect_due", "reconnect_due", "reconnect_due", "reconnect_due", "reconnect_required"}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

func noSecretInAnyLog(t *testing.T, x *Target) {
	b := x.browser(t)
	id := b.signIn("ada").Member.ID
	for _, f := range []linkedinsim.Kind{linkedinsim.Truncate, linkedinsim.ForeignTokenType, linkedinsim.WrongSecret} {
		must(t, x.Sim.Fault(linkedinsim.Fault{Kind: f}))
		x.advance(t, 51*day, 2*day)
		b.get(b.consent("/login?renew=1", "ada"))
		b.token(id)
		x.Sim.Clear()
		x.advance(t, 2*day, quarter)
	}
	for _, answers := range []string{"oauth1", ""} { // refused, then taken
		x.Sim.SetSwitches(func(s *linkedinsim.Switches) { s.SDKAnswer = answers })
		c := x.sdkCookie(t, "ada")
		for range 2 {
			b.exchange(`{"cookie":"` + c.Value + `"}`)
		}
	}
	for _, s := range x.Sim.Secrets() {
		x.Wire.hunt.note("of LinkedIn's", s)
	}
	for where, text := range x.places(t) {
		if len(text) == 0 {
			t.Errorf("nothing was collected of %s", where)
		}
	}
}

func downAtSignIn(t *testing.T, x *Target) {
	b := x.browser(t)
	for _, e := range []linkedinsim.Endpoint{linkedinsim.TokenEndpoint, linkedinsim.JWKSEndpoint} {
		must(t, x.Sim.Fault(linkedinsim.Fault{Endpoint: e, Kind: linkedinsim.AnswerStatus, Status: 500}))
		a := b.get(b.consent("/login", "ada"), "Accept", "text/html")
		if a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.Header.Get("Content-Type"), "text/html") {
			t.Errorf("%s down: %d %s", e, a.StatusCode, a.body)
		}
		b.wantSignedOut("signed_out")
		x.Sim.Clear()
	}
	must(t, x.Sim.Fault(linkedinsim.Fault{Kind: linkedinsim.IDTokenSignature, Times: 1}))
	if a := b.get(b.consent("/login", "ada")); a.StatusCode != http.StatusBadGateway {
		t.Errorf("a forged ID token: %d %s", a.StatusCode, a.body)
	}
	b.wantSignedOut("signed_out")
	b.signIn("ada")
}

func badInput(t *testing.T, x *Target) {
	b := x.browser(t)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/login?return_to=https://evil.example/", 400},
		{"GET", "/login?return_to=//evil.example/", 400},
		{"GET", "/login?return_to=/%5Cevil.example", 400},
		{"GET", "/login?scope=r_ads", 400},
		{"GET", "/login?return_to=/" + strings.Repeat("a", 5000), 413},
		{"GET", "/callback", 400},
		{"GET", "/callback?code=" + strings.Repeat("A", 40) + "&state=nonsense", 400},
		{"GET", "/callback?code=a&code=b&state=c&state=d", 400},
		{"GET", "/nowhere", 404},
		{"POST", "/exchange", 400},
		{"POST", "/login", 405},
		{"PUT", "/logout", 405},
		{"GET", "/members/nobody/token", x.stranger()},
		{"GET", "/members/AAAAAAAAAAAAAAAAAAAAAA/token", x.stranger()},
	} {
		a := b.do(c.method, c.path, "")
		if a.StatusCode != c.status {
			t.Errorf("%s %.60s = %d %s, want %d", c.method, c.path, a.StatusCode, a.body, c.status)
		}
		if h := a.Header; a.StatusCode != x.Stranger && (h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") == "") {
			t.Errorf("%s %.60s: headers %v", c.method, c.path, h)
		}
	}
	for path, status := range map[string]int{"/members/AAAAAAAAAAAAAAAAAAAAAA/token": 404, "/members/AAAAAAAAAAAAAAAAAAAAAA": 404,
		"/members/AAAAAAAAAAAAAAAAAAAAAA/token?min_seconds=x": 400, "/members/AAAAAAAAAAAAAAAAAAAAAA/token?min_seconds=86401": 400} {
		if a := b.get(path, backend); a.StatusCode != status {
			t.Errorf("%s = %d %s, want %d", path, a.StatusCode, a.body, status)
		}
	}
	if a := b.get("/validate", "Cookie", "keepin=AAAAAAAAAAAAAAAAAAAAAA.planted"); a.StatusCode != 401 {
		t.Errorf("a planted cookie: %d", a.StatusCode)
	}
	if a := b.get("/members/AAAAAAAAAAAAAAAAAAAAAA", "Authorization", "Bearer wrong"); a.StatusCode != x.stranger() {
		t.Errorf("a wrong bearer: %d", a.StatusCode)
	}
	x.advance(t, 2*time.Minute, time.Minute)
	if len(x.Events()) != 0 || x.Sim.Count(linkedinsim.TokenEndpoint) != 0 {
		t.Errorf("events %q, %d token calls", x.Events(), x.Sim.Count(linkedinsim.TokenEndpoint))
	}
}

func ticketOnce(t *testing.T, x *Target) {
	b := x.browser(t)
	to := b.get(b.consent("/login?ticket=1&return_to=/app", "ada")).location(t)
	ticket := to.Query().Get("keepin_ticket")
	if ticket == "" || to.Path != "/app" {
		t.Fatalf("no ticket in %s", to)
	}
	body := `{"ticket":"` + ticket + `"}`
	redeem := func(body string) answer {
		req, err := http.NewRequestWithContext(t.Context(), "POST", x.BaseURL+"/redeem", strings.NewReader(body))
		must(t, err)
		req.Header.Set("Content-Type", "application/json")
		x.Backend(req)
		res, err := b.client.Do(req)
		must(t, err)
		return read(t, res)
	}
	a := redeem(body)
	var v view
	if a.json(t, &v); a.StatusCode != 200 || v.Member.Name == "" {
		t.Fatalf("redeem = %d %s", a.StatusCode, a.body)
	}
	if a := redeem(body); a.StatusCode != 400 || a.code(t) != "bad_ticket" {
		t.Errorf("a second time: %d %s", a.StatusCode, a.body)
	}
	late := b.get(b.consent("/login?ticket=1&renew=1", "ada")).location(t).Query().Get("keepin_ticket")
	x.Clock.Advance(61 * time.Second)
	if a := redeem(`{"ticket":"` + late + `"}`); a.StatusCode != 400 {
		t.Errorf("after a minute: %d", a.StatusCode)
	}
}

func duplicateCallback(t *testing.T, x *Target) {
	b := x.browser(t)
	back := b.consent("/login?return_to=/home", "ada")
	u, _ := url.Parse(x.BaseURL)
	cookies := b.jar.Cookies(u)
	var header []string
	for _, c := range cookies {
		header = append(header, c.Name+"="+c.Value)
	}
	first := b.get(back)
	fresh := x.browser(t)
	second := fresh.get(back, "Cookie", strings.Join(header, "; "))
	if first.StatusCode != 303 || second.StatusCode != 303 || first.location(t).String() != second.location(t).String() {
		t.Errorf("first %d, second %d %s", first.StatusCode, second.StatusCode, second.body)
	}
	if n := x.Sim.Count(linkedinsim.TokenEndpoint); n != 1 {
		t.Errorf("the code was sent %d times", n)
	}
	b.validate()
	fresh.validate()
	x.Clock.Advance(2 * time.Minute)
	if a := x.browser(t).get(back, "Cookie", strings.Join(header, "; ")); a.StatusCode != 400 {
		t.Errorf("two minutes later: %d", a.StatusCode)
	}
	if a := x.browser(t).get(back); a.StatusCode != 400 {
		t.Errorf("in another browser: %d", a.StatusCode)
	}
}

func switchedMember(t *testing.T, x *Target) {
	b := x.browser(t)
	ada := b.signIn("ada").Member.ID
	to := b.get(b.consent("/login?renew=1&return_to=/home", "grace")).location(t)
	if to.Query().Get("login") != "switched" {
		t.Errorf("back to %s", to)
	}
	v := b.validate()
	if v.Member.ID == ada {
		t.Error("still the first member")
	}
	b.mustToken(ada)
	b.mustToken(v.Member.ID)
}

func count(in []string, what string) (n int) {
	for _, s := range in {
		if s == what {
			n++
		}
	}
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// waitFor polls for what another goroutine does, for 30 seconds of real time.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
