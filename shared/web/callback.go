package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/session"
)

// Exchanger turns an authorization code into tokens and their member. It sends
// the code once. Its errors are judged by keeper.ClassOf.
type Exchanger interface {
	Exchange(ctx context.Context, code secret.String, a keeper.Authorization) (keeper.Identity, keeper.Tokens, error)
}

// SignIns keeps what a sign-in brought.
type SignIns interface {
	// SignIn is told of the member's grant what was seen of it, if anything.
	SignIn(ctx context.Context, seen keeper.Grant, id keeper.Identity, t keeper.Tokens) (keeper.Grant, error)
	// Observe is told how a call to LinkedIn went; nil is a success. An exchange that
	// succeeded is told by its token's proof: the sign-in does not wait for that.
	Observe(ctx context.Context, operation string, err error)
}

// signInTime is the most that a callback may take once the state is used up:
// the exchange has 10 s and the gateway waits 30 s.
const signInTime = 25 * time.Second

// The outcomes of a sign-in that a duplicate callback is answered by, besides
// the codes of answers.
const (
	outcomeSignedIn = "signed_in"
	outcomeSwitched = "switched"
	outcomeDenied   = "denied"
)

// Callback is GET /callback: LinkedIn sends the browser here with a code, or
// with why there is none.
func Callback(s *Site, sessions *session.Manager, linkedin Exchanger, k SignIns) http.Handler {
	c := &callback{s, sessions, linkedin, k}
	return s.handle(c.serve)
}

type callback struct {
	*Site
	sessions *session.Manager
	linkedin Exchanger
	keeper   SignIns
}

func (c *callback) serve(w http.ResponseWriter, r *http.Request) error {
	if isPrefetch(r) {
		return keeper.ErrUnavailable
	}
	q, err := query(r, "state", "code", "iss", "error", "error_description", "error_uri")
	if err != nil {
		return retryable{err, c.loginURL("")}
	}
	t, err := c.sessions.Resume(w, r, q.Get("state"))
	if err != nil {
		return retryable{unavailable(err), c.loginURL("")}
	}
	if err := c.admissible(q, t); err != nil {
		return c.again(err, t)
	}

	// From here on the state is used up, so a browser that goes away, or
	// reloads, must not stop it.
	ctx, cancel := outlive(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	brought := "error\n" + q.Get("error")
	if q.Has("code") {
		brought = "code\n" + q.Get("code")
	}
	claim, err := c.sessions.Claim(ctx, t, secret.New(brought))
	if err != nil {
		return c.again(unavailable(err), t)
	}
	if claim.Duplicate {
		return c.repeat(w, r, t, claim)
	}
	member, outcome, err := keeper.MemberID(""), "", error(nil)
	var g keeper.Grant
	if q.Has("code") {
		g, outcome, err = c.signIn(r, t, secret.New(q.Get("code")))
		member = g.Member
	} else {
		outcome, err = c.refused(ctx, q.Get("error"))
	}
	if err != nil {
		outcome = answerFor(err).code
	}
	if settleErr := c.sessions.Settle(ctx, claim, member, outcome); settleErr != nil {
		c.cfg.Log.WarnContext(ctx, "sign-in not settled", "error", settleErr) // only a duplicate would ask
	}
	return c.answer(w, r, t, g, outcome, err)
}

// admissible refuses a callback that could not be LinkedIn's, before its state
// is used up.
func (c *callback) admissible(q url.Values, t session.Transaction) error {
	switch {
	case t.Issuer != c.cfg.Issuer:
		return session.ErrState
	case (q.Has("iss") || c.cfg.ResponseIssuer) && q.Get("iss") != t.Issuer:
		return fmt.Errorf("%w: another issuer", errBadRequest)
	case q.Has("code") == q.Has("error"):
		return fmt.Errorf("%w: neither or both of code and error", errBadRequest)
	case q.Has("code") && !isCode(q.Get("code")):
		return fmt.Errorf("%w: not a code", errBadRequest)
	case q.Has("error") && len(q.Get("error")) > 100:
		return fmt.Errorf("%w: not an error", errBadRequest)
	}
	return nil
}

// isCode accepts 20 to 1,024 characters that a URL carries as they are.
// LinkedIn's codes have about 200.
func isCode(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-._~", c) < 0 {
			return false
		}
	}
	return len(s) >= 20 && len(s) <= 1024
}

// signIn exchanges the code, and stores what it brought before anything else.
func (c *callback) signIn(r *http.Request, t session.Transaction, code secret.String) (g keeper.Grant, outcome string, err error) {
	ctx := r.Context()
	id, tokens, err := c.linkedin.Exchange(ctx, code, t.Authorization())
	if err != nil {
		c.keeper.Observe(ctx, "exchange", err)
	}
	switch keeper.ClassOf(err) {
	case "":
	case keeper.ClassMember:
		return g, "", errors.Join(errRefused, err)
	case keeper.ClassUnknown:
		return g, "", errors.Join(errUpstream, err)
	default:
		return g, "", errors.Join(keeper.ErrUnavailable, err)
	}
	if tokens.Scopes == nil {
		tokens.Scopes = t.Scopes // all that was asked for (RFC 6749 section 5.1)
	}
	signedIn, have, err := c.keepGrant(ctx, c.sessions, c.keeper, id, tokens)
	if err != nil {
		return g, "", err
	}
	previous, err := c.sessions.Start(ctx, r, signedIn, t.Session, have)
	if err != nil {
		return g, "", unavailable(err)
	}
	c.cfg.Log.InfoContext(ctx, "member signed in", "member", signedIn.Member)
	if previous != "" {
		return signedIn, outcomeSwitched, nil
	}
	return signedIn, outcomeSignedIn, nil
}

// keepGrant stores what a sign-in brought, and says what sessions the member has. They
// may not be known: a sign-in that LinkedIn has granted does not end for that.
func (s *Site) keepGrant(ctx context.Context, sessions *session.Manager, k SignIns, id keeper.Identity, t keeper.Tokens) (keeper.Grant, []session.Session, error) {
	seen, have, err := sessions.Seen(ctx, id.Member())
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "no room is made for the new session", "member", id.Member(), "error", err)
	}
	g, err := k.SignIn(ctx, seen, id, t)
	if err != nil {
		return keeper.Grant{}, nil, unavailable(fmt.Errorf("keep the grant: %w", err))
	}
	return g, have, nil
}

// refused judges an error that the browser brought instead of a code. Its
// description is never looked at. Whoever holds a transaction can make one up,
// so it counts for an incident only where that is all that tells the operator.
func (c *callback) refused(ctx context.Context, code string) (outcome string, err error) {
	switch code {
	case "user_cancelled_login", "user_cancelled_authorize", "access_denied":
		c.cfg.Log.InfoContext(ctx, "sign-in refused by the member")
		return outcomeDenied, nil
	case "server_error", "temporarily_unavailable":
		return "", fmt.Errorf("%w: LinkedIn is not well", keeper.ErrUnavailable)
	case "unauthorized_scope_error", "invalid_scope_error", "invalid_scope", "invalid_request", "unauthorized_client", "unsupported_response_type":
	default:
		code = "an unknown error"
	}
	err = &keeper.CallError{Class: keeper.ClassUnknown, Record: keeper.Record{
		Operation: "authorize", At: c.now(), Problem: "the consent page answered " + code,
	}}
	c.keeper.Observe(ctx, "authorize", err)
	return "", errors.Join(errUpstream, err)
}

// repeat answers a duplicate callback as the first one was.
func (c *callback) repeat(w http.ResponseWriter, r *http.Request, t session.Transaction, claim session.Claim) error {
	var g keeper.Grant
	var err error
	switch claim.Outcome {
	case outcomeDenied:
	case outcomeSignedIn, outcomeSwitched:
		if g, err = c.sessions.Started(r.Context(), claim.Member, t.Session); errors.Is(err, session.ErrNone) {
			err = session.ErrState // signed out since
		}
		if err != nil {
			return c.again(unavailable(err), t)
		}
	default:
		for _, a := range answers {
			if a.code == claim.Outcome {
				err = a.err
			}
		}
		if err == nil {
			err = errInternal
		}
	}
	return c.answer(w, r, t, g, claim.Outcome, err)
}

// answer ends the transaction.
func (c *callback) answer(w http.ResponseWriter, r *http.Request, t session.Transaction, g keeper.Grant, outcome string, err error) error {
	c.sessions.Close(w, t)
	switch {
	case err != nil:
		return c.again(err, t)
	case outcome == outcomeDenied:
		redirect(w, withParam(t.ReturnTo, loginParam, "denied"))
		return nil
	}
	c.sessions.SetCookie(w, g.Member, t.Session)
	return c.arrive(w, r, c.sessions, g, arrival{
		address: t.ReturnTo, switched: outcome == outcomeSwitched, ticket: t.Ticket, session: t.Session,
	})
}

// again is err with the offer to begin this sign-in anew.
func (c *callback) again(err error, t session.Transaction) error {
	q := url.Values{"return_to": {t.ReturnTo}}
	if t.Ticket {
		q.Set("ticket", "1")
	}
	if t.Renew {
		q.Set("renew", "1")
	}
	return retryable{err, c.url("/login") + "?" + q.Encode()}
}

// outlive is ctx for work that its client's leaving does not stop. It ends at
// the same deadline, and after signInTime.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithTimeout(context.WithoutCancel(ctx), signInTime)
	deadline, ok := ctx.Deadline()
	if !ok {
		return out, cancel
	}
	out, cancelBoth := context.WithDeadline(out, deadline)
	return out, func() { cancelBoth(); cancel() }
}
