package session_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/session"
)

// usual is a transaction as a deployment with a dozen scopes has it.
func usual() session.Transaction {
	return session.Transaction{
		ReturnTo: "https://app.example.com/projects/1234?tab=people", Issuer: "https://www.linkedin.com/oauth",
		Scopes: []string{"openid", "profile", "email", "w_member_social"}, Ticket: true, Renew: true,
	}
}

// begin begins a sign-in in jar, as a browser keeps it.
func (b *bench) begin(jar map[string]string, t session.Transaction) session.Transaction {
	b.Helper()
	w := httptest.NewRecorder()
	t, err := b.Begin(w, b.from(jar), t)
	b.must(err)
	b.keep(jar, w)
	return t
}

func (b *bench) from(jar map[string]string) *http.Request {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(jar)) {
		pairs = append(pairs, name+"="+jar[name])
	}
	return request(pairs...)
}

func (b *bench) keep(jar map[string]string, w *httptest.ResponseRecorder) {
	for _, c := range w.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(jar, c.Name)
		} else {
			jar[c.Name] = c.Value
		}
	}
}

func only(jar map[string]string) (name, value string) {
	for name, value = range jar {
	}
	return name, value
}

func TestTransactionComesBackWhole(t *testing.T) {
	b := newBench(t, true)
	jar := make(map[string]string)
	want := usual()
	want.WithNonce, want.WithVerifier = true, true
	want = b.begin(jar, want)
	got, err := b.Resume(httptest.NewRecorder(), b.from(jar), want.State.Reveal())
	b.must(err)
	if !got.State.Equal(want.State) || !got.Session.Equal(want.Session) || !got.Nonce.Equal(want.Nonce) || !got.Verifier.Equal(want.Verifier) {
		t.Error("a secret came back changed")
	}
	for _, s := range []secret.String{got.State, got.Session, got.Nonce, got.Verifier} {
		if len(s.Reveal()) != 43 {
			t.Errorf("a secret of %d characters, want 32 bytes as 43", len(s.Reveal()))
		}
	}
	if got.ReturnTo != want.ReturnTo || got.Issuer != want.Issuer || !got.Ticket || !got.Renew ||
		!slices.Equal(got.Scopes, want.Scopes) || !got.IssuedAt.Equal(b.now) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if a := got.Authorization(); !a.State.Equal(want.State) || !a.Nonce.Equal(want.Nonce) || !a.Verifier.Equal(want.Verifier) || !a.IssuedAt.Equal(b.now) {
		t.Error("the authorization is another")
	}
}

func TestTransactionCookieIsShortAndLocked(t *testing.T) {
	b := newBench(t, true)
	w := httptest.NewRecorder()
	tx, err := b.Begin(w, request(), usual())
	b.must(err)
	c := w.Result().Cookies()[0]
	// 53 - 28: a sealed value carries that much more than this test's sealer adds.
	if size := len(c.Name) + 1 + len(c.Value) + (53-28)*4/3; size > 600 {
		t.Errorf("the cookie has %d bytes, want 600 at most", size)
	}
	if want := c.Name + "=" + c.Value + "; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax"; w.Header().Get("Set-Cookie") != want {
		t.Errorf("Set-Cookie: %q, want %q", w.Header().Get("Set-Cookie"), want)
	}
	if !strings.HasPrefix(c.Name, "__Host-keepin_tx_") || len(c.Name) != len("__Host-keepin_tx_")+8 {
		t.Errorf("name %q", c.Name)
	}
	for _, s := range []string{tx.State.Reveal(), tx.Session.Reveal(), tx.ReturnTo} {
		if strings.Contains(c.Value, s) || strings.Contains(c.Value, base64.RawURLEncoding.EncodeToString([]byte(s))[:20]) {
			t.Error("the cookie shows what it holds")
		}
	}
}

func TestTransactionsNeverShareASecret(t *testing.T) {
	b := newBench(t, true)
	seen := make(map[string]bool)
	for range 200 {
		tx := usual()
		tx.WithNonce, tx.WithVerifier = true, true
		tx = b.begin(make(map[string]string), tx)
		for _, s := range []secret.String{tx.State, tx.Session, tx.Nonce, tx.Verifier} {
			if seen[s.Reveal()] {
				t.Fatal("a secret twice")
			}
			seen[s.Reveal()] = true
		}
	}
}

func TestTransactionIsBoundToItsBrowserStateAndTime(t *testing.T) {
	b := newBench(t, true)
	jar := make(map[string]string)
	tx := b.begin(jar, usual())
	name, value := only(jar)
	state := tx.State.Reveal()
	other := b.begin(make(map[string]string), usual())
	resume := func(state string, cookies ...string) error {
		_, err := b.Resume(httptest.NewRecorder(), request(cookies...), state)
		return err
	}
	if err := resume(state, name+"="+value); err != nil {
		t.Fatal(err)
	}
	bad := map[string]error{
		"no cookie":         resume(state),
		"no state":          resume("", name+"="+value),
		"another state":     resume(other.State.Reveal(), name+"="+value),
		"twice":             resume(state, name+"="+value, name+"="+value),
		"twice, one broken": resume(state, name+"="+value, name+"=x"),
		"quoted":            resume(state, name+`="`+value+`"`),
		"longer":            resume(state, name+"="+value+"A"),
		"padded":            resume(state, name+"="+value+"="),
		"state with more":   resume(state+"A", name+"="+value),
		"state re-spelled":  resume(state[:42]+string(state[42]^1), name+"="+value),
	}
	for i := range len(value) {
		bad[fmt.Sprintf("cut to %d", i)] = resume(state, name+"="+value[:i])
	}
	for i := range len(value) {
		bent := []byte(value)
		bent[i] = map[bool]byte{true: 'B', false: 'A'}[bent[i] == 'A']
		bad[fmt.Sprintf("bent at %d", i)] = resume(state, name+"="+string(bent))
	}
	b.pass(10*time.Minute - time.Millisecond)
	if err := resume(state, name+"="+value); err != nil {
		t.Errorf("just before its end: %v", err)
	}
	b.pass(time.Millisecond)
	bad["ten minutes later"] = resume(state, name+"="+value)
	for what, err := range bad {
		if !errors.Is(err, session.ErrState) {
			t.Errorf("%s: %v, want ErrState", what, err)
		}
	}
	if len(b.writes) > 0 {
		t.Errorf("written: %v", b.writes)
	}
}

// A cookie must not open under the name of another state, though both are ours:
// else one who can set cookies moves a transaction.
func TestTransactionIsBoundToItsCookieName(t *testing.T) {
	b := newBench(t, true)
	jar, other := make(map[string]string), make(map[string]string)
	tx := b.begin(jar, usual())
	b.begin(other, usual())
	name, _ := only(jar)
	from, value := only(other)
	if _, err := b.Resume(httptest.NewRecorder(), request(name+"="+value), tx.State.Reveal()); !errors.Is(err, session.ErrState) {
		t.Errorf("a moved transaction: %v, want ErrState", err)
	}
	// It is the seal that says so, whatever the state inside.
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	b.must(err)
	for owner, opens := range map[string]bool{from: true, name: false, "": false} {
		if _, err := b.sealer.Open(t.Context(), sealed, keeper.PurposeTransaction, owner); (err == nil) != opens {
			t.Errorf("%s under the name %q: %v", from, owner, err)
		}
	}
}

// Names have 48 bits of the state's hash, so two states may share one: the
// state inside decides.
func TestStateInsideDecides(t *testing.T) {
	b := newBench(t, true)
	jar, other := make(map[string]string), make(map[string]string)
	tx := b.begin(jar, usual())
	b.begin(other, usual())
	name, _ := only(jar)
	from, value := only(other)
	sealed, err := base64.RawURLEncoding.DecodeString(value)
	b.must(err)
	clear, err := b.sealer.Open(t.Context(), sealed, keeper.PurposeTransaction, from)
	b.must(err)
	sealed, err = b.sealer.Seal(t.Context(), clear, keeper.PurposeTransaction, name)
	b.must(err)
	r := request(name + "=" + base64.RawURLEncoding.EncodeToString(sealed))
	if _, err := b.Resume(httptest.NewRecorder(), r, tx.State.Reveal()); !errors.Is(err, session.ErrState) {
		t.Errorf("another state of the same name: %v, want ErrState", err)
	}
}

func TestBadTransactionCookieIsCleared(t *testing.T) {
	b := newBench(t, true)
	jar := make(map[string]string)
	tx := b.begin(jar, usual())
	name, _ := only(jar)
	w := httptest.NewRecorder()
	if _, err := b.Resume(w, request(name+"=x", "theme=dark"), tx.State.Reveal()); err == nil {
		t.Fatal("no error")
	}
	if got := w.Header()["Set-Cookie"]; len(got) != 1 || got[0] != name+"=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax" {
		t.Errorf("Set-Cookie: %q", got)
	}
}

func TestUnreadableKeysDoNotEndASignIn(t *testing.T) {
	b := newBench(t, true)
	jar := make(map[string]string)
	tx := b.begin(jar, usual())
	b.sealer.err = fmt.Errorf("the keyset: %w", keeper.ErrUnavailable)
	w := httptest.NewRecorder()
	if _, err := b.Resume(w, b.from(jar), tx.State.Reveal()); !errors.Is(err, keeper.ErrUnavailable) {
		t.Errorf("Resume = %v, want ErrUnavailable", err)
	}
	if got := w.Header()["Set-Cookie"]; got != nil {
		t.Errorf("the cookie went: %q", got)
	}
}

func TestFiveTabsSignInAtOnceAndTheSixthTakesTheOldest(t *testing.T) {
	b := newBench(t, true)
	jar := map[string]string{"theme": "dark", "__Host-keepin_tx_broken00": "x"}
	var tabs []session.Transaction
	for range 5 {
		tabs = append(tabs, b.begin(jar, usual()))
		b.pass(time.Second)
	}
	if len(jar) != 6 {
		t.Fatalf("%d cookies, want 5 transactions and the stranger's", len(jar))
	}
	for i, tx := range tabs {
		if _, err := b.Resume(httptest.NewRecorder(), b.from(jar), tx.State.Reveal()); err != nil {
			t.Errorf("tab %d: %v", i, err)
		}
	}
	tabs = append(tabs, b.begin(jar, usual()))
	for i, tx := range tabs {
		_, err := b.Resume(httptest.NewRecorder(), b.from(jar), tx.State.Reveal())
		if gone := errors.Is(err, session.ErrState); gone != (i == 0) {
			t.Errorf("tab %d of six: %v", i, err)
		}
	}
}

func TestTransactionsStayWithinAFewKilobytes(t *testing.T) {
	b := newBench(t, true)
	jar := make(map[string]string)
	long := usual()
	long.ReturnTo = "https://app.example/" + strings.Repeat("x", 900)
	var last session.Transaction
	for range 7 {
		last = b.begin(jar, long)
		b.pass(time.Second)
		size := 0
		for name, value := range jar {
			size += len(name) + len(value)
		}
		if size > 3<<10 {
			t.Fatalf("%d bytes of cookies", size)
		}
	}
	if _, err := b.Resume(httptest.NewRecorder(), b.from(jar), last.State.Reveal()); err != nil {
		t.Errorf("the newest: %v", err)
	}
}

func TestOverTransactionsAreTakenAway(t *testing.T) {
	b := newBench(t, true)
	jar := make(map[string]string)
	old := b.begin(jar, usual())
	b.pass(10 * time.Minute)
	b.begin(jar, usual())
	if len(jar) != 1 {
		t.Errorf("left: %d, want only the new one", len(jar))
	}
	if _, err := b.Resume(httptest.NewRecorder(), b.from(jar), old.State.Reveal()); err == nil {
		t.Error("the old one resumes")
	}
}

func TestOnlyTheFirstCallbackMayGoOn(t *testing.T) {
	b := newBench(t, true)
	tx := b.begin(make(map[string]string), usual())
	code := secret.New("code-1")
	first, err := b.Claim(t.Context(), tx, code)
	if err != nil || first.Duplicate {
		t.Fatalf("the first: %+v, %v", first, err)
	}
	if _, err := b.Claim(t.Context(), tx, secret.New("code-2")); !errors.Is(err, session.ErrState) {
		t.Errorf("with another code, under way: %v, want ErrState", err)
	}
	b.must(b.Settle(t.Context(), first, "0123456789abcdefghijkl", "signed_in"))
	again, err := b.Claim(t.Context(), tx, code)
	if err != nil || !again.Duplicate || again.Member != "0123456789abcdefghijkl" || again.Outcome != "signed_in" {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	if _, err := b.Claim(t.Context(), tx, secret.New("code-2")); !errors.Is(err, session.ErrState) {
		t.Errorf("with another code, settled: %v, want ErrState", err)
	}
	b.pass(time.Minute - time.Millisecond)
	if _, err := b.Claim(t.Context(), tx, code); err != nil {
		t.Errorf("within the minute: %v", err)
	}
	b.pass(time.Millisecond)
	if _, err := b.Claim(t.Context(), tx, code); !errors.Is(err, session.ErrState) {
		t.Errorf("after a minute: %v, want ErrState", err)
	}
}

func TestDuplicateWaitsForTheFirst(t *testing.T) {
	b := newBench(t, true)
	tx := b.begin(make(map[string]string), usual())
	first, err := b.Claim(t.Context(), tx, secret.New("code"))
	b.must(err)
	b.onSleep = func() {
		if b.slept >= 2*time.Second {
			b.onSleep = nil
			b.must(b.Settle(t.Context(), first, "", "denied"))
		}
	}
	again, err := b.Claim(t.Context(), tx, secret.New("code"))
	if err != nil || !again.Duplicate || again.Outcome != "denied" {
		t.Errorf("%+v, %v, want the outcome", again, err)
	}
	if b.slept < 2*time.Second || b.slept > 4*time.Second {
		t.Errorf("waited %v", b.slept)
	}
}

func TestDuplicateWaitsFiveSecondsAtMost(t *testing.T) {
	b := newBench(t, true)
	tx := b.begin(make(map[string]string), usual())
	if _, err := b.Claim(t.Context(), tx, secret.New("code")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Claim(t.Context(), tx, secret.New("code")); !errors.Is(err, session.ErrPending) {
		t.Errorf("%v, want ErrPending", err)
	}
	if b.slept != 5*time.Second {
		t.Errorf("waited %v, want 5 s", b.slept)
	}
}

func TestFailedBurnIsNoClaim(t *testing.T) {
	b := newBench(t, true)
	tx := b.begin(make(map[string]string), usual())
	b.down = "Burn"
	if _, err := b.Claim(t.Context(), tx, secret.New("code")); err == nil || errors.Is(err, session.ErrState) {
		t.Errorf("%v, want the store's error", err)
	}
}
