// Package linkedinsim is LinkedIn's sign-in, simulated: authorization, tokens,
// introspection, userinfo and a little of the API, with a clock that can be
// moved, faults, and a control page at /_sim. It behaves as LinkedIn was
// observed to, where that differs from the documentation; Switches has the
// rest. Everything is in memory and bounded.
package linkedinsim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/keepin/keepin/shared/secret"
)

// Config is what a Sim is made of. Everything has a default.
type Config struct {
	// Clock; nil: a RunningClock.
	Clock *Clock
	// URL is the simulator's own address, as clients see it; "" is
	// http://localhost:8081. It answers for both www and api.linkedin.com.
	URL string
	// Issuer of ID tokens; "" is URL + "/oauth".
	Issuer string
	// Apps; nil: one, DefaultApp.
	Apps []App
	// Members; nil: DefaultMembers.
	Members []Member
	// Switches; the zero value is LinkedIn as observed.
	Switches Switches
	// Key signs ID tokens; nil: one is made when it is first needed, which takes
	// a tenth of a second that a suite with many simulators may save.
	Key *rsa.PrivateKey
	// Pass is called after the control page or the JSON API has advanced the
	// clock, for whoever has work due by then; nil: nobody.
	Pass func(d time.Duration)
}

// App is an application registered with LinkedIn.
type App struct {
	ClientID       string   `json:"client_id"`
	Secret         string   `json:"secret"`
	PreviousSecret string   `json:"previous_secret,omitempty"` // still accepted, unless ""
	RedirectURLs   []string `json:"redirect_urls"`             // absolute, without fragment; a query in them is ignored
	Scopes         []string `json:"scopes"`                    // all it may ask for
	Refresh        bool     `json:"refresh"`                   // programmatic refresh tokens
	TwoLegged      bool     `json:"two_legged"`                // client credentials
	NativePKCE     bool     `json:"native_pkce"`               // the native endpoint
}

// Member is a person at LinkedIn.
type Member struct {
	Key        string `json:"key"` // names the member in this package; letters, digits, "-" and "_"
	Name       string `json:"name"`
	GivenName  string `json:"given_name"`
	FamilyName string `json:"family_name"`
	Email      string `json:"email,omitempty"`   // "": none, or none that is verified
	Picture    string `json:"picture,omitempty"` // "": a portrait drawn by the simulator
	LoggedIn   bool   `json:"logged_in"`         // to linkedin.com
}

// DefaultApp may refresh, and redirects to keepin's own development address.
func DefaultApp() App {
	return App{
		ClientID:     "77keepinsim000",
		Secret:       "WPL_AP1.KeepinSimulator0.c2VjcmV0+/==",
		RedirectURLs: []string{"http://localhost:8080/callback"},
		Scopes:       []string{"openid", "profile", "email", "w_member_social"},
		Refresh:      true,
	}
}

// DefaultMembers are three people who are logged in to LinkedIn, one of them
// without an e-mail address, and one who is not logged in.
func DefaultMembers() []Member {
	return []Member{
		{Key: "ada", Name: "Ada Lovelace", GivenName: "Ada", FamilyName: "Lovelace", Email: "ada@example.com", LoggedIn: true},
		{Key: "grace", Name: "Grace Hopper", GivenName: "Grace", FamilyName: "Hopper", Email: "grace@example.com", LoggedIn: true},
		{Key: "linus", Name: "Linus Pauling", GivenName: "Linus", FamilyName: "Pauling", LoggedIn: true},
		{Key: "zoe", Name: "Zoë Åström", GivenName: "Zoë", FamilyName: "Åström", Email: "zoe@example.com"},
	}
}

// Sim is a simulated LinkedIn. It is an http.Handler, and an
// http.RoundTripper for clients in the same process that want no network. It
// is safe for concurrent use.
type Sim struct {
	clock  *Clock
	url    string
	issuer string
	pass   func(time.Duration)
	mux    *http.ServeMux
	seal   [32]byte // key of LinkedIn's own session cookies

	mu       sync.Mutex
	apps     []*App
	members  map[string]*Member
	order    []string       // keys of members, as added
	logins   map[string]int // times a member logged out: older cookies are void
	switches Switches
	faults   []*Fault
	cleared  chan struct{} // closed by Clear; ends stalls
	state    state
	keys     keys
	calls    []Call // a ring
	next     int    // where the next call goes in a full ring
	counts   map[Endpoint]int
	inFlight map[Endpoint]int
}

// maxCalls is how many calls are remembered.
const maxCalls = 1000

// New makes a simulator. An error names what is wrong in the Config.
func New(cfg Config) (*Sim, error) {
	s := &Sim{
		clock:    cfg.Clock,
		url:      strings.TrimSuffix(cmp.Or(cfg.URL, "http://localhost:8081"), "/"),
		pass:     cfg.Pass,
		members:  make(map[string]*Member),
		logins:   make(map[string]int),
		switches: cfg.Switches,
		cleared:  make(chan struct{}),
		counts:   make(map[Endpoint]int),
		inFlight: make(map[Endpoint]int),
		state:    newState(),
		keys:     keys{key: cfg.Key, id: hex.EncodeToString(random(8))},
	}
	if s.clock == nil {
		s.clock = RunningClock()
	}
	if u, err := url.Parse(s.url); err != nil || u.Host == "" {
		return nil, fmt.Errorf("linkedinsim: URL %q is not absolute", s.url)
	}
	s.issuer = cmp.Or(cfg.Issuer, s.url+"/oauth")
	rand.Read(s.seal[:])
	if cfg.Apps == nil {
		cfg.Apps = []App{DefaultApp()}
	}
	for _, a := range cfg.Apps {
		if err := s.AddApp(a); err != nil {
			return nil, err
		}
	}
	if cfg.Members == nil {
		cfg.Members = DefaultMembers()
	}
	for _, m := range cfg.Members {
		if err := s.AddMember(m); err != nil {
			return nil, err
		}
	}
	s.mux = s.routes()
	return s, nil
}

func (s *Sim) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, h := range map[string]http.Handler{
		"GET /oauth/v2/authorization":                 s.handle(AuthorizeEndpoint, s.authorize),
		"POST /oauth/v2/authorization":                s.handle(AuthorizeEndpoint, s.decide),
		"GET /oauth/native-pkce/authorization":        s.handle(AuthorizeEndpoint, s.authorize),
		"POST /oauth/native-pkce/authorization":       s.handle(AuthorizeEndpoint, s.decide),
		"POST /oauth/v2/accessToken":                  s.handle(TokenEndpoint, s.token),
		"POST /oauth/v2/introspectToken":              s.handle(IntrospectEndpoint, s.introspect),
		"POST /oauth/v2/revoke":                       s.handle(RevokeEndpoint, s.revoke),
		"GET /oauth/.well-known/openid-configuration": s.handle(DiscoveryEndpoint, s.discovery),
		"GET /oauth/openid/jwks":                      s.handle(JWKSEndpoint, s.jwks),
		"GET /v2/userinfo":                            s.handle(UserinfoEndpoint, s.userinfo),
		"POST /rest/posts":                            s.handle(APIEndpoint, s.posts),
		"/v2/":                                        s.handle(APIEndpoint, s.elsewhere),
		"/rest/":                                      s.handle(APIEndpoint, s.elsewhere),
		"/_sim/":                                      s.control(),
		"/":                                           http.HandlerFunc(notFound),
	} {
		mux.Handle(pattern, h)
	}
	return mux
}

// ServeHTTP answers as www.linkedin.com (/oauth/...) and api.linkedin.com
// (/v2/..., /rest/...), and with the control page at /_sim.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "Thu, 01 Jan 1970 00:00:00 GMT")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.URL.Path != "/_sim" && !strings.HasPrefix(r.URL.Path, "/_sim/") {
		h.Set("X-Li-Uuid", base64.StdEncoding.EncodeToString(random(16)))
		h.Set("X-Li-Request-Id", hex.EncodeToString(random(8)))
		h.Set("X-Li-Fabric", "prod-lor1")
		h.Set("X-Li-Pop", "sim-prod-lor1-x")
		h.Set("X-Li-Proto", fmt.Sprintf("http/%d.%d", max(1, r.ProtoMajor), r.ProtoMinor))
	}
	s.mux.ServeHTTP(w, r)
}

// Call is one call that was made to a LinkedIn endpoint.
type Call struct {
	At        time.Time `json:"at"` // by the simulator's clock
	Endpoint  Endpoint  `json:"endpoint"`
	Method    string    `json:"method"`
	Status    int       `json:"status,omitempty"` // 0: no answer was sent
	Error     string    `json:"error,omitempty"`  // the error code of the answer
	GrantType string    `json:"grant_type,omitempty"`
	ClientID  string    `json:"client_id,omitempty"`
	Member    string    `json:"member,omitempty"`    // key
	Presented string    `json:"presented,omitempty"` // fingerprint of the code or token that was sent
	Issued    []string  `json:"issued,omitempty"`    // fingerprints: code, or access token and refresh token
	Faults    []Kind    `json:"faults,omitempty"`    // that struck
}

// call is a call under way.
type call struct {
	Call
	sim    *Sim
	r      *http.Request
	now    time.Time
	sw     Switches
	params url.Values
	ended  bool
}

// answer is what is sent back.
type answer struct {
	status int
	header http.Header // added to those of every answer
	body   []byte
}

// handle makes serve, which runs with s.mu held, an http.Handler with faults
// around it and a line in the log of calls.
func (s *Sim) handle(e Endpoint, serve func(*call) answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{Call: Call{Endpoint: e, Method: r.Method}, sim: s, r: r}
		s.begin(c)
		defer s.end(c)
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		parsed := r.ParseForm() // query and body, as LinkedIn takes both
		c.params = r.Form

		if !c.stall(StallBefore) {
			return
		}
		if _, hit := c.strikeLocked(ResetBefore); hit {
			s.end(c)
			reset(w)
		}
		var a answer
		if f, hit := c.strikeLocked(AnswerStatus); hit {
			a = ill(f)
		} else if parsed != nil {
			a = oauthError(400, "invalid_request", "The request is malformed")
		} else {
			a = c.serve(serve)
		}
		if !c.stall(StallAfter) {
			return
		}
		if _, hit := c.strikeLocked(ResetAfter); hit {
			s.end(c)
			reset(w)
		}
		for name, values := range a.header {
			w.Header()[name] = values
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
		if _, hit := c.strikeLocked(Truncate); hit {
			a.body = a.body[:len(a.body)/2] // net/http closes the connection: less than was promised
		}
		c.Status, c.Error = a.status, errorCode(a)
		s.end(c) // before the caller can know
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body)
	})
}

func (c *call) serve(serve func(*call) answer) answer {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	c.now, c.sw = c.sim.clock.Now(), c.sim.switches
	return serve(c)
}

func (s *Sim) begin(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.At = s.clock.Now()
	for _, e := range []Endpoint{c.Endpoint, EveryEndpoint} {
		s.counts[e]++
		s.inFlight[e]++
	}
}

// end notes that a call is over, once.
func (s *Sim) end(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	for _, e := range []Endpoint{c.Endpoint, EveryEndpoint} {
		s.inFlight[e]--
	}
	if len(s.calls) < maxCalls {
		s.calls = append(s.calls, c.Call)
		return
	}
	s.calls[s.next] = c.Call
	s.next = (s.next + 1) % maxCalls
}

// Calls are the last 1000 calls that have ended, the oldest first.
func (s *Sim) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(s.calls[s.next:], s.calls[:s.next])
}

// Count is how many calls were begun at an endpoint since the simulator was made.
func (s *Sim) Count(e Endpoint) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[e]
}

// InFlight is how many calls are under way at an endpoint.
func (s *Sim) InFlight(e Endpoint) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inFlight[e]
}

// AddApp registers an application, or replaces the one with its client id.
func (s *Sim) AddApp(a App) error {
	if a.ClientID == "" || a.Secret == "" && !a.NativePKCE {
		return errors.New("linkedinsim: an app needs a client id and a secret")
	}
	for _, raw := range a.RedirectURLs {
		if u, err := url.Parse(raw); err != nil || u.Host == "" || strings.Contains(raw, "#") {
			return fmt.Errorf("linkedinsim: redirect URL %q must be absolute and without fragment", raw)
		}
	}
	a.RedirectURLs, a.Scopes = slices.Clone(a.RedirectURLs), slices.Clone(a.Scopes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.app(a.ClientID); old != nil {
		*old = a
		return nil
	}
	s.apps = append(s.apps, &a)
	return nil
}

// AddMember adds a member, or replaces the one with its key; what that one has
// granted stays.
func (s *Sim) AddMember(m Member) error {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_'
	}
	if m.Key == "" || strings.ContainsFunc(m.Key, func(r rune) bool { return !plain(r) }) {
		return fmt.Errorf("linkedinsim: member key %q must be letters, digits, - and _", m.Key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.members[m.Key] == nil {
		s.order = append(s.order, m.Key)
	}
	s.members[m.Key] = &m
	return nil
}

// LogIn logs a member in to linkedin.com, or out: then every browser must sign
// in again, and no consent page is skipped. Grants and tokens are untouched.
func (s *Sim) LogIn(memberKey string, in bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.members[memberKey]
	if m == nil {
		return unknownMember(memberKey)
	}
	m.LoggedIn = in
	if !in {
		s.logins[memberKey]++
	}
	return nil
}

// SetSecret rolls an app's client secret. previous is accepted too, unless "".
func (s *Sim) SetSecret(clientID, current, previous string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.app(clientID)
	if a == nil {
		return fmt.Errorf("linkedinsim: no app is named %q", clientID)
	}
	a.Secret, a.PreviousSecret = current, previous
	return nil
}

// SetSwitches changes switches by change.
func (s *Sim) SetSwitches(change func(*Switches)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.switches)
}

// Clock is the simulator's clock.
func (s *Sim) Clock() *Clock { return s.clock }

// Subject is the sub of a member for an app: pairwise, as LinkedIn's.
func Subject(clientID, memberKey string) string {
	sum := sha256.Sum256([]byte("linkedinsim\n" + clientID + "\n" + memberKey))
	return base64.RawURLEncoding.EncodeToString(sum[:])[:10]
}

func (s *Sim) app(clientID string) *App {
	for _, a := range s.apps {
		if a.ClientID == clientID {
			return a
		}
	}
	return nil
}

func unknownMember(key string) error { return fmt.Errorf("linkedinsim: no member is named %q", key) }

// RoundTrip answers r in this process, without a network. A reset is an error,
// as is reading to the end of a truncated body.
func (s *Sim) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	in.Host = cmp.Or(r.Host, r.URL.Host)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	w := &recorder{header: make(http.Header)}
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			resp, err = nil, errReset
		default:
			panic(p)
		}
	}()
	s.ServeHTTP(w, in)
	if err := r.Context().Err(); err != nil {
		return nil, context.Cause(r.Context())
	}
	resp = &http.Response{
		Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header, Request: r, ContentLength: -1,
	}
	var body io.Reader = bytes.NewReader(w.body.Bytes())
	if n, err := strconv.Atoi(w.header.Get("Content-Length")); err == nil {
		resp.ContentLength = int64(n)
		if n > w.body.Len() {
			body = io.MultiReader(body, cut{})
		}
	}
	resp.Body = io.NopCloser(body)
	return resp, nil
}

// recorder is the http.ResponseWriter of RoundTrip.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}
func (w *recorder) Write(p []byte) (int, error) {
	w.WriteHeader(200)
	return w.body.Write(p)
}

// cut ends a body that was promised longer.
type cut struct{}

func (cut) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

var errReset = errors.New("linkedinsim: connection reset by peer")

func notFound(w http.ResponseWriter, _ *http.Request) {
	a := apiError(404, 0, "NOT_FOUND", "No virtual resource found")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// random is n random bytes.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func fingerprint(s string) string { return secret.New(s).Fingerprint() }

// jsonAnswer encodes v; a value that cannot be encoded is a bug.
func jsonAnswer(status int, v any) answer {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return answer{status: 500, body: []byte(err.Error())}
	}
	return answer{status: status, body: bytes.TrimSpace(b.Bytes()), header: http.Header{"Content-Type": {"application/json"}}}
}

// oauthError is the error body of the /oauth endpoints.
func oauthError(status int, code, description string) answer {
	return jsonAnswer(status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{code, description})
}

// apiError is the error body of the API. Zero service and empty code are left out.
func apiError(status, service int, code, message string) answer {
	return jsonAnswer(status, struct {
		Status  int    `json:"status"`
		Service int    `json:"serviceErrorCode,omitempty"`
		Code    string `json:"code,omitempty"`
		Message string `json:"message"`
	}{status, service, code, message})
}

// errorCode is the code that a JSON error body or an error redirect carries.
func errorCode(a answer) string {
	if u, err := url.Parse(a.header.Get("Location")); err == nil && a.status == 302 {
		return u.Query().Get("error")
	}
	if a.status < 400 {
		return ""
	}
	var body struct{ Error, Code string }
	_ = json.Unmarshal(a.body, &body)
	return cmp.Or(body.Error, body.Code)
}
