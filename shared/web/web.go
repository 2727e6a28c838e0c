// Package web is keepin over HTTP: one constructor of an http.Handler per
// route, one table from error to answer, and the Mux that assembles them.
package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config says where keepin is and what it may be asked for.
type Config struct {
	BaseURL       string   // public address, perhaps with a path; https, or http for loopback
	ReturnOrigins []string // origins besides the base URL's that browsers may be sent to and may call from
	Scopes        []string // all that may be asked for; every sign-in asks for exactly these
	Issuer        string   // compared with the callback's iss, where there is one (RFC 9207)
	Nonce, PKCE   bool     // as the provider's profile has them: off for LinkedIn
	// ResponseIssuer: the provider announces iss in its callbacks, and one without
	// it is none (RFC 9207 section 2.4). Off for LinkedIn, which sends none.
	ResponseIssuer bool
	// PictureOrigins may serve portraits besides LinkedIn's own host: the
	// simulator's origin.
	PictureOrigins []string

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: discarded
}

// linkedInPictures is where LinkedIn keeps members' portraits.
const linkedInPictures = "https://media.licdn.com"

// Site is what all handlers share. Every address it gives is made from the
// configuration, never from what a request says of itself. It is safe for
// concurrent use.
type Site struct {
	cfg      Config
	origin   string   // of the base URL
	path     string   // of the base URL, without a slash at its end
	origins  []string // ReturnOrigins, as a browser writes them
	pictures []string // origins that portraits are shown from
	policy   string   // of every page
}

// NewSite checks cfg; the error names all that is wrong with it.
func NewSite(cfg Config) (*Site, error) {
	s := &Site{cfg: cfg}
	var errs []error
	var err error
	if s.origin, s.path, err = parseBase(cfg.BaseURL); err != nil {
		errs = append(errs, err)
	}
	for _, raw := range cfg.ReturnOrigins {
		o, err := parseOrigin(raw, isLoopback)
		if err != nil {
			errs = append(errs, fmt.Errorf("return origin: %w", err))
		}
		s.origins = append(s.origins, o)
	}
	s.pictures = []string{linkedInPictures}
	for _, raw := range cfg.PictureOrigins {
		o, err := parseOrigin(raw, isPrivate)
		if err != nil {
			errs = append(errs, fmt.Errorf("picture origin: %w", err))
		}
		s.pictures = append(s.pictures, o)
	}
	if !slices.Contains(cfg.Scopes, "openid") {
		errs = append(errs, errors.New("scopes do not hold openid"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	if s.cfg.Now == nil {
		s.cfg.Now = time.Now
	}
	if s.cfg.Log == nil {
		s.cfg.Log = slog.New(slog.DiscardHandler)
	}
	s.cfg.Scopes = slices.Clone(cfg.Scopes)
	s.policy = pagePolicy(s.pictures)
	return s, nil
}

// Secure reports whether the base URL is https: what session.Config needs.
func (s *Site) Secure() bool { return strings.HasPrefix(s.origin, "https://") }

// Path is the base URL's path, without a slash at its end: "" for none.
func (s *Site) Path() string { return s.path }

// RedirectURL is what must be registered with LinkedIn.
func (s *Site) RedirectURL() string { return s.url("/callback") }

// url is the public address of one of keepin's paths.
func (s *Site) url(path string) string { return s.origin + s.path + path }

// loginURL is where a browser begins to sign in, and comes back from to
// returnTo ("": the account page).
func (s *Site) loginURL(returnTo string) string {
	if returnTo == "" || returnTo == s.url("/") {
		return s.url("/login")
	}
	return s.url("/login") + "?" + url.Values{"return_to": {returnTo}}.Encode()
}

func (s *Site) now() time.Time { return s.cfg.Now().UTC() }

// handle makes a handler of one that returns its failure: the failure is
// answered by the table, and logged once.
func (s *Site) handle(f func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}
