package keeper

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/keepin/keepin/shared/secret"
)

const (
	leaseFor     = 45 * time.Second // > 4 x the deadline of one call to LinkedIn
	waitForRun   = 5 * time.Second  // a caller waits this long for another's work
	revokeFor    = 2 * time.Second
	putTries     = 6
	answerTries  = 12 // of what LinkedIn issued: some 12 seconds
	maxConflicts = 50
)

// Config is what a Keeper works with. Store, Desk, Provider and Sealer are
// required; see each of the others for what its zero value means.
type Config struct {
	Store    Store
	Desk     Desk
	Provider Provider
	Sealer   Sealer

	// Events delivers one event, at least once; nil: nobody is told.
	Events func(context.Context, Event) error
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Sleep waits, or returns the context's error; nil: by a timer.
	Sleep func(context.Context, time.Duration) error
	// Log takes one line for each failed LinkedIn call; nil: none.
	Log *slog.Logger
	// Workers is how many grants a pass works on at once; 0: 96.
	Workers int
	// Rate is how many grants a second a pass begins, each with at most two calls to
	// LinkedIn; 0: 250.
	Rate int
}

// Keeper does to grants what is due, and hands out their tokens. It holds no
// state: any number of them may work on one store, in any number of processes.
type Keeper struct {
	Config
}

// New checks c. It does no I/O.
func New(c Config) (*Keeper, error) {
	if c.Store == nil || c.Desk == nil || c.Provider == nil || c.Sealer == nil {
		return nil, errors.New("keeper: Store, Desk, Provider and Sealer are required")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Events == nil {
		c.Events = func(context.Context, Event) error { return nil }
	}
	if c.Workers <= 0 {
		c.Workers = 96
	}
	if c.Rate <= 0 {
		c.Rate = 250
	}
	return &Keeper{c}, nil
}

// SignIn keeps what a member has just granted. It returns the grant as stored.
// seen is the member's grant as the store had it a moment ago, one with nothing
// but its Member where there was none; the zero Grant: not read yet.
func (k *Keeper) SignIn(ctx context.Context, seen Grant, id Identity, t Tokens) (Grant, error) {
	if id.Subject == "" || id.ClientID == "" || t.Access.IsZero() || !t.ExpiresAt.After(t.IssuedAt) {
		return Grant{}, errors.New("keeper: sign in: the identity or the token is not whole")
	}
	member := id.Member()
	issued, err := k.seal(ctx, member, t)
	if err != nil {
		return Grant{}, err
	}
	generation := rand.Text()
	begun, first := "", true
	last := &seen
	if seen.Member != member {
		last = nil
	}
	g, err := k.change(ctx, member, last, putTries, func(g *Grant) error {
		if first {
			begun, first = g.Generation, false
		} else if g.Status == SignedOut && g.Generation != begun {
			return errOvertaken // a logout came between two tries: it wins
		}
		g.SignIn(k.now(), generation, id, issued)
		return nil
	})
	if errors.Is(err, errOvertaken) {
		k.revoke(ctx, g, issued.Access, Token{}, issued.Refresh)
		return Grant{}, fmt.Errorf("sign in: %w (%v)", ErrUnavailable, err)
	}
	return g, err
}

// Token is an access token with at least left of its life to go, refreshed or
// proven first where that is needed. Where LinkedIn cannot be asked now, it is
// the live token with what is left of it. Errors: ErrNotFound (signed out too),
// ErrReconnect (also when no refresh can give left), ErrUnavailable.
func (k *Keeper) Token(ctx context.Context, id MemberID, left time.Duration) (secret.String, Grant, error) {
	for waited, wait, rounds := time.Duration(0), 100*time.Millisecond, 0; ; {
		g, err := k.Store.Get(ctx, id)
		if err != nil {
			return secret.String{}, Grant{}, k.storeError("get", err)
		}
		now := k.now()
		t, serving := g.Serving(now)
		switch state := g.State(now); {
		case state == StateSignedOut:
			return secret.String{}, g, ErrNotFound
		case state == StateReconnect || !g.canGive(now, left):
			return secret.String{}, g, ErrReconnect
		case serving && t.ExpiresAt.Sub(now) >= left && !g.unsure(now):
			return k.open(ctx, g, t)
		}
		if rounds < 4 && waited < waitForRun {
			_, err = k.work(ctx, id, max(left, 0), &gate{k: k})
			if err == nil || ClassOf(err) == ClassMember {
				rounds++
				continue
			}
			// Another worker is at it, or a young token is refused for a moment.
			enough := serving && t.ExpiresAt.Sub(now) >= left
			if !enough && (errors.Is(err, errLeased) || errors.Is(err, errNotYet) && g.Fresh.live(now)) {
				if k.Sleep(ctx, wait) == nil {
					waited, wait = waited+wait, min(2*wait, time.Second)
					continue
				}
			}
		}
		return k.serveWhatLives(ctx, id)
	}
}

// serveWhatLives answers a caller whom no work could give more.
func (k *Keeper) serveWhatLives(ctx context.Context, id MemberID) (secret.String, Grant, error) {
	g, err := k.Store.Get(ctx, id)
	if err != nil {
		return secret.String{}, Grant{}, k.storeError("get", err)
	}
	now := k.now()
	switch g.State(now) {
	case StateSignedOut:
		return secret.String{}, g, ErrNotFound
	case StateReconnect:
		return secret.String{}, g, ErrReconnect
	}
	if t, ok := g.Serving(now); ok {
		return k.open(ctx, g, t)
	}
	return secret.String{}, g, ErrUnavailable
}

// Grant is the grant as it stands; ErrNotFound for a signed-out one too.
func (k *Keeper) Grant(ctx context.Context, id MemberID) (Grant, error) {
	g, err := k.Store.Get(ctx, id)
	if err != nil {
		return Grant{}, k.storeError("get", err)
	}
	if g.Status == SignedOut {
		return Grant{}, ErrNotFound
	}
	return g, nil
}

// Inspect is Grant after an introspection now, at most once a minute for each
// member. Where LinkedIn does not answer it is the grant as it stands:
// VerifiedAt tells.
func (k *Keeper) Inspect(ctx context.Context, id MemberID) (Grant, error) {
	var t Token
	gate, probe := &gate{k: k}, false
	g, err := k.update(ctx, id, func(g *Grant) (err error) {
		now, ok := k.now(), false
		if t, ok = g.Serving(now); !ok {
			t = g.newest()
		}
		if t.IsZero() {
			return errNothing
		}
		if err := g.Check(now); err != nil || probe {
			return err
		}
		probe, err = gate.pass(ctx, now, TaskVerify)
		return err
	})
	if errors.Is(err, errNothing) || errors.Is(err, errBlocked) {
		return k.Grant(ctx, id)
	}
	if err != nil {
		return Grant{}, err
	}
	ins, err := k.inspect(ctx, g, t, gate)
	if err != nil {
		return k.Grant(ctx, id)
	}
	return k.updateFrom(ctx, g, putTries, func(g *Grant) error {
		if g.Status == SignedOut {
			return ErrNotFound
		}
		g.Verified(k.now(), t, ins)
		return nil
	})
}

// SignOut destroys the member's tokens and, by the new generation, sessions:
// no call that begins once it has returned nil is answered with one. A member who is unknown
// or signed out already is nil too. LinkedIn's revoke follows, best effort,
// within 2 seconds.
func (k *Keeper) SignOut(ctx context.Context, id MemberID) error {
	var was Grant
	g, err := k.update(ctx, id, func(g *Grant) error {
		if g.Rev == "" {
			return ErrNotFound
		}
		before := *g
		if err := g.SignOut(k.now(), rand.Text()); err != nil {
			return err
		}
		was = before
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, errNothing) {
		return err
	}
	k.revoke(ctx, g, was.Access, was.Fresh, was.Refresh)
	return nil
}

// Observe tells breaker and incidents how a call of a sign-in went: operation
// as in Record, nil for a success. It logs a failed call.
func (k *Keeper) Observe(ctx context.Context, operation string, err error) {
	k.observe(ctx, &gate{k: k}, "", operation, err)
}

// update is the only way a grant changes: read, transition, put; on a conflict
// the transition runs again on the fresh grant. A grant whose stored revision is
// one we tried to write is our own write, whatever the store had answered. Only
// the put is ever retried, never what led to it. f sees Rev "" where there is
// no grant; it is run until a put holds, so it must not do anything twice.
func (k *Keeper) update(ctx context.Context, id MemberID, f func(*Grant) error) (Grant, error) {
	return k.change(ctx, id, nil, putTries, f)
}

// updateFrom is update for a caller who has seen the grant. The store may fail
// tries times.
func (k *Keeper) updateFrom(ctx context.Context, seen Grant, tries int, f func(*Grant) error) (Grant, error) {
	return k.change(ctx, seen.Member, &seen, tries, f)
}

// change is update whose first try is made on what was seen, which saves a read.
func (k *Keeper) change(ctx context.Context, id MemberID, seen *Grant, tries int, f func(*Grant) error) (Grant, error) {
	var tried []string
	last, wait := error(ErrConflict), 50*time.Millisecond
	for failed, conflicts := 0, 0; failed < tries && conflicts < maxConflicts; {
		g, err, guess := Grant{Member: id}, error(nil), seen != nil
		if guess {
			g, seen = *seen, nil
		} else if g, err = k.Store.Get(ctx, id); errors.Is(err, ErrNotFound) {
			g, err = Grant{Member: id}, nil
		}
		if err == nil {
			if g.Rev != "" && slices.Contains(tried, g.Rev) {
				return g, nil
			}
			old, lease := g.Rev, g.Lease
			if err := f(&g); errors.Is(err, errUnchanged) {
				return g, nil
			} else if err != nil && guess {
				continue // what was seen may be out of date
			} else if err != nil {
				return g, err
			}
			if old == "" && g.Status == "" {
				return g, ErrNotFound
			}
			if _, at := g.Next(k.now()); g.Lease == lease || g.Lease.ID == "" {
				g.Due = at
			}
			g.Rev = rand.Text()
			tried = append(tried, g.Rev)
			if err = k.Store.Put(ctx, g, old); err == nil {
				return g, nil
			}
		}
		if last = err; errors.Is(err, ErrConflict) {
			conflicts++
			continue
		}
		failed++
		if failed < tries && k.Sleep(ctx, wait) != nil {
			break
		}
		wait = min(2*wait, 1600*time.Millisecond)
	}
	return Grant{}, k.storeError("update", last)
}

// errUnchanged ends an update without a put.
var errUnchanged = errors.New("keeper: nothing to write")

// storeError hides what a store said behind ErrUnavailable, but for ErrNotFound.
func (k *Keeper) storeError(what string, err error) error {
	if errors.Is(err, ErrNotFound) {
		return ErrNotFound
	}
	k.Log.Error("the store failed", "operation", what, "error", err.Error())
	return fmt.Errorf("%s: %w (%v)", what, ErrUnavailable, err)
}

// open is what a caller of Token gets: t in the clear.
func (k *Keeper) open(ctx context.Context, g Grant, t Token) (secret.String, Grant, error) {
	clear, err := k.unseal(ctx, &gate{k: k}, g, t, PurposeAccess)
	if err != nil {
		return secret.String{}, g, fmt.Errorf("open the access token: %w", ErrUnavailable)
	}
	g.Access, g.Fresh = t, Token{} // what the caller is told is about this token
	return clear, g, nil
}

// unseal opens a token of g's. One that does not open is logged, and an incident
// of its own.
func (k *Keeper) unseal(ctx context.Context, gate *gate, g Grant, t Token, p Purpose) (secret.String, error) {
	clear, err := k.Sealer.Open(ctx, t.Sealed, p, string(g.Member))
	if errors.Is(err, ErrUnavailable) || err != nil && ctx.Err() != nil {
		k.Log.Error("the keys cannot be read", "error", err.Error())
		return clear, err
	}
	if err != nil {
		k.Log.Error("a token does not open", "member", string(g.Member), "purpose", string(p), "error", err.Error())
	}
	k.locked(ctx, gate, g.Member, err)
	return clear, err
}

// seal makes of t what a grant keeps.
func (k *Keeper) seal(ctx context.Context, id MemberID, t Tokens) (Issued, error) {
	one := func(clear secret.String, p Purpose, ends time.Time) (Token, error) {
		sealed, err := k.Sealer.Seal(ctx, clear, p, string(id))
		if err != nil {
			k.Log.Error("a token cannot be sealed", "error", err.Error())
			return Token{}, fmt.Errorf("seal the %s token: %w", p, ErrUnavailable)
		}
		return Token{Sealed: sealed, IssuedAt: utc(t.IssuedAt), ExpiresAt: utc(ends)}, nil
	}
	in := Issued{Scopes: t.Scopes, ByCode: t.ByCode}
	var err error
	if in.Access, err = one(t.Access, PurposeAccess, t.ExpiresAt); err != nil {
		return Issued{}, err
	}
	if !t.Refresh.IsZero() {
		if in.Refresh, err = one(t.Refresh, PurposeRefresh, t.RefreshExpiresAt); err != nil {
			return Issued{}, err
		}
	}
	return in, nil
}

// revoke asks LinkedIn to forget the tokens, while the member is still signed
// out, as g is by the store's last answer: it may kill a grant that a sign-in has
// made since. Nothing depends on LinkedIn's.
func (k *Keeper) revoke(ctx context.Context, g Grant, access, fresh, refresh Token) {
	ctx, cancel := context.WithTimeout(ctx, revokeFor)
	defer cancel()
	seen := true
	for _, t := range []struct {
		Token
		Purpose
	}{{refresh, PurposeRefresh}, {access, PurposeAccess}, {fresh, PurposeAccess}} {
		if t.IsZero() {
			continue
		}
		clear, err := k.Sealer.Open(ctx, t.Sealed, t.Purpose, string(g.Member))
		if err != nil {
			continue
		}
		if !seen {
			now, err := k.Store.Get(ctx, g.Member)
			if err == nil && now.Status != SignedOut || err != nil && !errors.Is(err, ErrNotFound) {
				return
			}
		}
		seen = false
		if err := k.Provider.Revoke(ctx, clear); err != nil {
			k.Log.Debug("linkedin did not revoke", "member", string(g.Member), "error", err.Error())
			return // LinkedIn documents no revocation: one refusal says it all
		}
	}
}

func (k *Keeper) now() time.Time { return utc(k.Now()) }

// utc is t as stores keep it.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
