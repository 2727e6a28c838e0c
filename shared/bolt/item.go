package bolt

import (
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// What is in a row of each kind. A number once given to a field stays that
// field's: rows that hold it lie on disks. A new field gets a new one, in the
// order of the numbers. What stands in the row's key is not in the row.

func grantFields(f *fields, g *keeper.Grant) {
	text(f, 1, &g.Subject)
	text(f, 2, &g.Profile.Name)
	text(f, 3, &g.Profile.Picture)
	text(f, 4, &g.Profile.Email)
	text(f, 5, &g.Generation)
	text(f, 6, &g.Status)
	texts(f, 7, &g.Scopes)
	tokenFields(f, 10, &g.Access)
	tokenFields(f, 20, &g.Fresh)
	tokenFields(f, 30, &g.Refresh)
	text(f, 40, &g.Lease.ID)
	f.time(41, &g.Lease.Until)
	text(f, 50, &g.Trouble.Class)
	number(f, 51, &g.Trouble.Count)
	f.time(52, &g.Trouble.Since)
	f.time(53, &g.Trouble.At)
	f.time(54, &g.Trouble.RetryAt)
	f.time(60, &g.VerifiedAt)
	f.time(61, &g.CheckedAt)
	number(f, 62, &g.Announced.Days)
	f.time(63, &g.Announced.Deadline)
	f.time(64, &g.ExchangedAt)
	items(f, 70, &g.Outbox.Events, eventFields)
	number(f, 71, &g.Outbox.Count)
	f.time(72, &g.Outbox.RetryAt)
	f.time(80, &g.Due)
	f.time(81, &g.ExpiresAt)
	text(f, 82, &g.Rev)
}

// lookFields are a grant's without its sealed tokens.
func lookFields(f *fields, g *keeper.Grant) {
	f.noSeals = true
	grantFields(f, g)
}

// tokenFields are a token's in its ten numbers, from n on.
func tokenFields(f *fields, n byte, t *keeper.Token) {
	if !f.noSeals {
		f.bytes(n, &t.Sealed)
	}
	f.time(n+1, &t.IssuedAt)
	f.time(n+2, &t.ExpiresAt)
	f.time(n+3, &t.ProvenAt)
	f.time(n+4, &t.RefusedAt)
}

func eventFields(f *fields, e *keeper.Event) {
	text(f, 1, &e.ID)
	text(f, 2, &e.Type)
	text(f, 3, &e.Subject)
	f.time(4, &e.At)
	number(f, 5, &e.Days)
	f.time(6, &e.ReconnectBy)
	text(f, 7, &e.Reason)
}

func sessionFields(f *fields, s *session.Session) {
	text(f, 1, &s.Generation)
	f.time(2, &s.CreatedAt)
	f.time(3, &s.ExpiresAt)
}

func burnFields(f *fields, b *session.Burn) {
	use := b.Use[:]
	f.bytes(1, &use)
	f.damaged = f.damaged || copy(b.Use[:], use) != len(b.Use)
	f.time(2, &b.At)
	f.time(3, &b.ExpiresAt)
	f.fact(4, &b.Settled)
	text(f, 5, &b.Member)
	text(f, 6, &b.Outcome)
}

func controlFields(f *fields, c *keeper.Control) {
	text(f, 1, &c.Breaker.Class)
	f.time(2, &c.Breaker.Since)
	f.time(3, &c.Breaker.Until)
	number(f, 4, &c.Breaker.Count)
	texts(f, 10, &c.Brake.Refused)
	f.time(11, &c.Brake.At)
	f.time(20, &c.Outage.Since)
	number(f, 21, &c.Outage.Count)
	text(f, 22, &c.Outage.Operation)
	texts(f, 30, &c.Locked.Members)
	f.time(31, &c.Locked.At)
	f.time(40, &c.PausedAt)
	items(f, 41, &c.Open, func(f *fields, o *keeper.OpenIncident) {
		text(f, 1, &o.ID)
		text(f, 2, &o.Cause)
		f.time(3, &o.Since)
		number(f, 4, &o.Records)
	})
	items(f, 42, &c.Untold, eventFields)
	text(f, 43, &c.Rev)
}

func incidentFields(f *fields, i *keeper.Incident) {
	text(f, 1, &i.ID)
	text(f, 2, &i.Cause)
	f.time(3, &i.OpenedAt)
	f.time(4, &i.ClosedAt)
	items(f, 5, &i.Records, recordFields)
}

func recordFields(f *fields, r *keeper.Record) {
	text(f, 1, &r.Operation)
	f.time(2, &r.At)
	number(f, 3, &r.Took)
	text(f, 4, &r.ClientID)
	text(f, 5, &r.Method)
	text(f, 6, &r.URL)
	pairs(f, 7, &r.RequestHeaders)
	text(f, 8, &r.RequestBody)
	number(f, 9, &r.Status)
	pairs(f, 10, &r.ResponseHeaders)
	text(f, 11, &r.ResponseBody)
	text(f, 12, &r.Problem)
}

func encodeGrant(g keeper.Grant) []byte      { return encode(g.ExpiresAt, g, grantFields) }
func encodeSession(s session.Session) []byte { return encode(s.ExpiresAt, s, sessionFields) }
func encodeBurn(b session.Burn) []byte       { return encode(b.ExpiresAt, b, burnFields) }
func encodeControl(c keeper.Control) []byte  { return encode(time.Time{}, c, controlFields) }

func encodeIncident(i keeper.Incident) []byte {
	return encode(i.OpenedAt.Add(keeper.KeepIncidents), i, incidentFields)
}

func decodeGrant(key, row []byte) (keeper.Grant, error) {
	g, err := decode(row, grantFields, grantV1)
	if err == nil {
		g.Member = keeper.MemberID(key)
	}
	return g, err
}

func decodeSession(key, row []byte) (session.Session, error) {
	s, err := decode(row, sessionFields, sessionV1)
	at := len(key) - len(s.Hash)
	if err == nil && at < 1 {
		err = errDamaged
	}
	if err != nil {
		return session.Session{}, err
	}
	s.Member = keeper.MemberID(key[:at-1])
	copy(s.Hash[:], key[at:])
	return s, nil
}

func decodeBurn(row []byte) (session.Burn, error)      { return decode(row, burnFields, burnV1) }
func decodeControl(row []byte) (keeper.Control, error) { return decode(row, controlFields, controlV1) }
func decodeIncident(row []byte) (keeper.Incident, error) {
	return decode(row, incidentFields, incidentV1)
}

func encode[T any](end time.Time, item T, write func(*fields, *T)) []byte {
	var f fields
	write(&f, &item)
	return row(version, end, f.rest)
}

// decode reads a row of any version. Its errors quote nothing of the row.
func decode[T any](row []byte, fields func(*fields, *T), v1 func(row []byte) (T, error)) (T, error) {
	var item, none T
	if err := verify(row); err != nil {
		return none, err
	}
	if row[0] == 1 {
		return v1(row)
	}
	if !read(row[headLength:], &item, fields) {
		return none, errDamaged
	}
	return item, nil
}
