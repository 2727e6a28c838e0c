package dynamo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/storetest"
	"github.com/keepin/keepin/test/aws/awstest"
)

func TestTableKeepsTheContract(t *testing.T) {
	for name, start := range map[string]func(testing.TB) string{"dynalite": awstest.Dynalite, "ministack": awstest.Ministack} {
		t.Run(name, func(t *testing.T) {
			endpoint := start(t)
			storetest.Run(t, func(t *testing.T, now func() time.Time) storetest.Stores {
				return open(t, endpoint, awstest.Table(t, endpoint), now)
			})
		})
	}
}

// TestLostAnswersAreNotLostWrites has the answer of each first write lost on
// its way. The client sends the write again and is told of a conflict with
// itself: a grant's own revision tells, a burn's mark does.
func TestLostAnswersAreNotLostWrites(t *testing.T) {
	endpoint := awstest.Dynalite(t)
	var lose atomic.Bool
	proxy := relay(t, endpoint, func(op string, w http.ResponseWriter, pass func()) {
		pass()
		if op == "PutItem" && lose.CompareAndSwap(true, false) {
			panic(http.ErrAbortHandler)
		}
	})
	db := open(t, proxy.URL, awstest.Table(t, endpoint), nil)
	ctx := t.Context()

	lose.Store(true)
	g := keeper.Grant{Member: alice, Rev: "mine"}
	if err := db.Put(ctx, g, ""); !errors.Is(err, keeper.ErrConflict) {
		t.Errorf("Put: got %v, want ErrConflict (or how was the answer lost?)", err)
	}
	if got, err := db.Get(ctx, alice); err != nil || got.Rev != "mine" {
		t.Errorf("Get: got %+v, %v, want the write that was taken for lost", got, err)
	}

	lose.Store(true)
	burn := session.Burn{Use: session.Hash{1}, At: at, ExpiresAt: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	if got, err := db.Burn(ctx, session.Hash{9}, burn); err != nil || got != burn {
		t.Errorf("Burn: got %+v, %v, want our own, and no error", got, err)
	}
	if got, err := db.Burn(ctx, session.Hash{9}, burn); !errors.Is(err, session.ErrUsed) || got != burn {
		t.Errorf("Burn, the second time: got %+v, %v, want ErrUsed", got, err)
	}
	if lose.Load() {
		t.Error("no answer was lost")
	}
}

// TestCallsAreWhatTheyMayCost counts the calls of each method and looks into
// them.
func TestCallsAreWhatTheyMayCost(t *testing.T) {
	endpoint := awstest.Dynalite(t)
	var mu sync.Mutex
	var calls []call
	proxy := relay(t, endpoint, func(op string, w http.ResponseWriter, pass func()) { pass() })
	record := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(b))
		c := call{op: operation(r)}
		_ = json.Unmarshal(b, &c.in)
		mu.Lock()
		calls = append(calls, c)
		mu.Unlock()
		proxy.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(record.Close)
	db := open(t, record.URL, awstest.Table(t, endpoint), nil)
	ctx := t.Context()
	end := time.Now().Add(time.Hour)

	for _, c := range []struct {
		name string
		do   func() error
		want string
	}{
		{"create", func() error { return db.Put(ctx, keeper.Grant{Member: alice, Rev: "1"}, "") }, "PutItem if"},
		{"change", func() error { return db.Put(ctx, keeper.Grant{Member: alice, Rev: "2"}, "1") }, "PutItem if"},
		{"Get", func() error { _, err := db.Get(ctx, alice); return err }, "GetItem consistent"},
		{"Due", func() error { _, err := db.Due(ctx, 0, keeper.Nominee{}, end, 10); return err }, "Query due"},
		{"PutSession", func() error {
			return db.PutSession(ctx, session.Session{Member: alice, Hash: session.Hash{1}, CreatedAt: at, ExpiresAt: end})
		}, "PutItem"},
		{"All", func() error { _, _, err := db.All(ctx, alice); return err }, "Query consistent"},
		{"Look", func() error { _, _, err := db.Look(ctx, alice, session.Hash{1}); return err }, "Query consistent"},
		{"EndSession", func() error { return db.EndSession(ctx, alice, session.Hash{1}) }, "DeleteItem"},
		{"Burn", func() error { _, err := db.Burn(ctx, session.Hash{1}, session.Burn{ExpiresAt: end}); return err }, "PutItem if"},
		{"Settle", func() error { return db.Settle(ctx, session.Hash{1}, session.Burn{ExpiresAt: end}) }, "PutItem"},
		{"PutControl", func() error { return db.PutControl(ctx, keeper.Control{Rev: "1"}, "") }, "PutItem if"},
		{"Control", func() error { _, err := db.Control(ctx); return err }, "GetItem consistent"},
		{"PutIncident", func() error { return db.PutIncident(ctx, keeper.Incident{ID: "i", OpenedAt: at}) }, "PutItem"},
	} {
		calls = nil
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var got []string
		for _, c := range calls {
			got = append(got, c.String())
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: got calls %q, want %q", c.name, s, c.want)
		}
		if c.name != "Look" {
			continue
		}
		// What it names is what a role for it must allow: no more, no less.
		in := calls[0].in
		named := strings.Split(in["ProjectionExpression"].(string), ", ")
		if named = append(named, "pk"); in["Select"] != "SPECIFIC_ATTRIBUTES" {
			t.Errorf("Look selects %v, want SPECIFIC_ATTRIBUTES", in["Select"])
		}
		may := dynamo.LookAttributes()
		slices.Sort(named)
		slices.Sort(may)
		if !slices.Equal(named, may) {
			t.Errorf("Look names %v, want LookAttributes: %v", named, may)
		}
	}
	for _, sealed := range []string{"ab", "fb", "rb"} {
		if slices.Contains(dynamo.LookAttributes(), sealed) {
			t.Errorf("LookAttributes has the sealed token %q", sealed)
		}
	}
}

// TestItemsAreOfTheirSize holds grants to the sizes that their cost is reckoned
// with: DynamoDB writes by the KiB and reads by four.
func TestItemsAreOfTheirSize(t *testing.T) {
	endpoint := awstest.Dynalite(t)
	name := awstest.Table(t, endpoint)
	db := open(t, endpoint, name, nil)
	const overhead = 64 // of sealing, with the key's id
	token := func(length int) keeper.Token {
		return keeper.Token{
			Sealed: bytes.Repeat([]byte{0xEE}, length+overhead), IssuedAt: at, ExpiresAt: at.AddDate(0, 2, 0), ProvenAt: at, RefusedAt: at,
		}
	}
	g := keeper.Grant{
		Member: alice, Subject: "aBcDeFgHiJ", Generation: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Status: keeper.Active,
		Profile: keeper.Profile{
			Name: "Wolfeschlegelsteinhausen Bergerdorff", Email: "wolfeschlegelsteinhausen@example.com",
			Picture: "https://media.licdn.com/dms/image/v2/" + strings.Repeat("p", 150),
		},
		Scopes: []string{"email", "openid", "profile", "w_member_social"},
		Access: token(350), Refresh: token(350),
		VerifiedAt: at, CheckedAt: at, Announced: keeper.Notice{Days: 30, Deadline: at},
		Due: at, Rev: "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
	}
	long := g
	long.Access, long.Fresh, long.Refresh = token(1000), token(1000), token(1000)
	long.Lease = keeper.Lease{ID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Until: at}
	long.Trouble = keeper.Trouble{Class: keeper.ClassOutage, Count: 9, Since: at, At: at, RetryAt: at}

	for what, c := range map[string]struct {
		grant keeper.Grant
		most  int
	}{"two tokens of 350": {g, 1536}, "three tokens of 1,000": {long, 4096}} {
		c.grant.Member = keeper.NewMemberID("c", what)
		if err := db.Put(t.Context(), c.grant, ""); err != nil {
			t.Fatal(err)
		}
		size := 0
		for name, v := range rawItem(t, endpoint, name, "M#"+string(c.grant.Member), "A") {
			size += len(name) + sizeOf(v)
		}
		t.Logf("%s: %d bytes", what, size)
		if size > c.most {
			t.Errorf("%s: got %d bytes, want at most %d", what, size, c.most)
		}
	}
}

func TestTTLIsTheSecondAfterTheEnd(t *testing.T) {
	endpoint := awstest.Dynalite(t)
	name := awstest.Table(t, endpoint)
	db := open(t, endpoint, name, func() time.Time { return at })
	end := at.Add(time.Hour + 300*time.Millisecond)
	h := session.Hash{1}
	for what, c := range map[string]struct {
		do     func() error
		pk, sk string
		end    time.Time
	}{
		"a grant": {
			func() error { return db.Put(t.Context(), keeper.Grant{Member: alice, ExpiresAt: end, Rev: "r"}, "") },
			"M#" + string(alice), "A", end,
		},
		"a session": {
			func() error {
				return db.PutSession(t.Context(), session.Session{Member: alice, Hash: h, ExpiresAt: end})
			},
			"M#" + string(alice), "S#AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", end,
		},
		"a burn": {
			func() error { _, err := db.Burn(t.Context(), h, session.Burn{ExpiresAt: end}); return err },
			"T#AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "T", end,
		},
		"an incident": {
			func() error { return db.PutIncident(t.Context(), keeper.Incident{ID: "i", OpenedAt: at}) },
			"I#2026-01-02", "2026-01-02T03:04:05.000006Z#i", at.Add(keeper.KeepIncidents),
		},
		"a grant without an end": {
			func() error { return db.Put(t.Context(), keeper.Grant{Member: bob, Rev: "r"}, "") },
			"M#" + string(bob), "A", time.Time{},
		},
	} {
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		i := rawItem(t, endpoint, name, c.pk, c.sk)
		if len(i) == 0 {
			t.Errorf("%s: is not at %s, %s", what, c.pk, c.sk)
		}
		x, has := i["x"].(*types.AttributeValueMemberN)
		switch {
		case has == c.end.IsZero():
			t.Errorf("%s: got an x: %v, want %v", what, has, !has)
		case has && x.Value != strconv.FormatInt(c.end.Unix()+1, 10):
			t.Errorf("%s: got x %s, want the second after %d", what, x.Value, c.end.Unix())
		}
	}
}

// TestItemsOfVersion1AreRead holds an item as the first keepin wrote it. Its
// text must never be changed.
func TestItemsOfVersion1AreRead(t *testing.T) {
	db := answering(t, 200, `{"Item":{"pk":{"S":"M#`+string(alice)+`"},"sk":{"S":"A"},"v":{"N":"1"},"r":{"S":"r"},"su":{"S":"s"},
		"pn":{"S":"Alice"},"g":{"S":"g"},"st":{"S":"active"},"sc":{"L":[{"S":"openid"}]},"ab":{"B":"AQI="},"ai":{"N":"1767323045000006"},
		"re":{"N":"1798859045000006"},"li":{"S":"l"},"lu":{"N":"1767323090000000"},"nd":{"N":"30"},"ds":{"N":"3"},"dt":{"N":"1771545600000000"},
		"oe":{"L":[{"M":{"i":{"S":"e"},"t":{"S":"keepin.member.connected"},"a":{"N":"1767323045000006"}}}]}}}`)
	g, err := db.Get(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	if g.Member != alice || g.Rev != "r" || g.Subject != "s" || g.Profile.Name != "Alice" || g.Generation != "g" || g.Status != keeper.Active ||
		!slices.Equal(g.Scopes, []string{"openid"}) || !bytes.Equal(g.Access.Sealed, []byte{1, 2}) || g.Access.IssuedAt != at ||
		g.Refresh.ExpiresAt != at.AddDate(1, 0, 0) || g.Lease.ID != "l" || g.Announced.Days != 30 || g.Due.IsZero() ||
		len(g.Outbox.Events) != 1 || g.Outbox.Events[0].At != at {
		t.Errorf("got %+v", g)
	}
}

func TestItemsThatCannotBeReadAreErrors(t *testing.T) {
	for name, c := range map[string]struct{ item, want string }{
		"a later version":      {`"v":{"N":"2"}`, "version 2"},
		"no version":           {`"su":{"S":"hidden"}`, "version 0"},
		"another type":         {`"v":{"N":"1"},"su":{"N":"4242"}`, "attribute su"},
		"another type inside":  {`"v":{"N":"1"},"oe":{"L":[{"M":{"i":{"N":"4242"}}}]}`, "attribute i"},
		"no whole number":      {`"v":{"N":"1"},"dt":{"N":"4242.5"}`, "attribute dt"},
		"a number beyond time": {`"v":{"N":"1"},"dt":{"N":"42420000000000000000000000"}`, "attribute dt"},
	} {
		_, err := answering(t, 200, `{"Item":{"pk":{"S":"p"},"sk":{"S":"A"},`+c.item+`}}`).Get(t.Context(), alice)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
			continue
		}
		if strings.Contains(err.Error(), "4242") || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: got %v: it quotes the item", name, err)
		}
		if errors.Is(err, keeper.ErrNotFound) {
			t.Errorf("%s: is not found: a sign-in would write over it", name)
		}
	}
}

func TestErrorsSayWhatAndQuoteNothing(t *testing.T) {
	for name, c := range map[string]struct{ body, want string }{
		"validation": {`{"__type":"com.amazon.coral.validate#ValidationException","message":"hidden-token"}`, "dynamo: put grant: ValidationException"},
		"permission": {`{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"not authorized to perform: dynamodb:PutItem"}`, "not authorized to perform: dynamodb:PutItem"},
		"no table":   {`{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"Requested resource not found"}`, "Requested resource not found"},
		"conflict":   {`{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"hidden","Item":{"su":{"S":"hidden"}}}`, keeper.ErrConflict.Error()},
		"nonsense":   {`<html>hidden</html>`, "dynamo: put grant: "},
	} {
		err := answering(t, 400, c.body).Put(t.Context(), keeper.Grant{Member: alice, Subject: "hidden", Rev: "r"}, "")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: got %v, want %q and nothing hidden", name, err, c.want)
		}
	}
}

func TestDueReadsOn(t *testing.T) {
	var pages atomic.Int32
	db := serving(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		var in struct {
			Limit             int
			ExclusiveStartKey map[string]any
		}
		_ = json.Unmarshal(b, &in)
		n := pages.Add(1)
		if (n > 1) != (in.ExclusiveStartKey != nil) || in.Limit != 6-2*int(n) {
			t.Errorf("page %d: got limit %d and start %v", n, in.Limit, in.ExclusiveStartKey)
		}
		_, _ = io.WriteString(w, `{"Items":[{"pk":{"S":"M#a"}},{"pk":{"S":"M#b"}}],"LastEvaluatedKey":{"pk":{"S":"M#b"}}}`)
	})
	due, err := db.Due(t.Context(), 0, keeper.Nominee{}, at, 4)
	var ids []keeper.MemberID
	for _, n := range due {
		ids = append(ids, n.Member)
	}
	if err != nil || !slices.Equal(ids, []keeper.MemberID{"a", "b", "a", "b"}) || pages.Load() != 2 {
		t.Errorf("got %v, %v in %d pages, want 4 in 2", ids, err, pages.Load())
	}
}

func TestTransientFailuresAreTriedThreeTimes(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		tries  int32
	}{
		"server error":            {500, `{"__type":"InternalServerError"}`, 3},
		"throttled":               {400, `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}`, 3},
		"throttled, as on demand": {400, `{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException"}`, 3},
		"our mistake":             {400, `{"__type":"com.amazon.coral.validate#ValidationException"}`, 1},
	} {
		for _, failures := range []int32{c.tries - 1, 99} {
			var n atomic.Int32
			db := serving(t, func(w http.ResponseWriter, _ *http.Request) {
				if n.Add(1) <= failures {
					w.WriteHeader(c.status)
					_, _ = io.WriteString(w, c.body)
					return
				}
				_, _ = io.WriteString(w, `{}`)
			})
			_, err := db.Control(t.Context())
			if (err == nil) != (failures < c.tries) || n.Load() != c.tries {
				t.Errorf("%s, %d times: got %v after %d tries, want %d", name, failures, err, n.Load(), c.tries)
			}
		}
	}
}

func TestCallsEndInTime(t *testing.T) {
	release := make(chan struct{})
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 1 {
			<-release
		}
		_, _ = io.WriteString(w, `{}`)
	}))
	hang := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(func() {
		close(release)
		s.Close()
		hang.Close()
	})
	db := client(t, dynamo.Config{Endpoint: s.URL, Transport: &http.Transport{}, Timeout: 2 * time.Second})
	if _, err := db.Control(t.Context()); err != nil {
		t.Errorf("the first attempt hangs: got %v, want the second to do", err)
	}
	if n.Load() != 2 {
		t.Errorf("got %d attempts, want 2", n.Load())
	}

	begin := time.Now()
	_, err := client(t, dynamo.Config{Endpoint: hang.URL, Timeout: 300 * time.Millisecond}).Control(t.Context())
	if took := time.Since(begin); err == nil || took > 2*time.Second {
		t.Errorf("all attempts hang: got %v after %v, want an error soon after 300ms", err, took)
	}
}

func TestOpenNamesWhatIsMissing(t *testing.T) {
	whole := dynamo.Config{Table: "t", Region: "r", Credentials: awstest.Credentials()}
	if _, err := dynamo.Open(whole); err != nil {
		t.Errorf("got %v for all that is needed", err)
	}
	for want, spoil := range map[string]func(*dynamo.Config){
		"no table":       func(c *dynamo.Config) { c.Table = "" },
		"no region":      func(c *dynamo.Config) { c.Region = "" },
		"no credentials": func(c *dynamo.Config) { c.Credentials = nil },
	} {
		c := whole
		spoil(&c)
		if _, err := dynamo.Open(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestNothingSlowToStartIsLinked: what a function links it initialises, before
// its first answer.
func TestNothingSlowToStartIsLinked(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		for _, slow := range []string{"aws-sdk-go-v2/config", "aws-sdk-go-v2/credentials", "feature/ec2/imds", "feature/dynamodb", "service/sso", "service/sts"} {
			if strings.Contains(p, slow) {
				t.Errorf("it links %s", p)
			}
		}
	}
}

var (
	alice = keeper.NewMemberID("c", "alice")
	bob   = keeper.NewMemberID("c", "bob")
	at    = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
)

func open(t testing.TB, endpoint, table string, now func() time.Time) *dynamo.Table {
	t.Helper()
	return client(t, dynamo.Config{Table: table, Endpoint: endpoint, Now: now, Timeout: 20 * time.Second})
}

func client(t testing.TB, c dynamo.Config) *dynamo.Table {
	t.Helper()
	c.Region, c.Credentials = awstest.Region, awstest.Credentials()
	if c.Table == "" {
		c.Table = "table"
	}
	db, err := dynamo.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// serving is a Table of a DynamoDB that h plays.
func serving(t *testing.T, h http.HandlerFunc) *dynamo.Table {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return client(t, dynamo.Config{Endpoint: s.URL})
}

func answering(t *testing.T, status int, body string) *dynamo.Table {
	t.Helper()
	return serving(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// relay stands before a server; do decides when, and whether, a request passes.
func relay(t *testing.T, to string, do func(op string, w http.ResponseWriter, pass func())) *httptest.Server {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	p := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		do(operation(r), w, func() { p.ServeHTTP(answer, r) })
		for k, v := range answer.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(s.Close)
	return s
}

func operation(r *http.Request) string {
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	return op
}

// call is one request to DynamoDB.
type call struct {
	op string
	in map[string]any
}

func (c call) String() string {
	s := c.op
	if c.in["ConsistentRead"] == true {
		s += " consistent"
	}
	if c.in["ConditionExpression"] != nil {
		s += " if"
	}
	if i, ok := c.in["IndexName"].(string); ok {
		s += " " + i
	}
	return s
}

func rawItem(t *testing.T, endpoint, table, pk, sk string) map[string]types.AttributeValue {
	t.Helper()
	db := dynamodb.New(dynamodb.Options{Region: awstest.Region, Credentials: awstest.Credentials(), BaseEndpoint: &endpoint})
	out, err := db.GetItem(context.Background(), &dynamodb.GetItemInput{TableName: &table, Key: map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: pk}, "sk": &types.AttributeValueMemberS{Value: sk},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return out.Item
}

// sizeOf is what DynamoDB counts for a value: its developer guide, "DynamoDB
// item sizes and formats".
func sizeOf(v types.AttributeValue) int {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return len(v.Value)
	case *types.AttributeValueMemberB:
		return len(v.Value)
	case *types.AttributeValueMemberN:
		return (len(v.Value)+1)/2 + 1
	case *types.AttributeValueMemberL:
		n := 3
		for _, e := range v.Value {
			n += 1 + sizeOf(e)
		}
		return n
	case *types.AttributeValueMemberM:
		n := 3
		for k, e := range v.Value {
			n += 1 + len(k) + sizeOf(e)
		}
		return n
	}
	panic("an attribute of a type that keepin does not write")
}
