package session

import (
	"net/http"
	"strings"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

// sessionName and transactionName are our cookies' names behind the prefix.
const (
	sessionName     = "keepin"
	transactionName = "keepin_tx_"
)

// SetCookie gives the browser its session: the member's id and the session's,
// for as long as a browser keeps a cookie.
func (m *Manager) SetCookie(w http.ResponseWriter, member keeper.MemberID, id secret.String) {
	m.set(w, m.prefix+sessionName, string(member)+"."+id.Reveal(), Lifetime)
}

// Clear takes all our cookies from the browser that sent r.
func (m *Manager) Clear(w http.ResponseWriter, r *http.Request) {
	m.set(w, m.prefix+sessionName, "", 0)
	seen := make(map[string]bool)
	for _, c := range cookies(r) {
		if strings.HasPrefix(c.name, m.prefix+transactionName) && !seen[c.name] {
			seen[c.name] = true
			m.expire(w, c.name)
		}
	}
}

// ClearBroken takes a session cookie away that is none of ours: malformed, or
// there twice. One that names no session stays: a sign-in in another tab may
// just have replaced it.
func (m *Manager) ClearBroken(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := m.presented(r); !ok && len(values(r, m.prefix+sessionName)) > 0 {
		m.expire(w, m.prefix+sessionName)
	}
}

// presented is what the browser's session cookie says, unproven; not ok when
// there is none, or more than one, or one that we never set.
func (m *Manager) presented(r *http.Request) (keeper.MemberID, Hash, bool) {
	got := values(r, m.prefix+sessionName)
	if len(got) != 1 {
		return "", Hash{}, false
	}
	member, id, ok := strings.Cut(got[0], ".")
	if !ok || !isID(id) {
		return "", Hash{}, false
	}
	m2, err := keeper.ParseMemberID(member)
	return m2, hash(secret.New(id)), err == nil
}

func (m *Manager) expire(w http.ResponseWriter, name string) { m.set(w, name, "", 0) }

// set sets one cookie, for life; a life of 0 takes it away.
func (m *Manager) set(w http.ResponseWriter, name, value string, life time.Duration) {
	c := http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(life / time.Second),
		HttpOnly: true, Secure: m.Secure, SameSite: http.SameSiteLaxMode,
	}
	if life == 0 {
		c.MaxAge = -1 // "Max-Age=0" on the wire
	}
	http.SetCookie(w, &c)
}

type cookie struct{ name, value string }

// cookies are the pairs of the Cookie header, as they came: net/http's own
// parser would drop and unquote some, and a second cookie of ours must not
// hide. A prefix in other letters (__HOST-) is not ours.
func cookies(r *http.Request) []cookie {
	var all []cookie
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			name, value, _ := strings.Cut(strings.Trim(part, " \t"), "=")
			all = append(all, cookie{name, value})
		}
	}
	return all
}

// Cookie is the one cookie of that name, as the browser sent it; not ok when
// there is none, or more than one: then nobody knows whose each is.
func Cookie(r *http.Request, name string) (value string, ok bool) {
	got := values(r, name)
	if len(got) != 1 {
		return "", false
	}
	return got[0], true
}

func values(r *http.Request, name string) []string {
	var got []string
	for _, c := range cookies(r) {
		if c.name == name {
			got = append(got, c.value)
		}
	}
	return got
}
