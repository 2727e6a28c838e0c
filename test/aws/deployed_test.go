// Package aws_test deploys template.yaml with the SAM CLI into an AWS account on
// loopback, IAM enforced, and lives there.
package aws_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
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
		{"EveryStatementOfEveryRoleIsNeeded", everyStatementIsNeeded},
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
