package bolt

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// Rows of version 1 are JSON. They are read, and never written: the next write of
// an item makes a row of the present version of it. No new field belongs here,
// but for a conversion that would not compile without one: with the tag "-".

type grantItem struct {
	Subject    string      `json:"sub,omitempty"`
	Profile    profileItem `json:"profile,omitzero"`
	Generation string      `json:"generation,omitempty"`
	Status     string      `json:"status,omitempty"`
	Scopes     []string    `json:"scopes,omitempty"`
	Access     tokenItem   `json:"access,omitzero"`
	Fresh      tokenItem   `json:"fresh,omitzero"`
	Refresh    tokenItem   `json:"refresh,omitzero"`
	Lease      leaseItem   `json:"lease,omitzero"`
	Trouble    troubleItem `json:"trouble,omitzero"`
	VerifiedAt time.Time   `json:"verified_at,omitzero"`
	CheckedAt  time.Time   `json:"checked_at,omitzero"`
	Announced  noticeItem  `json:"announced,omitzero"`
	Outbox     outboxItem  `json:"outbox,omitzero"`
	Due        time.Time   `json:"due,omitzero"`
	ExpiresAt  time.Time   `json:"expires_at,omitzero"`
	Rev        string      `json:"rev"`
}

type profileItem struct {
	Name    string `json:"name,omitempty"`
	Picture string `json:"picture,omitempty"`
	Email   string `json:"email,omitempty"`
}

type tokenItem struct {
	Sealed    []byte    `json:"sealed,omitempty"`
	IssuedAt  time.Time `json:"issued_at,omitzero"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	ProvenAt  time.Time `json:"proven_at,omitzero"`
	RefusedAt time.Time `json:"refused_at,omitzero"`
}

type leaseItem struct {
	ID    string    `json:"id,omitempty"`
	Until time.Time `json:"until,omitzero"`
}

type troubleItem struct {
	Class   keeper.Class `json:"class,omitempty"`
	Count   int          `json:"count,omitempty"`
	Since   time.Time    `json:"since,omitzero"`
	At      time.Time    `json:"at,omitzero"`
	RetryAt time.Time    `json:"retry_at,omitzero"`
}

type noticeItem struct {
	Days     int       `json:"days,omitempty"`
	Deadline time.Time `json:"deadline,omitzero"`
}

type outboxItem struct {
	Events  []eventItem `json:"events,omitempty"`
	Count   int         `json:"count,omitempty"`
	RetryAt time.Time   `json:"retry_at,omitzero"`
}

type eventItem struct {
	ID          string           `json:"id,omitempty"`
	Type        keeper.EventType `json:"type,omitempty"`
	Subject     string           `json:"subject,omitempty"`
	At          time.Time        `json:"at,omitzero"`
	Days        int              `json:"days,omitempty"`
	ReconnectBy time.Time        `json:"reconnect_by,omitzero"`
	Reason      string           `json:"reason,omitempty"`
}

func grantV1(row []byte) (keeper.Grant, error) {
	i, err := decodeV1[grantItem](row)
	if err != nil {
		return keeper.Grant{}, err
	}
	g := keeper.Grant{
		Subject: i.Subject, Profile: keeper.Profile(i.Profile), Generation: i.Generation,
		Status: keeper.Status(i.Status), Scopes: i.Scopes,
		Access: keeper.Token(i.Access), Fresh: keeper.Token(i.Fresh), Refresh: keeper.Token(i.Refresh),
		Lease: keeper.Lease(i.Lease), Trouble: keeper.Trouble(i.Trouble),
		VerifiedAt: i.VerifiedAt, CheckedAt: i.CheckedAt, Announced: keeper.Notice(i.Announced),
		Outbox: keeper.Outbox{Count: i.Outbox.Count, RetryAt: i.Outbox.RetryAt},
		Due:    i.Due, ExpiresAt: i.ExpiresAt, Rev: i.Rev,
	}
	for _, e := range i.Outbox.Events {
		g.Outbox.Events = append(g.Outbox.Events, keeper.Event(e))
	}
	return g, nil
}

type sessionItem struct {
	Generation string    `json:"generation,omitempty"`
	CreatedAt  time.Time `json:"created_at,omitzero"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
}

func sessionV1(row []byte) (session.Session, error) {
	i, err := decodeV1[sessionItem](row)
	if err != nil {
		return session.Session{}, err
	}
	return session.Session{Generation: i.Generation, CreatedAt: i.CreatedAt, ExpiresAt: i.ExpiresAt}, nil
}

type burnItem struct {
	Use       []byte    `json:"use"`
	At        time.Time `json:"at,omitzero"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Settled   bool      `json:"settled,omitempty"`
	Member    string    `json:"member,omitempty"`
	Outcome   string    `json:"outcome,omitempty"`
}

func burnV1(row []byte) (session.Burn, error) {
	i, err := decodeV1[burnItem](row)
	if err != nil {
		return session.Burn{}, err
	}
	b := session.Burn{At: i.At, ExpiresAt: i.ExpiresAt, Settled: i.Settled, Member: keeper.MemberID(i.Member), Outcome: i.Outcome}
	if copy(b.Use[:], i.Use) != len(b.Use) {
		return session.Burn{}, errDamaged
	}
	return b, nil
}

type controlItem struct {
	Breaker  breakerItem        `json:"breaker,omitzero"`
	Brake    brakeItem          `json:"brake,omitzero"`
	Outage   outageItem         `json:"outage,omitzero"`
	Locked   lockedItem         `json:"locked,omitzero"`
	PausedAt time.Time          `json:"paused_at,omitzero"`
	Open     []openIncidentItem `json:"open,omitempty"`
	Untold   []eventItem        `json:"untold,omitempty"`
	Rev      string             `json:"rev"`
}

type breakerItem struct {
	Class keeper.Class `json:"class,omitempty"`
	Since time.Time    `json:"since,omitzero"`
	Until time.Time    `json:"until,omitzero"`
	Count int          `json:"count,omitempty"`
}

type brakeItem struct {
	Refused []keeper.MemberID `json:"refused,omitempty"`
	At      time.Time         `json:"at,omitzero"`
}

type lockedItem struct {
	Members []keeper.MemberID `json:"members,omitempty"`
	At      time.Time         `json:"at,omitzero"`
}

type outageItem struct {
	Since     time.Time `json:"since,omitzero"`
	Count     int       `json:"count,omitempty"`
	Operation string    `json:"operation,omitempty"`
}

type openIncidentItem struct {
	ID      string    `json:"id,omitempty"`
	Cause   string    `json:"cause,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Records int       `json:"records,omitempty"`
}

func controlV1(row []byte) (keeper.Control, error) {
	i, err := decodeV1[controlItem](row)
	if err != nil {
		return keeper.Control{}, err
	}
	c := keeper.Control{
		Breaker: keeper.Breaker(i.Breaker), Brake: keeper.Brake(i.Brake), Outage: keeper.Outage(i.Outage), Locked: keeper.Locked(i.Locked),
		PausedAt: i.PausedAt, Rev: i.Rev,
	}
	for _, o := range i.Open {
		c.Open = append(c.Open, keeper.OpenIncident(o))
	}
	for _, e := range i.Untold {
		c.Untold = append(c.Untold, keeper.Event(e))
	}
	return c, nil
}

type incidentItem struct {
	ID       string       `json:"id,omitempty"`
	Cause    string       `json:"cause,omitempty"`
	OpenedAt time.Time    `json:"opened_at,omitzero"`
	ClosedAt time.Time    `json:"closed_at,omitzero"`
	Records  []recordItem `json:"records,omitempty"`
}

type recordItem struct {
	Operation       string            `json:"operation,omitempty"`
	At              time.Time         `json:"at,omitzero"`
	Took            time.Duration     `json:"took_ns,omitempty"`
	ClientID        string            `json:"client_id,omitempty"`
	Method          string            `json:"method,omitempty"`
	URL             string            `json:"url,omitempty"`
	RequestHeaders  map[string]string `json:"request_headers,omitempty"`
	RequestBody     string            `json:"request_body,omitempty"`
	Status          int               `json:"status,omitempty"`
	ResponseHeaders map[string]string `json:"response_headers,omitempty"`
	ResponseBody    string            `json:"response_body,omitempty"`
	Problem         string            `json:"problem,omitempty"`
}

func incidentV1(row []byte) (keeper.Incident, error) {
	i, err := decodeV1[incidentItem](row)
	if err != nil {
		return keeper.Incident{}, err
	}
	in := keeper.Incident{ID: i.ID, Cause: i.Cause, OpenedAt: i.OpenedAt, ClosedAt: i.ClosedAt}
	for _, r := range i.Records {
		in.Records = append(in.Records, keeper.Record(r))
	}
	return in, nil
}

func decodeV1[T any](row []byte) (item T, err error) {
	if json.Unmarshal(row[headLength:], &item) != nil {
		return item, fmt.Errorf("%w: a row is no JSON of ours", errDamaged)
	}
	return item, nil
}
