package web_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/web"
)

func txCookies(b *browser) (names []string) {
	for name := range b.jar {
		if strings.HasPrefix(name, "__Host-keepin_tx_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestFiveTabsSignInInAnyOrderAndASixthEndsTheFirst(t *testing.T) {
	b := newBench(t).browser()
	var states []string
	for i := range 5 {
		states = append(states, b.begin("?renew=1&return_to=/tab"+string(rune('0'+i))))
		b.now = b.now.Add(time.Second)
	}
	if got := txCookies(b); len(got) != 5 {
		t.Fatalf("five tabs hold %q", got)
	}
	states = append(states, b.begin("?renew=1&return_to=/tab5"))
	if got := txCookies(b); len(got) != 5 {
		t.Fatalf("six tabs hold %q", got)
	}
	if res := b.get(callback(states[0])); res.StatusCode != 400 {
		t.Errorf("the first of six: %d", res.StatusCode)
	}
	for _, i := range []int{3, 1, 5, 2, 4} {
		res := b.get(callback(states[i]))
		if want := "https://app.example/tab" + string(rune('0'+i)); res.StatusCode != 303 || !strings.HasPrefix(res.Header.Get("Location"), want) {
			t.Errorf("tab %d: %d to %q", i, res.StatusCode, res.Header.Get("Location"))
		}
	}
	if got := txCookies(b); len(got) != 0 || b.linkedin.exchanges != 5 {
		t.Errorf("left %q after %d exchanges", got, b.linkedin.exchanges)
	}
}

func TestLongReturnAddressesDoNotFillTheCookieHeader(t *testing.T) {
	b := newBench(t).browser()
	for range 8 {
		b.begin("?return_to=/" + strings.Repeat("a", 1023))
		b.now = b.now.Add(time.Second)
	}
	size := 0
	for name, value := range b.jar {
		size += len(name) + len(value) + 3
	}
	if size > 3200 || len(b.jar) == 0 {
		t.Errorf("%d cookies of %d bytes", len(b.jar), size)
	}
}

func TestEverySignInIsANewSessionAndEndsTheOneBefore(t *testing.T) {
	b := newBench(t).browser()
	b.signIn("")
	first := maps.Clone(b.jar)
	phone := b.bench.browser()
	phone.signIn("")
	b.signIn("?renew=1")
	if b.jar["__Host-keepin"] == first["__Host-keepin"] {
		t.Error("the session id stayed")
	}
	old := &browser{b.bench, first}
	if res := old.api("GET", "/auth/validate"); res.StatusCode != 401 {
		t.Errorf("the session before: %d", res.StatusCode)
	}
	for name, who := range map[string]*browser{"this browser": b, "another device": phone} {
		if res := who.api("GET", "/auth/validate"); res.StatusCode != 200 {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
}

// TestPlantedSessionIsNotAdopted: an attacker plants their own session in the
// victim's browser; after the victim's sign-in it is worth nothing.
func TestPlantedSessionIsNotAdopted(t *testing.T) {
	b := newBench(t)
	b.linkedin.sub = "mallory"
	mallory := b.browser()
	mallory.signIn("")
	victim := b.browser()
	victim.jar["__Host-keepin"] = mallory.jar["__Host-keepin"]
	b.linkedin.sub = "ada-sub"
	res := victim.signIn("?renew=1&return_to=/x")
	if got := res.Header.Get("Location"); got != "https://app.example/x?login=switched" {
		t.Errorf("Location %q", got)
	}
	if victim.jar["__Host-keepin"] == mallory.jar["__Host-keepin"] {
		t.Error("the planted id was adopted")
	}
	if res := mallory.api("GET", "/auth/validate"); res.StatusCode != 401 {
		t.Errorf("the planted session lives on: %d", res.StatusCode)
	}
	// Both grants live on.
	for _, sub := range []string{"mallory", "ada-sub"} {
		if res := b.backend("GET", "/members/"+string(keeper.NewMemberID(clientID, sub))+"/token", ""); res.StatusCode != 200 {
			t.Errorf("%s: %d", sub, res.StatusCode)
		}
	}
}

func TestSwitchIsNotToldOfASessionThatWasOver(t *testing.T) {
	b := newBench(t).browser()
	b.linkedin.sub = "mallory"
	b.signIn("")
	cookie := b.jar["__Host-keepin"]
	b.api("POST", "/auth/logout")
	b.jar["__Host-keepin"] = cookie
	b.linkedin.sub = "ada-sub"
	if got := b.signIn("").Header.Get("Location"); got != "https://app.example/auth/" {
		t.Errorf("Location %q", got)
	}
}

func TestAnotherBrowserCannotFinishASignIn(t *testing.T) {
	b := newBench(t)
	mallory, victim := b.browser(), b.browser()
	state := mallory.begin("")
	victim.begin("")
	b.ops = nil
	if res := victim.get(callback(state)); res.StatusCode != 400 {
		t.Errorf("login CSRF: %d", res.StatusCode)
	}
	// Nor with the victim's own cookie under the name of the attacker's.
	name, own := txCookies(mallory)[0], victim.jar[txCookies(victim)[0]]
	victim.jar = map[string]string{name: own}
	if res := victim.get(callback(state)); res.StatusCode != 400 {
		t.Errorf("a cookie under another name: %d", res.StatusCode)
	}
	if b.linkedin.exchanges != 0 || len(b.ops) != 0 {
		t.Errorf("%d exchanges, store asked %q", b.linkedin.exchanges, b.ops)
	}
}

func TestTransactionLastsTenMinutes(t *testing.T) {
	for after, want := range map[time.Duration]int{10*time.Minute - time.Millisecond: 303, 10 * time.Minute: 400} {
		b := newBench(t).browser()
		state := b.begin("")
		b.now = b.now.Add(after)
		if res := b.get(callback(state)); res.StatusCode != want {
			t.Errorf("after %v: %d, want %d", after, res.StatusCode, want)
		}
	}
}

// TestDuplicateCallbackGetsTheSameSession: a double click, a reload, a browser
// that retries. The second comes with the cookies of the first.
func TestDuplicateCallbackGetsTheSameSession(t *testing.T) {
	for name, query := range map[string]string{"plain": "", "ticket": "?ticket=1"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t).browser()
			state := b.begin(query)
			again := &browser{b.bench, maps.Clone(b.jar)}
			first := b.get(callback(state))
			b.now = b.now.Add(59 * time.Second)
			second := again.get(callback(state))
			if first.StatusCode != 303 || second.StatusCode != 303 || !slices.Equal(first.Header["Set-Cookie"], second.Header["Set-Cookie"]) {
				t.Errorf("%d %q, then %d %q", first.StatusCode, first.Header["Set-Cookie"], second.StatusCode, second.Header["Set-Cookie"])
			}
			if name == "plain" && first.Header.Get("Location") != second.Header.Get("Location") {
				t.Errorf("to %q, then %q", first.Header.Get("Location"), second.Header.Get("Location"))
			}
			if b.linkedin.exchanges != 1 || len(b.sleeps) != 0 {
				t.Errorf("%d exchanges, waited %v", b.linkedin.exchanges, b.sleeps)
			}
			if name == "ticket" { // two tickets of one sign-in are good for one redemption
				for i, res := range []*http.Response{second, first} {
					b.now = start.Add(59 * time.Second)
					res := b.backend("POST", "/redeem", `{"ticket":"`+ticketOf(t, res)+`"}`)
					if want := []int{200, 400}[i]; res.StatusCode != want {
						t.Errorf("ticket %d: %d, want %d", i, res.StatusCode, want)
					}
				}
			}
			if res := again.api("GET", "/auth/validate"); res.StatusCode != 200 {
				t.Errorf("validate: %d", res.StatusCode)
			}
		})
	}
}

// TestDuplicateSeesTheOutcomeThatSettlesWhileItWaits: the first is still at
// LinkedIn when the second comes.
func TestDuplicateSeesTheOutcomeThatSettlesWhileItWaits(t *testing.T) {
	b := newBench(t).browser()
	state := b.begin("?return_to=/x")
	again := &browser{b.bench, maps.Clone(b.jar)}
	var first, second *http.Response
	atLinkedIn, settled := make(chan struct{}), make(chan struct{})
	waiting := make(chan struct{})
	b.linkedin.during = func() { close(atLinkedIn); <-waiting }
	b.onSleep = sync.OnceFunc(func() { close(waiting); <-settled })
	go func() {
		first = b.get(callback(state))
		close(settled)
	}()
	<-atLinkedIn
	second = again.get(callback(state))
	if first.StatusCode != 303 || second.StatusCode != 303 || second.Header.Get("Location") != "https://app.example/x" {
		t.Errorf("%d, then %d %s", first.StatusCode, second.StatusCode, body(second))
	}
	if b.linkedin.exchanges != 1 || len(b.sleeps) != 1 || b.jar["__Host-keepin"] != again.jar["__Host-keepin"] {
		t.Errorf("%d exchanges, slept %v, sessions %q and %q", b.linkedin.exchanges, b.sleeps, b.jar, again.jar)
	}
}

func TestDuplicateWaitsFiveSecondsAtMost(t *testing.T) {
	b := newBench(t).browser()
	state := b.begin("")
	again := &browser{b.bench, maps.Clone(b.jar)}
	b.fail("Settle")
	b.get(callback(state))
	b.count()
	res := again.get(callback(state))
	var slept time.Duration
	for _, d := range b.sleeps {
		slept += d
	}
	if res.StatusCode != 503 || slept != 5*time.Second {
		t.Errorf("%d after %v: %v", res.StatusCode, slept, b.sleeps)
	}
}

func TestDuplicateWithAnotherCodeOrLateIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		query string
	}{
		"another code":      {0, "code=" + code + "x"},
		"an error":          {0, "error=access_denied"},
		"after a minute":    {time.Minute, "code=" + code},
		"after ten minutes": {10 * time.Minute, "code=" + code},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t).browser()
			state := b.begin("")
			again := &browser{b.bench, maps.Clone(b.jar)}
			b.get(callback(state))
			b.now = b.now.Add(c.after)
			res := again.get("/auth/callback?state=" + state + "&" + c.query)
			if res.StatusCode != 400 || again.jar["__Host-keepin"] != "" || b.linkedin.exchanges != 1 {
				t.Errorf("%d with %q after %d exchanges", res.StatusCode, again.jar, b.linkedin.exchanges)
			}
		})
	}
}

func TestDuplicateAfterALogoutIsRefused(t *testing.T) {
	b := newBench(t).browser()
	state := b.begin("")
	again := &browser{b.bench, maps.Clone(b.jar)}
	b.get(callback(state))
	b.api("POST", "/auth/logout")
	if res := again.get(callback(state)); res.StatusCode != 400 || again.jar["__Host-keepin"] != "" {
		t.Errorf("%d with %q", res.StatusCode, again.jar)
	}
}

func TestDuplicateOfAFailureFailsAlike(t *testing.T) {
	for class, want := range map[keeper.Class]int{
		keeper.ClassMember: 400, keeper.ClassOutage: 503, keeper.ClassUnknown: 502,
	} {
		b := newBench(t).browser()
		state := b.begin("?return_to=/x")
		again := &browser{b.bench, maps.Clone(b.jar)}
		b.linkedin.err = &keeper.CallError{Class: class}
		first, second := b.get(callback(state)), again.get(callback(state))
		if first.StatusCode != want || second.StatusCode != want || body(first) != body(second) || b.linkedin.exchanges != 1 {
			t.Errorf("%s: %d, then %d, after %d exchanges", class, first.StatusCode, second.StatusCode, b.linkedin.exchanges)
		}
		if !strings.Contains(body(first), `href="https://app.example/auth/login?return_to=https%3A%2F%2Fapp.example%2Fx"`) {
			t.Errorf("%s: no way to start again: %s", class, body(first))
		}
	}
}

// TestSignInGoesOnWhenTheBrowserLeaves: what LinkedIn gave for the one code is
// kept, and the reload finds it.
func TestSignInGoesOnWhenTheBrowserLeaves(t *testing.T) {
	b := newBench(t).browser()
	state := b.begin("")
	again := &browser{b.bench, maps.Clone(b.jar)}
	ctx, leave := context.WithCancel(t.Context())
	b.linkedin.during = leave
	b.send(b.request("GET", callback(state)).WithContext(ctx))
	if res := again.get(callback(state)); res.StatusCode != 303 || b.linkedin.exchanges != 1 {
		t.Errorf("%d after %d exchanges", res.StatusCode, b.linkedin.exchanges)
	}
}

func TestPrefetchConsumesNothing(t *testing.T) {
	b := newBench(t).browser()
	b.ops = nil
	for _, header := range []string{"Sec-Purpose: prefetch", "Sec-Purpose: prefetch;prerender", "Purpose: prefetch", "X-Moz: prefetch"} {
		if res := b.get("/auth/login", header); res.StatusCode != 503 || len(b.jar) != 0 {
			t.Errorf("login with %s: %d, %q", header, res.StatusCode, b.jar)
		}
	}
	state := b.begin("")
	for range 3 {
		if res := b.get(callback(state), "Sec-Purpose: prefetch"); res.StatusCode != 503 {
			t.Errorf("callback: %d", res.StatusCode)
		}
	}
	if len(b.ops) != 0 || b.linkedin.exchanges != 0 {
		t.Errorf("store asked %q, %d exchanges", b.ops, b.linkedin.exchanges)
	}
	if res := b.get(callback(state)); res.StatusCode != 303 {
		t.Errorf("the real one: %d", res.StatusCode)
	}
}

func TestBadCallbacksStoreNothingAndAskNobody(t *testing.T) {
	b := newBench(t).browser()
	state := b.begin("")
	b.ops = nil
	for _, query := range []string{
		"", "state=" + state, "code=" + code, "code=" + code + "&state=", "code=" + code + "&state=" + state[:42],
		"code=" + code + "&state=" + state + "A", "code=" + code + "&state=" + state + "&state=" + state,
		"code=short&state=" + state, "code=" + code + "&state=" + state + "&iss=https://evil.example",
		"code=" + code + "&state=" + state + "&iss=https://www.linkedin.com/oauth&iss=https://www.linkedin.com/oauth",
		"error=&code=" + code + "&state=" + state, "error=access_denied&error=access_denied&state=" + state, "%zz",
		"code=" + code + ";state=" + state,
	} {
		if res := b.do("GET", "/auth/callback?"+query); res.StatusCode != 400 {
			t.Errorf("%q: %d", query, res.StatusCode)
		}
	}
	if len(b.ops) != 0 || b.linkedin.exchanges != 0 || len(b.keeper.observed) != 0 {
		t.Errorf("store asked %q, %d exchanges, observed %q", b.ops, b.linkedin.exchanges, b.keeper.observed)
	}
	if res := b.get(callback(state)); res.StatusCode != 303 {
		t.Errorf("the state was used up: %d", res.StatusCode)
	}
}

func TestFailedSignInStoresOneBurnAndNothingElse(t *testing.T) {
	for _, query := range []string{"error=access_denied", "error=server_error", "error=unauthorized_scope_error", "code=" + code} {
		b := newBench(t).browser()
		b.linkedin.err = &keeper.CallError{Class: keeper.ClassOutage}
		state := b.begin("")
		b.ops = nil
		b.get("/auth/callback?state=" + state + "&" + query)
		if got := strings.Join(b.ops, " "); got != "Burn Settle" {
			t.Errorf("%s: store asked %s", query, got)
		}
		if !strings.HasPrefix(query, "code") && b.linkedin.exchanges != 0 {
			t.Errorf("%s: %d exchanges", query, b.linkedin.exchanges)
		}
	}
}

// What is stored of a member saves reads and makes room; LinkedIn has granted the
// sign-in, so it goes on without, and the operator is told.
func TestSignInGoesOnWhereTheMemberCannotBeRead(t *testing.T) {
	b := newBench(t).browser()
	b.fail("All")
	if res := b.signIn(""); res.StatusCode != http.StatusSeeOther {
		t.Errorf("got %d", res.StatusCode)
	}
	if res := b.get("/auth/validate"); res.StatusCode != http.StatusOK {
		t.Errorf("then validate is %d", res.StatusCode)
	}
	if log := b.log.String(); strings.Count(log, "no room is made for the new session") != 1 {
		t.Errorf("the log is %s", log)
	}
}

func TestSignInTellsHowLinkedInDid(t *testing.T) {
	for query, want := range map[string]string{
		"code=" + code:                   "", // its proof will tell
		"error=access_denied":            "",
		"error=server_error":             "",
		"error=unauthorized_scope_error": "authorize unknown",
	} {
		b := newBench(t).browser()
		b.get("/auth/callback?state=" + b.begin("") + "&" + query)
		if got := strings.Join(b.keeper.observed, ", "); got != want {
			t.Errorf("%s: observed %q, want %q", query, got, want)
		}
	}
	b := newBench(t).browser()
	b.linkedin.err = &keeper.CallError{Class: keeper.ClassApplication}
	b.signIn("")
	if got := strings.Join(b.keeper.observed, ", "); got != "exchange application" {
		t.Errorf("observed %q", got)
	}
}

func TestScopesThatLinkedInDoesNotTellAreThoseAskedFor(t *testing.T) {
	b := newBench(t).browser()
	b.signIn("")
	g, err := b.store.Get(t.Context(), keeper.NewMemberID(clientID, "ada-sub"))
	if err != nil || strings.Join(g.Scopes, " ") != "email openid profile" {
		t.Errorf("%q, %v", g.Scopes, err)
	}
}

// TestCookieOfAnyOtherShapeIsNobody cuts a good cookie everywhere, changes
// each of its characters, and doubles it.
func TestCookieOfAnyOtherShapeIsNobody(t *testing.T) {
	b := newBench(t).browser()
	b.signIn("")
	good := b.jar["__Host-keepin"]
	validate := func(cookie string) int {
		return b.api("GET", "/auth/validate", "Cookie: "+cookie).StatusCode
	}
	if got := validate("a=b; __Host-keepin=" + good + "; c=d"); got != 200 {
		t.Fatalf("the good one: %d", got)
	}
	bad := []string{good + "A", good + "=", `"` + good + `"`, good + " x", strings.Replace(good, ".", "%2E", 1), good + "; __Host-keepin=" + good, good + "; __Host-keepin="}
	for i := range len(good) {
		bad = append(bad, good[:i], good[i+1:])
		for _, c := range []byte{'A', 'B', '-', '.', '+', '%', 0x80} {
			if good[i] != c {
				bad = append(bad, good[:i]+string(rune(c))+good[i+1:])
			}
		}
	}
	for _, value := range bad {
		if got := validate("__Host-keepin=" + value); got != 401 {
			t.Errorf("%q: %d", value, got)
		}
	}
	for _, cookie := range []string{"keepin=" + good, "__host-keepin=" + good, "__Host-keepin2=" + good, "__Host-keepin_tx_AAAAAAAA=" + good} {
		if got := validate(cookie); got != 401 {
			t.Errorf("%q: %d", cookie, got)
		}
	}
}

// TestTransactionOfAnyOtherShapeIsRefused does the same with a sealed one.
func TestTransactionOfAnyOtherShapeIsRefused(t *testing.T) {
	b := newBench(t).browser()
	state := b.begin("")
	name := txCookies(b)[0]
	good := b.jar[name]
	b.ops = nil
	bad := []string{good + "A", good + "=", `"` + good + `"`, good + "; " + name + "=" + good, good + "; " + name + "=", good + "; " + name}
	for i := range len(good) {
		bad = append(bad, good[:i])
		for _, c := range []byte{'A', 'B', '+'} {
			if good[i] != c {
				bad = append(bad, good[:i]+string(c)+good[i+1:])
			}
		}
	}
	for _, value := range bad {
		if res := b.send(b.request("GET", callback(state), "Cookie: "+name+"="+value)); res.StatusCode != 400 {
			t.Errorf("%q: %d", value, res.StatusCode)
		}
	}
	if len(b.ops) != 0 || b.linkedin.exchanges != 0 {
		t.Errorf("store asked %q, %d exchanges", b.ops, b.linkedin.exchanges)
	}
	// The same sealed bytes under another name of ours, and another cookie of ours there.
	for _, other := range []string{"__Host-keepin_tx_AAAAAAAA", "__Host-keepin", "keepin_tx_" + name[len(name)-8:]} {
		if res := b.send(b.request("GET", callback(state), "Cookie: "+other+"="+good)); res.StatusCode != 400 {
			t.Errorf("as %s: %d", other, res.StatusCode)
		}
	}
	b.jar[name] = good
	if res := b.get(callback(state)); res.StatusCode != 303 {
		t.Errorf("the good one: %d", res.StatusCode)
	}
}

// TestSealedForOnePurposeOpensForNoOther: a ticket is no transaction and no
// session, and the other way round.
func TestSealedForOnePurposeOpensForNoOther(t *testing.T) {
	b := newBench(t).browser()
	ticket := ticketOf(t, b.signIn("?ticket=1"))
	state := b.begin("?renew=1")
	name := txCookies(b)[0]
	if res := b.backend("POST", "/redeem", `{"ticket":"`+b.jar[name]+`"}`); res.StatusCode != 400 {
		t.Errorf("a transaction for a ticket: %d", res.StatusCode)
	}
	if res := b.backend("POST", "/redeem", `{"ticket":"`+b.jar["__Host-keepin"]+`"}`); res.StatusCode != 400 {
		t.Errorf("a session for a ticket: %d", res.StatusCode)
	}
	if res := b.send(b.request("GET", callback(state), "Cookie: "+name+"="+ticket)); res.StatusCode != 400 {
		t.Errorf("a ticket for a transaction: %d", res.StatusCode)
	}
	if res := b.api("GET", "/auth/validate", "Cookie: __Host-keepin="+ticket); res.StatusCode != 401 {
		t.Errorf("a ticket for a session: %d", res.StatusCode)
	}
}

func TestLogoutElsewhereEndsEverySessionAndANewSignInBringsNoneBack(t *testing.T) {
	b := newBench(t)
	laptop, phone := b.browser(), b.browser()
	laptop.signIn("")
	phone.signIn("")
	phone.api("POST", "/auth/logout")
	if res := laptop.api("GET", "/auth/validate"); res.StatusCode != 401 {
		t.Errorf("the laptop: %d", res.StatusCode)
	}
	phone.signIn("")
	if res := laptop.api("GET", "/auth/validate"); res.StatusCode != 401 {
		t.Errorf("the laptop after a new sign-in: %d", res.StatusCode)
	}
	// And its logout is not one of the new session.
	laptop.api("POST", "/auth/logout")
	if res := phone.api("GET", "/auth/validate"); res.StatusCode != 200 {
		t.Errorf("the phone: %d", res.StatusCode)
	}
}

func TestSessionLasts400Days(t *testing.T) {
	b := newBench(t).browser()
	b.signIn("")
	b.fatal(b.keeper.change(t.Context(), keeper.NewMemberID(clientID, "ada-sub"), func(g *keeper.Grant) {
		g.Access.ExpiresAt = start.AddDate(3, 0, 0)
	}))
	for after, want := range map[time.Duration]int{session.Lifetime - time.Second: 200, session.Lifetime: 401} {
		b.now = start.Add(after)
		if res := b.api("GET", "/auth/validate"); res.StatusCode != want {
			t.Errorf("after %v: %d, want %d", after, res.StatusCode, want)
		}
	}
}

func TestTicketLastsAMinuteAndALogoutVoidsIt(t *testing.T) {
	redeem := func(b *browser, ticket string) int {
		return b.backend("POST", "/redeem", `{"ticket":"`+ticket+`"}`).StatusCode
	}
	b := newBench(t).browser()
	ticket := ticketOf(t, b.signIn("?ticket=1"))
	b.now = b.now.Add(time.Minute)
	if got := redeem(b, ticket); got != 400 {
		t.Errorf("after a minute: %d", got)
	}
	ticket = ticketOf(t, b.get("/auth/login?ticket=1"))
	b.now = b.now.Add(time.Minute - time.Millisecond)
	if got := redeem(b, ticket); got != 200 {
		t.Errorf("within the minute: %d", got)
	}
	ticket = ticketOf(t, b.get("/auth/login?ticket=1"))
	b.api("POST", "/auth/logout")
	if got := redeem(b, ticket); got != 400 {
		t.Errorf("after a logout: %d", got)
	}
	b.signIn("")
	if got := redeem(b, ticket); got != 400 {
		t.Errorf("after a logout and a sign-in: %d", got)
	}
}

func TestTicketSurvivesAStoreThatFails(t *testing.T) {
	b := newBench(t).browser()
	ticket := ticketOf(t, b.signIn("?ticket=1"))
	for _, op := range []string{"Get", "Burn"} {
		b.fail(op)
		if res := b.backend("POST", "/redeem", `{"ticket":"`+ticket+`"}`); res.StatusCode != 503 {
			t.Errorf("%s fails: %d", op, res.StatusCode)
		}
	}
	b.count()
	if res := b.backend("POST", "/redeem", `{"ticket":"`+ticket+`"}`); res.StatusCode != 200 {
		t.Errorf("then: %d", res.StatusCode)
	}
}

func TestRedeemTakesOneShapeOfBody(t *testing.T) {
	b := newBench(t).browser()
	ticket := ticketOf(t, b.signIn("?ticket=1"))
	good := `{"ticket":"` + ticket + `"}`
	for _, send := range []string{
		`{"TICKET":"` + ticket + `"}`, `{"ticket":"x","ticket":"` + ticket + `"}`, good + good, good + "x", "[" + good + "]",
		`{"ticket":"` + ticket + `","x":1}`, `{"ticket":["` + ticket + `"]}`, `{"ticket":null}`, `{}`, `null`, `"` + ticket + `"`, good[:len(good)-1],
		`{"ticket":{"ticket":"` + ticket + `"}}`,
	} {
		if res := b.backend("POST", "/redeem", send); res.StatusCode != 400 || !strings.Contains(body(res), "bad_request") {
			t.Errorf("%s: %d %s", send, res.StatusCode, body(res))
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), "POST", "https://app.example/auth/redeem", strings.NewReader(good))
	r.Header.Set("Authorization", "Bearer "+backendKey)
	r.Header.Set("Content-Type", "text/plain")
	if res := b.send(r); res.StatusCode != 400 {
		t.Errorf("text/plain: %d", res.StatusCode)
	}
	if res := b.backend("POST", "/redeem", " "+good+"\n"); res.StatusCode != 200 {
		t.Errorf("the good one: %d", res.StatusCode)
	}
}

func TestNonceAndVerifierGoWhereTheProfileHasThem(t *testing.T) {
	for _, on := range []bool{false, true} {
		b := newBench(t, func(c *web.Config) { c.Nonce, c.PKCE = on, on }).browser()
		state := b.begin("")
		asked := b.linkedin.seen
		b.get(callback(state))
		came := b.linkedin.seen
		if asked.Nonce.IsZero() == on || asked.Verifier.IsZero() == on || asked.Nonce.Equal(asked.Verifier) == on {
			t.Errorf("%v: not as the profile has it", on)
		}
		if !came.Nonce.Equal(asked.Nonce) || !came.Verifier.Equal(asked.Verifier) || !came.State.Equal(asked.State) || !came.IssuedAt.Equal(asked.IssuedAt) {
			t.Errorf("%v: the callback has others", on)
		}
	}
}

func TestValidateSaysExactlyWhatTheContractHas(t *testing.T) {
	b := newBench(t).browser()
	b.signIn("")
	id := string(keeper.NewMemberID(clientID, "ada-sub"))
	want := `{"member":{"id":"` + id + `","sub":"ada-sub","name":"Ada \u003cb\u003eLovelace\u003c/b\u003e","picture":"https://media.licdn.com/dms/ada.jpg?e=1\u0026v=beta","email":"ada@example.com"},` +
		`"grant":{"status":"active","scopes":["email","openid","profile"],"access_expires_at":"2026-04-30T12:00:00Z","reconnect_by":"2027-03-01T12:00:00Z"}}` + "\n"
	if got := body(b.api("GET", "/auth/validate")); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	res := b.api("GET", "/auth/validate")
	if res.Header.Get("X-Keepin-Sub") != "ada-sub" || res.Header.Get("X-Keepin-Member") != id {
		t.Errorf("headers %v", res.Header)
	}
	var v map[string]any
	b.fatal(json.Unmarshal([]byte(body(b.backend("GET", "/members/"+id+"/token", ""))), &v))
	if v["expires_at"] != "2026-04-30T12:00:00Z" || b.keeper.minLeft != time.Minute {
		t.Errorf("token %v, asked for %v", v, b.keeper.minLeft)
	}
}

func TestOnlyAnOriginThatIsConfiguredMaySignOut(t *testing.T) {
	for _, c := range []struct {
		header []string
		status int
	}{
		{nil, 204},
		{[]string{"Origin: https://app.example", "Sec-Fetch-Site: same-origin"}, 204},
		{[]string{"Origin: https://app.example"}, 204},
		{[]string{"Origin: https://shop.example", "Sec-Fetch-Site: same-site"}, 204},
		{[]string{"Origin: https://shop.example", "Sec-Fetch-Site: cross-site"}, 204},
		{[]string{"Origin: http://app.example", "Sec-Fetch-Site: same-origin"}, 403},
		{[]string{"Origin: http://app.example"}, 403},
		{[]string{"Origin: https://app.example.evil.example"}, 403},
		{[]string{"Origin: https://app.example:8443"}, 403},
		{[]string{"Origin: http://shop.example", "Sec-Fetch-Site: same-site"}, 403},
		{[]string{"Origin: null", "Sec-Fetch-Site: cross-site"}, 403},
		{[]string{"Origin: null"}, 403},
		{[]string{"Origin: null", "Sec-Fetch-Site: same-site"}, 403},
		{[]string{"Origin: null", "Sec-Fetch-Site: none"}, 403},
		{[]string{"Origin: null", "Sec-Fetch-Site: same-origin"}, 204},
		{[]string{"Sec-Fetch-Site: cross-site"}, 403},
		{[]string{"Sec-Fetch-Site: same-site"}, 403},
		{[]string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}, 403},
	} {
		b := newBench(t).browser()
		b.signIn("")
		res := b.api("POST", "/auth/logout", c.header...)
		left := b.keeper.signOuts == 0
		if res.StatusCode != c.status || left != (c.status == 403) {
			t.Errorf("%q: %d, still signed in: %v", c.header, res.StatusCode, left)
		}
	}
}

func TestCORSIsForTheConfiguredOriginsToTheLetter(t *testing.T) {
	b := newBench(t).browser()
	b.signIn("")
	for origin, ok := range map[string]bool{
		"https://shop.example": true, "https://www.app.example:8443": true,
		"": false, "null": false, "http://shop.example": false, "https://SHOP.example": false, "https://shop.example:443": false,
		"https://shop.example.evil.example": false, "https://evil.example/https://shop.example": false, "https://app.example": false, "https://www.app.example": false,
	} {
		for _, r := range []*http.Request{
			b.request("GET", "/auth/validate", "Accept: */*", "Origin: "+origin),
			b.request("OPTIONS", "/auth/validate", "Origin: "+origin, "Access-Control-Request-Method: GET"),
			b.request("OPTIONS", "/auth/logout", "Origin: "+origin, "Access-Control-Request-Method: POST"),
			b.request("OPTIONS", "/auth/exchange", "Origin: "+origin, "Access-Control-Request-Method: POST"),
		} {
			res := b.send(r)
			allow, credentials := res.Header.Get("Access-Control-Allow-Origin"), res.Header.Get("Access-Control-Allow-Credentials")
			if ok && (allow != origin || credentials != "true") || !ok && (allow != "" || credentials != "") {
				t.Errorf("%s %s from %q: %q %q", r.Method, r.URL.Path, origin, allow, credentials)
			}
			if res.Header.Get("Vary") != "Origin" {
				t.Errorf("%s from %q: Vary %q", r.Method, origin, res.Header.Get("Vary"))
			}
		}
		for _, path := range []string{"/auth/", "/auth/login", "/auth/members/x/token"} {
			if got := b.send(b.request("GET", path, "Origin: "+origin)).Header.Get("Access-Control-Allow-Origin"); got != "" {
				t.Errorf("%s from %q: %q", path, origin, got)
			}
		}
	}
	two := b.request("GET", "/auth/validate", "Accept: */*")
	two.Header["Origin"] = []string{"https://shop.example", "https://evil.example"}
	if got := b.send(two).Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("two origins: %q", got)
	}
	if res := b.send(b.request("OPTIONS", "/auth/validate", "Origin: https://shop.example")); res.StatusCode != 403 {
		t.Errorf("OPTIONS that is no preflight: %d", res.StatusCode)
	}
}

// TestAddressesComeFromTheConfigurationAlone: a request says a good deal of
// where it thinks it is.
func TestAddressesComeFromTheConfigurationAlone(t *testing.T) {
	b := newBench(t).browser()
	lies := []string{
		"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "Forwarded: host=evil.example", "X-Original-URL: /evil",
		"X-Rewrite-URL: /evil", "X-Forwarded-Prefix: /evil", "X-Keepin-Member: evil", "Referer: https://evil.example/",
	}
	for _, path := range []string{"/auth/login?return_to=/x", "/auth/validate", "/auth/", "/auth/callback?x=1"} {
		for _, accept := range []string{"text/html", "application/json"} {
			r := b.request("GET", path, append(lies, "Accept: "+accept)...)
			r.Host = "evil.example"
			res := b.send(r)
			if all := body(res) + url.QueryEscape(res.Header.Get("Location")); strings.Contains(all, "evil") {
				t.Errorf("%s: %s", path, all)
			}
		}
	}
}

func TestPagesLoadNothingButThePortrait(t *testing.T) {
	b := newBench(t).browser()
	b.signIn("")
	res := b.get("/auth/")
	page, policy := body(res), res.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "style-src 'sha256-", "img-src data: https://media.licdn.com;", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("no %s in %s", want, policy)
		}
	}
	for _, want := range []string{`<html lang="en">`, `src="https://media.licdn.com/dms/ada.jpg?e=1&amp;v=beta"`, `See your e-mail address`, `<form method="post" action="/auth/logout">`, `1 March 2027`, `name="viewport"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in %s", want, page)
		}
	}
	for _, not := range []string{"<script", "http://", "<b>Lovelace", "ada-sub", "access-canary"} {
		if strings.Contains(page, not) {
			t.Errorf("%s in %s", not, page)
		}
	}
	// A portrait from elsewhere is not shown: the browser would refuse it.
	b.fatal(b.keeper.change(t.Context(), keeper.NewMemberID(clientID, "ada-sub"), func(g *keeper.Grant) {
		g.Profile.Picture = "https://media.licdn.com.evil.example/x.jpg"
	}))
	if page := body(b.get("/auth/")); strings.Contains(page, "evil") || !strings.Contains(page, ">AB<") {
		t.Errorf("a foreign portrait: %s", page)
	}
}

func TestNoKeyLetsNobodyThrough(t *testing.T) {
	h := web.BearerAuth(secret.String{})(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("let through") }))
	for _, header := range []string{"", "Bearer", "Bearer ", "bearer x"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/members/x/token", nil)
		r.Header.Set("Authorization", header)
		if h.ServeHTTP(w, r); w.Code != 401 {
			t.Errorf("%q: %d", header, w.Code)
		}
	}
}
