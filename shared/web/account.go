package web

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

//go:embed pages
var pageFiles embed.FS

// Account is GET /: who is signed in, what they allowed, until when, and the
// way out.
func Account(s *Site, sessions *session.Manager) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		g, at, err := sessions.Member(r)
		switch {
		case errors.Is(err, session.ErrNone):
			sessions.ClearBroken(w, r)
			return s.page(w, http.StatusOK, "account", accountView{LoginURL: s.url("/login")})
		case err != nil:
			return unavailable(err)
		}
		return s.page(w, http.StatusOK, "account", s.accountView(g, at))
	})
}

// accountView is what account.html shows.
type accountView struct {
	SignedIn              bool
	Name, Initials, Email string
	Picture               string
	State                 keeper.State
	Permissions           []permission
	Dates                 []date
	LoginURL, LogoutPath  string
}

type permission struct{ Scope, Words string }

type date struct{ Label, Machine, Words string }

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

func (s *Site) accountView(g keeper.Grant, at session.Session) accountView {
	now := s.now()
	v := accountView{
		SignedIn: true, Name: cmp.Or(g.Profile.Name, "LinkedIn member"), Email: g.Profile.Email,
		Picture: g.Profile.Picture, State: g.State(now),
		LoginURL: s.url("/login"), LogoutPath: s.path + "/logout",
	}
	v.Initials = initials(v.Name)
	for _, scope := range g.Scopes {
		v.Permissions = append(v.Permissions, permission{scope, permissions[scope]})
	}
	type dated struct {
		label string
		at    time.Time
	}
	dates := []dated{{"Signed in here since", at.CreatedAt}, {"Last confirmed by LinkedIn", g.VerifiedAt}}
	if v.State != keeper.StateReconnect {
		dates = append(dates, dated{"Current access until", g.AccessEnd(now)}, dated{"Please sign in again by", g.ReconnectBy()})
	}
	for _, d := range dates {
		if !d.at.IsZero() {
			v.Dates = append(v.Dates, date{d.label, d.at.UTC().Format(time.RFC3339), d.at.UTC().Format("2 January 2006")})
		}
	}
	return v
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
	err := s.page(w, a.status, "problem", struct{ Title, Lead, LoginURL, LoginLabel, AccountURL string }{
		a.title, a.lead, login, label, s.url("/"),
	})
	if err != nil {
		s.cfg.Log.ErrorContext(r.Context(), "page failed", "error", err)
		writeProblem(w, internal, "")
	}
}

// page writes a page whole, or nothing.
func (s *Site) page(w http.ResponseWriter, status int, name string, view any) error {
	p, err := s.pages()
	if err != nil {
		return err
	}
	if v, ok := view.(accountView); ok && !p.mayShow(v.Picture) {
		v.Picture = ""
		view = v
	}
	var b bytes.Buffer
	if err := p.templates[name].Execute(&b, view); err != nil {
		return fmt.Errorf("write page %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", p.policy)
	if name == "account" {
		// With no-referrer its form would be sent with "Origin: null" (Fetch
		// standard, "append a request Origin header").
		w.Header().Set("Referrer-Policy", "same-origin")
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
	return nil
}

// pages are the parsed templates and what they may load.
type pages struct {
	templates map[string]*template.Template
	policy    string // Content-Security-Policy
	pictures  []string
}

func newPages(pictures []string) (*pages, error) {
	css, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	p := &pages{templates: make(map[string]*template.Template), pictures: pictures}
	for _, name := range []string{"account", "problem"} {
		t := template.New("layout.html").Funcs(template.FuncMap{"style": func() template.CSS { return template.CSS(css) }})
		if p.templates[name], err = t.ParseFS(pageFiles, "pages/layout.html", "pages/"+name+".html"); err != nil {
			return nil, fmt.Errorf("web: %w", err)
		}
	}
	sum := sha256.Sum256(css)
	p.policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data: " + strings.Join(pictures, " ") +
		"; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
	return p, nil
}

// mayShow reports whether the browser will load a portrait from there.
func (p *pages) mayShow(picture string) bool {
	return slices.ContainsFunc(p.pictures, func(origin string) bool { return strings.HasPrefix(picture, origin+"/") })
}
