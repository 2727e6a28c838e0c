package keeper

import (
	"context"
	"errors"
	"time"

	"github.com/keepin/keepin/shared/secret"
)

// The errors that callers of a Keeper branch on.
var (
	// ErrNotFound: there is no such grant, or it is signed out.
	ErrNotFound = errors.New("keeper: no such grant")
	// ErrConflict: the stored revision is another. It does not leave a Keeper.
	ErrConflict = errors.New("keeper: revision conflict")
	// ErrReconnect: both tokens are expired or revoked; the member must consent again.
	ErrReconnect = errors.New("keeper: the member must sign in again")
	// ErrUnavailable: not now; try again in a few seconds.
	ErrUnavailable = errors.New("keeper: try again")
)

// Store keeps grants. It is safe for concurrent use by many processes.
//
// Every call may fail with an error of its own; after such an error of Put the
// write may or may not have happened. Times come back in UTC, exact to the
// microsecond. The store keeps no slice or map of a grant it was given, and
// hands out none that it keeps.
type Store interface {
	// Get reads consistently: it sees every Put that has returned. A grant whose
	// ExpiresAt is not after the store's clock is ErrNotFound, whether or not it
	// has been removed yet.
	Get(ctx context.Context, id MemberID) (Grant, error)
	// Put stores g if the stored grant has revision old, and returns ErrConflict
	// and changes nothing otherwise. An empty old means that there must be no
	// grant (an expired one is none). g.Rev is the new revision: the caller
	// makes it random and never uses one twice, so that after ErrConflict a Get
	// tells whether it was this very write that had succeeded.
	Put(ctx context.Context, g Grant, old string) error
	// Due names at most limit grants of a shard whose Due is not zero and not
	// after before, the longest due first; those of one time in an order of the
	// store's own that stays. It begins behind the nominee after, whose entry may
	// be gone since; where that has no Member, with the first that is due then or
	// later. It only nominates: it may be late, and name what has been done since;
	// the grant itself decides.
	Due(ctx context.Context, shard int, after Nominee, before time.Time, limit int) ([]Nominee, error)
}

// Nominee is an entry of the due index: a grant, and the Due that it has there.
type Nominee struct {
	Member MemberID
	Due    time.Time
}

// Control is what concerns every grant at once: breaker, brake, pause, outage
// and the open incidents. One item; its zero value is all well.
type Control struct {
	Breaker  Breaker        `json:"breaker,omitzero"`
	Brake    Brake          `json:"brake,omitzero"`
	Outage   Outage         `json:"outage,omitzero"`
	Locked   Locked         `json:"locked,omitzero"`
	PausedAt time.Time      `json:"paused_at,omitzero"` // zero: not paused
	Open     []OpenIncident `json:"open,omitempty"`
	Untold   []Event        `json:"untold,omitempty"` // of incidents opened and closed, not yet delivered
	Rev      string         `json:"-"`
}

// Breaker stops refreshes while LinkedIn refuses the application itself or is
// busy. The zero Breaker is closed.
type Breaker struct {
	Class Class     `json:"class"` // ClassApplication or ClassBusy
	Since time.Time `json:"since"`
	Until time.Time `json:"until"` // busy: closed again from then on; application: one call may probe from then on
	Count int       `json:"count"`
}

// Brake remembers which members were refused since the last success. While it
// holds 3, no grant is ended: it may be LinkedIn that is ill.
type Brake struct {
	Refused []MemberID `json:"refused"`
	At      time.Time  `json:"at"` // the last refusal
}

// Outage counts calls without a usable answer since the last success of the
// same operation, or since tokens were issued.
type Outage struct {
	Since     time.Time `json:"since"`
	Count     int       `json:"count"`
	Operation string    `json:"operation"` // of the last of them
}

// Locked remembers up to 3 members of whom a token does not open, as where its
// key was lost or pruned, or what is stored was damaged. Their incident is open
// as long as there is one.
type Locked struct {
	Members []MemberID `json:"members"`
	At      time.Time  `json:"at"` // when a token did not open last, within an hour
}

// OpenIncident is an incident that has not ended.
type OpenIncident struct {
	ID    string    `json:"id"`
	Cause string    `json:"cause"`
	Since time.Time `json:"since"`
	// Records is how many failed calls the incident keeps a record of.
	Records int `json:"records"`
}

// Incident is one cause of trouble from its beginning to its end, with the
// first records of it.
type Incident struct {
	ID       string    `json:"id"`
	Cause    string    `json:"cause"` // application, outage, brake, keys, unknown:OPERATION
	OpenedAt time.Time `json:"opened_at"`
	ClosedAt time.Time `json:"closed_at,omitzero"` // zero: still open
	Records  []Record  `json:"records,omitempty"`  // at most 3
}

// KeepIncidents is how long after its beginning an incident is kept.
const KeepIncidents = 90 * 24 * time.Hour

// Desk keeps the control item and the incidents.
type Desk interface {
	// Control reads consistently; the zero Control when none was stored yet.
	Control(ctx context.Context) (Control, error)
	// PutControl is Store.Put for the control item: old "" means none yet.
	PutControl(ctx context.Context, c Control, old string) error
	// PutIncident stores i, in place of one with the same ID and OpenedAt.
	PutIncident(ctx context.Context, i Incident) error
	// Incidents returns those opened at since or later, and less than
	// KeepIncidents ago, newest first. It is for people: it may cost what is
	// stored.
	Incidents(ctx context.Context, since time.Time) ([]Incident, error)
}

// Tokens is what LinkedIn issued, in the clear. Refresh is zero when LinkedIn
// gave none; RefreshExpiresAt is zero when it gave a refresh token and did not
// say when it ends. Scopes is sorted, and nil when LinkedIn did not say.
type Tokens struct {
	Access           secret.String
	IssuedAt         time.Time
	ExpiresAt        time.Time // of Access
	Refresh          secret.String
	RefreshExpiresAt time.Time
	Scopes           []string
	Subject          string // of the ID token that came along; "" when none did
	ByCode           bool   // an authorization code was exchanged for them
}

// Identity is who a token belongs to: LinkedIn's sub is pairwise, so it names a
// member only together with the app's client id.
type Identity struct {
	ClientID string
	Subject  string
	Profile  Profile
}

// Member is the id of who that is.
func (id Identity) Member() MemberID { return NewMemberID(id.ClientID, id.Subject) }

// Authorization is one trip of a browser to the consent page and back. Nonce
// and Verifier (PKCE) are zero where the provider's profile switches them off,
// as LinkedIn's does.
type Authorization struct {
	State, Nonce, Verifier secret.String
	IssuedAt               time.Time
}

// Inspection is what introspection says of an access token.
type Inspection struct {
	Active    bool
	Status    string    // active, expired, revoked; "" when LinkedIn does not say
	IssuedAt  time.Time // zero when LinkedIn does not say
	ExpiresAt time.Time // zero when LinkedIn does not say
	Scopes    []string
}

// Provider is LinkedIn as the Keeper needs it. Every call has its own deadline,
// follows no redirect and is not repeated inside, but that a call which was
// refused for its client secret may be made once more with another one. Every
// error is a *CallError.
type Provider interface {
	Refresh(ctx context.Context, refresh secret.String) (Tokens, error)
	Inspect(ctx context.Context, access secret.String) (Inspection, error)
	// Identify asks userinfo: a real API call. ClassMember: the token is refused.
	Identify(ctx context.Context, access secret.String) (Identity, error)
	// Revoke is best effort: LinkedIn documents no such call.
	Revoke(ctx context.Context, token secret.String) error
}

// Purpose is what a sealed value is for; it opens for no other.
type Purpose string

// What keepin seals.
const (
	PurposeAccess      Purpose = "access"
	PurposeRefresh     Purpose = "refresh"
	PurposeTransaction Purpose = "transaction"
	PurposeTicket      Purpose = "ticket"
)

// Sealer encrypts for one purpose and one owner. A value that was changed, or
// sealed for another purpose, owner or app, or whose key is no more, does not
// open; every such failure is one and the same error. One that is
// ErrUnavailable says nothing of the value: the keys cannot be read now.
type Sealer interface {
	Seal(ctx context.Context, clear secret.String, purpose Purpose, owner string) ([]byte, error)
	Open(ctx context.Context, sealed []byte, purpose Purpose, owner string) (secret.String, error)
}
