package web

import (
	"net/http"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// Validate is GET /validate: who is signed in in this browser, by one read of
// the store.
func Validate(s *Site, sessions *session.Manager) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		g, _, err := sessions.Member(r)
		if err != nil {
			sessions.ClearBroken(w, r)
			return unavailable(err)
		}
		if g.State(s.now()) == keeper.StateReconnect {
			return errReconnect
		}
		nameMember(w, g)
		s.writeMember(w, g)
		return nil
	})
}

// nameMember tells a proxy who is signed in.
func nameMember(w http.ResponseWriter, g keeper.Grant) {
	w.Header().Set("X-Keepin-Member", string(g.Member))
	if isVisible(g.Subject) {
		w.Header().Set("X-Keepin-Sub", g.Subject)
	}
}

// memberView is a member and their grant as JSON shows them; what is absent is
// omitted, but for the scopes.
type memberView struct {
	Member struct {
		ID      keeper.MemberID `json:"id"`
		Sub     string          `json:"sub"`
		Name    string          `json:"name,omitempty"`
		Picture string          `json:"picture,omitempty"`
		Email   string          `json:"email,omitempty"`
	} `json:"member"`
	Grant struct {
		Status          keeper.State `json:"status"`
		Scopes          []string     `json:"scopes"`
		AccessExpiresAt string       `json:"access_expires_at,omitempty"`
		ReconnectBy     string       `json:"reconnect_by,omitempty"`
		VerifiedAt      string       `json:"verified_at,omitempty"`
	} `json:"grant"`
	Login string `json:"login,omitempty"` // of an exchange: "switched"
}

// writeMember answers with a member, in whole seconds of UTC.
func (s *Site) writeMember(w http.ResponseWriter, g keeper.Grant) {
	writeJSON(w, http.StatusOK, s.view(g))
}

func (s *Site) view(g keeper.Grant) memberView {
	now := s.now()
	var v memberView
	v.Member.ID, v.Member.Sub = g.Member, g.Subject
	v.Member.Name, v.Member.Picture, v.Member.Email = g.Profile.Name, g.Profile.Picture, g.Profile.Email
	v.Grant.Status, v.Grant.Scopes = g.State(now), scopesOf(g)
	v.Grant.AccessExpiresAt = seconds(g.AccessEnd(now))
	v.Grant.ReconnectBy = seconds(g.ReconnectBy())
	v.Grant.VerifiedAt = seconds(g.VerifiedAt)
	return v
}

func scopesOf(g keeper.Grant) []string {
	if g.Scopes == nil {
		return []string{}
	}
	return g.Scopes
}

// seconds is t in whole seconds of UTC (RFC 3339), "" for none.
func seconds(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// isVisible reports whether s can stand in a header as it is.
func isVisible(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return s != ""
}
