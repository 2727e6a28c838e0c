// Package aws_test deploys template.yaml with the SAM CLI into an AWS account on
// loopback, IAM enforced, and lives there.
package aws_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedinsim"
)

func TestDeployedStack(t *testing.T) {
	s := deploy(t)
	s.pauseSchedule(t, true)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *stack)
	}{
		{"NobodySignsInBeforeTheSecretIsThere", secretIsMissing},
		{"AMemberSignsInAndOut", signsInAndOut},
		{"OnlyAPermittedRoleGetsATOken", onlyThePermitted},
		{"TheScheduleRefreshes", scheduleRefreshes},
		{"AnUpdateAmidRefreshesLosesNothing", updateAmidRefreshes},
		{"AnotherAPIAsksWhoIsSignedIn", otherAPI},
		{"EveryAPIIsLetInByName", everyAPIIsLetIn},
		{"NoRoleDoesMore", noRoleDoesMore},
		{"EveryConditionIsNeeded", everyConditionIsNeeded},
		{"EveryStatementOfEveryRoleIsNeeded", everyStatementIsNeeded},
		{"DeletedItLeavesWhatIsToBeKept", deleted},
	} {
		if !t.Run(c.name, func(t *testing.T) { c.run(t, s) }) {
			for id := range s.resources(t, s.name, "AWS::Logs::LogGroup") {
				t.Log(id + "\n" + s.log(t, id, 0))
			}
			break // each stands on those before
		}
	}
}

// secretIsMissing until the reader of docs/deploy.md has done what it says.
func secretIsMissing(t *testing.T, s *stack) {
	if a := s.browser().do(t, "GET", "/login"); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/login = %d %s", a.StatusCode, a.body)
	}
	if log := s.log(t, "CallbackLogs", 0); !strings.Contains(log, "placeholder") {
		t.Errorf("the log does not tell: %s", log)
	}
	text, err := json.Marshal(map[string]string{"client_id": s.app.ClientID, "client_secret": s.app.Secret})
	must(t, err)
	s.mustTool(t, string(text), "bash", "-c", guide(t, "put-secret-value"))
	s.cold(t, "CallbackFunction") // those that saw it would look again after five minutes
	s.cold(t, "RefreshFunction")
}

func signsInAndOut(t *testing.T, s *stack) {
	b := s.browser()
	if a := b.do(t, "GET", "/validate"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("/validate of nobody = %d %s", a.StatusCode, a.body)
	}
	id := b.signIn(t)
	if page := b.do(t, "GET", "/", header("Accept", "text/html")).body; !strings.Contains(page, "Member") {
		t.Errorf("the account page shows nobody: %s", page)
	}
	for origin, want := range map[string]string{page: page, "https://evil.example": ""} {
		a := b.do(t, "OPTIONS", "/logout", header("Origin", origin), header("Access-Control-Request-Method", "POST"))
		if got := a.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("a preflight of %s = %d, for %q", origin, a.StatusCode, got)
		}
	}
	access := s.accessToken(t, id)
	if a := b.do(t, "POST", "/logout", header("Origin", s.out["Url"])); a.StatusCode != http.StatusNoContent {
		t.Errorf("/logout = %d %s", a.StatusCode, a.body)
	}
	if a := b.do(t, "GET", "/validate"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("/validate after the logout = %d %s", a.StatusCode, a.body)
	}
	if s.honours(t, access) {
		t.Error("LinkedIn honours the token after the logout")
	}
	if g := s.grant(t, id); g.Status != keeper.SignedOut || len(g.Access.Sealed)+len(g.Fresh.Sealed)+len(g.Refresh.Sealed) > 0 {
		t.Errorf("the table holds %+v", g)
	}
	for path, want := range map[string]int{"/badge.js": http.StatusOK, "/nowhere": http.StatusNotFound} {
		if a := b.do(t, "GET", path); a.StatusCode != want {
			t.Errorf("%s = %d", path, a.StatusCode)
		}
	}
}

func onlyThePermitted(t *testing.T, s *stack) {
	b := s.browser()
	id := b.signIn(t)
	path := "/members/" + string(id) + "/token"
	if a := b.do(t, "GET", path); a.StatusCode != http.StatusForbidden {
		t.Errorf("unsigned: %d %s", a.StatusCode, a.body)
	}
	account := "arn:aws:iam::000000000000:"
	s.iam(t, "CreateRole", "RoleName", "MY-BACKEND", "AssumeRolePolicyDocument",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"`+account+`root"},"Action":"sts:AssumeRole"}]}`)
	who := s.assume(t, account+"role/MY-BACKEND")
	if a := b.do(t, "GET", path, signedBy(t, who)); a.StatusCode != http.StatusForbidden {
		t.Errorf("signed by a role without execute-api:Invoke: %d %s", a.StatusCode, a.body)
	}
	s.mustTool(t, "", "bash", "-c", guide(t, "aws iam put-role-policy"))
	a := b.do(t, "GET", path, signedBy(t, who))
	var k struct {
		Token string `json:"access_token"`
	}
	if a.StatusCode != http.StatusOK || json.Unmarshal([]byte(a.body), &k) != nil || !s.honours(t, k.Token) {
		t.Errorf("signed by the permitted role: %d %s", a.StatusCode, a.body)
	}
	wrong := who
	wrong.SecretAccessKey = "x" + who.SecretAccessKey[1:]
	if a := b.do(t, "GET", path, signedBy(t, wrong)); a.StatusCode != http.StatusForbidden {
		t.Errorf("signed with another key: %d %s", a.StatusCode, a.body)
	}
}

func scheduleRefreshes(t *testing.T, s *stack) {
	id := s.browser().signInDue(t)
	s.pauseSchedule(t, false)
	eventually(t, "a refresh", 15*time.Second, func() bool { return s.refreshed(t, id) })
	if !s.honours(t, s.accessToken(t, id)) {
		t.Error("LinkedIn does not honour the token")
	}
	s.pauseSchedule(t, true)
}

// updateAmidRefreshes deploys a change while tokens of few seconds are renewed,
// browsers ask who is signed in and the back end asks for tokens.
func updateAmidRefreshes(t *testing.T, s *stack) {
	other := s.create(t, "other", "testdata/other.yaml", "Authorizer", s.out["Authorizer"])
	s.other = other["Url"]
	b := s.browser()
	b.signIn(t)
	if a := b.do(t, "GET", s.other+"/orders", cookie(b)); a.StatusCode != http.StatusInternalServerError {
		t.Errorf("an API that is not let in got %d %s", a.StatusCode, a.body)
	}

	s.sim.SetSwitches(func(w *linkedinsim.Switches) { w.AccessLifetime = 4 * time.Second })
	must(t, s.sim.Fault(linkedinsim.Fault{Endpoint: linkedinsim.TokenEndpoint, Kind: linkedinsim.StallAfter, For: 300 * time.Millisecond}))
	members := map[keeper.MemberID]*browser{}
	for range 8 {
		b := s.browser()
		members[b.signInAs(t, s.newMember(t))] = b
	}
	s.pauseSchedule(t, false)
	refreshes, asked := s.sim.Count(linkedinsim.TokenEndpoint), map[int]int{}
	done := make(chan error, 1)
	go func() {
		done <- s.update(t, "LogLevel=debug", "AuthorizerSource=arn:aws:execute-api:*:*:"+other["ApiId"]+"/authorizers/*")
	}()
	for under := true; under; {
		select {
		case err := <-done:
			must(t, err)
			under = false
		default:
		}
		for id, b := range members {
			if a := b.do(t, "GET", "/validate"); a.StatusCode != http.StatusOK {
				t.Errorf("/validate = %d %s", a.StatusCode, a.body)
			}
			a := s.token(t, id)
			asked[a.StatusCode]++
			if a.StatusCode != http.StatusOK && a.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("a token = %d %s", a.StatusCode, a.body)
			}
		}
	}
	refreshes = s.sim.Count(linkedinsim.TokenEndpoint) - refreshes
	t.Logf("%d refreshes, answers %v", refreshes, asked)
	if refreshes < len(members) || asked[http.StatusOK] == 0 {
		t.Errorf("the deployment met no refresh: %d, %v", refreshes, asked)
	}
	s.sim.Clear()
	s.sim.SetSwitches(func(w *linkedinsim.Switches) { w.AccessLifetime = 0 })
	for id, b := range members {
		eventually(t, "a token of 60 days", 20*time.Second, func() bool { return s.refreshed(t, id) })
		if !s.honours(t, s.accessToken(t, id)) {
			t.Errorf("LinkedIn does not honour the token of %s", id)
		}
		if b.validate(t) != id {
			t.Errorf("%s is signed in as another", id)
		}
	}
	s.pauseSchedule(t, true)
	name := s.resources(t, s.name, "AWS::Lambda::Function")["RefreshFunction"]
	if _, body := s.call(t, root(t), "GET", "lambda", "/2015-03-31/functions/"+name+"/configuration", nil); !strings.Contains(body, `"KEEPIN_LOG": "debug"`) && !strings.Contains(body, `"KEEPIN_LOG":"debug"`) {
		t.Errorf("the change was not deployed: %s", body)
	}
}

// otherAPI has keepin for its authorizer.
func otherAPI(t *testing.T, s *stack) {
	b := s.browser()
	id := b.signIn(t)
	a := b.do(t, "GET", s.other+"/orders", cookie(b))
	var who struct{ Member keeper.MemberID }
	if a.StatusCode != http.StatusOK || json.Unmarshal([]byte(a.body), &who) != nil || who.Member != id {
		t.Errorf("/orders of a member = %d %s", a.StatusCode, a.body)
	}
	stranger := s.browser()
	if a := stranger.do(t, "GET", s.other+"/orders"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("/orders without a cookie = %d %s", a.StatusCode, a.body)
	}
	if a := stranger.do(t, "GET", s.other+"/orders", header("Cookie", "__Host-keepin="+string(id)+".guessed")); a.StatusCode != http.StatusForbidden {
		t.Errorf("/orders with a guessed cookie = %d %s", a.StatusCode, a.body)
	}
	before := cookie(b)
	if a := b.do(t, "POST", "/logout"); a.StatusCode != http.StatusNoContent {
		t.Errorf("/logout = %d %s", a.StatusCode, a.body)
	}
	if a := stranger.do(t, "GET", s.other+"/orders", before); a.StatusCode != http.StatusForbidden {
		t.Errorf("/orders after the logout = %d %s", a.StatusCode, a.body)
	}
}

// everyAPIIsLetIn takes from each function, one at a time, who may call it.
func everyAPIIsLetIn(t *testing.T, s *stack) {
	b := s.browser()
	b.signIn(t)
	for id, name := range s.resources(t, s.name, "AWS::Lambda::Function") {
		if id == "RefreshFunction" { // no API calls it
			continue
		}
		path, role := "/2015-03-31/functions/"+name+"/policy", strings.TrimSuffix(id, "Function")+"Role"
		var got struct{ Policy string }
		_, body := s.call(t, root(t), "GET", "lambda", path, nil)
		var p struct {
			Statement []struct {
				Sid       string
				Condition map[string]map[string]string
			}
		}
		if json.Unmarshal([]byte(body), &got) != nil || json.Unmarshal([]byte(got.Policy), &p) != nil || len(p.Statement) == 0 {
			t.Fatalf("lambda:GetPolicy: %s", body)
		}
		for _, st := range p.Statement {
			source := st.Condition["ArnLike"]["AWS:SourceArn"]
			ask := func() int { return s.poke(t, role) }
			if strings.Contains(source, "/authorizers/") {
				ask = func() int { return b.do(t, "GET", s.other+"/orders", cookie(b)).StatusCode }
			}
			if status := ask(); status >= http.StatusInternalServerError || source == "" {
				t.Errorf("%s: %d, as called by %q", id, status, source)
			}
			s.call(t, root(t), "DELETE", "lambda", path+"/"+st.Sid, nil)
			if status := ask(); status != http.StatusInternalServerError {
				t.Errorf("%s without the permission of %s: %d", id, source, status)
			}
			raw, err := json.Marshal(map[string]string{"StatementId": st.Sid, "Action": "lambda:InvokeFunction", "Principal": "apigateway.amazonaws.com", "SourceArn": source})
			must(t, err)
			if status, body := s.call(t, root(t), "POST", "lambda", path, raw); status != http.StatusCreated {
				t.Fatalf("lambda:AddPermission: %d %s", status, body)
			}
		}
	}
}

// cookie is the session's, as it is now.
func cookie(b *browser) func(*http.Request) {
	u, _ := url.Parse(b.out["Url"]) // it was asked before
	var all []string
	for _, c := range b.client.Jar.Cookies(u) {
		all = append(all, c.Name+"="+c.Value)
	}
	return header("Cookie", strings.Join(all, "; "))
}

// deleted goes by what docs/deploy.md says.
func deleted(t *testing.T, s *stack) {
	s.query(t, "cloudformation", "2010-05-15", "DeleteStack", "StackName", "other")
	s.forgetBus(t)
	for what, n := range s.left(t) {
		if n == 0 {
			t.Errorf("before the deletion there are no %s", what)
		}
	}
	said := s.mustTool(t, "y\ny\ny\n", "bash", "-c", guide(t, "sam delete")+"\necho kept $table $keyset")
	kept := strings.Fields(said[strings.LastIndex(said, "kept "):])
	if len(kept) != 3 || kept[1] != s.out["Table"] || kept[2] != s.out["Keyset"] {
		t.Fatalf("kept are %q", kept)
	}
	for what, n := range s.left(t) {
		if n != map[string]int{"tables": 1, "secrets": 1}[what] {
			t.Errorf("after the deletion there are %d %s", n, what)
		}
	}
	s.mustTool(t, "", "bash", "-c", "table="+kept[1]+" keyset="+kept[2]+"\n"+guide(t, "aws dynamodb delete-table"))
	if n := s.left(t)["tables"]; n != 0 {
		t.Errorf("%d tables are left", n)
	}
}

// left is how many things of the stack's there are, by kind.
func (s *stack) left(t testing.TB) map[string]int {
	t.Helper()
	read := func(service, path string) string {
		status, body := s.call(t, root(t), "GET", service, path, nil)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, body)
		}
		return body
	}
	ask := func(service, target string) string {
		var out json.RawMessage
		s.json(t, service, target, map[string]any{}, &out)
		return string(out)
	}
	count := func(text, names string) int {
		found := map[string]bool{}
		for _, m := range regexp.MustCompile(names).FindAllStringSubmatch(text, -1) {
			found[m[1]] = true
		}
		return len(found)
	}
	const named = `"(keepin[^"]*)"`
	return map[string]int{
		"functions":  count(read("lambda", "/2015-03-31/functions"), `"FunctionName": ?`+named),
		"apis":       count(read("apigateway", "/v2/apis"), `"name": ?`+named),
		"schedules":  count(read("scheduler", "/schedules"), `"Name": ?"(EachMinute[^"]*|keepin[^"]*)"`),
		"roles":      count(s.iam(t, "ListRoles"), `<RoleName>(keepin[^<]*)`),
		"alarms":     count(s.query(t, "monitoring", "2010-08-01", "DescribeAlarms"), `<AlarmName>(keepin[^<]*)`),
		"log groups": count(ask("logs", "Logs_20140328.DescribeLogGroups"), `"logGroupName": ?"([^"]*keepin[^"]*)"`),
		"buses":      count(ask("events", "AWSEvents.ListEventBuses"), `"Name": ?`+named),
		"secrets":    count(ask("secretsmanager", "secretsmanager.ListSecrets"), `"Name": ?`+named),
		"tables":     count(ask("dynamodb", "DynamoDB_20120810.ListTables"), named),
	}
}
