package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/session"
)

// SDK knows the members whom LinkedIn's retired JavaScript SDK has signed in.
// Its errors are judged by keeper.ClassOf.
type SDK interface {
	// SDKCookie is the name of the SDK's cookie.
	SDKCookie(ctx context.Context) (name string, err error)
	// SDKSignature is the signature of a cookie that LinkedIn signed. It calls
	// nobody. ClassMember: it is no such cookie.
	SDKSignature(ctx context.Context, value secret.String) (signature secret.String, err error)
	// ExchangeSDK exchanges the cookie's token for tokens that are proven to be
	// ours and of the member whom the cookie names. ClassMember: LinkedIn
	// refuses the cookie's token.
	ExchangeSDK(ctx context.Context, value secret.String) (keeper.Identity, keeper.Tokens, error)
}

// Exchange is POST /exchange: it signs in, without a trip to LinkedIn, the
// member whom LinkedIn's JavaScript SDK has signed in in this browser. The SDK's
// cookie comes as {"cookie": "..."}, or, without a body, as a cookie. That
// cookie is no session: any script of its host can read and write it, so it
// signs in once.
func Exchange(s *Site, sessions *session.Manager, linkedin SDK, k SignIns) http.Handler {
	e := &exchange{s, sessions, linkedin, k}
	return s.handle(s.sameSite(e.serve))
}

// LoginBySDK is GET /login for a browser that brings the SDK's cookie and is not
// signed in: it need not go to LinkedIn. Every other browser, one that asks to
// renew, and one whose cookie does not help, is next's, which is Login.
func LoginBySDK(s *Site, sessions *session.Manager, linkedin SDK, k SignIns, next http.Handler) http.Handler {
	e := &exchange{s, sessions, linkedin, k}
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		done, err := e.login(w, r)
		if err != nil || done {
			return err
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

type exchange struct {
	*Site
	sessions *session.Manager
	linkedin SDK
	keeper   SignIns
}

func (e *exchange) serve(w http.ResponseWriter, r *http.Request) error {
	value, err := e.presented(r)
	if err != nil {
		return err
	}
	in, err := e.signIn(w, r, value)
	if errors.Is(err, session.ErrUsed) {
		return e.repeat(w, r, in.once.Member())
	}
	if err != nil {
		return err
	}
	nameMember(w, in.grant)
	v := e.view(in.grant)
	if in.switched {
		v.Login = "switched"
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// presented is the SDK's cookie of a request. A form of another site cannot say
// that it is JSON.
func (e *exchange) presented(r *http.Request) (secret.String, error) {
	if !isJSON(r) {
		return secret.String{}, fmt.Errorf("%w: the content type is not application/json", errBadRequest)
	}
	body, err := io.ReadAll(r.Body) // the Mux bounds it
	if err != nil {
		return secret.String{}, errBadRequest
	}
	if len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
		text, err := readText(r, "cookie")
		return secret.New(text), err
	}
	name, err := e.linkedin.SDKCookie(r.Context())
	if err != nil {
		return secret.String{}, unavailable(fmt.Errorf("name the SDK's cookie: %w", err))
	}
	text, ok := session.Cookie(r, name)
	if !ok {
		return secret.String{}, fmt.Errorf("%w: none was sent, or more than one", errSDKCookie)
	}
	return secret.New(text), nil
}

// repeat answers a cookie that was used before: a browser that member has been
// signed in in since, perhaps by this very cookie, is signed in; no other is.
func (e *exchange) repeat(w http.ResponseWriter, r *http.Request, member keeper.MemberID) error {
	g, _, err := e.sessions.Member(r)
	switch {
	case err == nil && g.Member == member && isLive(g.State(e.now())):
		nameMember(w, g)
		e.writeMember(w, g)
		return nil
	case err == nil, errors.Is(err, session.ErrNone):
		return fmt.Errorf("%w: it was used before", errSDKCookie)
	}
	return unavailable(err)
}

// login reports whether it has answered.
func (e *exchange) login(w http.ResponseWriter, r *http.Request) (done bool, err error) {
	name, err := e.linkedin.SDKCookie(r.Context())
	if err != nil {
		return false, nil //nolint:nilerr // next says what cannot be had
	}
	value, ok := session.Cookie(r, name)
	ask, err := e.parseLogin(r)
	if !ok || err != nil || ask.renew || isPrefetch(r) {
		return false, nil //nolint:nilerr // next says so
	}
	if g, _, err := e.sessions.Member(r); err == nil && isLive(g.State(e.now())) || err != nil && !errors.Is(err, session.ErrNone) {
		return false, nil
	}
	in, err := e.signIn(w, r, secret.New(value))
	switch {
	case errors.Is(err, session.ErrPending):
		// Another tab has just been signed in, or is about to be: this one comes
		// back with that session.
		q, _ := query(r)
		redirect(w, e.url("/login")+"?"+q.Encode())
		return true, nil
	case err != nil:
		e.cfg.Log.InfoContext(r.Context(), "no sign-in by LinkedIn's SDK; the member goes to LinkedIn", "error", err)
		return false, nil
	case !in.grant.Covers(ask.scopes) && !in.switched: // a switch is told of first
		return false, nil // signed in, but LinkedIn has yet to ask for the rest
	}
	return true, e.arrive(w, r, e.sessions, in.grant, arrival{
		address: ask.returnTo, switched: in.switched, ticket: ask.ticket, session: in.once.Session,
	})
}

// sdkSignIn is a member who was signed in by the SDK's cookie.
type sdkSignIn struct {
	grant    keeper.Grant
	once     session.Once
	switched bool // the browser was signed in as somebody else
}

// signIn signs in by the SDK's cookie, and gives the browser its session. Until
// the cookie is used up nothing is given for it; where LinkedIn, or the store,
// was not well the browser may bring it again. session.ErrUsed: it was used
// before, as once tells; session.ErrPending: another request is using it.
func (e *exchange) signIn(w http.ResponseWriter, r *http.Request, value secret.String) (sdkSignIn, error) {
	ctx, cancel := outlive(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	signature, err := e.linkedin.SDKSignature(ctx, value)
	if err != nil {
		return sdkSignIn{}, judgeSDK(err)
	}
	once, err := e.sessions.TakeOnce(ctx, signature)
	if errors.Is(err, session.ErrUsed) {
		return sdkSignIn{once: once}, err
	}
	if err != nil {
		return sdkSignIn{}, unavailable(err)
	}
	g, previous, err := e.keep(r, value, once)
	if err == nil {
		err = unavailable(e.sessions.Spend(ctx, once, g.Member))
	}
	if err != nil {
		e.giveUp(ctx, once, err)
		return sdkSignIn{}, err
	}
	e.sessions.SetCookie(w, g.Member, once.Session)
	e.cfg.Log.InfoContext(ctx, "member signed in", "member", g.Member, "by", "LinkedIn's SDK")
	return sdkSignIn{g, once, previous != ""}, nil
}

// keep exchanges the cookie's token, and stores what came of it before anything
// else.
func (e *exchange) keep(r *http.Request, value secret.String, once session.Once) (g keeper.Grant, previous keeper.MemberID, err error) {
	ctx := r.Context()
	id, tokens, err := e.linkedin.ExchangeSDK(ctx, value)
	if err != nil {
		e.keeper.Observe(ctx, "sdk_exchange", err)
		return g, "", judgeSDK(err)
	}
	g, have, err := e.keepGrant(ctx, e.sessions, e.keeper, id, tokens)
	if err != nil {
		return g, "", err
	}
	e.keeper.Observe(ctx, "sdk_exchange", nil)
	previous, err = e.sessions.Start(ctx, r, g, once.Session, have)
	return g, previous, unavailable(err)
}

// giveUp lets the browser bring the cookie again, unless LinkedIn has refused
// its token: it will not think better of it.
func (e *exchange) giveUp(ctx context.Context, once session.Once, why error) {
	end := func() error { return e.sessions.Return(ctx, once) }
	if errors.Is(why, errSDKCookie) {
		end = func() error { return e.sessions.Spend(ctx, once, "") }
	}
	if err := end(); err != nil {
		e.cfg.Log.WarnContext(ctx, "an SDK cookie is held for a minute", "error", err)
	}
}

// judgeSDK makes an answer of what linkedin says of an SDK cookie.
func judgeSDK(err error) error {
	switch keeper.ClassOf(err) {
	case keeper.ClassMember:
		return errors.Join(errSDKCookie, err)
	case keeper.ClassUnknown:
		return errors.Join(errUpstream, err)
	}
	return errors.Join(keeper.ErrUnavailable, err)
}
