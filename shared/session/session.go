// Package session knows which browser is whose: sessions, the sign-ins that
// begin them, the tickets that hand a member to a back end, and the cookies of
// all that.
package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

// Lifetime is how long a session lasts unless it is ended: as long as a browser
// keeps a cookie (draft-ietf-httpbis-rfc6265bis, section 5.5).
const Lifetime = 400 * 24 * time.Hour

// Config is what a Manager works with.
type Config struct {
	Store  Store
	Burns  Burns         // nil where nobody signs in or redeems
	Sealer keeper.Sealer // nil where nobody signs in or redeems; keeper.ErrUnavailable: its keys are not there
	// Secure is for https: cookies get Secure and the prefix __Host-. Without it
	// they have neither, which only http://localhost and 127.0.0.1 may want.
	Secure bool
	Now    func() time.Time                                 // nil: time.Now
	Sleep  func(ctx context.Context, d time.Duration) error // nil: a timer; an error when ctx ends first
}

// Manager keeps sessions, transactions and tickets. It is safe for concurrent
// use.
type Manager struct {
	Config
	prefix string // of cookie names
}

// New makes a Manager.
func New(cfg Config) (*Manager, error) {
	if cfg.Store == nil {
		return nil, errors.New("session: no Store")
	}
	if (cfg.Burns == nil) != (cfg.Sealer == nil) {
		return nil, errors.New("session: Burns and Sealer go together")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	m := &Manager{Config: cfg}
	if cfg.Secure {
		m.prefix = "__Host-"
	}
	return m, nil
}

// Member is who this browser is signed in as. The error is ErrNone when it is
// nobody, or the store's. The grant may be one that needs a new consent; it
// comes without sealed tokens.
func (m *Manager) Member(r *http.Request) (keeper.Grant, Session, error) {
	id, key, ok := m.presented(r)
	if !ok {
		return keeper.Grant{}, Session{}, ErrNone
	}
	return m.look(r.Context(), id, key)
}

// look finds a session that still holds.
func (m *Manager) look(ctx context.Context, id keeper.MemberID, key Hash) (keeper.Grant, Session, error) {
	g, s, err := m.Store.Look(ctx, id, key)
	if err != nil {
		return keeper.Grant{}, Session{}, fmt.Errorf("look for a session: %w", err)
	}
	if g.Status == keeper.SignedOut || s.Generation != g.Generation || !s.ExpiresAt.After(m.Now()) {
		return keeper.Grant{}, Session{}, ErrNone
	}
	return g, s, nil
}

// Seen is what the store has of a member, as a Keeper's SignIn and Start can use
// it. Both can do without: where it cannot be read it is nothing, beside the error.
func (m *Manager) Seen(ctx context.Context, id keeper.MemberID) (keeper.Grant, []Session, error) {
	g, have, err := m.Store.All(ctx, id)
	if err != nil {
		return keeper.Grant{}, nil, fmt.Errorf("read a member: %w", err)
	}
	return g, have, nil
}

// Start signs this browser in to g with the session id that its transaction
// brought. It ends the session that the browser had before, and those of the
// member for whom there is no room; where one cannot be ended, nobody is signed in
// anew. It sets no cookie: see SetCookie. have are the member's sessions, as Seen
// gave them; where they were not known, the next sign-in makes room.
// previous is the other member whom the browser was signed in as, or "".
func (m *Manager) Start(ctx context.Context, r *http.Request, g keeper.Grant, id secret.String, have []Session) (previous keeper.MemberID, err error) {
	key := hash(id)
	member, old, ok := m.presented(r)
	ok = ok && old != key
	if ok && member != g.Member {
		switch _, _, err := m.look(ctx, member, old); {
		case err == nil:
			previous = member
		case !errors.Is(err, ErrNone):
			return "", err
		}
	}
	now := m.Now().UTC()
	s := Session{
		Member: g.Member, Hash: key, Generation: g.Generation,
		CreatedAt: now, ExpiresAt: now.Add(Lifetime),
	}
	if err := m.Store.PutSession(ctx, s); err != nil {
		return "", fmt.Errorf("start a session: %w", err)
	}
	// A session that might go on beside the new one is worse than a sign-in that
	// must be begun again (OWASP ASVS 5.0, 7.2.4).
	end := func(member keeper.MemberID, h Hash) error {
		return m.retry(ctx, func() error { return m.Store.EndSession(ctx, member, h) })
	}
	if ok {
		if err := end(member, old); err != nil {
			return "", fmt.Errorf("end the session before: %w", err)
		}
		have = slices.DeleteFunc(slices.Clone(have), func(o Session) bool { return o.Hash == old })
	}
	for _, h := range excess(have, s, now) {
		if err := end(g.Member, h); err != nil {
			return "", fmt.Errorf("end the oldest session: %w", err)
		}
	}
	return previous, nil
}

// Started is the grant of a session that Start began with this id, as long as
// it holds; else ErrNone, or the store's error.
func (m *Manager) Started(ctx context.Context, member keeper.MemberID, id secret.String) (keeper.Grant, error) {
	g, _, err := m.look(ctx, member, hash(id))
	return g, err
}

// tries is how often a write of the store is tried.
const tries = 3

// retry does again what may be done twice.
func (m *Manager) retry(ctx context.Context, write func() error) (err error) {
	for try := range tries {
		if try > 0 && m.Sleep(ctx, 100*time.Millisecond) != nil {
			break
		}
		if err = write(); err == nil {
			return nil
		}
	}
	return err
}

// newID is 32 random bytes as 43 characters of base64url.
func newID() secret.String {
	b := make([]byte, 32)
	rand.Read(b)
	return secret.New(base64.RawURLEncoding.EncodeToString(b))
}

// isID accepts what newID makes, and no second spelling of it.
func isID(s string) bool {
	b, ok := decode(s)
	return ok && len(b) == 32
}

// decode reads base64url in its one spelling: encoding/base64 itself would skip
// line breaks.
func decode(s string) ([]byte, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil && !strings.ContainsAny(s, "\r\n")
}

func hash(s secret.String) Hash { return sha256.Sum256([]byte(s.Reveal())) }

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
