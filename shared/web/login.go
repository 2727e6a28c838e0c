package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/session"
)

// Authorizer knows LinkedIn's consent page.
type Authorizer interface {
	AuthCodeURL(ctx context.Context, a keeper.Authorization) (string, error)
}

// Login is GET /login: it sends the browser to LinkedIn, or straight to the
// return address when its member's grant already covers what is asked for.
func Login(s *Site, sessions *session.Manager, linkedin Authorizer) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		if isPrefetch(r) {
			return keeper.ErrUnavailable
		}
		ask, err := s.parseLogin(r)
		if err != nil {
			return err
		}
		if !ask.renew {
			g, _, err := sessions.Member(r)
			switch {
			case err == nil && isLive(g.State(s.now())) && g.Covers(ask.scopes):
				return s.arrive(w, r, sessions, g, arrival{address: ask.returnTo, ticket: ask.ticket})
			case err != nil && !errors.Is(err, session.ErrNone):
				return unavailable(err)
			}
		}
		t, err := sessions.Begin(w, r, session.Transaction{
			ReturnTo: ask.returnTo, Scopes: s.cfg.Scopes, Issuer: s.cfg.Issuer,
			Ticket: ask.ticket, Renew: ask.renew,
			WithNonce: s.cfg.Nonce, WithVerifier: s.cfg.PKCE,
		})
		if err != nil {
			return unavailable(err)
		}
		address, err := linkedin.AuthCodeURL(r.Context(), t.Authorization())
		if err != nil {
			sessions.Close(w, t)
			return unavailable(fmt.Errorf("find LinkedIn's consent page: %w", err))
		}
		redirect(w, address)
		return nil
	})
}

type loginRequest struct {
	returnTo      string
	scopes        []string
	ticket, renew bool
}

func (s *Site) parseLogin(r *http.Request) (loginRequest, error) {
	q, err := query(r, "return_to", "scope", "ticket", "renew")
	if err != nil {
		return loginRequest{}, err
	}
	returnTo, ok := s.returnTo(q.Get("return_to"))
	if !ok {
		return loginRequest{}, fmt.Errorf("%w: foreign return address", errBadRequest)
	}
	ask := loginRequest{returnTo: returnTo, scopes: strings.Fields(q.Get("scope"))}
	if len(ask.scopes) == 0 {
		ask.scopes = s.cfg.Scopes
	}
	for _, scope := range ask.scopes {
		if !slices.Contains(s.cfg.Scopes, scope) {
			return loginRequest{}, fmt.Errorf("%w: a scope that is not configured", errBadRequest)
		}
	}
	if ask.ticket, err = flag(q, "ticket"); err != nil {
		return loginRequest{}, err
	}
	ask.renew, err = flag(q, "renew")
	return ask, err
}

// arrival is how a browser comes back to the application.
type arrival struct {
	address  string
	switched bool          // as another member than before
	ticket   bool          // with a ticket
	session  secret.String // of the sign-in; zero when there was none
}

// arrive sends the browser of g's member to its return address.
func (s *Site) arrive(w http.ResponseWriter, r *http.Request, sessions *session.Manager, g keeper.Grant, a arrival) error {
	if a.switched {
		a.address = withParam(a.address, loginParam, "switched")
	}
	if a.ticket {
		ticket, err := sessions.NewTicket(r.Context(), g, a.session)
		if err != nil {
			return unavailable(err)
		}
		a.address = withParam(a.address, ticketParam, ticket)
	}
	redirect(w, a.address)
	return nil
}

// isLive: a pending grant's member is signed in all the same.
func isLive(state keeper.State) bool {
	return state == keeper.StateActive || state == keeper.StatePending
}

// query parses the query strictly; each of names may be there once. What else
// is there is ignored (RFC 6749 section 4.1.2).
func query(r *http.Request, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%w: the query does not parse", errBadRequest)
	}
	for _, name := range names {
		if len(q[name]) > 1 {
			return nil, fmt.Errorf("%w: a parameter is there twice", errBadRequest)
		}
	}
	return q, nil
}

// flag is a parameter that is 1, or 0, or not there.
func flag(q url.Values, name string) (bool, error) {
	switch q.Get(name) {
	case "", "0":
		return false, nil
	case "1":
		return true, nil
	}
	return false, fmt.Errorf("%w: a flag is neither 0 nor 1", errBadRequest)
}

// isPrefetch reports whether nobody has asked for this yet (Sec-Purpose, Fetch
// standard; the others are older browsers'). A failure makes the browser ask
// again when somebody does.
func isPrefetch(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if v := strings.ToLower(r.Header.Get(name)); strings.HasPrefix(v, "prefetch") || strings.HasPrefix(v, "preview") {
			return true
		}
	}
	return false
}
