package dynamo

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// Everything that is in the table is named in this file. Names are short since
// every one is stored, and paid for, with every item. Times are microseconds
// since 1970; what is zero or empty is left out. The names of all items:
//
//	pk sk   keys
//	v       version of the item's shape: 1
//	r       revision
//	e       when it ends
//	x       the second in which that is over, for DynamoDB's TTL
//	ds dt   shard and time of the due index

const version = 1

const (
	grantSort     = "A"
	sessionPrefix = "S#"
)

func memberKey(id keeper.MemberID) string { return "M#" + string(id) }
func sessionSort(h session.Hash) string   { return sessionPrefix + hashText(h) }
func dayKey(at time.Time) string          { return "I#" + at.UTC().Format(time.DateOnly) }
func hashText(h session.Hash) string      { return base64.RawURLEncoding.EncodeToString(h[:]) }
func key(pk, sk string) item              { return item{"pk": text(pk), "sk": text(sk)} }
func grantKey(id keeper.MemberID) item    { return key(memberKey(id), grantSort) }
func burnKey(h session.Hash) item         { return key("T#"+hashText(h), "T") }
func controlKey() item                    { return key("P", "P") }
func sessionKey(id keeper.MemberID, h session.Hash) item {
	return key(memberKey(id), sessionSort(h))
}

// newItem begins an item that ends at end (zero: never).
func newItem(key item, end time.Time) item {
	key.putInt("v", version)
	key.putTime("e", end)
	if !end.IsZero() {
		key.putInt("x", end.Unix()+1)
	}
	return key
}

// The grant. The attributes of its tokens begin with a (access), f (fresh) and
// r (refresh); the sealed token is the one that ends in b.
func fromGrant(g keeper.Grant) item {
	i := newItem(grantKey(g.Member), g.ExpiresAt)
	i.putText("r", g.Rev)
	i.putText("su", g.Subject)
	i.putText("pn", g.Profile.Name)
	i.putText("pp", g.Profile.Picture)
	i.putText("pe", g.Profile.Email)
	i.putText("g", g.Generation)
	i.putText("st", string(g.Status))
	i.putTexts("sc", g.Scopes)
	for prefix, t := range map[string]keeper.Token{"a": g.Access, "f": g.Fresh, "r": g.Refresh} {
		i.putBytes(prefix+"b", t.Sealed)
		i.putTime(prefix+"i", t.IssuedAt)
		i.putTime(prefix+"e", t.ExpiresAt)
		i.putTime(prefix+"p", t.ProvenAt)
		i.putTime(prefix+"r", t.RefusedAt)
	}
	i.putText("li", g.Lease.ID)
	i.putTime("lu", g.Lease.Until)
	i.putText("tc", string(g.Trouble.Class))
	i.putInt("tn", int64(g.Trouble.Count))
	i.putTime("ts", g.Trouble.Since)
	i.putTime("ta", g.Trouble.At)
	i.putTime("tr", g.Trouble.RetryAt)
	i.putTime("va", g.VerifiedAt)
	i.putTime("ca", g.CheckedAt)
	i.putTime("xa", g.ExchangedAt)
	i.putInt("nd", int64(g.Announced.Days))
	i.putTime("nl", g.Announced.Deadline)
	i.putInt("oc", int64(g.Outbox.Count))
	i.putTime("ot", g.Outbox.RetryAt)
	i.putItems("oe", fromEvents(g.Outbox.Events))
	if !g.Due.IsZero() { // else it is not in the index
		i["ds"] = number(int64(g.Member.Shard()))
		i["dt"] = micros(g.Due)
	}
	return i
}

// lookAttributes are all attributes of a grant but its sealed tokens, and those
// of a session.
//
//nolint:gochecknoglobals // a constant
var lookAttributes = strings.Fields("v r e su pn pp pe g st sc ai ae ap ar fi fe fp fr ri re rp rr " +
	"li lu tc tn ts ta tr va ca xa nd nl oc ot oe ds dt cr")

// toGrant reads a grant; one that comes without sealed tokens has none.
func toGrant(verb string, i item) (keeper.Grant, error) {
	r := read(i)
	g := keeper.Grant{
		Member:     keeper.MemberID(strings.TrimPrefix(r.text("pk"), memberKey(""))),
		Rev:        r.text("r"),
		ExpiresAt:  r.time("e"),
		Subject:    r.text("su"),
		Profile:    keeper.Profile{Name: r.text("pn"), Picture: r.text("pp"), Email: r.text("pe")},
		Generation: r.text("g"),
		Status:     keeper.Status(r.text("st")),
		Scopes:     r.texts("sc"),
		Lease:      keeper.Lease{ID: r.text("li"), Until: r.time("lu")},
		Trouble: keeper.Trouble{
			Class: keeper.Class(r.text("tc")), Count: r.int("tn"),
			Since: r.time("ts"), At: r.time("ta"), RetryAt: r.time("tr"),
		},
		VerifiedAt:  r.time("va"),
		CheckedAt:   r.time("ca"),
		ExchangedAt: r.time("xa"),
		Announced:   keeper.Notice{Days: r.int("nd"), Deadline: r.time("nl")},
		Outbox:      keeper.Outbox{Count: r.int("oc"), RetryAt: r.time("ot")},
		Due:         r.time("dt"),
	}
	for prefix, t := range map[string]*keeper.Token{"a": &g.Access, "f": &g.Fresh, "r": &g.Refresh} {
		*t = keeper.Token{
			Sealed: r.bytes(prefix + "b"), IssuedAt: r.time(prefix + "i"), ExpiresAt: r.time(prefix + "e"),
			ProvenAt: r.time(prefix + "p"), RefusedAt: r.time(prefix + "r"),
		}
	}
	g.Outbox.Events = toEvents(r.items("oe"))
	return g, r.done(verb)
}

// toNominee reads an entry of the due index.
func toNominee(verb string, i item) (keeper.Nominee, error) {
	r := inside(i)
	n := keeper.Nominee{Member: keeper.MemberID(strings.TrimPrefix(r.text("pk"), memberKey(""))), Due: r.time("dt")}
	return n, r.done(verb)
}

func fromEvents(all []keeper.Event) (events []item) {
	for _, e := range all {
		m := item{}
		m.putText("i", e.ID)
		m.putText("t", string(e.Type))
		m.putText("s", e.Subject)
		m.putTime("a", e.At)
		m.putInt("d", int64(e.Days))
		m.putTime("b", e.ReconnectBy)
		m.putText("r", e.Reason)
		events = append(events, m)
	}
	return events
}

func toEvents(all []*reader) (events []keeper.Event) {
	for _, m := range all {
		events = append(events, keeper.Event{
			ID: m.text("i"), Type: keeper.EventType(m.text("t")), Subject: m.text("s"), At: m.time("a"),
			Days: m.int("d"), ReconnectBy: m.time("b"), Reason: m.text("r"),
		})
	}
	return events
}

func fromSession(s session.Session) item {
	i := newItem(sessionKey(s.Member, s.Hash), s.ExpiresAt)
	i.putText("g", s.Generation)
	i.putTime("cr", s.CreatedAt)
	return i
}

func toSession(verb string, i item) (session.Session, error) {
	r := read(i)
	s := session.Session{
		Member:     keeper.MemberID(strings.TrimPrefix(r.text("pk"), memberKey(""))),
		Generation: r.text("g"),
		CreatedAt:  r.time("cr"),
		ExpiresAt:  r.time("e"),
	}
	h, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(r.text("sk"), sessionPrefix))
	if err != nil || copy(s.Hash[:], h) != len(s.Hash) {
		r.fail("sk")
	}
	return s, r.done(verb)
}

func fromBurn(h session.Hash, b session.Burn) item {
	i := newItem(burnKey(h), b.ExpiresAt)
	i.putBytes("u", b.Use[:])
	i.putTime("a", b.At)
	i.putText("m", string(b.Member))
	i.putText("o", b.Outcome)
	if b.Settled {
		i.putInt("d", 1)
	}
	return i
}

func toBurn(verb string, i item) (session.Burn, error) {
	r := read(i)
	b := session.Burn{
		At: r.time("a"), ExpiresAt: r.time("e"), Settled: r.int("d") == 1,
		Member: keeper.MemberID(r.text("m")), Outcome: r.text("o"),
	}
	if copy(b.Use[:], r.bytes("u")) != len(b.Use) {
		r.fail("u")
	}
	return b, r.done(verb)
}

func fromControl(c keeper.Control) item {
	i := newItem(controlKey(), time.Time{})
	i.putText("r", c.Rev)
	i.putText("bc", string(c.Breaker.Class))
	i.putTime("bs", c.Breaker.Since)
	i.putTime("bu", c.Breaker.Until)
	i.putInt("bn", int64(c.Breaker.Count))
	i.putMembers("kr", c.Brake.Refused)
	i.putTime("ka", c.Brake.At)
	i.putTime("us", c.Outage.Since)
	i.putInt("un", int64(c.Outage.Count))
	i.putText("uo", c.Outage.Operation)
	i.putMembers("lm", c.Locked.Members)
	i.putTime("la", c.Locked.At)
	i.putTime("pa", c.PausedAt)
	var open []item
	for _, o := range c.Open {
		m := item{}
		m.putText("i", o.ID)
		m.putText("c", o.Cause)
		m.putTime("s", o.Since)
		m.putInt("n", int64(o.Records))
		open = append(open, m)
	}
	i.putItems("oi", open)
	i.putItems("ut", fromEvents(c.Untold))
	return i
}

func toControl(verb string, i item) (keeper.Control, error) {
	r := read(i)
	c := keeper.Control{
		Breaker:  keeper.Breaker{Class: keeper.Class(r.text("bc")), Since: r.time("bs"), Until: r.time("bu"), Count: r.int("bn")},
		Brake:    keeper.Brake{Refused: r.members("kr"), At: r.time("ka")},
		Outage:   keeper.Outage{Since: r.time("us"), Count: r.int("un"), Operation: r.text("uo")},
		Locked:   keeper.Locked{Members: r.members("lm"), At: r.time("la")},
		PausedAt: r.time("pa"),
		Rev:      r.text("r"),
	}
	for _, m := range r.items("oi") {
		c.Open = append(c.Open, keeper.OpenIncident{ID: m.text("i"), Cause: m.text("c"), Since: m.time("s"), Records: m.int("n")})
	}
	c.Untold = toEvents(r.items("ut"))
	return c, r.done(verb)
}

func fromIncident(in keeper.Incident) item {
	sort := in.OpenedAt.UTC().Format("2006-01-02T15:04:05.000000Z") + "#" + in.ID
	i := newItem(key(dayKey(in.OpenedAt), sort), in.OpenedAt.Add(keeper.KeepIncidents))
	i.putText("id", in.ID)
	i.putText("c", in.Cause)
	i.putTime("oa", in.OpenedAt)
	i.putTime("cl", in.ClosedAt)
	var records []item
	for _, r := range in.Records {
		m := item{}
		m.putText("o", r.Operation)
		m.putTime("a", r.At)
		m.putInt("t", int64(r.Took))
		m.putText("ci", r.ClientID)
		m.putText("m", r.Method)
		m.putText("u", r.URL)
		m.putMap("qh", r.RequestHeaders)
		m.putText("qb", r.RequestBody)
		m.putInt("s", int64(r.Status))
		m.putMap("ph", r.ResponseHeaders)
		m.putText("pb", r.ResponseBody)
		m.putText("p", r.Problem)
		records = append(records, m)
	}
	i.putItems("rec", records)
	return i
}

func toIncident(verb string, i item) (keeper.Incident, error) {
	r := read(i)
	in := keeper.Incident{ID: r.text("id"), Cause: r.text("c"), OpenedAt: r.time("oa"), ClosedAt: r.time("cl")}
	for _, m := range r.items("rec") {
		in.Records = append(in.Records, keeper.Record{
			Operation: m.text("o"), At: m.time("a"), Took: time.Duration(m.int("t")), ClientID: m.text("ci"),
			Method: m.text("m"), URL: m.text("u"), RequestHeaders: m.texted("qh"), RequestBody: m.text("qb"),
			Status: m.int("s"), ResponseHeaders: m.texted("ph"), ResponseBody: m.text("pb"), Problem: m.text("p"),
		})
	}
	return in, r.done(verb)
}

func text(s string) value      { return value{"S": s} }
func number(n int64) value     { return value{"N": strconv.FormatInt(n, 10)} }
func micros(t time.Time) value { return number(t.UnixMicro()) }

// What is empty is left out.

func (i item) putText(name, s string) {
	if s != "" {
		i[name] = text(s)
	}
}

func (i item) putInt(name string, n int64) {
	if n != 0 {
		i[name] = number(n)
	}
}

func (i item) putTime(name string, t time.Time) {
	if !t.IsZero() {
		i[name] = micros(t)
	}
}

func (i item) putBytes(name string, b []byte) {
	if len(b) > 0 {
		i[name] = value{"B": base64.StdEncoding.EncodeToString(b)}
	}
}

func (i item) putTexts(name string, ss []string) {
	var l []any
	for _, s := range ss {
		l = append(l, text(s))
	}
	i.putList(name, l)
}

func (i item) putMembers(name string, ids []keeper.MemberID) {
	var ss []string
	for _, id := range ids {
		ss = append(ss, string(id))
	}
	i.putTexts(name, ss)
}

func (i item) putItems(name string, ms []item) {
	var l []any
	for _, m := range ms {
		l = append(l, value{"M": map[string]any(m)})
	}
	i.putList(name, l)
}

func (i item) putList(name string, l []any) {
	if len(l) > 0 {
		i[name] = value{"L": l}
	}
}

func (i item) putMap(name string, kv map[string]string) {
	m := item{}
	for k, v := range kv {
		m[k] = text(v)
	}
	if len(m) > 0 {
		i[name] = value{"M": map[string]any(m)}
	}
}

// ended reports whether an item is over at now.
func (i item) ended(now time.Time) bool {
	end := inside(i).time("e")
	return !end.IsZero() && !end.After(now)
}

func (i item) sort() string {
	return inside(i).text("sk")
}

// reader reads attributes; what is not there is zero, and the first that is not
// of its type is remembered.
type reader struct {
	item item
	err  *error // shared by the readers of one item
}

func inside(i item) *reader { return &reader{item: i, err: new(error)} }

// read begins with an item of the table.
func read(i item) *reader {
	r := inside(i)
	if v := r.int("v"); v != version {
		*r.err = fmt.Errorf("an item of version %d: the table was written by another version of keepin", v)
	}
	return r
}

// done is what went wrong. It names attributes and quotes no values.
func (r *reader) done(verb string) error {
	if *r.err != nil {
		return fmt.Errorf("dynamo: %s: %w", verb, *r.err)
	}
	return nil
}

func (r *reader) fail(name string) {
	if *r.err == nil {
		*r.err = errors.New("attribute " + name + " is not what keepin writes there")
	}
}

// of is what an attribute has of its kind; the zero T where there is no such
// attribute, or it is of another kind.
func of[T any](r *reader, name, kind string) (v T) {
	a, there := r.item[name]
	if !there {
		return v
	}
	v, ok := inner[T](a, kind)
	if !ok {
		r.fail(name)
	}
	return v
}

func inner[T any](a any, kind string) (v T, ok bool) {
	if a, is := a.(value); is {
		v, ok = a[kind].(T)
	}
	return v, ok
}

func (r *reader) text(name string) string { return of[string](r, name, "S") }

func (r *reader) int64(name string) (n int64, ok bool) {
	if _, there := r.item[name]; !there {
		return 0, false
	}
	n, err := strconv.ParseInt(of[string](r, name, "N"), 10, 64)
	if err != nil {
		r.fail(name)
	}
	return n, err == nil
}

func (r *reader) int(name string) int {
	n, _ := r.int64(name)
	return int(n)
}

func (r *reader) time(name string) time.Time {
	n, ok := r.int64(name)
	if !ok {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

func (r *reader) bytes(name string) []byte {
	text := of[string](r, name, "B")
	if text == "" {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		r.fail(name)
		return nil
	}
	return b
}

func (r *reader) texts(name string) (ss []string) {
	for _, v := range of[[]any](r, name, "L") {
		s, ok := inner[string](v, "S")
		if !ok {
			r.fail(name)
			return nil
		}
		ss = append(ss, s)
	}
	return ss
}

func (r *reader) members(name string) (ids []keeper.MemberID) {
	for _, s := range r.texts(name) {
		ids = append(ids, keeper.MemberID(s))
	}
	return ids
}

// items reads a list of maps.
func (r *reader) items(name string) (rs []*reader) {
	for _, v := range of[[]any](r, name, "L") {
		m, ok := inner[map[string]any](v, "M")
		if !ok {
			r.fail(name)
			return nil
		}
		rs = append(rs, &reader{m, r.err})
	}
	return rs
}

// texted reads a map of texts.
func (r *reader) texted(name string) map[string]string {
	m := of[map[string]any](r, name, "M")
	if m == nil {
		return nil
	}
	kv := make(map[string]string, len(m))
	texts := reader{m, r.err}
	for k := range m {
		kv[k] = texts.text(k)
	}
	return kv
}
