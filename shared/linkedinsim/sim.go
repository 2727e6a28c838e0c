// Package linkedinsim is LinkedIn's sign-in, simulated: authorization, tokens,
// introspection, userinfo and a little of the API, with a clock that can be
// moved, faults, and a control page at /_sim. It behaves as LinkedIn was
// observed to, where that differs from the documentation; Switches has the
// rest. Everything is in memory and bounded.
package linkedinsim

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
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
	// Key signs ID tokens, an RSA key; nil: one is made when it is first needed,
	// which takes a tenth of a second that a suite with many simulators may save.
	Key crypto.Signer
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
	logouts  map[string]int // times a member logged out: older cookies are void
	switches Switches
	faults   []*Fault
	cleared  chan struct{} // closed by Clear; ends stalls
	state    state
	keys     keys
	nonces   map[string]time.Time // of OAuth 1.0a, when they were used
	calls    []Call               // a ring
	next     int                  // where the next call goes in a full ring
	counts   map[Endpoint]int
	inFlight map[Endpoint]int
}

// New makes a simulator. An error names what is wrong in the Config.
func New(cfg Config) (*Sim, error) {
	if cfg.Key != nil {
		if _, ok := cfg.Key.Public().(*rsa.PublicKey); !ok {
			return nil, errors.New("linkedinsim: Key is not an RSA key")
		}
	}
	s := &Sim{
		clock:    cfg.Clock,
		url:      strings.TrimSuffix(cmp.Or(cfg.URL, "http://localhost:8081"), "/"),
		pass:     cfg.Pass,
		members:  make(map[string]*Member),
		logouts:  make(map[string]int),
		switches: cfg.Switches,
		cleared:  make(chan struct{}),
		counts:   make(map[Endpoint]int),
		inFlight: make(map[Endpoint]int),
		state:    newState(),
		nonces:   make(map[string]time.Time),
		keys:     keysOf(cfg.Key),
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
		"POST /uas/oauth/accessToken":                 s.handle(SDKEndpoint, s.sdkExchange),
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
		s.logouts[memberKey]++
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

// random is n random bytes.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func fingerprint(s string) string { return secret.New(s).Fingerprint() }
