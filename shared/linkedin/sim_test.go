package linkedin_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/secret"
)

// simulated is a Client of a simulated LinkedIn, over a real connection.
type simulated struct {
	*linkedin.Client
	t   *testing.T
	sim *linkedinsim.Sim
	app linkedinsim.App
	cfg linkedin.Config
	err error // of the credentials
}

func newSimulated(t *testing.T) *simulated {
	t.Helper()
	s := &simulated{t: t, app: linkedinsim.DefaultApp()}
	s.app.RedirectURLs = []string{redirectURL}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.sim.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	var err error
	s.sim, err = linkedinsim.New(linkedinsim.Config{
		Clock: linkedinsim.NewClock(now), URL: server.URL, Apps: []linkedinsim.App{s.app}, Key: signerOne().key,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.sim.Clear)
	cfg := config(server.URL)
	cfg.Now = s.sim.Clock().Now
	cfg.Timeout = 3 * time.Second // the faults that stall take it whole
	cfg.Credentials = func(context.Context, bool) (linkedin.Credentials, error) {
		return linkedin.Credentials{ClientID: s.app.ClientID, Secret: secret.New(s.app.Secret), Previous: secret.New(s.app.PreviousSecret)}, s.err
	}
	s.configure(cfg)
	return s
}

func (s *simulated) configure(cfg linkedin.Config) {
	s.t.Helper()
	client, err := linkedin.New(cfg)
	s.must(err)
	s.Client, s.cfg = client, cfg
}

func (s *simulated) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *simulated) fault(f linkedinsim.Fault) {
	s.t.Helper()
	s.must(s.sim.Fault(f))
}

// code goes to the consent page and back.
func (s *simulated) code(a keeper.Authorization) secret.String {
	s.t.Helper()
	address, err := s.AuthCodeURL(s.t.Context(), a)
	s.must(err)
	back, err := s.sim.Authorize(address, "ada")
	s.must(err)
	u, err := url.Parse(back)
	s.must(err)
	if got := u.Query().Get("state"); got != a.State.Reveal() || u.Query().Get("code") == "" {
		s.t.Fatalf("came back to %s", back)
	}
	return secret.New(u.Query().Get("code"))
}

func (s *simulated) signIn() (keeper.Identity, keeper.Tokens, error) {
	s.t.Helper()
	a := keeper.Authorization{State: secret.New("state"), IssuedAt: s.sim.Clock().Now()}
	return s.Exchange(s.t.Context(), s.code(a), a)
}

func (s *simulated) signedIn() keeper.Tokens {
	s.t.Helper()
	_, tokens, err := s.signIn()
	s.must(err)
	return tokens
}

func (s *simulated) wantClass(what string, err error, want keeper.Class) *keeper.CallError {
	s.t.Helper()
	if got := keeper.ClassOf(err); got != want {
		s.t.Fatalf("%s: got class %q (%v), want %q", what, got, err, want)
	}
	if err == nil {
		return nil
	}
	for _, value := range s.sim.Secrets() {
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), mustJSON(callError(s.t, err).Record)} {
			if strings.Contains(text, value) || strings.Contains(text, url.QueryEscape(value)) {
				s.t.Errorf("%s: a secret leaks: %s", what, text)
			}
		}
	}
	return callError(s.t, err)
}

func TestAGrantLivesItsLifeAtTheSimulator(t *testing.T) {
	s := newSimulated(t)
	ctx := t.Context()
	who, first, err := s.signIn()
	s.must(err)
	if who.Profile.Name != "Ada Lovelace" || who.Profile.Email != "ada@example.com" || who.Subject != linkedinsim.Subject(s.app.ClientID, "ada") || first.Subject != who.Subject {
		t.Errorf("got %+v", who)
	}
	if !slices.Equal(first.Scopes, []string{"email", "openid", "profile"}) || first.Refresh.IsZero() {
		t.Errorf("got %+v", first)
	}
	if !first.ExpiresAt.Equal(now.Add(60*24*time.Hour-time.Second)) || first.RefreshExpiresAt.Sub(now) != 365*24*time.Hour {
		t.Errorf("got ends %v and %v", first.ExpiresAt, first.RefreshExpiresAt)
	}
	again, err := s.Identify(ctx, first.Access)
	s.must(err)
	if again.Subject != who.Subject || again.Profile.Name != who.Profile.Name {
		t.Errorf("userinfo: got %+v", again)
	}

	s.sim.Clock().Advance(50 * 24 * time.Hour)
	second, err := s.Refresh(ctx, first.Refresh)
	s.must(err)
	if second.Access.Equal(first.Access) || !second.Refresh.Equal(first.Refresh) || second.Subject != "" {
		t.Error("a refresh must bring a new access token and the same refresh token")
	}
	if !second.RefreshExpiresAt.Equal(first.RefreshExpiresAt) {
		t.Errorf("the refresh token's end moved from %v to %v", first.RefreshExpiresAt, second.RefreshExpiresAt)
	}
	state, err := s.Inspect(ctx, second.Access)
	s.must(err)
	if !state.Active || state.Status != "active" || !state.IssuedAt.Equal(s.sim.Clock().Now()) || !slices.Equal(state.Scopes, first.Scopes) {
		t.Errorf("introspection: got %+v", state)
	}

	s.sim.Clock().Advance(11 * 24 * time.Hour)
	state, err = s.Inspect(ctx, first.Access)
	s.must(err)
	if state.Active || state.Status != "expired" {
		t.Errorf("introspection of an expired token: got %+v", state)
	}
	_, err = s.Identify(ctx, first.Access)
	if failed := s.wantClass("expired", err, keeper.ClassMember); failed.Revoked {
		t.Error("an expired token was taken for a revoked one")
	}
	s.must(s.sim.RemoveApp("ada"))
	_, err = s.Identify(ctx, second.Access)
	if failed := s.wantClass("removed", err, keeper.ClassMember); !failed.Revoked {
		t.Error("a revoked token was not told as such")
	}
	_, err = s.Refresh(ctx, second.Refresh)
	s.wantClass("refresh after removal", err, keeper.ClassMember)
	s.sim.SetSwitches(func(w *linkedinsim.Switches) { w.MessagePeriod = true })
	_, err = s.Refresh(ctx, second.Refresh)
	s.wantClass("refresh after removal, with a period", err, keeper.ClassMember)
}

func TestTheSimulatorsFaultsAreJudged(t *testing.T) {
	s := newSimulated(t)
	ctx := t.Context()
	tokens := s.signedIn()
	refresh := func() error { _, err := s.Refresh(ctx, tokens.Refresh); return err }
	inspect := func() error { _, err := s.Inspect(ctx, tokens.Access); return err }
	identify := func() error { _, err := s.Identify(ctx, tokens.Access); return err }
	signIn := func() error { _, _, err := s.signIn(); return err }
	bySDK := func() error {
		cookie, err := s.sim.SDKCookie(s.app.ClientID, "grace")
		s.must(err)
		_, _, err = s.ExchangeSDK(ctx, secret.New(cookie.Value))
		return err
	}
	const (
		token, introspect, userinfo = linkedinsim.TokenEndpoint, linkedinsim.IntrospectEndpoint, linkedinsim.UserinfoEndpoint
		keys, sdk                   = linkedinsim.JWKSEndpoint, linkedinsim.SDKEndpoint
	)
	for _, row := range []struct {
		at   linkedinsim.Endpoint
		kind linkedinsim.Kind
		call func() error
		want keeper.Class
		hits int // calls at the endpoint
	}{
		{token, linkedinsim.ResetBefore, refresh, keeper.ClassOutage, 1},
		{token, linkedinsim.ResetAfter, refresh, keeper.ClassOutage, 1},
		{token, linkedinsim.ResetAfter, signIn, keeper.ClassOutage, 1},
		{token, linkedinsim.StallBefore, refresh, keeper.ClassOutage, 1},
		{token, linkedinsim.StallAfter, signIn, keeper.ClassOutage, 1},
		{token, linkedinsim.Truncate, refresh, keeper.ClassOutage, 1},
		{token, linkedinsim.WrongSecret, refresh, keeper.ClassApplication, 1},
		{token, linkedinsim.WrongSecret, signIn, keeper.ClassApplication, 1},
		{token, linkedinsim.RefuseRefresh, refresh, keeper.ClassMember, 1},
		{token, linkedinsim.NoExpiresIn, refresh, "", 1},
		{token, linkedinsim.NoExpiresIn, signIn, "", 1},
		{token, linkedinsim.ForeignTokenType, refresh, keeper.ClassUnknown, 1},
		{introspect, linkedinsim.ResetAfter, inspect, keeper.ClassOutage, 1},
		{introspect, linkedinsim.Truncate, inspect, keeper.ClassOutage, 1},
		{introspect, linkedinsim.WrongSecret, inspect, keeper.ClassApplication, 1},
		{userinfo, linkedinsim.ResetAfter, identify, keeper.ClassOutage, 1},
		{userinfo, linkedinsim.Truncate, identify, keeper.ClassOutage, 1},
		{sdk, linkedinsim.ResetBefore, bySDK, keeper.ClassOutage, 1},
		{sdk, linkedinsim.ResetAfter, bySDK, keeper.ClassOutage, 1},
		{sdk, linkedinsim.StallAfter, bySDK, keeper.ClassOutage, 1},
		{sdk, linkedinsim.Truncate, bySDK, keeper.ClassOutage, 1},
		{sdk, linkedinsim.WrongSecret, bySDK, keeper.ClassApplication, 1},
		{sdk, linkedinsim.NoExpiresIn, bySDK, "", 1},
		{sdk, linkedinsim.ForeignTokenType, bySDK, keeper.ClassUnknown, 1},
		{sdk, linkedinsim.OtherApp, bySDK, keeper.ClassUnknown, 1},
		{userinfo, linkedinsim.OtherSubject, bySDK, keeper.ClassUnknown, 1},
		{introspect, linkedinsim.WrongSecret, bySDK, keeper.ClassApplication, 1},
		{token, linkedinsim.NoIDToken, signIn, keeper.ClassUnknown, 1},
		{token, linkedinsim.IDTokenIssuer, signIn, keeper.ClassUnknown, 1},
		{token, linkedinsim.IDTokenAudience, signIn, keeper.ClassUnknown, 1},
		{token, linkedinsim.IDTokenExpired, signIn, keeper.ClassUnknown, 1},
		{token, linkedinsim.IDTokenUnsigned, signIn, keeper.ClassUnknown, 1},
		{token, linkedinsim.IDTokenKeyID, signIn, keeper.ClassUnknown, 1},
		{token, linkedinsim.IDTokenSignature, signIn, keeper.ClassUnknown, 1},
	} {
		t.Run(fmt.Sprintf("%s at %s", row.kind, row.at), func(t *testing.T) {
			before := s.sim.Count(row.at)
			s.fault(linkedinsim.Fault{Endpoint: row.at, Kind: row.kind})
			err := row.call()
			s.sim.Clear()
			s.wantClass(string(row.kind), err, row.want)
			if hits := s.sim.Count(row.at) - before; hits != row.hits {
				t.Errorf("LinkedIn was called %d times, want %d", hits, row.hits)
			}
			s.sim.Clock().Advance(time.Minute) // keys may be asked for again
		})
	}
	s.must(signIn())
	s.cfg.Timeout = time.Minute // LinkedIn makes a key of RSA meanwhile
	s.configure(s.cfg)
	s.fault(linkedinsim.Fault{Endpoint: token, Kind: linkedinsim.RotateKeys, Times: 1})
	s.must(signIn())

	for _, status := range []int{500, 502, 503, 504} {
		s.fault(linkedinsim.Fault{Kind: linkedinsim.AnswerStatus, Status: status})
		for _, call := range []func() error{refresh, inspect, identify} {
			s.wantClass(fmt.Sprint(status), call(), keeper.ClassOutage)
		}
		s.sim.Clear()
	}
	fresh := newSimulated(t)
	fresh.fault(linkedinsim.Fault{Endpoint: keys, Kind: linkedinsim.AnswerStatus, Status: 503})
	_, _, err := fresh.signIn()
	fresh.wantClass("no keys", err, keeper.ClassOutage)
}

func TestTheSimulatorsQuotaEndsAtMidnight(t *testing.T) {
	s := newSimulated(t)
	tokens := s.signedIn()
	s.sim.SetSwitches(func(w *linkedinsim.Switches) { w.RefreshQuota = 1 })
	_, err := s.Refresh(t.Context(), tokens.Refresh)
	s.must(err)
	_, err = s.Refresh(t.Context(), tokens.Refresh)
	failed := s.wantClass("quota", err, keeper.ClassBusy)
	if want := now.Truncate(24 * time.Hour).Add(24 * time.Hour); !failed.RetryAt.Equal(want) {
		t.Errorf("got %v, want %v", failed.RetryAt, want)
	}
	s.fault(linkedinsim.Fault{Kind: linkedinsim.AnswerStatus, Status: 429, RetryAfter: 90 * time.Second})
	_, err = s.Identify(t.Context(), tokens.Access)
	if failed := s.wantClass("busy", err, keeper.ClassBusy); !failed.RetryAt.Equal(now.Add(90 * time.Second)) {
		t.Errorf("got %v", failed.RetryAt)
	}
}

func TestTheSimulatorExchangesTheSDKsTokens(t *testing.T) {
	s := newSimulated(t)
	s.must(s.sim.LogIn("ada", false)) // to linkedin.com: it does not matter
	cookie, err := s.sim.SDKCookie(s.app.ClientID, "ada")
	s.must(err)
	name, err := s.SDKCookie(t.Context())
	if err != nil || name != cookie.Name {
		t.Errorf("the cookie is %s, the simulator's %s", name, cookie.Name)
	}
	value := secret.New(cookie.Value)
	for _, answer := range []string{"", "form"} {
		s.sim.SetSwitches(func(w *linkedinsim.Switches) { w.SDKAnswer = answer })
		who, tokens, err := s.ExchangeSDK(t.Context(), value)
		s.must(err)
		if who.Subject != linkedinsim.Subject(s.app.ClientID, "ada") || who.Profile.Name != "Ada Lovelace" || tokens.ExpiresAt.Sub(now) != 60*24*time.Hour-time.Second ||
			tokens.RefreshExpiresAt.Sub(now) != 365*24*time.Hour || !slices.Equal(tokens.Scopes, []string{"email", "openid", "profile", "w_member_social"}) {
			t.Errorf("%q: got %+v, %+v", answer, who, tokens)
		}
	}
	for answer, class := range map[string]keeper.Class{"oauth1": keeper.ClassUnknown, "gone": keeper.ClassUnknown} {
		s.sim.SetSwitches(func(w *linkedinsim.Switches) { w.SDKAnswer = answer })
		_, _, err := s.ExchangeSDK(t.Context(), value)
		s.wantClass(answer, err, class)
	}
	s.sim.SetSwitches(func(w *linkedinsim.Switches) { w.SDKAnswer, w.PropagationDelay = "", time.Minute })
	_, _, err = s.ExchangeSDK(t.Context(), value)
	s.wantClass("a token that has not spread", err, keeper.ClassOutage)
	s.sim.Clock().Advance(30 * time.Minute)
	_, _, err = s.ExchangeSDK(t.Context(), value)
	s.wantClass("after half an hour", err, keeper.ClassMember)
}

func TestAFreshTokenIsRefusedUntilItHasSpread(t *testing.T) {
	s := newSimulated(t)
	s.sim.SetSwitches(func(w *linkedinsim.Switches) { w.PropagationDelay = 5 * time.Minute })
	tokens := s.signedIn()
	_, err := s.Identify(t.Context(), tokens.Access)
	if failed := s.wantClass("at once", err, keeper.ClassMember); !failed.Revoked {
		t.Error("LinkedIn names such a token revoked")
	}
	s.sim.Clock().Advance(5 * time.Minute)
	_, err = s.Identify(t.Context(), tokens.Access)
	s.must(err)
}

func TestTheSimulatorsDialectsAreUnderstood(t *testing.T) {
	for name, change := range map[string]func(*linkedinsim.Switches){
		"documented error codes": func(w *linkedinsim.Switches) { w.DocErrorCodes = true },
		"wild error codes":       func(*linkedinsim.Switches) {},
	} {
		s := newSimulated(t)
		s.sim.SetSwitches(change)
		tokens := s.signedIn()
		a := keeper.Authorization{State: secret.New("state"), IssuedAt: now}
		code := s.code(a)
		_, _, err := s.Exchange(t.Context(), code, a)
		s.must(err)
		_, _, err = s.Exchange(t.Context(), code, a)
		s.wantClass(name+": a used code", err, keeper.ClassMember)
		_, _, err = s.Exchange(t.Context(), secret.New("AQTgarbage"), a)
		s.wantClass(name+": an unknown code", err, keeper.ClassMember)
		code = s.code(a)
		s.sim.Clock().Advance(31 * time.Minute)
		_, _, err = s.Exchange(t.Context(), code, a)
		s.wantClass(name+": a code of half an hour ago", err, keeper.ClassMember)
		_, err = s.Refresh(t.Context(), secret.New("AQRgarbage"))
		s.wantClass(name+": an unknown refresh token", err, keeper.ClassMember)
		_, err = s.Identify(t.Context(), secret.New("AQVgarbage"))
		s.wantClass(name+": an unknown access token", err, keeper.ClassMember)
		s.wantClass(name+": revoke", s.Revoke(t.Context(), tokens.Access), keeper.ClassUnknown)

		right := s.app.Secret
		s.app.Secret, s.app.PreviousSecret = "WPL_AP1.wrong", right
		_, err = s.Refresh(t.Context(), tokens.Refresh)
		s.must(err) // by the previous secret
		s.app.PreviousSecret = ""
		_, err = s.Refresh(t.Context(), tokens.Refresh)
		s.wantClass(name+": a wrong secret", err, keeper.ClassApplication)
		s.app.Secret, s.app.ClientID = right, "unknownclient"
		_, err = s.Refresh(t.Context(), tokens.Refresh)
		s.wantClass(name+": an unknown client", err, keeper.ClassApplication)
	}
	for name, change := range map[string]func(*linkedinsim.Switches){
		"token type always":    func(w *linkedinsim.Switches) { w.TokenType = "always" },
		"token type never":     func(w *linkedinsim.Switches) { w.TokenType = "never" },
		"scopes by spaces":     func(w *linkedinsim.Switches) { w.ScopeSeparator = " " },
		"boolean verified":     func(w *linkedinsim.Switches) { w.EmailVerifiedBool = true },
		"locale string":        func(w *linkedinsim.Switches) { w.LocaleString = true },
		"tokens of 1000":       func(w *linkedinsim.Switches) { w.TokenLength = 1000 },
		"tokens of 8000":       func(w *linkedinsim.Switches) { w.TokenLength = 8000 },
		"revocation works":     func(w *linkedinsim.Switches) { w.RevokeEndpoint = true },
		"rotation":             func(w *linkedinsim.Switches) { w.Rotate = true },
		"ID token on refresh":  func(w *linkedinsim.Switches) { w.IDTokenOnRefresh = true },
		"documented lifetimes": func(w *linkedinsim.Switches) { w.ExpiresInExact = true },
	} {
		s := newSimulated(t)
		s.sim.SetSwitches(change)
		who, tokens, err := s.signIn()
		s.must(err)
		next, err := s.Refresh(t.Context(), tokens.Refresh)
		if err != nil || !slices.Equal(next.Scopes, tokens.Scopes) || len(tokens.Scopes) != 3 {
			t.Errorf("%s: got %v, %v", name, next.Scopes, err)
		}
		if (name == "ID token on refresh") != (next.Subject == who.Subject) {
			t.Errorf("%s: got subject %q", name, next.Subject)
		}
		if (name == "rotation") == next.Refresh.Equal(tokens.Refresh) {
			t.Errorf("%s: got another refresh token, or not", name)
		}
		if _, err := s.Identify(t.Context(), next.Access); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "revocation works" {
			s.must(s.Revoke(t.Context(), next.Access))
			_, err = s.Identify(t.Context(), next.Access)
			s.wantClass(name, err, keeper.ClassMember)
		}
	}
	s := newSimulated(t)
	s.sim.SetSwitches(func(w *linkedinsim.Switches) { w.OldIssuer = true })
	_, _, err := s.signIn()
	if failed := s.wantClass("old issuer", err, keeper.ClassUnknown); failed.Record.Problem != "the ID token's issuer is wrong" {
		t.Errorf("got %q", failed.Record.Problem)
	}
}
