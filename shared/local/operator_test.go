package local_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/bolt"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/local"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
)

// clock begins with the machine's, as files have its times.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// folder is a data folder with a store in which nothing is yet.
func folder(t *testing.T, k *clock) local.Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "keepin") // t.TempDir is too long for a socket's name
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := config(dir)
	c.Now = k.now
	write(t, c.Credentials, `{"client_id":"77app","client_secret":"the-secret-of-the-app"}`)
	m, err := local.Open(t.Context(), c)
	must(t, err)
	must(t, m.Close())
	return c
}

// serve runs a machine on the folder, with its socket, until the test ends or stop.
func serve(t *testing.T, c local.Config) (m *local.Machine, stop func()) {
	t.Helper()
	m, err := local.Open(t.Context(), c)
	must(t, err)
	l, err := m.ListenOperator(t.Context())
	must(t, err)
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: m.OperatorHandler()}}
	s.Start()
	done := false
	stop = func() {
		if !done {
			done = true
			s.Close()
			_ = m.Close()
		}
	}
	t.Cleanup(stop)
	return m, stop
}

// keep stores member's grant, sealed with the newest key in the folder.
func keep(t *testing.T, c local.Config, member string) {
	t.Helper()
	db, err := bolt.Open(c.Store, c.Now)
	must(t, err)
	defer func() { must(t, db.Close()) }()
	s := seal.New(seal.Config{Source: func(ctx context.Context, _ bool) (secret.String, error) { return secrets.File(c.Keys)(ctx) }})
	id, old := keeper.MemberID(member), ""
	if g, err := db.Get(t.Context(), id); err == nil {
		old = g.Rev
	}
	token := func(p keeper.Purpose) keeper.Token {
		sealed, err := s.Seal(t.Context(), secret.New("a token"), p, member)
		must(t, err)
		return keeper.Token{Sealed: sealed, IssuedAt: c.Now(), ExpiresAt: c.Now().Add(time.Hour)}
	}
	must(t, db.Put(t.Context(), keeper.Grant{Member: id, Status: keeper.Active, Access: token(keeper.PurposeAccess), Refresh: token(keeper.PurposeRefresh), Rev: "r" + old}, old))
}

func ask(t *testing.T, c local.Config, words ...string) string {
	t.Helper()
	text, err := local.Operate(t.Context(), c.Store, c.Keys, c.Now, words...)
	if err != nil {
		t.Fatalf("%v: %v", words, err)
	}
	return text
}

func refused(t *testing.T, c local.Config, want string, words ...string) {
	t.Helper()
	text, err := local.Operate(t.Context(), c.Store, c.Keys, c.Now, words...)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v: got %q, %v, want the error to say %q", words, text, err, want)
	}
}

func keyIDs(t *testing.T, c local.Config) []uint32 {
	t.Helper()
	set, err := secrets.File(c.Keys)(t.Context())
	must(t, err)
	ids, err := seal.Keys(set)
	must(t, err)
	return ids
}

func TestPruneDropsOnlyWhatNothingStoredNames(t *testing.T) {
	k := new(clock)
	c := folder(t, k)
	keep(t, c, "ada")
	keep(t, c, "grace")
	if text := ask(t, c, "keys", "rotate"); !strings.Contains(text, "Key 2") {
		t.Errorf("rotate: %s", text)
	}
	keep(t, c, "ada")

	refused(t, c, "prune after", "keys", "prune") // sign-ins under way
	k.advance(21 * time.Minute)
	ask(t, c, "keys", "prune")
	if ids := keyIDs(t, c); len(ids) != 2 {
		t.Errorf("keys are %v: grace's tokens open no more", ids)
	}
	text := ask(t, c, "keys", "list")
	for _, want := range []string{`(?m)^1 +2 *$`, `(?m)^2 +2 +seals what is new *$`} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("the list does not match %s:\n%s", want, text)
		}
	}

	keep(t, c, "grace")
	if text := ask(t, c, "keys", "prune"); !strings.Contains(text, "[1]") {
		t.Errorf("prune: %s", text)
	}
	if ids := keyIDs(t, c); len(ids) != 1 || ids[0] != 2 {
		t.Errorf("keys are %v, want 2 alone", ids)
	}
	if info, err := os.Stat(c.Keys); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the keyset's file: %v %v", info.Mode(), err)
	}
}

func TestPruneWaitsForTheProcessThatRuns(t *testing.T) {
	k := new(clock)
	c := folder(t, k)
	m, _ := serve(t, c)
	login := func() {
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost:8080/login", nil))
		if w.Code != http.StatusSeeOther {
			t.Fatalf("/login = %d", w.Code)
		}
	}
	login() // now it holds the keyset
	ask(t, c, "keys", "rotate")
	long := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(c.Keys, long, long))
	refused(t, c, "still seals with key 1", "keys", "prune")
	k.advance(11 * time.Minute)
	if text := ask(t, c, "keys", "prune"); !strings.Contains(text, "[1]") {
		t.Errorf("prune: %s", text)
	}
	login()
}

func TestADamagedTokenKeepsEveryKey(t *testing.T) {
	k := new(clock)
	c := folder(t, k)
	ask(t, c, "keys", "rotate")
	db, err := bolt.Open(c.Store, c.Now)
	must(t, err)
	must(t, db.Put(t.Context(), keeper.Grant{Member: "ada", Access: keeper.Token{Sealed: []byte("nonsense")}, Rev: "r"}, ""))
	must(t, db.Close())
	k.advance(time.Hour)
	refused(t, c, "ada", "keys", "prune")
	if ids := keyIDs(t, c); len(ids) != 2 {
		t.Errorf("keys are %v", ids)
	}
}

func TestVerbsGoThroughTheSocketWhileItRuns(t *testing.T) {
	k := new(clock)
	c := folder(t, k)
	path := c.Store + ".sock"
	write(t, path, "what a killed process left")
	m, stop := serve(t, c)
	if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeSocket == 0 || info.Mode().Perm() != 0o600 {
		t.Fatalf("the socket: %v %v", info, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".sock-*")); len(left) > 0 {
		t.Errorf("it leaves %v", left)
	}

	first := ask(t, c, "pause")
	k.advance(time.Minute)
	if again := ask(t, c, "pause"); again != first {
		t.Errorf("a second pause begins anew:\n%s%s", first, again)
	}
	if r, err := m.Pass(t.Context()); err != nil || !r.Blocked {
		t.Errorf("a pass while paused: %+v %v", r, err)
	}
	if text := ask(t, c, "incidents", "list"); !strings.Contains(text, "paused by an operator") {
		t.Errorf("it does not say so: %s", text)
	}
	ask(t, c, "resume")
	if r, err := m.Pass(t.Context()); err != nil || r.Blocked {
		t.Errorf("a pass after resume: %+v %v", r, err)
	}
	refused(t, c, "no such verb", "destroy")
	refused(t, c, "no incident of that id", "incidents", "show", "x")

	stop()
	if _, err := os.Stat(path); err == nil {
		t.Error("the socket stays")
	}
	ask(t, c, "pause") // and now on the file
	if _, err := os.Stat(path); err == nil {
		t.Error("a verb leaves a socket")
	}
}

func TestIncidentIsShownAsLinkedInsSupportAsks(t *testing.T) {
	c := folder(t, new(clock))
	db, err := bolt.Open(c.Store, c.Now)
	must(t, err)
	must(t, db.PutIncident(t.Context(), keeper.Incident{ID: "INCIDENT0001", Cause: "application", OpenedAt: c.Now(), Records: []keeper.Record{
		{Operation: "refresh", At: c.Now(), ClientID: "77app", Method: "POST", URL: "https://www.linkedin.com/oauth/v2/accessToken",
			RequestHeaders: map[string]string{"content-type": "application/x-www-form-urlencoded"}, RequestBody: "grant_type=refresh_token&refresh_token=sha256:0123abcd",
			Status: 401, ResponseHeaders: map[string]string{"x-li-uuid": "U1", "x-li-fabric": "prod-lor1", "x-li-request-id": "R1"}, ResponseBody: "{\"error\":\"invalid_client\"}\x1b]0;owned\a\u202e"},
		{Operation: "refresh", At: c.Now(), ClientID: "77app", Method: "POST", URL: "https://www.linkedin.com/oauth/v2/accessToken", Problem: "time-out"},
	}}))
	must(t, db.PutControl(t.Context(), keeper.Control{Rev: "r", Open: []keeper.OpenIncident{{ID: "INCIDENT0001", Cause: "application", Since: c.Now(), Records: 2}}}, ""))
	must(t, db.Close())

	if text := ask(t, c, "incidents", "list"); !strings.Contains(text, "INCIDENT0001") || !strings.Contains(text, "not yet") {
		t.Errorf("the list: %s", text)
	}
	text := ask(t, c, "incidents", "show", "INCIDENT0001")
	for _, want := range []string{"client_id: 77app", "POST https://www.linkedin.com/oauth/v2/accessToken", "content-type: ", "refresh_token=sha256:0123abcd",
		"response: 401", "x-li-uuid: U1", "x-li-fabric: prod-lor1", "x-li-request-id: R1", `{"error":"invalid_client"}`, "response: none (time-out)"} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
	if strings.ContainsAny(text, "\x1b\a\u202e") {
		t.Errorf("a terminal would obey it: %q", text)
	}
}

func TestVerbsMakeNoStore(t *testing.T) {
	c := config(t.TempDir())
	for _, words := range [][]string{{"keys", "list"}, {"keys", "rotate"}, {"incidents", "list"}, {"pause"}} {
		refused(t, c, "there is no store at "+c.Store, words...)
	}
	if all, _ := os.ReadDir(filepath.Dir(c.Store)); len(all) > 0 {
		t.Errorf("there is %v", all)
	}
}

func TestVerbSaysWhoHoldsTheFile(t *testing.T) {
	c := folder(t, new(clock))
	m, err := local.Open(t.Context(), c) // without a socket
	must(t, err)
	defer func() { _ = m.Close() }()
	refused(t, c, "another keepin holds it", "keys", "list")
}

func TestSocketTakesAPostOfWordsOnly(t *testing.T) {
	c := folder(t, new(clock))
	m, _ := serve(t, c)
	long, err := json.Marshal([]string{strings.Repeat("x", 5000)})
	must(t, err)
	for _, r := range []*http.Request{
		httptest.NewRequest("GET", "/", strings.NewReader(`["pause"]`)),
		httptest.NewRequest("POST", "/", strings.NewReader(`pause`)),
		httptest.NewRequest("POST", "/", strings.NewReader(string(long))),
	} {
		w := httptest.NewRecorder()
		m.OperatorHandler().ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", r.Method, w.Code)
		}
	}
	if text := ask(t, c, "incidents", "list"); strings.Contains(text, "paused") {
		t.Error("it is paused")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
