package linkedinsim

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"html/template"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// control is everything under /_sim: a page for people, and the same as JSON
// for tests in other processes. GET /_sim/api/{clock, faults, calls, grants,
// switches, apps, members} shows; POST /_sim/api/{action} takes a JSON object,
// or a form of the page, and does what actions lists.
func (s *Sim) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sim/{$}", s.controlPage)
	mux.HandleFunc("GET /_sim/api/{what}", s.show)
	mux.HandleFunc("POST /_sim/api/{action}", s.act)
	mux.HandleFunc("GET /_sim/portrait/{file}", s.servePortrait)
	mux.HandleFunc("GET /_sim/sdk", s.sdkPage)
	mux.HandleFunc("POST /_sim/sdk", s.sdkSignIn)
	mux.HandleFunc("GET /_sim/style.css", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, files, "pages/style.css")
	})
	return http.NewCrossOriginProtection().Handler(mux)
}

// show answers GET /_sim/api/{what}.
func (s *Sim) show(w http.ResponseWriter, r *http.Request) {
	views := map[string]func() any{
		"clock":    s.showClock,
		"faults":   func() any { return s.Faults() },
		"calls":    func() any { return s.Calls() },
		"grants":   func() any { return s.Grants() },
		"switches": func() any { s.mu.Lock(); defer s.mu.Unlock(); return s.switches },
		"apps":     func() any { apps, _ := s.registered(); return apps },
		"members":  func() any { _, members := s.registered(); return members },
	}
	view := views[r.PathValue("what")]
	if view == nil {
		http.NotFound(w, r)
		return
	}
	send(w, jsonAnswer(200, view()))
}

func (s *Sim) showClock() any { return map[string]time.Time{"now": s.clock.Now()} }

// registered are copies of the apps and members.
func (s *Sim) registered() (apps []App, members []Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.apps {
		apps = append(apps, *a)
	}
	for _, key := range s.order {
		members = append(members, *s.members[key])
	}
	return apps, members
}

// order is what a POST asks for: a JSON object's or a form's values as text,
// and the JSON itself.
type order struct {
	values map[string]string
	raw    json.RawMessage
}

// actions are the POSTs, by name. What one returns is the answer; nil is {}.
func (s *Sim) actions() map[string]func(order) (any, error) {
	return map[string]func(order) (any, error){
		// clock moves the clock: {"advance":"59d"}.
		"clock": func(o order) (any, error) {
			d, err := parseSpan(strings.TrimSpace(o.values["advance"]))
			if err != nil {
				return nil, err
			}
			s.clock.Advance(d)
			if s.pass != nil {
				s.pass(d)
			}
			return s.showClock(), nil
		},
		// fault is Sim.Fault: {"endpoint":"token","kind":"status","status":500,"times":3,"for":"","retry_after":""}.
		"fault": func(o order) (any, error) {
			f, err := parseFault(o.values)
			if err == nil {
				err = s.Fault(f)
			}
			return f, err
		},
		"clear": func(order) (any, error) { s.Clear(); return nil, nil },
		// remove is Sim.RemoveApp: {"member":"ada"}.
		"remove": func(o order) (any, error) { return nil, s.RemoveApp(o.values["member"]) },
		// revoke is Sim.RevokeAccess or RevokeRefresh: {"member":"ada","kind":"access"}.
		"revoke": func(o order) (any, error) {
			switch o.values["kind"] {
			case access:
				return nil, s.RevokeAccess(o.values["member"])
			case refresh:
				return nil, s.RevokeRefresh(o.values["member"])
			}
			return nil, errors.New("linkedinsim: kind must be access or refresh")
		},
		// login is Sim.LogIn: {"member":"ada","in":true}.
		"login": func(o order) (any, error) { return nil, s.LogIn(o.values["member"], o.values["in"] == "true") },
		// secret is Sim.SetSecret: {"client_id":"...","secret":"...","previous":""}.
		"secret": func(o order) (any, error) {
			if o.values["secret"] == "" {
				return nil, errors.New("linkedinsim: secret must not be empty")
			}
			return nil, s.SetSecret(o.values["client_id"], o.values["secret"], o.values["previous"])
		},
		// switches changes those that are named: {"propagation_delay":"30s"}.
		"switches": func(o order) (any, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			next := s.switches
			for name, text := range o.values {
				if err := next.set(name, text); err != nil {
					return nil, err
				}
			}
			s.switches = next
			return next, nil
		},
		// authorize is Sim.Authorize: {"url":"...","member":"ada"}.
		"authorize": func(o order) (any, error) {
			back, err := s.Authorize(o.values["url"], o.values["member"])
			return map[string]string{"callback": back}, err
		},
		// sdk is Sim.SDKCookie: {"client_id":"...","member":"ada"}.
		"sdk": func(o order) (any, error) {
			c, err := s.SDKCookie(o.values["client_id"], o.values["member"])
			if err != nil {
				return nil, err
			}
			return map[string]string{"name": c.Name, "value": c.Value}, nil
		},
		// member and app are Sim.AddMember and AddApp, of the JSON of those types.
		"member": func(o order) (any, error) {
			var m Member
			if err := json.Unmarshal(o.raw, &m); err != nil {
				return nil, err
			}
			return m, s.AddMember(m)
		},
		"app": func(o order) (any, error) {
			var a App
			if err := json.Unmarshal(o.raw, &a); err != nil {
				return nil, err
			}
			return a, s.AddApp(a)
		},
	}
}

// act does what a POST asks for. A form of the page is sent back to the page.
func (s *Sim) act(w http.ResponseWriter, r *http.Request) {
	act := s.actions()[r.PathValue("action")]
	if act == nil {
		http.NotFound(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	o, form, err := parseOrder(r)
	var v any
	if err == nil {
		v, err = act(o)
	}
	switch {
	case err != nil && form:
		send(w, page(400, "error.html", errorPage{Message: err.Error(), Back: "/_sim/"}))
	case err != nil:
		send(w, jsonAnswer(400, map[string]string{"error": err.Error()}))
	case form:
		send(w, redirect(303, "/_sim/"))
	case v == nil:
		send(w, jsonAnswer(200, struct{}{}))
	default:
		send(w, jsonAnswer(200, v))
	}
}

// parseOrder reads the body of a POST: JSON when it begins as JSON does,
// whatever curl calls it.
func parseOrder(r *http.Request) (o order, form bool, err error) {
	o.values = make(map[string]string)
	if o.raw, err = io.ReadAll(r.Body); err != nil || len(o.raw) == 0 {
		return o, false, err
	}
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mediaType == "application/x-www-form-urlencoded" && o.raw[0] != '{' {
		values, err := url.ParseQuery(string(o.raw))
		for name, all := range values {
			o.values[name] = all[len(all)-1] // a ticked box comes after its hidden default
		}
		return o, true, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(o.raw, &fields); err != nil {
		return o, false, fmt.Errorf("linkedinsim: a JSON object is needed: %w", err)
	}
	for name, raw := range fields {
		text := string(raw)
		if raw[0] == '"' {
			if err := json.Unmarshal(raw, &text); err != nil {
				return o, false, err
			}
		}
		o.values[name] = text
	}
	return o, false, nil
}

// parseFault reads a Fault. A kind that is a number is that status.
func parseFault(values map[string]string) (Fault, error) {
	f := Fault{Endpoint: Endpoint(values["endpoint"]), Kind: Kind(values["kind"])}
	if _, err := strconv.Atoi(values["kind"]); err == nil {
		f.Kind, values["status"] = AnswerStatus, values["kind"]
	}
	var errs []error
	for name, into := range map[string]*int{"times": &f.Times, "status": &f.Status} {
		if values[name] != "" {
			var err error
			*into, err = strconv.Atoi(values[name])
			errs = append(errs, err)
		}
	}
	for name, into := range map[string]*time.Duration{"for": &f.For, "retry_after": &f.RetryAfter} {
		if values[name] != "" {
			var err error
			*into, err = parseSpan(values[name])
			errs = append(errs, err)
		}
	}
	return f, errors.Join(errs...)
}

func send(w http.ResponseWriter, a answer) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// controlView is what control.html shows.
type controlView struct {
	Now      time.Time
	Frozen   bool
	Spans    []labelled
	Faults   []Fault
	Places   []Endpoint
	Kinds    []labelled
	Members  []memberView
	Apps     []App
	Calls    []Call // the last first
	Total    int
	Switches []setting
}

type labelled struct{ Value, Label string }

type memberView struct {
	Member
	Portrait string
	Grants   []Grant
}

// shownCalls is how many calls the page shows.
const shownCalls = 50

func (s *Sim) controlPage(w http.ResponseWriter, _ *http.Request) {
	v := controlView{
		Now:    s.clock.Now(),
		Frozen: s.clock.frozen(),
		Spans: []labelled{{"1m", "+1 minute"}, {"1h", "+1 hour"}, {"1d", "+1 day"}, {"49d", "+49 days"},
			{"59d", "+59 days"}, {"300d", "+300 days"}},
		Faults: s.Faults(),
		Places: []Endpoint{EveryEndpoint, TokenEndpoint, IntrospectEndpoint, UserinfoEndpoint, AuthorizeEndpoint,
			JWKSEndpoint, DiscoveryEndpoint, RevokeEndpoint, APIEndpoint, SDKEndpoint},
		Kinds: []labelled{
			{"500", "500 internal error"}, {"504", "504 gateway time-out"}, {"429", "429 too many calls"},
			{string(ResetBefore), "reset before processing"}, {string(ResetAfter), "reset after processing"},
			{string(StallBefore), "stall before processing"}, {string(StallAfter), "stall after processing"},
			{string(Truncate), "cut the answer short"}, {string(WrongSecret), "refuse the client secret"},
			{string(RefuseRefresh), "refuse every refresh token"}, {string(NoExpiresIn), "no expires_in"},
			{string(ForeignTokenType), "foreign token_type"}, {string(OtherSubject), "userinfo of somebody else"},
			{string(OtherApp), "SDK: a token of another app"}, {string(RotateKeys), "new signing key"}, {string(NoIDToken), "no ID token"},
			{string(IDTokenIssuer), "ID token: wrong issuer"}, {string(IDTokenAudience), "ID token: wrong audience"},
			{string(IDTokenExpired), "ID token: expired"}, {string(IDTokenUnsigned), "ID token: unsigned"},
			{string(IDTokenKeyID), "ID token: unknown key"}, {string(IDTokenSignature), "ID token: bad signature"},
			{string(IDTokenSubject), "ID token: somebody else"},
		},
		Total: s.Count(EveryEndpoint),
	}
	grants := s.Grants()
	var members []Member
	v.Apps, members = s.registered()
	for _, m := range members {
		one := memberView{Member: m, Portrait: s.portrait(&m, v.Now)}
		for _, g := range grants {
			if g.Member == m.Key {
				slices.Reverse(g.Tokens)
				one.Grants = append(one.Grants, g)
			}
		}
		v.Members = append(v.Members, one)
	}
	v.Calls = s.Calls()
	slices.Reverse(v.Calls)
	v.Calls = v.Calls[:min(len(v.Calls), shownCalls)]
	s.mu.Lock()
	v.Switches = s.switches.settings()
	s.mu.Unlock()
	a := page(200, "control.html", v)
	a.header.Set("Content-Security-Policy", a.header.Get("Content-Security-Policy")+"; form-action 'self'")
	send(w, a)
}

// funcs are what the pages call.
var funcs = template.FuncMap{
	"when": func(t time.Time) string { return t.Format("2006-01-02 15:04:05") },
	// left is how far end is from now, in words.
	"left": func(now, end time.Time) string {
		d := end.Sub(now)
		words := func(d time.Duration) string {
			if d >= 2*day {
				return fmt.Sprintf("%d days", d/day)
			}
			return d.Truncate(time.Second).String()
		}
		if d < 0 {
			return words(-d) + " ago"
		}
		return "in " + words(d)
	},
	"isBool": func(v any) bool { _, ok := v.(bool); return ok },
	"text": func(v any) string {
		if v == 0 {
			return ""
		}
		return fmt.Sprint(v)
	},
}

// portrait is the address of a member's picture. Like LinkedIn's it carries
// its own end ("e", epoch seconds): do not link to it for long.
func (s *Sim) portrait(m *Member, now time.Time) string {
	if m.Picture != "" {
		return m.Picture
	}
	return fmt.Sprintf("%s/_sim/portrait/%s.svg?e=%d&v=beta", s.url, m.Key, now.Add(90*day).Unix())
}

// servePortrait draws a member's initials.
func (s *Sim) servePortrait(w http.ResponseWriter, r *http.Request) {
	_, members := s.registered()
	i := slices.IndexFunc(members, func(m Member) bool { return m.Key+".svg" == r.PathValue("file") })
	if i < 0 {
		http.NotFound(w, r)
		return
	}
	if end, err := strconv.ParseInt(r.URL.Query().Get("e"), 10, 64); err != nil || s.clock.Now().Unix() >= end {
		http.Error(w, "URL signature expired", http.StatusForbidden)
		return
	}
	hue := fnv.New32a()
	hue.Write([]byte(members[i].Key))
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" width="100" height="100"><rect width="100" height="100" fill="hsl(%d 45%% 38%%)"/><text x="50" y="64" font-family="sans-serif" font-size="40" fill="#fff" text-anchor="middle">%s</text></svg>`,
		hue.Sum32()%360, template.HTMLEscapeString(initials(members[i])))
}

func initials(m Member) string {
	var b strings.Builder
	for _, name := range []string{m.GivenName, m.FamilyName} {
		for _, r := range name {
			b.WriteRune(r)
			break
		}
	}
	return b.String()
}
