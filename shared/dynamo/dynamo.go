// Package dynamo keeps grants, sessions, burns and incidents in one DynamoDB
// table.
//
// The table has the keys pk and sk, the TTL attribute x, and the index "due" on
// ds and dt, keys only. A member's grant and sessions are one partition:
//
//	pk           sk           what
//	M#<member>   A            the grant
//	M#<member>   S#<hash>     one session
//	T#<hash>     T            a burn
//	I#<day>      <time>#<id>  an incident
//	P            P            the control item
//
// item.go says what is in them. Reads are consistent; grants, the control item
// and a first burn are written on a condition; nothing needs a transaction. TTL
// is late by days, so every read and condition judges expiry itself.
package dynamo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keepin/keepin/shared/awsjson"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// Config is where the table is and how to reach it.
type Config struct {
	Table       string
	Region      string
	Credentials aws.CredentialsProvider
	Endpoint    string            // "" is DynamoDB's own in the Region
	Transport   http.RoundTripper // nil: one of our own
	Now         func() time.Time  // judges expiry; nil is time.Now
	Timeout     time.Duration     // of one call with its repetitions; 0 is 2 s
}

// Table implements keeper.Store, keeper.Desk, session.Store and session.Burns.
// It is safe for concurrent use, by many processes.
type Table struct {
	db      *awsjson.Client
	name    string
	now     func() time.Time
	timeout time.Duration
}

var (
	_ keeper.Store  = (*Table)(nil)
	_ keeper.Desk   = (*Table)(nil)
	_ session.Store = (*Table)(nil)
	_ session.Burns = (*Table)(nil)
)

// Open makes a client of the table. It calls nobody: a table that is not there
// is the error of the first call.
func Open(c Config) (*Table, error) {
	switch {
	case c.Table == "":
		return nil, errors.New("dynamo: no table is named")
	case c.Region == "":
		return nil, errors.New("dynamo: no region is named")
	case c.Credentials == nil:
		return nil, errors.New("dynamo: there are no credentials")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Timeout == 0 {
		c.Timeout = 2 * time.Second
	}
	if c.Transport == nil {
		c.Transport = newTransport(c.Timeout / 2)
	}
	at := aws.Config{Region: c.Region, Credentials: c.Credentials, HTTPClient: httpClient(c.Transport, c.Timeout/2)}
	if c.Endpoint != "" {
		at.BaseEndpoint = &c.Endpoint
	}
	db := awsjson.New(at, awsjson.Service{Name: "dynamodb", Target: "DynamoDB_20120810", Version: "1.0"})
	return &Table{db: db, name: c.Table, now: c.Now, timeout: c.Timeout}, nil
}

// httpClient gives up an attempt after timeout, so that a lost one leaves time
// for another.
func httpClient(transport http.RoundTripper, timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newTransport keeps connections: a handshake costs more than a read.
func newTransport(timeout time.Duration) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   timeout,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       50 * time.Second, // before DynamoDB closes it
		ResponseHeaderTimeout: timeout,
	}
}

// Get implements keeper.Store.
func (t *Table) Get(ctx context.Context, id keeper.MemberID) (keeper.Grant, error) {
	i, err := t.get(ctx, "get grant", grantKey(id))
	if err != nil {
		return keeper.Grant{}, err
	}
	if i == nil || i.ended(t.now()) {
		return keeper.Grant{}, keeper.ErrNotFound
	}
	return toGrant("get grant", i)
}

// Put implements keeper.Store.
func (t *Table) Put(ctx context.Context, g keeper.Grant, old string) error {
	if g.Rev == "" {
		return errors.New("dynamo: put grant: no revision")
	}
	condition, values := absent, item{":now": micros(t.now())}
	if old != "" {
		condition = "r = :old AND (attribute_not_exists(e) OR e > :now)"
		values[":old"] = text(old)
	}
	err := t.put(ctx, "put grant", fromGrant(g), condition, values)
	if isConflict(err) {
		return keeper.ErrConflict
	}
	return err
}

// absent is the condition that there is no item, or an expired one.
const absent = "attribute_not_exists(pk) OR e <= :now"

// Due implements keeper.Store: one query for each page of 1,000 names or of 1 MB.
func (t *Table) Due(ctx context.Context, shard int, after keeper.Nominee, before time.Time, limit int) (due []keeper.Nominee, err error) {
	if after.Due.After(before) {
		return nil, nil // DynamoDB takes it for a mistake
	}
	var start item
	when, values := "dt <= :before", item{":shard": number(int64(shard)), ":before": micros(before)}
	switch {
	case after.Member != "": // a query begins at a place, whether or not anything stands there
		start = grantKey(after.Member)
		start["ds"], start["dt"] = values[":shard"], micros(after.Due)
	case !after.Due.IsZero():
		when, values[":from"] = "dt BETWEEN :from AND :before", micros(after.Due)
	}
	for len(due) < limit {
		in := request{
			"IndexName":                 "due",
			"KeyConditionExpression":    "ds = :shard AND " + when,
			"ExpressionAttributeValues": values,
			"ProjectionExpression":      "pk, dt",
			"Limit":                     min(limit-len(due), 1000),
		}
		in.startAt(start)
		out, err := t.query(ctx, "due", in)
		if err != nil {
			return nil, err
		}
		for _, i := range out.items {
			n, err := toNominee("due", i)
			if err != nil {
				return nil, err
			}
			due = append(due, n)
		}
		if start = out.last; len(start) == 0 {
			break
		}
	}
	return due, nil
}

// LookAttributes are all attributes that Look reads or names, the keys too: a
// role that may read no others can serve it. No sealed token is among them.
func LookAttributes() []string {
	return append([]string{"pk", "sk"}, lookAttributes...)
}

// Look implements session.Store. It is one query, of the items from the grant
// to the session: of the member's other sessions it reads those that sort
// between them, which DynamoDB can leave out no better.
func (t *Table) Look(ctx context.Context, id keeper.MemberID, h session.Hash) (keeper.Grant, session.Session, error) {
	none := func(err error) (keeper.Grant, session.Session, error) {
		return keeper.Grant{}, session.Session{}, err
	}
	out, err := t.query(ctx, "look", request{
		"KeyConditionExpression": "pk = :pk AND sk BETWEEN :grant AND :session",
		"ExpressionAttributeValues": item{
			":pk": text(memberKey(id)), ":grant": text(grantSort), ":session": text(sessionSort(h)),
		},
		"ProjectionExpression": "sk, " + strings.Join(lookAttributes, ", "),
		"Select":               specificAttributes,
		"ConsistentRead":       true,
	})
	if err != nil {
		return none(err)
	}
	if len(out.items) < 2 {
		return none(session.ErrNone)
	}
	first, last := out.items[0], out.items[len(out.items)-1]
	if first.sort() != grantSort || last.sort() != sessionSort(h) || first.ended(t.now()) || last.ended(t.now()) {
		return none(session.ErrNone)
	}
	first["pk"], last["pk"] = text(memberKey(id)), text(memberKey(id))
	g, err := toGrant("look", first)
	if err != nil {
		return none(err)
	}
	s, err := toSession("look", last)
	if err != nil {
		return none(err)
	}
	return g, s, nil
}

// All implements session.Store: one query, of one read unit where the grant and
// its sessions have no more than 4 KB.
func (t *Table) All(ctx context.Context, id keeper.MemberID) (keeper.Grant, []session.Session, error) {
	g, have := keeper.Grant{Member: id}, []session.Session(nil)
	in := request{
		"KeyConditionExpression":    "pk = :pk",
		"ExpressionAttributeValues": item{":pk": text(memberKey(id))},
		"ConsistentRead":            true,
	}
	for {
		out, err := t.query(ctx, "read a member", in)
		if err != nil {
			return keeper.Grant{}, nil, err
		}
		for _, i := range out.items {
			if i.sort() != grantSort {
				var s session.Session
				if s, err = toSession("read a member", i); err == nil {
					have = append(have, s)
				}
			} else if !i.ended(t.now()) {
				g, err = toGrant("read a member", i)
			}
			if err != nil {
				return keeper.Grant{}, nil, err
			}
		}
		if len(out.last) == 0 {
			return g, have, nil
		}
		in.startAt(out.last)
	}
}

// PutSession implements session.Store.
func (t *Table) PutSession(ctx context.Context, s session.Session) error {
	return t.put(ctx, "put session", fromSession(s), "", nil)
}

// EndSession implements session.Store.
func (t *Table) EndSession(ctx context.Context, id keeper.MemberID, h session.Hash) error {
	return t.delete(ctx, "end session", sessionKey(id, h))
}

// Burn implements session.Burns. The client may send a put twice, whose second
// then finds the first: a random mark tells our own burn from another's.
func (t *Table) Burn(ctx context.Context, h session.Hash, b session.Burn) (session.Burn, error) {
	mark := rand.Text()
	mine := fromBurn(h, b)
	mine["k"] = text(mark)
	for range 3 {
		err := t.put(ctx, "burn", mine, absent, item{":now": micros(t.now())})
		if err == nil {
			return toBurn("burn", mine)
		}
		if !isConflict(err) {
			return session.Burn{}, err
		}
		have, err := t.get(ctx, "burn", burnKey(h))
		if err != nil {
			return session.Burn{}, err
		}
		if have == nil || have.ended(t.now()) {
			continue // it has ended between the two
		}
		other, err := toBurn("burn", have)
		if err != nil {
			return session.Burn{}, err
		}
		if inside(have).text("k") == mark {
			return other, nil
		}
		return other, session.ErrUsed
	}
	return session.Burn{}, errors.New("dynamo: burn: it comes and goes")
}

// Settle implements session.Burns.
func (t *Table) Settle(ctx context.Context, h session.Hash, b session.Burn) error {
	return t.put(ctx, "settle", fromBurn(h, b), "", nil)
}

// Control implements keeper.Desk.
func (t *Table) Control(ctx context.Context) (keeper.Control, error) {
	i, err := t.get(ctx, "get control", controlKey())
	if err != nil || i == nil {
		return keeper.Control{}, err
	}
	return toControl("get control", i)
}

// PutControl implements keeper.Desk.
func (t *Table) PutControl(ctx context.Context, c keeper.Control, old string) error {
	if c.Rev == "" {
		return errors.New("dynamo: put control: no revision")
	}
	condition, values := "attribute_not_exists(pk)", item(nil)
	if old != "" {
		condition, values = "r = :old", item{":old": text(old)}
	}
	err := t.put(ctx, "put control", fromControl(c), condition, values)
	if isConflict(err) {
		return keeper.ErrConflict
	}
	return err
}

// PutIncident implements keeper.Desk.
func (t *Table) PutIncident(ctx context.Context, i keeper.Incident) error {
	return t.put(ctx, "put incident", fromIncident(i), "", nil)
}

// Incidents implements keeper.Desk: one query for each day since then.
func (t *Table) Incidents(ctx context.Context, since time.Time) (is []keeper.Incident, err error) {
	now := t.now()
	gone := now.Add(-keeper.KeepIncidents)
	first := gone
	if since.After(first) {
		first = since
	}
	const day = 24 * time.Hour
	// A day ahead, for one whose clock was.
	for at := now.Add(day).Truncate(day); !at.Before(first.Truncate(day)); at = at.Add(-day) {
		var start item
		for {
			in := request{
				"KeyConditionExpression":    "pk = :pk",
				"ExpressionAttributeValues": item{":pk": text(dayKey(at))},
				"ScanIndexForward":          false,
				"ConsistentRead":            true,
			}
			in.startAt(start)
			out, err := t.query(ctx, "incidents", in)
			if err != nil {
				return nil, err
			}
			for _, o := range out.items {
				i, err := toIncident("incidents", o)
				if err != nil {
					return nil, err
				}
				if !i.OpenedAt.Before(since) && i.OpenedAt.After(gone) {
					is = append(is, i)
				}
			}
			if start = out.last; len(start) == 0 {
				break
			}
		}
	}
	return is, nil
}

// get reads one item consistently; nil when there is none.
func (t *Table) get(ctx context.Context, verb string, key item) (item, error) {
	out, err := t.call(ctx, verb, "GetItem", request{"Key": key, "ConsistentRead": true})
	if err != nil {
		return nil, err
	}
	i, err := within[map[string]any](out, "Item")
	if err != nil {
		return nil, fmt.Errorf("dynamo: %s: %w", verb, err)
	}
	return i, nil
}

// put writes one item on a condition, "" for none.
func (t *Table) put(ctx context.Context, verb string, i item, condition string, values item) error {
	in := request{"Item": i}
	if condition != "" {
		in["ConditionExpression"] = condition
	}
	if len(values) > 0 {
		in["ExpressionAttributeValues"] = values
	}
	_, err := t.call(ctx, verb, "PutItem", in)
	return err
}

func (t *Table) delete(ctx context.Context, verb string, key item) error {
	_, err := t.call(ctx, verb, "DeleteItem", request{"Key": key})
	return err
}

func (t *Table) query(ctx context.Context, verb string, in request) (page, error) {
	return t.page(ctx, verb, "Query", in)
}

// page reads a page of a Query or a Scan.
func (t *Table) page(ctx context.Context, verb, operation string, in request) (page, error) {
	out, err := t.call(ctx, verb, operation, in)
	if err != nil {
		return page{}, err
	}
	p, err := toPage(out)
	if err != nil {
		return page{}, fmt.Errorf("dynamo: %s: %w", verb, err)
	}
	return p, nil
}

// call has DynamoDB do an operation on the table.
func (t *Table) call(ctx context.Context, verb, operation string, in request) (out map[string]any, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	in["TableName"] = t.name
	if err := t.db.Call(ctx, operation, in, &out); err != nil {
		return nil, fmt.Errorf("dynamo: %s: %w", verb, err)
	}
	return out, nil
}

func isConflict(err error) bool { return awsjson.Code(err) == "ConditionalCheckFailedException" }
