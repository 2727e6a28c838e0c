package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// SignOuts destroys a member's tokens and sessions.
type SignOuts interface {
	// SignOut is nil for a member that is not there.
	SignOut(ctx context.Context, id keeper.MemberID) error
}

// Logout is POST /logout. It answers when the member's tokens are destroyed; a
// browser that is signed out already is signed out.
func Logout(s *Site, sessions *session.Manager, k SignOuts) http.Handler {
	return s.handle(s.sameSite(func(w http.ResponseWriter, r *http.Request) error {
		g, _, err := sessions.Member(r)
		switch {
		case err == nil:
			if err := k.SignOut(r.Context(), g.Member); err != nil && !errors.Is(err, keeper.ErrNotFound) {
				return unavailable(fmt.Errorf("sign out: %w", err))
			}
			s.cfg.Log.InfoContext(r.Context(), "member signed out", "member", g.Member)
		case !errors.Is(err, session.ErrNone):
			return unavailable(err)
		}
		sessions.Clear(w, r)
		if wantsHTML(r) {
			redirect(w, s.url("/"))
			return nil
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}))
}

// sameSite lets only requests through that our own pages or those of configured
// origins have made, or no browser.
func (s *Site) sameSite(next func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	protection := http.NewCrossOriginProtection()
	for _, origin := range append([]string{s.origin}, s.origins...) {
		_ = protection.AddTrustedOrigin(origin) // NewSite has parsed it
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		if protection.Check(r) != nil || !s.mayWrite(r) {
			return errCrossSite
		}
		return next(w, r)
	}
}

// mayWrite reports whether an Origin, where there is one, is ours or configured,
// its scheme included: CrossOriginProtection compares hosts alone. "null" is
// ours when the browser says so otherwise: it is what a page with the referrer
// policy no-referrer sends.
func (s *Site) mayWrite(r *http.Request) bool {
	for _, origin := range r.Header["Origin"] {
		ours := origin == s.origin || origin == "null" && r.Header.Get("Sec-Fetch-Site") == "same-origin"
		if !ours && !s.trusted(origin) {
			return false
		}
	}
	return true
}
