package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

// ErrNone: there is no such session, or it has ended.
var ErrNone = errors.New("session: none")

// ErrUsed: this transaction or ticket was used before.
var ErrUsed = errors.New("session: used before")

// MaxPerMember is how many sessions a member may have; the oldest goes.
const MaxPerMember = 20

// Hash is SHA-256 of a session id, a state or a ticket: stores never see the
// value itself.
type Hash [sha256.Size]byte

// Session is one browser, signed in. It is void when the member's grant has
// another generation, or is gone.
type Session struct {
	Member     keeper.MemberID
	Hash       Hash
	Generation string
	CreatedAt  time.Time
	ExpiresAt  time.Time
}

// Store keeps sessions. It is safe for concurrent use by many processes.
type Store interface {
	// Look reads the grant and one session in one consistent read. The grant
	// comes without sealed tokens (their Sealed is nil). ErrNone when either is
	// missing or its ExpiresAt is not after the store's clock. Whether
	// generation and status still hold is for the caller to judge.
	Look(ctx context.Context, id keeper.MemberID, h Hash) (keeper.Grant, Session, error)
	// All reads the grant, whole, and every session of a member, those that have
	// ended too, in any order and in one consistent read. Where there is no grant,
	// or it has ended, that is no error: it is one with its Member alone.
	All(ctx context.Context, id keeper.MemberID) (keeper.Grant, []Session, error)
	// PutSession adds s, or replaces the one with the same hash.
	PutSession(ctx context.Context, s Session) error
	// EndSession removes a session; nil when there is none.
	EndSession(ctx context.Context, id keeper.MemberID, h Hash) error
}

// Burn is the record that a state or ticket was used.
type Burn struct {
	Use       Hash // what it was used with: SHA-256 of the authorization code
	At        time.Time
	ExpiresAt time.Time
	Settled   bool            // the fields below are the outcome
	Member    keeper.MemberID // who signed in; "" when nobody did
	Outcome   string          // a fixed word of the caller's
}

// Burns makes things usable once.
type Burns interface {
	// Burn stores b under h unless a burn that has not expired is there: then it
	// returns that one and ErrUsed.
	Burn(ctx context.Context, h Hash, b Burn) (Burn, error)
	// Settle replaces the burn under h.
	Settle(ctx context.Context, h Hash, b Burn) error
}
