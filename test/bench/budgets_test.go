package bench_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/test/aws/awstest"
	"github.com/keepin/keepin/test/e2e"
	"github.com/keepin/keepin/test/lambdahost"
)

// functions are built once for the tests that need them.
var functions = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(binaries, "functions")
	for _, name := range names {
		if err := lambdahost.Build(context.Background(), dir, name, "../../functions/"+name); err != nil {
			return "", err
		}
	}
	return dir, nil
})

var names = []string{"callback", "validate", "logout", "members", "refresh"}

var binaries string

func TestMain(m *testing.M) {
	var err error
	if binaries, err = os.MkdirTemp("", "keepin-bench"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(binaries)
	os.Exit(code)
}

// TestFunctionsAreSmall is T10, of this machine's architecture: what is
// deployed, for arm64, is smaller by half a megabyte.
func TestFunctionsAreSmall(t *testing.T) {
	dir, err := functions()
	must(t, err)
	for _, name := range names {
		if mb := size(t, filepath.Join(dir, name, "bootstrap")); mb > 9 {
			t.Errorf("%s: %.2f MB, want at most 9", name, mb)
		}
	}
}

func size(t testing.TB, path string) float64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return float64(info.Size()) / 1e6
}

// TestItemsAreSmall is T12, and of T13 that a validation of a member with ten
// sessions reads no more than the 4 KB of one read request unit.
func TestItemsAreSmall(t *testing.T) {
	two, three, read := itemSizes(t)
	if two > 1536 || three > 4096 || read > 4096 {
		t.Errorf("got %d, %d and %d bytes, want at most 1,536, 4,096 and 4,096", two, three, read)
	}
}

// itemSizes are the grant's with two tokens of 350 characters and with three
// of 1,000, and what a validation reads beside ten sessions.
func itemSizes(t testing.TB) (two, three, read int) {
	now := time.Now()
	long := grant(now, 1000, 1000, 1000)
	long.Lease = keeper.Lease{ID: long.Rev, Until: now}
	long.Trouble = keeper.Trouble{Class: keeper.ClassOutage, Count: 9, Since: now, At: now, RetryAt: now}
	items := written(t, func(table *dynamo.Table) error {
		for _, g := range []keeper.Grant{grant(now, 350, 350), long} {
			if err := table.Put(t.Context(), g, ""); err != nil {
				return err
			}
		}
		return table.PutSession(t.Context(), session.Session{Member: member, Generation: long.Generation, CreatedAt: now, ExpiresAt: now.AddDate(0, 0, 400)})
	})
	two, three = itemSize(items[0]), itemSize(items[1])
	return two, three, two + 10*itemSize(items[2])
}

// itemSize is what DynamoDB counts of an item.
//
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
func itemSize(i map[string]any) (n int) {
	for name, v := range i {
		n += len(name) + valueSize(v.(map[string]any))
	}
	return n
}

func valueSize(v map[string]any) (n int) {
	for kind, x := range v {
		switch kind {
		case "S":
			n += len(x.(string))
		case "N":
			n += (len(x.(string))+1)/2 + 1
		case "B":
			b, _ := base64.StdEncoding.DecodeString(x.(string))
			n += len(b)
		case "L":
			n += 3
			for _, e := range x.([]any) {
				n += 1 + valueSize(e.(map[string]any))
			}
		case "M":
			n += 3 + itemSize(x.(map[string]any))
		}
	}
	return n
}

// TestRoutesCallTheTableSeldom is T13, on the real bootstraps before a DynamoDB.
func TestRoutesCallTheTableSeldom(t *testing.T) {
	var wrong []string
	for range 3 { // a call that a busy machine is a second late to answer is made again
		if wrong = beyond(tableCalls(t)); len(wrong) == 0 {
			return
		}
	}
	for _, w := range wrong {
		t.Error(w)
	}
}

// beyond says where calls are more, or others, than they may be.
func beyond(calls map[string][]string) (wrong []string) {
	for _, r := range callBudgets() {
		if got := calls[r.route]; len(got) == 0 && r.route != "login" || len(got) > r.most {
			wrong = append(wrong, fmt.Sprintf("%s: %v, want at most %d", r.route, got, r.most))
		}
	}
	if got := slices.Sorted(slices.Values(calls["start"])); !slices.Equal(got, []string{"GetItem", "Query"}) {
		wrong = append(wrong, fmt.Sprintf("the starts of callback and validate call the table: %v", got))
	}
	for _, route := range []string{"login", "validate", "token"} {
		if slices.ContainsFunc(calls[route], func(op string) bool { return op != "GetItem" && op != "Query" }) {
			wrong = append(wrong, fmt.Sprintf("%s writes: %v", route, calls[route]))
		}
	}
	return wrong
}

// callBudget is the most calls to DynamoDB that a route may make.
type callBudget struct {
	route string
	most  int
}

func callBudgets() []callBudget {
	return []callBudget{{"validate", 1}, {"login", 0}, {"callback", 5}, {"logout", 3}, {"token", 1}}
}

// tableCalls are the calls to DynamoDB of one request to each route, by a
// function that is warm, of a member whose token is proven.
func tableCalls(t testing.TB) map[string][]string {
	t.Helper()
	dir, err := functions()
	must(t, err)
	dynalite := awstest.Dynalite(t)
	to, err := url.Parse(dynalite)
	must(t, err)
	var mu sync.Mutex
	var seen []string
	proxy := httputil.NewSingleHostReverseProxy(to)
	counted := e2e.Serve(t, e2e.Listen(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		mu.Lock()
		seen = append(seen, op)
		mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	front := e2e.Listen(t)
	base := "http://" + front.Addr().String()
	sim, app, in := linkedIn(t, base)
	folder := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return "file:" + path
	}
	const backend = "AKIABENCHBACKEND0001"
	host, err := lambdahost.Open(lambdahost.Config{
		Template: "../../template.yaml", Bin: dir,
		Values:  map[string]string{"Table": awstest.Table(t, dynalite), "Scopes": "openid profile email", "BaseUrl": base, "LinkedInUrl": in, "LinkedInApiUrl": in},
		Callers: map[string]string{backend: "arn:aws:sts::111122223333:assumed-role/backend/i-07"},
		Env: map[string]string{
			"AWS_ENDPOINT_URL_DYNAMODB": counted, "KEEPIN_EVENTS": "log",
			"KEEPIN_SECRET": file("linkedin.json", fmt.Sprintf(`{"client_id":%q,"client_secret":%q}`, app.ClientID, app.Secret)), "KEEPIN_KEYS": file("keys.json", seal.NewKeyset().Reveal()),
		},
	})
	must(t, err)
	t.Cleanup(host.Close)
	e2e.Serve(t, front, host.Gateway)

	calls := map[string][]string{}
	c := browser(t)
	rest := func() { // else the next request starts another environment
		for _, f := range host.Functions {
			f.Rest()
		}
	}
	count := func(route string, do func()) {
		rest()
		mu.Lock()
		seen = nil
		mu.Unlock()
		do()
		rest()
		mu.Lock()
		calls[route] = slices.Clone(seen)
		mu.Unlock()
	}
	request := func(method, path string, status int, header ...string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
		must(t, err)
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		if strings.HasPrefix(path, "/members/") {
			lambdahost.Sign(r, backend)
		}
		send(t, c, r, status)
	}
	// Each function starts.
	count("start", func() { // neither answer needs the table: the calls are the first ones of an init
		request("GET", "/login", 303)
		request("GET", "/validate", 401)
	})
	request("POST", "/logout", 204, "Origin", base)
	id := string(keeper.NewMemberID(app.ClientID, ""))
	request("GET", "/members/"+id+"/token", 404)

	var back string
	count("login", func() {
		back, err = sim.Authorize(get(t, c, base+"/login", 303), linkedinsim.DefaultMembers()[0].Key)
		must(t, err)
	})
	count("callback", func() { get(t, c, back, 303) })
	var who struct{ Member struct{ ID string } }
	resp, err := c.Get(base + "/validate")
	must(t, err)
	must(t, json.NewDecoder(resp.Body).Decode(&who))
	must(t, resp.Body.Close())
	count("validate", func() { request("GET", "/validate", 200) })
	request("GET", "/members/"+who.Member.ID+"/token", 200) // proves it
	count("token", func() { request("GET", "/members/"+who.Member.ID+"/token", 200) })
	count("logout", func() { request("POST", "/logout", 204, "Origin", base) })
	return calls
}
