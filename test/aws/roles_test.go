package aws_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedinsim"
)

// works is what the stack does by a role of its own: it fails where the role
// lacks anything.
var works = map[string]func(testing.TB, *stack){
	"CallbackRole": callbackWorks,
	"ValidateRole": validateWorks,
	"LogoutRole":   logoutWorks,
	"MembersRole":  membersWorks,
	"RefreshRole":  refreshWorks,
	"ScheduleRole": scheduleWorks,
}

func callbackWorks(t testing.TB, s *stack) {
	began := time.Now()
	b := s.browser()
	must(t, s.sim.Fault(linkedinsim.Fault{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.IDTokenSignature, Times: 2}))
	for range 2 {
		if a := b.callback(t, "/login", s.newMember(t)); a.StatusCode != http.StatusBadGateway {
			t.Fatalf("the callback with a forged ID token = %d %s", a.StatusCode, a.body)
		}
	}
	incident := s.openIncident(t)
	if n := len(s.incident(t, incident).Records); n != 2 {
		t.Fatalf("the incident has %d records", n) // it was not read, or not written
	}
	member := s.newMember(t)
	if a := b.callback(t, "/login", member); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("the callback = %d %s", a.StatusCode, a.body)
	}
	id := b.validate(t)
	s.accessToken(t, id) // the proof tells that sign-ins work again
	s.closedIncident(t, incident)
	if a := b.callback(t, "/login?renew=1", member); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("the callback of a second sign-in = %d %s", a.StatusCode, a.body)
	}
	if n := s.sessions(t, id); n != 1 {
		t.Fatalf("one browser has %d sessions", n) // the first was not ended
	}
	s.logged(t, "CallbackRole", "member signed in", began)
}

func validateWorks(t testing.TB, s *stack) {
	began := time.Now()
	b := s.browser()
	b.signIn(t)
	if page := b.do(t, "GET", "/", header("Accept", "text/html")); page.StatusCode != http.StatusOK {
		t.Fatalf("the account page = %d", page.StatusCode)
	}
	s.logged(t, "ValidateRole", "REPORT", began) // a validation says nothing; the platform's line is written all the same
}

func logoutWorks(t testing.TB, s *stack) {
	began := time.Now()
	b := s.browser()
	id := b.signIn(t)
	access := s.accessToken(t, id)
	if a := b.do(t, "POST", "/logout", header("Origin", s.out["Url"])); a.StatusCode != http.StatusNoContent {
		t.Fatalf("/logout = %d %s", a.StatusCode, a.body)
	}
	if s.honours(t, access) {
		t.Fatal("LinkedIn honours the token after the logout")
	}
	s.logged(t, "LogoutRole", "member signed out", began)
}

func membersWorks(t testing.TB, s *stack) {
	began := time.Now()
	due := s.due(t, 3)
	if !s.honours(t, s.accessToken(t, due[0])) {
		t.Fatal("LinkedIn does not honour the token")
	}
	must(t, s.sim.Fault(linkedinsim.Fault{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.WrongSecret}))
	if a := s.token(t, due[1]); a.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("a token by a wrong secret = %d %s", a.StatusCode, a.body)
	}
	incident := s.openIncident(t)
	s.letProbe(t)
	s.accessToken(t, due[2])
	s.closedIncident(t, incident)
	s.logged(t, "MembersRole", "token refreshed", began)
}

func refreshWorks(t testing.TB, s *stack) {
	began := time.Now()
	due := s.due(t, 1)
	s.pass(t) // tells of the new member, and then
	s.pass(t)
	if !s.refreshed(t, due[0]) {
		t.Fatal("the pass refreshed nothing")
	}
	due = s.due(t, 1)
	s.pass(t)
	must(t, s.sim.Fault(linkedinsim.Fault{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.WrongSecret}))
	s.pass(t)
	incident := s.openIncident(t)
	s.letProbe(t)
	s.pass(t)
	if !s.refreshed(t, due[0]) {
		t.Fatal("the pass did not probe")
	}
	s.closedIncident(t, incident)
	s.logged(t, "RefreshRole", "token refreshed", began)
}

func scheduleWorks(t testing.TB, s *stack) {
	due := s.due(t, 1)
	s.pauseSchedule(t, false)
	defer s.pauseSchedule(t, true)
	eventually(t, "a refresh by schedule", 6*minute, func() bool { return s.refreshed(t, due[0]) })
}

// due are members with tokens that have ended.
func (s *stack) due(t testing.TB, n int) (ids []keeper.MemberID) {
	t.Helper()
	for range n {
		ids = append(ids, s.browser().signInDue(t))
	}
	eventually(t, "the end of the tokens", 5*time.Second, func() bool {
		g := s.grant(t, ids[n-1])
		return time.Now().After(g.Access.ExpiresAt) && time.Now().After(g.Fresh.ExpiresAt)
	})
	return ids
}

// pass calls the function of the schedule, as it does.
func (s *stack) pass(t testing.TB) {
	t.Helper()
	name := s.resources(t, s.name, "AWS::Lambda::Function")["RefreshFunction"]
	status, body := s.call(t, root(t), "POST", "lambda", "/2015-03-31/functions/"+name+"/invocations", []byte(`{"from":0,"to":15}`))
	if status != http.StatusOK || strings.Contains(body, "errorMessage") {
		t.Fatalf("a pass: %d %s", status, body)
	}
}

// openIncident is the id of the incident that is open, and was told of.
func (s *stack) openIncident(t testing.TB) string {
	t.Helper()
	c, err := s.table.Control(context.Background())
	must(t, err)
	if len(c.Open) != 1 {
		t.Fatalf("%d incidents are open", len(c.Open))
	}
	s.told(t, keeper.IncidentOpened, c.Open[0].ID)
	return c.Open[0].ID
}

// closedIncident has kept the records that it had, and was told of.
func (s *stack) closedIncident(t testing.TB, id string) {
	t.Helper()
	s.told(t, keeper.IncidentClosed, id)
	if i := s.incident(t, id); i.ClosedAt.IsZero() || len(i.Records) == 0 {
		t.Fatalf("the incident is not closed, or has no record: %+v", i)
	}
}

func (s *stack) incident(t testing.TB, id string) keeper.Incident {
	t.Helper()
	all, err := s.table.Incidents(context.Background(), time.Now().Add(-time.Hour))
	must(t, err)
	at := slices.IndexFunc(all, func(i keeper.Incident) bool { return i.ID == id })
	if at < 0 {
		t.Fatalf("no incident %s", id)
	}
	return all[at]
}

// letProbe ends LinkedIn's illness, and the breaker's minute.
func (s *stack) letProbe(t testing.TB) {
	t.Helper()
	s.sim.Clear()
	c, err := s.table.Control(context.Background())
	must(t, err)
	old := c.Rev
	c.Breaker.Until, c.Rev = time.Now().Add(-time.Second), rand.Text()
	must(t, s.table.PutControl(context.Background(), c, old))
}

// calm forgets all trouble.
func (s *stack) calm(t testing.TB) {
	t.Helper()
	s.sim.Clear()
	c, err := s.table.Control(context.Background())
	must(t, err)
	must(t, s.table.PutControl(context.Background(), keeper.Control{Rev: rand.Text()}, c.Rev))
}

// logged waits for a word in the log of a role's function since a time. A line
// may be written at the next call only.
func (s *stack) logged(t testing.TB, role, word string, since time.Time) {
	t.Helper()
	group := strings.TrimSuffix(role, "Role") + "Logs"
	eventually(t, word+" in "+group, time.Second, func() bool {
		found := strings.Contains(s.log(t, group, since.UnixMilli()), word)
		if !found {
			s.poke(t, role)
		}
		return found
	})
}

// poke calls the function of a role, to no purpose, and returns the status.
func (s *stack) poke(t testing.TB, role string) int {
	t.Helper()
	b := s.browser()
	switch role {
	case "CallbackRole":
		return b.do(t, "GET", "/login").StatusCode
	case "ValidateRole":
		return b.do(t, "GET", "/nowhere").StatusCode
	case "LogoutRole":
		return b.do(t, "POST", "/logout").StatusCode
	case "MembersRole":
		return b.do(t, "GET", "/members/AAAAAAAAAAAAAAAAAAAAAA", signedBy(t, root(t))).StatusCode
	}
	attempt(t, s.pass)
	return 0
}

// attempt is why f fails; "" when it does not.
func attempt(t testing.TB, f func(testing.TB)) string {
	x := &trial{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(x)
	}()
	<-done
	return x.why
}

// trial is a test whose failure is a finding. It ends at the first.
type trial struct {
	testing.TB
	why string
}

func (x *trial) Fatalf(format string, args ...any) {
	x.why = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
func (x *trial) Errorf(format string, args ...any) { x.Fatalf(format, args...) }
func (x *trial) Fatal(args ...any)                 { x.Fatalf("%s", fmt.Sprint(args...)) }
func (x *trial) Error(args ...any)                 { x.Fatal(args...) }

// policy is what a role has.
type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Sid       string
	Effect    string
	Action    any
	Resource  any
	Condition map[string]map[string]any `json:",omitempty"`
}

// lacking are the policies that lack one thing of p: a statement, or in full
// one of its actions, or one of its resources.
func (p policy) lacking(full bool) map[string]policy {
	out := map[string]policy{}
	for i, st := range p.Statement {
		less := func(name string, change func(*statement)) {
			q := policy{p.Version, slices.Clone(p.Statement)}
			if change == nil { // a policy has one statement at least
				q.Statement[i] = statement{Effect: "Allow", Action: "sts:GetCallerIdentity", Resource: "*"}
			} else {
				change(&q.Statement[i])
			}
			out[st.Sid+" without "+name] = q
		}
		if !full || len(list(st.Action)) == 1 {
			less("all that it grants", nil)
		}
		for _, a := range list(st.Action) {
			if full && len(list(st.Action)) > 1 {
				less(fmt.Sprint(a), func(s *statement) { s.Action = without(list(s.Action), a) })
			}
		}
		for n, r := range list(st.Resource) {
			if full && len(list(st.Resource)) > 1 {
				less(fmt.Sprintf("resource %d", n), func(s *statement) { s.Resource = without(list(s.Resource), r) })
			}
		}
	}
	return out
}

// wider are the policies that lack one condition of p.
func (p policy) wider() map[string]policy {
	out := map[string]policy{}
	for i, st := range p.Statement {
		for op, keys := range st.Condition {
			for key := range keys {
				q := policy{p.Version, slices.Clone(p.Statement)}
				q.Statement[i].Condition = maps.Clone(st.Condition)
				rest := maps.Clone(keys)
				delete(rest, key)
				q.Statement[i].Condition[op] = rest
				out[st.Sid+" without the condition on "+key] = q
			}
		}
	}
	return out
}

func list(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

func without(l []any, v any) []any {
	return slices.DeleteFunc(slices.Clone(l), func(x any) bool { return x == v })
}

func (s *stack) policy(t testing.TB, role string) (p policy) {
	t.Helper()
	text, err := url.QueryUnescape(between(t, s.iam(t, "GetRolePolicy", "RoleName", role, "PolicyName", "uses"), "PolicyDocument"))
	must(t, err)
	must(t, json.Unmarshal([]byte(text), &p))
	return p
}

func (s *stack) putPolicy(t testing.TB, role string, p policy) {
	t.Helper()
	text, err := json.Marshal(p)
	must(t, err)
	s.iam(t, "PutRolePolicy", "RoleName", role, "PolicyName", "uses", "PolicyDocument", string(text))
}

// everyStatementIsNeeded takes one thing at a time from each role, and sees the
// stack fail: whole statements, or where KEEPIN_TEST_AWS=full (`make test-aws`)
// each action and each resource.
func everyStatementIsNeeded(t *testing.T, s *stack) {
	s.watchBus(t)
	roles := s.resources(t, s.name, "AWS::IAM::Role")
	if len(roles) != len(works) {
		t.Errorf("%d roles, of which %d are tried", len(roles), len(works))
	}
	for _, id := range slices.Sorted(maps.Keys(roles)) {
		t.Run(id, func(t *testing.T) {
			run, role := works[id], roles[id]
			s.calm(t)
			run(t, s)
			whole := s.policy(t, role)
			defer s.fresh(t, id)
			defer s.putPolicy(t, role, whole)
			lacking := whole.lacking(os.Getenv("KEEPIN_TEST_AWS") == "full")
			for _, name := range slices.Sorted(maps.Keys(lacking)) {
				s.putPolicy(t, role, lacking[name])
				s.fresh(t, id)
				began := time.Now()
				why := attempt(t, func(t testing.TB) { run(t, s) })
				if why == "" {
					t.Errorf("%s: everything works", name)
				}
				t.Logf("%s (%.1f s): %.120s", name, time.Since(began).Seconds(), why)
				// It failed for that reason. That a line is not written, or that nobody
				// calls, leaves no trace.
				if id != "ScheduleRole" && !strings.HasPrefix(name, "Logs ") {
					if no := attempt(t, func(t testing.TB) { s.logged(t, id, "AccessDenied", began) }); no != "" {
						t.Errorf("%s: the log shows no refusal", name)
					}
				}
				s.putPolicy(t, role, whole)
				s.calm(t)
			}
			s.fresh(t, id)
			run(t, s)
		})
	}
}

// fresh has the function of a role start anew: it may have had what it lacks now.
func (s *stack) fresh(t testing.TB, role string) {
	if function := strings.TrimSuffix(role, "Role") + "Function"; role != "ScheduleRole" {
		s.cold(t, function)
	}
}
