package web

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/keepin/keepin/shared/session"
)

// Routes are the handlers that a Mux has; a nil one is not routed.
type Routes struct {
	Login, Callback, Exchange http.Handler // GET /login, GET /callback, POST /exchange
	Validate, Account, Badge  http.Handler // GET /validate, GET /, GET /badge.js
	Logout                    http.Handler // POST /logout

	// The back end's, each already behind who may call it.
	Member, DeleteMember, Token, Redeem http.Handler // GET and DELETE /members/{id}, GET /members/{id}/token, POST /redeem
}

// LinkedIn is what a sign-in asks of it.
type LinkedIn interface {
	Authorizer
	Exchanger
	SDK
}

// SignInRoutes are those of a sign-in; with sdk, by LinkedIn's JavaScript SDK too.
func SignInRoutes(s *Site, sessions *session.Manager, linkedin LinkedIn, k SignIns, sdk bool) Routes {
	r := Routes{Login: Login(s, sessions, linkedin), Callback: Callback(s, sessions, linkedin, k)}
	if sdk {
		r.Login = LoginBySDK(s, sessions, linkedin, k, r.Login)
		r.Exchange = Exchange(s, sessions, linkedin, k)
	}
	return r
}

// Keeper is what all the routes together ask of it.
type Keeper interface {
	SignIns
	SignOuts
	Grants
	TokenSource
}

// AllRoutes are every route, for a server that has them all; backend lets the
// back end through to its own, and nobody else.
func AllRoutes(s *Site, sessions *session.Manager, linkedin LinkedIn, k Keeper, sdk bool, backend func(http.Handler) http.Handler) Routes {
	r := SignInRoutes(s, sessions, linkedin, k, sdk)
	r.Validate, r.Account, r.Badge = Validate(s, sessions), Account(s, sessions), Badge(s)
	r.Logout = Logout(s, sessions, k)
	r.Member, r.DeleteMember = backend(Member(s, k)), backend(DeleteMember(s, k))
	r.Token, r.Redeem = backend(Token(s, k)), backend(Redeem(s, sessions, k))
	return r
}

// The most that a request may bring.
const (
	maxQuery       = 4 << 10
	maxCookieBytes = 6 << 10
	maxCookieCount = 50
	maxBody        = 8 << 10
)

// route is one path: its methods, and who may bring a body.
type route struct {
	path    string
	methods map[string]http.Handler
	body    bool
}

// Mux routes requests below prefix: the Site's Path for a server of its own, ""
// where the prefix is already gone, as on Lambda. It sets the headers that
// every answer has, refuses what is too large, and answers a panic.
func Mux(s *Site, prefix string, h Routes) http.Handler {
	cors := func(next http.Handler, methods string) http.Handler {
		if next == nil {
			return nil
		}
		return s.cors(next, methods)
	}
	validate, logout, exchange := cors(h.Validate, "GET"), cors(h.Logout, "POST"), cors(h.Exchange, "POST")
	mux := http.NewServeMux()
	for _, rt := range []route{
		{path: "/{$}", methods: map[string]http.Handler{"GET": h.Account, "HEAD": h.Account}},
		{path: "/login", methods: map[string]http.Handler{"GET": h.Login}},
		{path: "/callback", methods: map[string]http.Handler{"GET": h.Callback}},
		{path: "/validate", methods: map[string]http.Handler{"GET": validate, "HEAD": validate, "OPTIONS": validate}},
		{path: "/logout", methods: map[string]http.Handler{"POST": logout, "OPTIONS": logout}, body: true},
		{path: "/exchange", methods: map[string]http.Handler{"POST": exchange, "OPTIONS": exchange}, body: true},
		{path: "/badge.js", methods: map[string]http.Handler{"GET": h.Badge, "HEAD": h.Badge}},
		{path: "/members/{id}", methods: map[string]http.Handler{"GET": h.Member, "DELETE": h.DeleteMember}},
		{path: "/members/{id}/token", methods: map[string]http.Handler{"GET": h.Token}},
		{path: "/redeem", methods: map[string]http.Handler{"POST": h.Redeem}, body: true},
	} {
		for method, handler := range rt.methods {
			if handler == nil {
				delete(rt.methods, method)
			}
		}
		if len(rt.methods) > 0 {
			mux.Handle(rt.path, s.methods(rt))
		}
	}
	mux.Handle("/", s.handle(func(http.ResponseWriter, *http.Request) error { return errNotFound }))
	return s.outermost(prefix, mux)
}

// methods picks the handler of a path by method. HEAD is offered only where GET
// changes nothing: link scanners send it.
func (s *Site) methods(rt route) http.Handler {
	var allow []string
	for method := range rt.methods {
		allow = append(allow, method)
	}
	slices.Sort(allow)
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		h := rt.methods[r.Method]
		if h == nil {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			return errMethod
		}
		limit := 0
		if rt.body {
			limit = maxBody
		}
		if err := readBody(r, limit); err != nil {
			return err
		}
		h.ServeHTTP(w, r)
		return nil
	})
}

// readBody reads all of a body that may have limit bytes, so that no handler
// meets a slow or a broken one.
func readBody(r *http.Request, limit int) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if r.ContentLength > int64(limit) {
		return errTooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
	switch {
	case len(body) > limit:
		return errTooLarge
	case err != nil:
		return errBadRequest
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// outermost is what every request goes through.
func (s *Site) outermost(prefix string, next http.Handler) http.Handler {
	everywhere := s.headers()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		maps.Copy(w.Header(), everywhere)
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler {
					panic(v)
				}
				// What was panicked with may quote a secret: only where is logged.
				s.cfg.Log.ErrorContext(r.Context(), "panic", "method", r.Method, "route", r.Pattern, "stack", string(debug.Stack()))
				s.fail(w, r, errInternal)
			}
		}()
		if err := s.admit(r, prefix); err != nil {
			s.fail(w, r, err)
			return
		}
		p := strings.TrimPrefix(r.URL.Path, prefix)
		if p == r.URL.Path && p != "" {
			next.ServeHTTP(w, r)
			return
		}
		if p == "" {
			p = "/"
		}
		inner := *r
		u := *r.URL
		u.Path, u.RawPath = p, strings.TrimPrefix(r.URL.RawPath, prefix)
		inner.URL = &u
		next.ServeHTTP(w, &inner)
	})
}

// admit refuses what no handler need see.
func (s *Site) admit(r *http.Request, prefix string) error {
	cookies, count := 0, 0
	for _, line := range r.Header["Cookie"] {
		cookies += len(line)
		count += strings.Count(line, ";") + 1
	}
	if len(r.URL.RawQuery) > maxQuery || cookies > maxCookieBytes || count > maxCookieCount {
		return errTooLarge
	}
	p, ok := strings.CutPrefix(r.URL.Path, prefix)
	if !ok || p != "" && path.Clean(p) != p || p != "" && p[0] != '/' { // a ServeMux would answer with a redirect
		return errNotFound
	}
	return nil
}

// headers are what every answer has; a handler may say otherwise.
func (s *Site) headers() http.Header {
	h := http.Header{}
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if s.Secure() {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	return h
}
