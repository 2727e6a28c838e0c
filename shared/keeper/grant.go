// Package keeper keeps members' grants alive: what a grant is, all that can
// happen to one, and the Keeper that does it over a store and LinkedIn.
package keeper

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// MemberID names one member of one LinkedIn app in keys, logs and the API:
// the first 22 characters of base64url(SHA-256("keepin\n" + client id + "\n" + sub)).
type MemberID string

// NewMemberID derives the id of subject (LinkedIn's sub, pairwise per app).
func NewMemberID(clientID, subject string) MemberID {
	sum := sha256.Sum256([]byte("keepin\n" + clientID + "\n" + subject))
	return MemberID(base64.RawURLEncoding.EncodeToString(sum[:])[:22])
}

// ParseMemberID accepts exactly 22 characters of base64url.
func ParseMemberID(s string) (MemberID, error) {
	if len(s) != 22 {
		return "", errors.New("keeper: a member id has 22 characters")
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return "", errors.New("keeper: a member id has characters of base64url only")
		}
	}
	return MemberID(s), nil
}

// Shards is how many parts the due index has.
const Shards = 16

// Shard is the part of the due index that id belongs to, 0 to Shards-1.
func (id MemberID) Shard() int { return int(id.hash() % Shards) }

// hash spreads members evenly; it is not a secret.
func (id MemberID) hash() uint64 {
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint64(sum[:8])
}

// Status is where a grant stands.
type Status string

// The three states of a grant. A grant is Active while anything is left that
// can serve or be renewed; Reconnect when the member must consent again;
// SignedOut after a logout.
const (
	Active    Status = "active"
	Reconnect Status = "reconnect"
	SignedOut Status = "signed_out"
)

// Profile is what LinkedIn says of a member. Picture is the address of the
// portrait; Email is empty where it was not granted or is not known.
type Profile struct{ Name, Picture, Email string }

// Token is one sealed token and what is known of it. The zero Token is none.
type Token struct {
	Sealed    []byte    // opened only by a Sealer, for this member and purpose
	IssuedAt  time.Time // when LinkedIn issued it
	ExpiresAt time.Time // when it ends
	ProvenAt  time.Time // last time LinkedIn honoured it; zero: not yet
	RefusedAt time.Time // last time LinkedIn refused it, not honoured since; zero: never
}

// Lease is the right to work on a grant until Until. The zero Lease is free.
type Lease struct {
	ID    string
	Until time.Time
}

// Trouble is why the last work on a grant failed. A success clears it.
type Trouble struct {
	Class   Class
	Count   int       // failures in a row, of any class
	Since   time.Time // the first of them
	At      time.Time // the last of them
	RetryAt time.Time // not before, but for a caller who needs a token
}

// Notice is the last rung of the ladder of notices (30, 14, 7, 3 and 1 days
// before) that was sent, and the deadline that it spoke of: another deadline
// has a ladder of its own.
type Notice struct {
	Days     int // 0: none yet
	Deadline time.Time
}

// Grant is what one member gave one LinkedIn app: one item with everything in
// it, written whole. Its methods are pure: they take the time, do no I/O, and
// either change the grant or return an error and leave it as it was.
type Grant struct {
	Member      MemberID
	Subject     string // LinkedIn's sub
	Profile     Profile
	Generation  string // random; new at every logout
	Status      Status
	Scopes      []string // as granted, sorted
	Access      Token    // what callers are given
	Fresh       Token    // issued, not yet known to be honoured everywhere
	Refresh     Token    // ends on a fixed day; zero when LinkedIn gave none
	Lease       Lease
	Trouble     Trouble
	VerifiedAt  time.Time // last time LinkedIn vouched for the access token; zero since a sign-in
	CheckedAt   time.Time // last introspection that answered, whatever it said
	ExchangedAt time.Time // when Fresh was issued, where a code was exchanged for it; zero: otherwise
	Announced   Notice
	Outbox      Outbox

	Due       time.Time // when Next is due, the key of the due index; zero: never. Set by the Keeper
	ExpiresAt time.Time // from then on the item is gone; zero: never. Set by the Keeper
	Rev       string    // random, new at every write
}

// Outbox holds events that the grant's last changes caused and that nobody has
// been told of yet. They are written with the change itself, so none is lost.
type Outbox struct {
	Events  []Event // oldest first, at most 16
	Count   int     // deliveries that failed in a row
	RetryAt time.Time
}

// EventType is the type of a CloudEvent.
type EventType string

// What keepin tells the application.
const (
	MemberConnected         EventType = "keepin.member.connected"
	MemberReconnectDue      EventType = "keepin.member.reconnect_due"
	MemberReconnectRequired EventType = "keepin.member.reconnect_required"
	MemberSignedOut         EventType = "keepin.member.signed_out"
	IncidentOpened          EventType = "keepin.incident.opened"
	IncidentClosed          EventType = "keepin.incident.closed"
)

// Event is something the application should know. A duplicate has the same ID.
type Event struct {
	ID          string
	Type        EventType
	Subject     string // the member id, or the incident's id
	At          time.Time
	Days        int       // reconnect_due: whole days left, rounded up
	ReconnectBy time.Time // reconnect_due: the deadline
	Reason      string    // reconnect_required: "expired" or "revoked"; an incident: its cause
}

// Class says whose trouble a failed LinkedIn call is. Only the linkedin package
// decides it.
type Class string

// The classes of failure; shared/linkedin/classify.go has what belongs to each.
const (
	ClassMember      Class = "member"      // this token or grant is refused
	ClassApplication Class = "application" // the app's own credentials are refused
	ClassBusy        Class = "busy"        // too many calls
	ClassOutage      Class = "outage"      // no usable answer: 5xx, time-out, reset, broken body
	ClassUnknown     Class = "unknown"     // an answer that makes no sense: never the member's fault
)

// CallError is a LinkedIn call that failed.
type CallError struct {
	Class   Class
	Revoked bool      // ClassMember on an API call: LinkedIn named the token revoked (65601), not merely expired or invalid
	RetryAt time.Time // ClassBusy: when LinkedIn says to come back; zero when it did not say
	Record  Record    // what LinkedIn's support asks for; no secret in it
}

// Error names the operation, the class and the status, and nothing LinkedIn sent.
func (e *CallError) Error() string {
	if e.Record.Status == 0 {
		return fmt.Sprintf("linkedin: %s: %s: %s", e.Record.Operation, e.Class, e.Record.Problem)
	}
	return fmt.Sprintf("linkedin: %s: %s: status %d", e.Record.Operation, e.Class, e.Record.Status)
}

// ClassOf is the class of a provider's error: ClassUnknown for one that is no
// CallError, "" for nil.
func ClassOf(err error) Class {
	if err == nil {
		return ""
	}
	if c, ok := errors.AsType[*CallError](err); ok {
		return c.Class
	}
	return ClassUnknown
}

// Record is one failed LinkedIn call as LinkedIn's support asks for it
// ("Best Practices for Application Development", Errors). Tokens, codes and
// secrets stand in it as fingerprints.
type Record struct {
	Operation       string            `json:"operation"` // exchange, refresh, introspect, userinfo, revoke, keys, sdk_exchange
	At              time.Time         `json:"at"`        // UTC
	Took            time.Duration     `json:"took_ns"`
	ClientID        string            `json:"client_id"`
	Method          string            `json:"method"`
	URL             string            `json:"url"`
	RequestHeaders  map[string]string `json:"request_headers,omitempty"`
	RequestBody     string            `json:"request_body,omitempty"`
	Status          int               `json:"status,omitempty"`           // 0: no answer
	ResponseHeaders map[string]string `json:"response_headers,omitempty"` // x-li-uuid, x-li-fabric, x-li-request-id, ...
	ResponseBody    string            `json:"response_body,omitempty"`
	Problem         string            `json:"problem,omitempty"` // a fixed phrase: "time-out", "connection reset", "the ID token's issuer is wrong", ...
}
