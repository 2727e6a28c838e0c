package linkedinsim

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"time"
)

// Grant is what a member gave an app, with the tokens that came of it.
type Grant struct {
	ClientID     string    `json:"client_id"`
	Member       string    `json:"member"` // key
	Sub          string    `json:"sub"`
	Scopes       []string  `json:"scopes"`
	AuthorizedAt time.Time `json:"authorized_at"`
	Revoked      bool      `json:"revoked"` // the member removed the app
	Tokens       []Token   `json:"tokens"`  // the oldest first
}

// Token is one token that was issued, without its value.
type Token struct {
	Kind        string    `json:"kind"`        // access, refresh, sdk
	Fingerprint string    `json:"fingerprint"` // as secret.String's
	IssuedAt    time.Time `json:"issued_at"`
	ExpiresAt   time.Time `json:"expires_at"`
	Scopes      []string  `json:"scopes"`
	State       string    `json:"state"` // active, expired, revoked; or pending: not yet honoured by the API
}

// state is all that was granted and issued.
type state struct {
	grants    map[grantKey]*grant
	codes     map[string]*code
	tokens    map[string]*token // by value, of every kind
	pruneAt   int               // how many tokens to hold before looking for dead ones
	refreshes map[string]int    // by client id and day, for the quota
}

func newState() state {
	return state{
		grants: make(map[grantKey]*grant), codes: make(map[string]*code), tokens: make(map[string]*token),
		pruneAt: pruneFloor, refreshes: make(map[string]int),
	}
}

// pruneFloor is how many tokens are held before dead ones are forgotten.
const pruneFloor = 5_000

type grantKey struct{ client, member string }

type grant struct {
	scopes       []string // sorted
	authorizedAt time.Time
	revoked      bool
	tokens       []*token // the oldest first
	seenScopes   []string // of the token that the API saw last, for the stale scope cache
	seenAt       time.Time
}

type code struct {
	key         grantKey
	redirectURI string
	scopes      []string
	issuedAt    time.Time
	challenge   string // of a native app
	native      bool
	used        bool
	brought     []*token
}

const (
	access    = "access"
	refresh   = "refresh"
	twoLegged = "two_legged"
	sdk       = "sdk" // of the JavaScript SDK: for scripts, and to be exchanged
)

type token struct {
	value, kind  string
	key          grantKey
	scopes       []string
	issuedAt     time.Time
	expiresAt    time.Time
	authorizedAt time.Time
	revoked      bool
	rotatedAt    time.Time // a refresh token that was replaced; zero: not
	parent       *token    // of an access token: its refresh token, if any
	native       bool
}

func (t *token) state(now time.Time) string {
	switch {
	case t.revoked:
		return "revoked"
	case !now.Before(t.expiresAt):
		return "expired"
	}
	return "active"
}

// issue makes a token that lives until end.
func (s *Sim) issue(c *call, kind string, key grantKey, scopes []string, end time.Time) *token {
	if len(s.state.tokens) >= s.state.pruneAt {
		s.prune(c.now)
	}
	t := &token{
		value: opaque(c.sw.tokenLength()), kind: kind, key: key, scopes: scopes,
		issuedAt: c.now, authorizedAt: c.now, expiresAt: end,
	}
	s.state.tokens[t.value] = t
	if g := s.state.grants[key]; g != nil {
		g.tokens = append(g.tokens, t)
	}
	c.Issued = append(c.Issued, fingerprint(t.value))
	return t
}

// prune forgets tokens and codes that can do nothing any more. What a caller
// then gets for them is the answer for an unknown one.
func (s *Sim) prune(now time.Time) {
	dead := func(t *token) bool {
		return t.state(now) != "active" && now.Sub(t.issuedAt) > s.switches.deadTokenMemory()
	}
	maps.DeleteFunc(s.state.tokens, func(_ string, t *token) bool { return dead(t) })
	for _, g := range s.state.grants {
		g.tokens = slices.DeleteFunc(g.tokens, dead)
	}
	maps.DeleteFunc(s.state.codes, func(_ string, k *code) bool { return now.Sub(k.issuedAt) > day })
	s.state.pruneAt = max(pruneFloor, 2*len(s.state.tokens))
}

// opaque is a random value of n characters, 24 to 10,000, in the form of
// LinkedIn's codes and tokens.
func opaque(n int) string {
	n = min(max(n, 24), 10_000)
	return ("AQ" + base64.RawURLEncoding.EncodeToString(random(n)))[:n]
}

// void revokes the tokens of a grant that match.
func (s *Sim) void(key grantKey, match func(*token) bool) {
	if g := s.state.grants[key]; g != nil {
		for _, t := range g.tokens {
			t.revoked = t.revoked || match(t)
		}
	}
}

func anyToken(*token) bool { return true }

func isKind(kind string) func(*token) bool { return func(t *token) bool { return t.kind == kind } }

// RemoveApp is the member removing, at LinkedIn, every app that was allowed:
// all tokens are dead, and the next authorization shows the consent page.
func (s *Sim) RemoveApp(memberKey string) error {
	s.mu.Lock()
	for _, k := range s.state.codes {
		k.used = k.used || k.key.member == memberKey
	}
	s.mu.Unlock()
	return s.eachGrant(memberKey, func(key grantKey, g *grant) {
		g.revoked = true
		s.void(key, anyToken)
	})
}

// RevokeAccess is LinkedIn revoking the member's access tokens and nothing else.
func (s *Sim) RevokeAccess(memberKey string) error {
	return s.eachGrant(memberKey, func(key grantKey, _ *grant) { s.void(key, isKind(access)) })
}

// RevokeRefresh is LinkedIn revoking the member's refresh tokens and nothing else.
func (s *Sim) RevokeRefresh(memberKey string) error {
	return s.eachGrant(memberKey, func(key grantKey, _ *grant) { s.void(key, isKind(refresh)) })
}

func (s *Sim) eachGrant(memberKey string, do func(grantKey, *grant)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.members[memberKey] == nil {
		return unknownMember(memberKey)
	}
	for key, g := range s.state.grants {
		if key.member == memberKey {
			do(key, g)
		}
	}
	return nil
}

// Grants is who gave what to which app, in the order of members and apps.
func (s *Sim) Grants() []Grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []Grant{}
	for _, member := range s.order {
		list = append(list, s.grantsOf(member)...)
	}
	return list
}

// GrantsOf is what one member gave, in the order of the apps.
func (s *Sim) GrantsOf(memberKey string) []Grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.grantsOf(memberKey)
}

func (s *Sim) grantsOf(member string) (list []Grant) {
	now := s.clock.Now()
	for _, app := range s.apps {
		key := grantKey{app.ClientID, member}
		g := s.state.grants[key]
		if g == nil {
			continue
		}
		one := Grant{
			ClientID: key.client, Member: key.member, Sub: Subject(key.client, key.member),
			Scopes: slices.Clone(g.scopes), AuthorizedAt: g.authorizedAt, Revoked: g.revoked, Tokens: []Token{},
		}
		for _, t := range g.tokens {
			state := t.state(now)
			if state == "active" && s.pending(t, now) {
				state = "pending"
			}
			one.Tokens = append(one.Tokens, Token{
				Kind: t.kind, Fingerprint: fingerprint(t.value), IssuedAt: t.issuedAt,
				ExpiresAt: t.expiresAt, Scopes: slices.Clone(t.scopes), State: state,
			})
		}
		list = append(list, one)
	}
	return list
}

// pending reports whether the API does not honour a new access token yet.
func (s *Sim) pending(t *token, now time.Time) bool {
	return t.kind == access && now.Before(t.issuedAt.Add(s.switches.PropagationDelay))
}

// Secrets is every value that must not leak: client secrets, and all codes and
// tokens that are remembered. A test looks for them where they must not be.
func (s *Sim) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, a := range s.apps {
		list = append(list, a.Secret)
		if a.PreviousSecret != "" {
			list = append(list, a.PreviousSecret)
		}
	}
	for v := range s.state.codes {
		list = append(list, v)
	}
	for v := range s.state.tokens {
		list = append(list, v)
	}
	return list
}

// splitScopes reads scopes as LinkedIn's own clients write them: separated by
// spaces, commas or pluses. The result is sorted and without duplicates.
func splitScopes(s string) []string {
	list := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '+' })
	slices.Sort(list)
	return slices.Compact(list)
}

// covers reports whether every scope of want is among have.
func covers(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}
