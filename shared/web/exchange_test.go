package web_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/web"
)

// exchange posts the SDK's cookie as a page of the application does.
func (b *browser) exchange(value string, header ...string) *http.Response {
	b.Helper()
	return b.post(`{"cookie":`+quoted(value)+`}`, header...)
}

func (b *browser) post(body string, header ...string) *http.Response {
	b.Helper()
	header = append([]string{"Accept: application/json", "Content-Type: application/json", "Origin: https://app.example"}, header...)
	r := b.request("POST", "/auth/exchange", header...)
	with := httptest.NewRequestWithContext(b.Context(), "POST", "https://app.example/auth/exchange", strings.NewReader(body))
	with.Header = r.Header
	res := b.bench.send(with)
	for _, c := range res.Cookies() {
		b.jar[c.Name] = c.Value
	}
	return res
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func ada(n string) string { return sdkValue("ada-sub", n) }

func TestAnSDKCookieSignsInLikeACallback(t *testing.T) {
	b := newBench(t).browser()
	res := b.exchange(ada("1"))
	if res.StatusCode != 200 {
		t.Fatalf("exchange: %d %s", res.StatusCode, body(res))
	}
	validate := b.api("GET", "/auth/validate")
	if got, want := body(res), body(validate); got != want || validate.StatusCode != 200 {
		t.Errorf("exchange answers %s, validate %s", got, want)
	}
	for _, name := range []string{"X-Keepin-Member", "X-Keepin-Sub"} {
		if got, want := res.Header.Get(name), validate.Header.Get(name); got != want || got == "" {
			t.Errorf("%s is %q, and %q of validate", name, got, want)
		}
	}
	if got := strings.Join(b.keeper.observed, ","); got != "sdk_exchange" {
		t.Errorf("observed %s", got)
	}
	// The session before ends, and the new id is new.
	first := maps.Clone(b.jar)
	if res := b.exchange(ada("2")); res.StatusCode != 200 || b.jar["__Host-keepin"] == first["__Host-keepin"] || strings.Contains(body(res), `"login"`) {
		t.Errorf("again: %d %s", res.StatusCode, body(res))
	}
	if res := (&browser{b.bench, first}).api("GET", "/auth/validate"); res.StatusCode != 401 {
		t.Errorf("the session before: %d", res.StatusCode)
	}
}

// TestAnSDKCookieIsNeverASession: any script of the host can read and write it.
func TestAnSDKCookieIsNeverASession(t *testing.T) {
	b := newBench(t).browser()
	b.jar[sdkName] = ada("1")
	for _, path := range []string{"/auth/validate", "/auth/logout", "/auth/exchange"} {
		method := map[bool]string{true: "GET", false: "POST"}[path == "/auth/validate"]
		if res := b.api(method, path); res.StatusCode == 200 || len(b.jar) != 1 && path != "/auth/logout" {
			t.Errorf("%s: %d, cookies %q", path, res.StatusCode, b.jar)
		}
	}
	if page := body(b.get("/auth/")); !strings.Contains(page, "You are not signed in") {
		t.Errorf("the account page shows %s", page)
	}
	if b.linkedin.exchanges != 0 || b.writes() != 0 {
		t.Errorf("%d exchanges, %d writes", b.linkedin.exchanges, b.writes())
	}
	// Nor does it come back to life with the session that it began.
	delete(b.jar, sdkName)
	b.exchange(ada("1"))
	b.api("POST", "/auth/logout")
	b.jar[sdkName] = ada("1")
	if res := b.api("GET", "/auth/validate"); res.StatusCode != 401 {
		t.Errorf("after the logout: %d", res.StatusCode)
	}
	if res := b.exchange(ada("1")); res.StatusCode != 400 {
		t.Errorf("again after the logout: %d", res.StatusCode)
	}
}

func TestAUsedSDKCookieSignsNobodyIn(t *testing.T) {
	b := newBench(t)
	first := b.browser()
	first.exchange(ada("1"))
	session := first.jar["__Host-keepin"]
	if res := first.exchange(ada("1")); res.StatusCode != 200 || first.jar["__Host-keepin"] != session || len(res.Cookies()) != 0 {
		t.Errorf("in the browser that it has signed in: %d, cookies %v", res.StatusCode, res.Cookies())
	}
	thief, grace := b.browser(), b.browser()
	grace.exchange(sdkValue("grace-sub", "1"))
	for after := time.Duration(0); after < time.Hour; after += 29 * time.Minute {
		b.now = start.Add(after)
		for name, who := range map[string]*browser{"a thief": thief, "another member": grace} {
			was := who.jar["__Host-keepin"]
			res := who.exchange(ada("1"))
			if res.StatusCode != 400 || !strings.Contains(body(res), "bad_sdk_cookie") || who.jar["__Host-keepin"] != was {
				t.Errorf("%s after %v: %d %s", name, after, res.StatusCode, body(res))
			}
		}
	}
	if b.linkedin.exchanges != 2 {
		t.Errorf("LinkedIn was asked %d times", b.linkedin.exchanges)
	}
}

// TestTwoExchangesOfOneCookieMakeOneGrant: the first is still at LinkedIn when
// the second comes.
func TestTwoExchangesOfOneCookieMakeOneGrant(t *testing.T) {
	for _, way := range []string{"POST", "GET"} {
		b := newBench(t)
		one, two := b.browser(), b.browser()
		one.jar[sdkName], two.jar[sdkName] = ada("1"), ada("1")
		send := func(who *browser) *http.Response {
			if way == "GET" {
				return who.get("/auth/login?return_to=/x&ticket=1")
			}
			return who.post("")
		}
		var first, second *http.Response
		atLinkedIn, done, waiting := make(chan struct{}), make(chan struct{}), make(chan struct{})
		b.linkedin.during = func() { close(atLinkedIn); <-waiting }
		b.onSleep = sync.OnceFunc(func() { close(waiting); <-done })
		go func() {
			first = send(one)
			close(done)
		}()
		<-atLinkedIn
		second = send(two)
		if b.linkedin.exchanges != 1 || two.jar["__Host-keepin"] != "" || one.jar["__Host-keepin"] == "" {
			t.Errorf("%s: %d exchanges, sessions %q and %q", way, b.linkedin.exchanges, one.jar, two.jar)
		}
		b.linkedin.during = nil
		if way == "POST" {
			if first.StatusCode != 200 || second.StatusCode != 503 {
				t.Errorf("%d, then %d %s", first.StatusCode, second.StatusCode, body(second))
			}
			two.jar = one.jar // as in one browser
			if res := send(two); res.StatusCode != 200 || b.linkedin.exchanges != 1 {
				t.Errorf("as it was told to: %d", res.StatusCode)
			}
			continue
		}
		to := second.Header.Get("Location")
		if first.StatusCode != 303 || !strings.HasPrefix(first.Header.Get("Location"), "https://app.example/x?keepin_ticket=") || to != "https://app.example/auth/login?return_to=%2Fx&ticket=1" {
			t.Errorf("%d to %s, then %d to %s", first.StatusCode, first.Header.Get("Location"), second.StatusCode, to)
		}
		// One browser is signed in by then; another goes to LinkedIn.
		if res := one.get(strings.TrimPrefix(to, "https://app.example")); !strings.HasPrefix(res.Header.Get("Location"), "https://app.example/x?") {
			t.Errorf("the same browser comes back, and is sent to %s", res.Header.Get("Location"))
		}
		if res := two.get(strings.TrimPrefix(to, "https://app.example")); !strings.HasPrefix(res.Header.Get("Location"), "https://www.linkedin.com/") {
			t.Errorf("another browser comes back, and is sent to %s", res.Header.Get("Location"))
		}
	}
}

// TestNoFailedWriteGivesOrLosesAnSDKSignIn breaks each write: it fails, it
// succeeds and its answer is lost, or the process dies there, before and after.
// Nothing is given for what is not whole, and the cookie still signs in: at
// once, or when a minute is over.
func TestNoFailedWriteGivesOrLosesAnSDKSignIn(t *testing.T) {
	died := errors.New("canary: the process dies")
	for _, at := range []string{"Burn", "Put", "PutSession", "EndSession", "Settle"} {
		for name, c := range map[string]struct {
			apply bool
			times int // it fails
			dies  bool
		}{
			"failed": {false, 1000, false}, "failed once": {false, 1, false}, "stored": {true, 1000, false}, "stored once": {true, 1, false},
			"dies before": {false, 1, true}, "dies after": {true, 1, true},
		} {
			b := newBench(t)
			who := b.browser()
			who.signIn("") // so that a session is there to be ended
			left, dead, reached := c.times, false, false
			b.store.Before = func(op string) (bool, error) {
				if dead {
					return false, died
				}
				if op == at && left > 0 {
					left--
					dead, reached = c.dies, true
					return c.apply, died
				}
				return true, nil
			}
			res := who.exchange(ada("1"))
			if !reached {
				t.Fatalf("%s is not written", at)
			}
			b.store.Before = nil
			given := len(res.Cookies()) > 0
			if given != (res.StatusCode == 200) || res.StatusCode != 200 && res.StatusCode != 503 {
				t.Errorf("%s %s: %d with cookies %v", at, name, res.StatusCode, res.Cookies())
			}
			if given {
				if res := who.api("GET", "/auth/validate"); res.StatusCode != 200 || c.dies {
					t.Errorf("%s %s: signed in, and then %d", at, name, res.StatusCode)
				}
				continue
			}
			if c.dies || c.times > 1 {
				b.now = b.now.Add(time.Minute)
			}
			res = who.exchange(ada("1"))
			if at == "Settle" && c.dies && c.apply { // spent, and nobody can know that nothing was given for it
				if res.StatusCode != 400 {
					t.Errorf("%s %s: then %d", at, name, res.StatusCode)
				}
				continue
			}
			if res.StatusCode != 200 {
				t.Errorf("%s %s: then %d %s", at, name, res.StatusCode, body(res))
			}
			if res := who.api("GET", "/auth/validate"); res.StatusCode != 200 {
				t.Errorf("%s %s: signed in again, and then %d", at, name, res.StatusCode)
			}
		}
	}
}

func TestWhatLinkedInAnswersDecidesWhetherTheSDKCookieIsUsed(t *testing.T) {
	for class, want := range map[keeper.Class][2]int{
		keeper.ClassOutage: {503, 200}, keeper.ClassBusy: {503, 200}, keeper.ClassApplication: {503, 200}, keeper.ClassUnknown: {502, 200},
		keeper.ClassMember: {400, 400},
	} {
		b := newBench(t).browser()
		b.linkedin.err = &keeper.CallError{Class: class}
		first := b.exchange(ada("1"))
		observed := strings.Join(b.keeper.observed, ",")
		b.linkedin.err = nil
		second := b.exchange(ada("1"))
		if first.StatusCode != want[0] || second.StatusCode != want[1] || observed != "sdk_exchange "+string(class) {
			t.Errorf("%s: %d, then %d; observed %s", class, first.StatusCode, second.StatusCode, observed)
		}
		if first.StatusCode != 200 && len(first.Cookies()) > 0 {
			t.Errorf("%s: cookies %v", class, first.Cookies())
		}
	}
}

// TestAMemberOfTheSDKIsNotSentToLinkedIn: what /login does with the SDK's cookie.
func TestAMemberOfTheSDKIsNotSentToLinkedIn(t *testing.T) {
	const linkedIn, home = "https://www.linkedin.com/", "https://app.example/"
	signedIn := func(b *browser, sub string) {
		delete(b.jar, sdkName)
		b.linkedin.sub = sub
		b.signIn("")
		b.jar[sdkName] = ada("1")
	}
	reconnect := func(sub string) func(*browser) {
		return func(b *browser) {
			signedIn(b, sub)
			b.fatal(b.keeper.change(b.Context(), keeper.NewMemberID(clientID, sub), func(g *keeper.Grant) { g.Status = keeper.Reconnect }))
		}
	}
	for name, c := range map[string]struct {
		before    func(*browser)
		query     string
		header    string
		to        string // its beginning
		exchanges int
	}{
		"nobody is signed in":               {nil, "?return_to=/x", "", home + "x", 1},
		"to the account page":               {nil, "", "", home + "auth/", 1},
		"with a ticket":                     {nil, "?ticket=1", "", home + "auth/?keepin_ticket=", 1},
		"the member must reconnect":         {reconnect("ada-sub"), "?return_to=/x", "", home + "x", 1},
		"another member must reconnect":     {reconnect("grace-sub"), "?return_to=/x", "", home + "x?login=switched", 1},
		"signed in":                         {func(b *browser) { signedIn(b, "ada-sub") }, "?return_to=/x", "", home + "x", 0},
		"signed in as somebody else":        {func(b *browser) { signedIn(b, "grace-sub") }, "?return_to=/x", "", home + "x", 0},
		"asks to renew":                     {nil, "?renew=1", "", linkedIn, 0},
		"a prefetch":                        {nil, "", "Sec-Purpose: prefetch", "", 0},
		"a foreign return address":          {nil, "?return_to=https://evil.example/", "", "", 0},
		"no cookie of the SDK's":            {func(b *browser) { delete(b.jar, sdkName) }, "", "", linkedIn, 0},
		"a cookie that is not LinkedIn's":   {func(b *browser) { b.jar[sdkName] = "canary" }, "", "", linkedIn, 0},
		"two cookies":                       {func(b *browser) { b.jar[sdkName] += "; " + sdkName + "=" + ada("2") }, "", "", linkedIn, 0},
		"a cookie that was used":            {func(b *browser) { b.bench.browser().exchange(ada("1")); b.linkedin.exchanges = 0 }, "", "", linkedIn, 0},
		"LinkedIn is out":                   {func(b *browser) { b.linkedin.err = &keeper.CallError{Class: keeper.ClassOutage} }, "", "", linkedIn, 1},
		"LinkedIn refuses the token":        {func(b *browser) { b.linkedin.err = &keeper.CallError{Class: keeper.ClassMember} }, "", "", linkedIn, 1},
		"LinkedIn is odd":                   {func(b *browser) { b.linkedin.err = &keeper.CallError{Class: keeper.ClassUnknown} }, "", "", linkedIn, 1},
		"LinkedIn refuses our secret":       {func(b *browser) { b.linkedin.err = &keeper.CallError{Class: keeper.ClassApplication} }, "", "", linkedIn, 1},
		"the store is down":                 {func(b *browser) { b.fail("Burn") }, "", "", linkedIn, 0},
		"not all scopes were granted":       {func(b *browser) { b.linkedin.sdkScopes = "openid" }, "", "", linkedIn, 1},
		"not all scopes, of another member": {func(b *browser) { reconnect("grace-sub")(b); b.linkedin.sdkScopes = "openid" }, "?return_to=/x", "", home + "x?login=switched", 1},
		"all that is asked for":             {func(b *browser) { b.linkedin.sdkScopes = "openid" }, "?scope=openid&return_to=/x", "", home + "x", 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t).browser()
			b.jar[sdkName] = ada("1")
			if c.before != nil {
				c.before(b)
			}
			was := b.linkedin.exchanges
			var header []string
			if c.header != "" {
				header = append(header, c.header)
			}
			res := b.get("/auth/login"+c.query, header...)
			if got := res.Header.Get("Location"); !strings.HasPrefix(got, c.to) || (got == "") != (c.to == "") {
				t.Errorf("sent to %q, want %s", got, c.to)
			}
			if got := b.linkedin.exchanges - was; got != c.exchanges {
				t.Errorf("%d exchanges, want %d", got, c.exchanges)
			}
			if strings.HasPrefix(c.to, home) {
				if res := b.api("GET", "/auth/validate"); res.StatusCode != 200 {
					t.Errorf("validate: %d", res.StatusCode)
				}
			}
			if strings.Contains(b.log.String(), "sdk-canary") || strings.Contains(b.log.String(), "signature-canary") {
				t.Errorf("the log has the cookie: %s", b.log.String())
			}
		})
	}
	// By the normal way the member arrives all the same.
	b := newBench(t).browser()
	b.jar[sdkName] = "canary"
	if res := b.signIn("?return_to=/x"); res.Header.Get("Location") != home+"x" {
		t.Errorf("sent to %s", res.Header.Get("Location"))
	}
}

func TestTheBodyOfAnExchangeIsOneObjectWithOneName(t *testing.T) {
	b := newBench(t)
	good := quoted(ada("1"))
	for _, sent := range []string{
		`{}`, `[]`, `null`, good, `{"cookie":1}`, `{"cookie":null}`, `{"cookie":` + good + `,"x":1}`, `{"x":1,"cookie":` + good + `}`,
		`{"cookie":` + good + `,"cookie":` + good + `}`, `{"Cookie":` + good + `}`, `{"COOKIE":` + good + `}`, `{"cookie":` + good + `} {}`, `{"cookie":` + good, `{"cookie":{"cookie":` + good + `}}`,
	} {
		who := b.browser()
		who.jar[sdkName] = ada("1") // not looked at where there is a body
		if res := who.post(sent); res.StatusCode != 400 || !strings.Contains(body(res), "bad_request") {
			t.Errorf("%s: %d %s", sent, res.StatusCode, body(res))
		}
	}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", "application/json-seq"} {
		who := b.browser()
		who.jar[sdkName] = ada("1")
		for _, sent := range []string{"", `{"cookie":` + good + `}`} {
			if res := who.post(sent, "Content-Type: "+kind); res.StatusCode != 400 || !strings.Contains(body(res), "bad_request") {
				t.Errorf("%q with %q: %d %s", kind, sent, res.StatusCode, body(res))
			}
		}
	}
	if b.linkedin.exchanges != 0 || b.writes() != 0 {
		t.Errorf("%d exchanges, %d writes", b.linkedin.exchanges, b.writes())
	}
	if res := b.browser().post(` { "cookie" : `+good+` } `, "Content-Type: Application/JSON; charset=utf-8"); res.StatusCode != 200 {
		t.Errorf("well written: %d %s", res.StatusCode, body(res))
	}
}

func TestOnlyAConfiguredOriginMayExchange(t *testing.T) {
	for _, c := range []struct {
		header []string
		status int
	}{
		{nil, 200}, // no browser
		{[]string{"Origin: https://app.example", "Sec-Fetch-Site: same-origin"}, 200},
		{[]string{"Origin: https://shop.example", "Sec-Fetch-Site: cross-site"}, 200},
		{[]string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}, 403},
		{[]string{"Origin: https://evil.example"}, 403},
		{[]string{"Origin: http://shop.example", "Sec-Fetch-Site: cross-site"}, 403},
		{[]string{"Origin: https://shop.example:444"}, 403},
		{[]string{"Origin: null", "Sec-Fetch-Site: cross-site"}, 403},
		{[]string{"Sec-Fetch-Site: cross-site"}, 403},
		{[]string{"Sec-Fetch-Site: same-site"}, 403},
	} {
		b := newBench(t).browser()
		r := b.request("POST", "/auth/exchange", append([]string{"Content-Type: application/json", "Cookie: " + sdkName + "=" + ada("1")}, c.header...)...)
		res := b.bench.send(r)
		if res.StatusCode != c.status || (b.linkedin.exchanges == 1) != (c.status == 200) {
			t.Errorf("%q: %d after %d exchanges", c.header, res.StatusCode, b.linkedin.exchanges)
		}
		origin := r.Header.Get("Origin")
		if got := res.Header.Get("Access-Control-Allow-Origin"); (got == "https://shop.example") != (origin == "https://shop.example") || got != "" && got != origin {
			t.Errorf("%q: Access-Control-Allow-Origin %q", c.header, got)
		}
	}
}

func TestAnotherMemberOfTheSDKIsNeverSilent(t *testing.T) {
	b := newBench(t).browser()
	b.exchange(ada("1"))
	old := maps.Clone(b.jar)
	res := b.exchange(sdkValue("grace-sub", "1"))
	if res.StatusCode != 200 || !strings.Contains(body(res), `"login":"switched"`) || !strings.Contains(body(res), `"sub":"grace-sub"`) {
		t.Errorf("%d %s", res.StatusCode, body(res))
	}
	if res := (&browser{b.bench, old}).api("GET", "/auth/validate"); res.StatusCode != 401 {
		t.Errorf("the session before: %d", res.StatusCode)
	}
	for _, sub := range []string{"grace-sub", "ada-sub"} { // both grants live on
		if res := b.backend("GET", "/members/"+string(keeper.NewMemberID(clientID, sub))+"/token", ""); res.StatusCode != 200 {
			t.Errorf("%s: %d", sub, res.StatusCode)
		}
	}
}

func TestWithoutAnAddressThereIsNoExchange(t *testing.T) {
	b := newBench(t)
	mux := web.Mux(b.site, "/auth", web.SignInRoutes(b.site, b.sessions, b.linkedin, b.keeper, false))
	for _, method := range []string{"POST", "GET", "OPTIONS"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/auth/exchange", nil))
		if w.Code != 404 {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
	who := b.browser()
	who.jar[sdkName] = ada("1")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, who.request("GET", "/auth/login"))
	if to := w.Header().Get("Location"); !strings.HasPrefix(to, "https://www.linkedin.com/") || b.linkedin.exchanges != 0 {
		t.Errorf("sent to %s after %d exchanges", to, b.linkedin.exchanges)
	}
}
