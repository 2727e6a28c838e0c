package linkedin

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

const (
	maxToken    = 16 << 10
	maxLifetime = 10 * 365 * 24 * time.Hour // beyond it a lifetime is nonsense, and as good as none
)

var (
	errNotJSON   = trouble{keeper.ClassOutage, "the answer is not a JSON object"}
	errNoAccess  = trouble{keeper.ClassUnknown, "the answer holds no usable access token"}
	errBadToken  = trouble{keeper.ClassUnknown, "a token in the answer is malformed"}
	errTokenType = trouble{keeper.ClassUnknown, "the token type is not Bearer"}
	errNoActive  = trouble{keeper.ClassUnknown, "the introspection does not say whether the token is active"}
	errForeign   = trouble{keeper.ClassUnknown, "the introspected token is another client's"}
	errNoSubject = trouble{keeper.ClassUnknown, "the userinfo names no subject"}
)

// tokenAnswer is what the token endpoint issued. A lifetime that was not told,
// or makes no sense, is zero.
type tokenAnswer struct {
	access, refresh, id       secret.String
	lifetime, refreshLifetime time.Duration
	scopes                    []string
}

// readTokens reads a success of the token endpoint (RFC 6749 section 5.1) as
// LinkedIn really answers: token_type may be missing, scope may be separated
// by commas, lifetimes may be strings.
func readTokens(body []byte) (tokenAnswer, error) {
	members, err := object(body)
	if err != nil {
		return tokenAnswer{}, errNotJSON
	}
	return readTokenMembers(members)
}

func readTokenMembers(members map[string]json.RawMessage) (tokenAnswer, error) {
	if t := text(members, "token_type"); !strings.EqualFold(t, "Bearer") && (t != "" || present(members, "token_type")) {
		return tokenAnswer{}, errTokenType
	}
	access := text(members, "access_token")
	if !isToken(access) {
		return tokenAnswer{}, errNoAccess
	}
	refresh, id := text(members, "refresh_token"), text(members, "id_token")
	if (refresh != "" && !isToken(refresh)) || (id != "" && !isToken(id)) {
		return tokenAnswer{}, errBadToken
	}
	return tokenAnswer{
		access:          secret.New(access),
		refresh:         secret.New(refresh),
		id:              secret.New(id),
		lifetime:        lifetime(members["expires_in"]),
		refreshLifetime: lifetime(members["refresh_token_expires_in"]),
		scopes:          scopes(text(members, "scope")),
	}, nil
}

// tokens counts the lifetimes from the start of the request. ExpiresAt is zero
// when it was not told.
func (a tokenAnswer) tokens(start time.Time) keeper.Tokens {
	t := keeper.Tokens{Access: a.access, IssuedAt: start, Refresh: a.refresh, Scopes: a.scopes}
	if a.lifetime > 0 {
		t.ExpiresAt = start.Add(a.lifetime)
	}
	if a.refreshLifetime > 0 && !a.refresh.IsZero() {
		t.RefreshExpiresAt = start.Add(a.refreshLifetime)
	}
	return t
}

// readInspection reads an introspection. Times are seconds since 1970; an
// earlier draft of LinkedIn's page had milliseconds. exp and iat are RFC 7662's.
func readInspection(body []byte, clientID string) (keeper.Inspection, error) {
	members, err := object(body)
	if err != nil {
		return keeper.Inspection{}, errNotJSON
	}
	active, ok := boolean(members["active"])
	if !ok {
		return keeper.Inspection{}, errNoActive
	}
	if id := text(members, "client_id"); id != "" && id != clientID {
		return keeper.Inspection{}, errForeign
	}
	instant := func(names ...string) time.Time {
		for _, name := range names {
			n, ok := number(members[name])
			if n > 1e11 {
				n /= 1000
			}
			if ok && n > 0 && n < 1e11 {
				return time.Unix(int64(n), 0).UTC()
			}
		}
		return time.Time{}
	}
	status := strings.ToLower(text(members, "status"))
	if !slices.Contains([]string{"active", "expired", "revoked"}, status) {
		status = ""
	}
	return keeper.Inspection{
		Active: active, Status: status, Scopes: scopes(text(members, "scope")),
		IssuedAt: instant("created_at", "iat"), ExpiresAt: instant("expires_at", "exp"),
	}, nil
}

func readUserinfo(body []byte) (subject string, p keeper.Profile, err error) {
	members, err := object(body)
	if err != nil {
		return "", keeper.Profile{}, errNotJSON
	}
	subject = text(members, "sub")
	if !isSubject(subject) {
		return "", keeper.Profile{}, errNoSubject
	}
	return subject, profile(members), nil
}

// profile reads the claims of userinfo and of an ID token. Of each what is
// malformed is left out: no one is kept from signing in by a portrait. locale
// (a string or an object) is not used; an e-mail that LinkedIn says is not
// verified is not known.
func profile(members map[string]json.RawMessage) keeper.Profile {
	p := keeper.Profile{Name: label(text(members, "name"))}
	if p.Name == "" {
		p.Name = label(text(members, "given_name") + " " + text(members, "family_name"))
	}
	picture := text(members, "picture")
	if u, err := url.Parse(picture); err == nil && len(picture) <= 2048 && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
		p.Picture = picture
	}
	verified, told := boolean(members["email_verified"])
	if email := text(members, "email"); len(email) <= 320 && email == label(email) && strings.Contains(email, "@") && (verified || !told) {
		p.Email = email
	}
	return p
}

// label is a text for people: one line without control characters, of at most
// 256 characters.
func label(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 256 {
		s = string(runes[:256])
	}
	return strings.TrimSpace(s)
}

// scopes splits on spaces and commas, also URL-encoded ones, and sorts. LinkedIn
// documents spaces and sends commas. It returns nil when there is none.
func scopes(s string) []string {
	if plain, err := url.QueryUnescape(s); err == nil {
		s = plain
	}
	all := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// isToken: 1 B to 16 KiB of visible ASCII, so that it fits a header.
func isToken(s string) bool {
	return s != "" && len(s) <= maxToken && visible(s)
}

// isSubject: OpenID Connect Core section 2.
func isSubject(s string) bool {
	return s != "" && len(s) <= 255 && visible(s)
}

func visible(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) < 0
}

// object reads one JSON object: names are exact, none may come twice, nothing
// may follow. encoding/json alone would take the last of two, in any case.
func object(body []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not an object")
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, errors.New("not JSON")
		}
		name, _ := t.(string)
		if _, twice := members[name]; twice {
			return nil, errors.New("a name comes twice")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("not JSON")
		}
		members[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("not JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	return members, nil
}

// present: there, and not null.
func present(members map[string]json.RawMessage, name string) bool {
	value, ok := members[name]
	return ok && string(value) != "null"
}

// text is a member that is a string, "" otherwise.
func text(members map[string]json.RawMessage, name string) string {
	var s string
	if json.Unmarshal(members[name], &s) != nil {
		return ""
	}
	return s
}

// number reads a finite number, also one in a string.
func number(value json.RawMessage) (float64, bool) {
	var s string
	if json.Unmarshal(value, &s) != nil {
		s = string(value)
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil && !math.IsInf(n, 0) && !math.IsNaN(n)
}

// boolean reads true and false, also in a string.
func boolean(value json.RawMessage) (is, ok bool) {
	switch strings.ToLower(strings.Trim(string(value), `"`)) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

func lifetime(value json.RawMessage) time.Duration {
	n, ok := number(value)
	if !ok || n < 1 || n > maxLifetime.Seconds() {
		return 0
	}
	return time.Duration(n) * time.Second
}
