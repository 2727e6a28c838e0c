package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// Account is GET /: who is signed in, what they allowed, until when, and the
// way out.
func Account(s *Site, sessions *session.Manager) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		g, at, err := sessions.Member(r)
		var v view
		switch {
		case errors.Is(err, session.ErrNone):
			sessions.ClearBroken(w, r)
			v = s.signedOutView()
		case err != nil:
			return unavailable(err)
		default:
			v = s.signedInView(g, at)
		}
		// With no-referrer its form would be sent with "Origin: null" (Fetch
		// standard, "append a request Origin header").
		w.Header().Set("Referrer-Policy", "same-origin")
		return s.page(w, http.StatusOK, accountHTML, v)
	})
}

// permissions are LinkedIn's scopes in words. One that is not here is shown as
// it is.
//
// https://learn.microsoft.com/en-us/linkedin/shared/authentication/getting-access
var permissions = map[string]string{
	"openid":                 "Know you by your LinkedIn account",
	"profile":                "See your name and photo",
	"email":                  "See your e-mail address",
	"w_member_social":        "Post, comment and react in your name",
	"r_basicprofile":         "See your name, photo and headline",
	"r_liteprofile":          "See your name and photo",
	"r_emailaddress":         "See your e-mail address",
	"r_1st_connections_size": "See how many connections you have",
	"r_organization_social":  "See the posts of your organizations",
	"w_organization_social":  "Post, comment and react for your organizations",
	"r_organization_admin":   "See your organizations’ pages and their statistics",
	"rw_organization_admin":  "Manage your organizations’ pages",
	"r_ads":                  "See your advertising accounts",
	"rw_ads":                 "Manage your advertising accounts",
	"r_ads_reporting":        "See how your advertising does",
}

func (s *Site) signedOutView() view {
	return view{
		text:  map[string]string{"title": "Sign in with LinkedIn"},
		parts: map[string][]view{"signed-out": {{url: map[string]string{"login": s.url("/login")}}}},
	}
}

func (s *Site) signedInView(g keeper.Grant, at session.Session) view {
	now := s.now()
	name := cmp.Or(g.Profile.Name, "LinkedIn member")
	state := g.State(now)
	who := view{
		text:  map[string]string{"name": name, "initials": initials(name)},
		url:   map[string]string{"logout": s.path + "/logout"},
		parts: map[string][]view{string(state): {{}}},
	}
	if state == keeper.StateReconnect {
		who.parts["sign-in-again"] = []view{{url: map[string]string{"login": s.url("/login")}}}
	}
	if s.mayShow(g.Profile.Picture) {
		who.parts["picture"] = []view{{text: map[string]string{"initials": initials(name)}, url: map[string]string{"picture": g.Profile.Picture}}}
	}
	if g.Profile.Email != "" {
		who.parts["email"] = []view{{text: map[string]string{"address": g.Profile.Email}}}
	}
	if len(g.Scopes) > 0 {
		who.parts["permissions"] = []view{{parts: map[string][]view{"permission": permissionViews(g.Scopes)}}}
	}
	who.parts["date"] = dateViews(g, at, now)
	return view{
		text:  map[string]string{"title": name + " – signed in with LinkedIn"},
		parts: map[string][]view{"signed-in": {who}},
	}
}

func permissionViews(scopes []string) (all []view) {
	for _, scope := range scopes {
		part, words := "known", permissions[scope]
		if words == "" {
			part, words = "unknown", scope
		}
		all = append(all, view{parts: map[string][]view{part: {{text: map[string]string{"words": words}}}}})
	}
	return all
}

func dateViews(g keeper.Grant, at session.Session, now time.Time) (all []view) {
	add := func(label string, t time.Time) {
		if !t.IsZero() {
			t = t.UTC()
			all = append(all, view{text: map[string]string{"label": label, "machine": t.Format(time.RFC3339), "words": t.Format("2 January 2006")}})
		}
	}
	add("Signed in here since", at.CreatedAt)
	add("Last confirmed by LinkedIn", g.VerifiedAt)
	if g.State(now) != keeper.StateReconnect {
		add("Current access until", g.AccessEnd(now))
		add("Please sign in again by", g.ReconnectBy())
	}
	return all
}

// mayShow reports whether the browser will load a portrait from there.
func (s *Site) mayShow(picture string) bool {
	_, err := url.Parse(picture)
	return err == nil && slices.ContainsFunc(s.pictures, func(origin string) bool { return strings.HasPrefix(picture, origin+"/") })
}

// initials stand in for a portrait: of the first and the last name.
func initials(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) })
	if len(words) > 2 {
		words = []string{words[0], words[len(words)-1]}
	}
	out := ""
	for _, word := range words {
		for _, r := range word {
			out += string(unicode.ToUpper(r))
			break
		}
	}
	return out
}

// problemPage answers a failure to somebody who looks at pages.
func (s *Site) problemPage(w http.ResponseWriter, r *http.Request, a answer, login string) {
	label := "Start again"
	if a.status == http.StatusUnauthorized {
		label = "Sign in with LinkedIn"
	}
	if a.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	v := view{
		text:  map[string]string{"title": a.title, "lead": a.lead},
		url:   map[string]string{"account": s.url("/")},
		parts: map[string][]view{},
	}
	if login != "" {
		v.parts["login"] = []view{{text: map[string]string{"label": label}, url: map[string]string{"login": login}}}
	}
	if err := s.page(w, a.status, problemHTML, v); err != nil {
		s.cfg.Log.ErrorContext(r.Context(), "page failed", "error", err)
		writeProblem(w, internal, "")
	}
}
