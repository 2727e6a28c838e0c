package session_test

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/storetest"
)

// bench is a Manager over a memory store, with a clock that moves when told to
// or when somebody sleeps.
type bench struct {
	*testing.T
	*session.Manager
	store  *storetest.Memory
	sealer sealer

	mu      sync.Mutex
	now     time.Time
	writes  []string
	down    string // the store's operation that fails
	downFor int    // how often; 0: always
	lost    string // the operation whose answer is lost once, though it was done
	slept   time.Duration
	onSleep func()
}

func newBench(t *testing.T, secure bool) *bench {
	b := &bench{T: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	b.store = storetest.NewMemory(b.clock)
	b.store.Before = func(op string) (bool, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if op == b.down {
			if b.downFor--; b.downFor == 0 {
				b.down = ""
			}
			return false, errors.New("the store is down")
		}
		if op == b.lost {
			b.lost = ""
			return true, errors.New("the answer is lost")
		}
		if op != "Look" && op != "Get" && op != "All" {
			b.writes = append(b.writes, op)
		}
		return true, nil
	}
	var err error
	b.Manager, err = session.New(session.Config{
		Store: b.store, Burns: b.store, Sealer: &b.sealer, Secure: secure, Now: b.clock,
		Sleep: func(ctx context.Context, d time.Duration) error {
			b.pass(d)
			b.mu.Lock()
			b.slept += d
			b.mu.Unlock()
			if b.onSleep != nil {
				b.onSleep()
			}
			return ctx.Err()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// grant stores a live grant of subject.
func (b *bench) grant(subject string) keeper.Grant {
	b.Helper()
	now := b.clock()
	g := keeper.Grant{
		Member: keeper.NewMemberID("client", subject), Subject: subject, Generation: rand.Text(),
		Status: keeper.Active, Scopes: []string{"openid"}, Rev: rand.Text(),
		Access: keeper.Token{Sealed: []byte("sealed"), IssuedAt: now, ExpiresAt: now.AddDate(0, 0, 60)},
	}
	b.must(b.store.Put(b.Context(), g, ""))
	return g
}

// get is the grant of subject as stored.
func (b *bench) get(subject string) keeper.Grant {
	b.Helper()
	g, err := b.store.Get(b.Context(), keeper.NewMemberID("client", subject))
	b.must(err)
	return g
}

// change stores a changed grant.
func (b *bench) change(id keeper.MemberID, f func(*keeper.Grant)) {
	b.Helper()
	g, err := b.store.Get(b.Context(), id)
	b.must(err)
	old := g.Rev
	f(&g)
	g.Rev = rand.Text()
	b.must(b.store.Put(b.Context(), g, old))
}

func (b *bench) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// request is one with a Cookie header.
func request(cookies ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	if len(cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(cookies, "; "))
	}
	return r
}

// signIn starts a session and returns its cookie as a browser sends it.
func (b *bench) signIn(g keeper.Grant, cookies ...string) (cookie string, previous keeper.MemberID) {
	b.Helper()
	w := httptest.NewRecorder()
	t, err := b.Begin(w, request(), session.Transaction{ReturnTo: "https://app.example/"})
	b.must(err)
	_, have, _ := b.Seen(b.Context(), g.Member) // a sign-in goes on without
	previous, err = b.Start(b.Context(), request(cookies...), g, t.Session, have)
	b.must(err)
	w = httptest.NewRecorder()
	b.SetCookie(w, g.Member, t.Session)
	return pair(w.Result().Cookies()[0]), previous
}

func pair(c *http.Cookie) string { return c.Name + "=" + c.Value }

// sealer is AES-GCM with one key; purpose and owner are bound. err makes it fail.
type sealer struct{ err error }

func (s *sealer) aead() cipher.AEAD {
	block, _ := aes.NewCipher(make([]byte, 32))
	aead, _ := cipher.NewGCMWithRandomNonce(block)
	return aead
}

func (s *sealer) Seal(_ context.Context, clear secret.String, p keeper.Purpose, owner string) ([]byte, error) {
	return s.aead().Seal(nil, nil, []byte(clear.Reveal()), []byte(string(p)+"\n"+owner)), s.err
}

func (s *sealer) Open(_ context.Context, sealed []byte, p keeper.Purpose, owner string) (secret.String, error) {
	clear, err := s.aead().Open(nil, nil, sealed, []byte(string(p)+"\n"+owner))
	return secret.New(string(clear)), cmp.Or(s.err, err)
}

func TestNewRefusesHalfAConfig(t *testing.T) {
	store := storetest.NewMemory(nil)
	for name, cfg := range map[string]session.Config{
		"nothing": {}, "no sealer": {Store: store, Burns: store}, "no burns": {Store: store, Sealer: &sealer{}},
	} {
		if _, err := session.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := session.New(session.Config{Store: store}); err != nil {
		t.Errorf("one that only looks: %v", err)
	}
}

func TestSessionCookieIsLocked(t *testing.T) {
	id := secret.New(strings.Repeat("A", 43))
	for secure, want := range map[bool]string{
		true:  "__Host-keepin=0123456789abcdefghijkl." + id.Reveal() + "; Path=/; Max-Age=34560000; HttpOnly; Secure; SameSite=Lax",
		false: "keepin=0123456789abcdefghijkl." + id.Reveal() + "; Path=/; Max-Age=34560000; HttpOnly; SameSite=Lax",
	} {
		w := httptest.NewRecorder()
		newBench(t, secure).SetCookie(w, "0123456789abcdefghijkl", id)
		if got := w.Header()["Set-Cookie"]; len(got) != 1 || got[0] != want {
			t.Errorf("secure %t: %q, want %q", secure, got, want)
		}
	}
}

func TestSessionHoldsWhileItsGenerationDoes(t *testing.T) {
	b := newBench(t, true)
	g := b.grant("ada")
	cookie, _ := b.signIn(g)
	got, s, err := b.Member(request("theme=dark", cookie))
	if err != nil || got.Member != g.Member || s.Generation != g.Generation || !s.ExpiresAt.Equal(b.now.Add(session.Lifetime)) {
		t.Fatalf("Member = %+v, %+v, %v", got, s, err)
	}
	if got.Access.Sealed != nil {
		t.Error("Member gives a sealed token")
	}
	for name, change := range map[string]func(*keeper.Grant){
		"another generation": func(g *keeper.Grant) { g.Generation = "another" },
		"signed out":         func(g *keeper.Grant) { g.Status = keeper.SignedOut },
	} {
		b.change(g.Member, func(have *keeper.Grant) { *have = g; change(have) })
		if _, _, err := b.Member(request(cookie)); !errors.Is(err, session.ErrNone) {
			t.Errorf("%s: %v, want ErrNone", name, err)
		}
	}
	b.change(g.Member, func(have *keeper.Grant) { *have = g; have.Status = keeper.Reconnect })
	if got, _, err := b.Member(request(cookie)); err != nil || got.Status != keeper.Reconnect {
		t.Errorf("a grant that needs a new consent: %v, %v; its session lives on", got.Status, err)
	}
}

func TestSessionLasts400Days(t *testing.T) {
	b := newBench(t, true)
	cookie, _ := b.signIn(b.grant("ada"))
	b.pass(session.Lifetime - time.Second)
	if _, _, err := b.Member(request(cookie)); err != nil {
		t.Errorf("a second before its end: %v", err)
	}
	b.pass(time.Second)
	if _, _, err := b.Member(request(cookie)); !errors.Is(err, session.ErrNone) {
		t.Errorf("at its end: %v, want ErrNone", err)
	}
}

// late is a store that judges no expiry.
type late struct{ session.Store }

func (l late) Look(ctx context.Context, id keeper.MemberID, h session.Hash) (keeper.Grant, session.Session, error) {
	g, s, err := l.Store.Look(ctx, id, h)
	s.ExpiresAt = s.ExpiresAt.Add(-session.Lifetime)
	return g, s, err
}

func TestStoreIsNotTrustedWithTheEnd(t *testing.T) {
	b := newBench(t, true)
	cookie, _ := b.signIn(b.grant("ada"))
	m, err := session.New(session.Config{Store: late{b.store}, Secure: true, Now: b.clock})
	b.must(err)
	if _, _, err := m.Member(request(cookie)); !errors.Is(err, session.ErrNone) {
		t.Errorf("an ended session: %v, want ErrNone", err)
	}
}

func TestOnlyTheExactCookieIsASession(t *testing.T) {
	b := newBench(t, true)
	cookie, _ := b.signIn(b.grant("ada"))
	name, value, _ := strings.Cut(cookie, "=")
	bad := map[string]string{
		"none": "", "twice": cookie + "; " + cookie, "a second one, empty": cookie + "; " + name + "=",
		"quoted": name + `="` + value + `"`, "small letters": strings.ToLower(name) + "=" + value,
		"without the prefix": "keepin=" + value, "more": cookie + "x", "padded": cookie + "=", "inner space": name + "= x" + value,
		"another member": name + "=" + string(keeper.NewMemberID("client", "eve")) + value[22:],
	}
	for i := range len(value) {
		bad["cut at "+string(rune('0'+i%10))+value[:i]] = name + "=" + value[:i]
	}
	for i := range len(value) { // every other last bit: also a second spelling of the same bytes
		c := value[i] ^ 1
		bad["bent at "+value[:i]] = name + "=" + value[:i] + string(c) + value[i+1:]
	}
	for what, line := range bad {
		if _, _, err := b.Member(request(line)); !errors.Is(err, session.ErrNone) {
			t.Errorf("%s: %v, want ErrNone", what, err)
		}
	}
	r := request(cookie)
	r.Header.Add("Cookie", cookie)
	if _, _, err := b.Member(r); !errors.Is(err, session.ErrNone) {
		t.Errorf("in two headers: %v, want ErrNone", err)
	}
}

func TestOnlyABrokenCookieIsCleared(t *testing.T) {
	b := newBench(t, true)
	cookie, _ := b.signIn(b.grant("ada"))
	for line, want := range map[string]int{
		"": 0, "theme=dark": 0, cookie: 0, "__Host-keepin=x": 1, "__Host-keepin=": 1, cookie + "; " + cookie: 1,
		cookie[:len(cookie)-43] + strings.Repeat("A", 43):       0, // well-formed, though nobody's
		cookie[:len(cookie)-43] + strings.Repeat("A", 42) + "B": 1, // the same bytes, spelled in another way
	} {
		w := httptest.NewRecorder()
		b.ClearBroken(w, request(line))
		got := w.Header()["Set-Cookie"]
		if len(got) != want || want == 1 && got[0] != "__Host-keepin=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax" {
			t.Errorf("%q: %q, want %d", line, got, want)
		}
	}
}

func TestStoreFailureIsNotASignOut(t *testing.T) {
	b := newBench(t, true)
	cookie, _ := b.signIn(b.grant("ada"))
	b.down = "Look"
	if _, _, err := b.Member(request(cookie)); err == nil || errors.Is(err, session.ErrNone) {
		t.Errorf("Member = %v, want the store's error", err)
	}
}

func TestSignInReplacesTheSessionOfThisBrowserOnly(t *testing.T) {
	b := newBench(t, true)
	ada := b.grant("ada")
	phone, _ := b.signIn(ada)
	first, _ := b.signIn(ada)
	second, previous := b.signIn(ada, first)
	if first == second {
		t.Fatal("the session id is the old one")
	}
	if previous != "" {
		t.Errorf("previous = %q for the same member", previous)
	}
	for cookie, want := range map[string]error{phone: nil, first: session.ErrNone, second: nil} {
		if _, _, err := b.Member(request(cookie)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", cookie, err, want)
		}
	}
}

func TestSwitchNamesTheMemberBefore(t *testing.T) {
	b := newBench(t, true)
	ada, bob := b.grant("ada"), b.grant("bob")
	first, _ := b.signIn(ada)
	second, previous := b.signIn(bob, first)
	if previous != ada.Member {
		t.Errorf("previous = %q, want ada", previous)
	}
	if _, _, err := b.Member(request(first)); !errors.Is(err, session.ErrNone) {
		t.Errorf("ada's session: %v, want ErrNone", err)
	}
	b.change(bob.Member, func(g *keeper.Grant) { g.Status = keeper.SignedOut })
	if _, previous := b.signIn(ada, second); previous != "" {
		t.Errorf("previous = %q, but nobody was signed in", previous)
	}
}

// houseful signs n browsers of ada in, a minute apart, and tells who still is.
func houseful(b *bench, n int) (cookies []string, signedIn func() []int) {
	b.Helper()
	ada := b.grant("ada")
	for range n {
		cookie, _ := b.signIn(ada)
		cookies = append(cookies, cookie)
		b.pass(time.Minute)
	}
	return cookies, func() (in []int) {
		for i, cookie := range cookies {
			if _, _, err := b.Member(request(cookie)); err == nil {
				in = append(in, i)
			}
		}
		return in
	}
}

func TestOldestSessionBeyondTheCapGoes(t *testing.T) {
	b := newBench(t, true)
	other, _ := b.signIn(b.grant("bob"))
	_, signedIn := houseful(b, session.MaxPerMember+2)
	if got := signedIn(); len(got) != session.MaxPerMember || got[0] != 2 {
		t.Errorf("signed in are %v, want all but the first two", got)
	}
	if _, _, err := b.Member(request(other)); err != nil {
		t.Errorf("another member's session: %v", err)
	}
}

func TestEndedSessionsMakeRoom(t *testing.T) {
	b := newBench(t, true)
	cookies, signedIn := houseful(b, session.MaxPerMember)
	b.pass(session.Lifetime - (session.MaxPerMember-1)*time.Minute) // the first has ended, and the second ends now
	for range 2 {
		cookie, _ := b.signIn(b.get("ada"))
		cookies = append(cookies, cookie)
	}
	_, have, err := b.Seen(t.Context(), b.get("ada").Member)
	b.must(err)
	if got := signedIn(); len(got) != session.MaxPerMember-2 || got[0] != 2 || len(have) != session.MaxPerMember {
		t.Errorf("of the first signed in are %v, want all but two; stored are %d", got, len(have))
	}
	for _, cookie := range cookies[session.MaxPerMember:] {
		if _, _, err := b.Member(request(cookie)); err != nil {
			t.Errorf("a new one: %v", err)
		}
	}
}

// The session that a browser had makes room for its next: no other device pays.
func TestSignInInAFullHouseTakesTheBrowsersOwnPlace(t *testing.T) {
	b := newBench(t, true)
	cookies, signedIn := houseful(b, session.MaxPerMember)
	b.signIn(b.get("ada"), cookies[7])
	if got := signedIn(); len(got) != session.MaxPerMember-1 || slices.Contains(got, 7) {
		t.Errorf("signed in are %v, want all but 7", got)
	}
}

// Where what a member has cannot be read, the sign-in goes on; the next makes room.
func TestRoomIsMadeByTheNextSignIn(t *testing.T) {
	b := newBench(t, true)
	_, signedIn := houseful(b, session.MaxPerMember)
	b.down = "All"
	b.signIn(b.get("ada"))
	b.down = ""
	if got := signedIn(); len(got) != session.MaxPerMember {
		t.Errorf("signed in are %v, want all", got)
	}
	b.signIn(b.get("ada"))
	if got := signedIn(); len(got) != session.MaxPerMember-2 || got[0] != 2 {
		t.Errorf("signed in are %v, want all but the first two", got)
	}
}

func TestSignInMakesRoomOrIsNone(t *testing.T) {
	b := newBench(t, true)
	houseful(b, session.MaxPerMember)
	ada := b.get("ada")
	b.down = "EndSession"
	_, have, err := b.Seen(t.Context(), ada.Member)
	b.must(err)
	if _, err := b.Start(t.Context(), request(), ada, secret.New(strings.Repeat("A", 43)), have); err == nil || errors.Is(err, session.ErrNone) {
		t.Errorf("got %v, want the store's error", err)
	}
}

func TestFixedSessionIsNeverAdopted(t *testing.T) {
	b := newBench(t, true)
	ada := b.grant("ada")
	planted := "__Host-keepin=" + string(ada.Member) + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	cookie, _ := b.signIn(ada, planted)
	if _, _, err := b.Member(request(planted)); !errors.Is(err, session.ErrNone) {
		t.Errorf("the planted cookie: %v, want ErrNone", err)
	}
	if _, _, err := b.Member(request(cookie)); err != nil {
		t.Errorf("the new one: %v", err)
	}
}

func TestFailedStartKeepsTheOldSession(t *testing.T) {
	b := newBench(t, true)
	ada := b.grant("ada")
	cookie, _ := b.signIn(ada)
	b.down = "PutSession"
	if _, err := b.Start(t.Context(), request(cookie), ada, secret.New(strings.Repeat("A", 43)), nil); err == nil {
		t.Fatal("no error")
	}
	b.down = ""
	if _, _, err := b.Member(request(cookie)); err != nil {
		t.Errorf("the session before: %v", err)
	}
}

// A session that went on beside the new one would be one that no sign-in ends.
func TestSignInEndsTheOldSessionOrIsNone(t *testing.T) {
	b := newBench(t, true)
	ada := b.grant("ada")
	first, _ := b.signIn(ada)
	b.down, b.downFor = "EndSession", 2
	second, _ := b.signIn(ada, first)
	for cookie, want := range map[string]error{first: session.ErrNone, second: nil} {
		if _, _, err := b.Member(request(cookie)); !errors.Is(err, want) {
			t.Errorf("after two failures: %v, want %v", err, want)
		}
	}
	b.down, b.downFor = "EndSession", 3
	if _, err := b.Start(t.Context(), request(second), ada, secret.New(strings.Repeat("A", 43)), nil); err == nil || errors.Is(err, session.ErrNone) {
		t.Errorf("after three: %v, want the store's error", err)
	}
	if _, _, err := b.Member(request(second)); err != nil {
		t.Errorf("the session before, whose cookie the browser still has: %v", err)
	}
}

func TestClearTakesAllOurCookiesAndNoOther(t *testing.T) {
	w := httptest.NewRecorder()
	newBench(t, true).Clear(w, request("theme=dark", "__Host-keepin=x", "__Host-keepin_tx_abcdefgh=y", "__Host-keepin_tx_abcdefgh=z", "__Host-other=1"))
	var names []string
	for _, c := range w.Result().Cookies() {
		if c.MaxAge >= 0 || c.Value != "" {
			t.Errorf("%v is not cleared", c)
		}
		names = append(names, c.Name)
	}
	if want := []string{"__Host-keepin", "__Host-keepin_tx_abcdefgh"}; !slices.Equal(names, want) {
		t.Errorf("cleared %q, want %q", names, want)
	}
}

func TestStoresNeverSeeAnID(t *testing.T) {
	b := newBench(t, true)
	g := b.grant("ada")
	cookie, _ := b.signIn(g)
	id := cookie[len(cookie)-43:]
	if _, _, err := b.store.Look(t.Context(), g.Member, sha256.Sum256([]byte(id))); err != nil {
		t.Errorf("the key is not SHA-256 of the id: %v", err)
	}
}
