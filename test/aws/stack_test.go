package aws_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/test/aws/awstest"
	"github.com/keepin/keepin/test/e2e"
)

// stack is keepin as `sam deploy` makes it of template.yaml, beside a simulated
// LinkedIn. Both live by the real clock.
type stack struct {
	account
	name     string
	template string // what sam build made
	out      map[string]string
	sim      *linkedinsim.Sim
	app      linkedinsim.App
	table    *dynamo.Table // as the account's root user sees it
	members  atomic.Int64
	settings []string // parameters
}

const minute = 2 * time.Second // the schedule's

// deploy builds and deploys keepin into a new account, and registers it with LinkedIn.
func deploy(t *testing.T) *stack {
	t.Helper()
	s := &stack{name: "keepin", app: linkedinsim.DefaultApp()}
	awstest.Tool(t, "sam")
	s.account = account{awstest.Account(t, minute)}
	linkedIn := e2e.Listen(t)
	address := "http://" + linkedIn.Addr().String()
	dir := t.TempDir()
	s.template = filepath.Join(dir, "template.yaml")
	s.settings = []string{"Architecture=x86_64", "AwsEndpointUrl=" + s.endpoint, "LinkedInUrl=" + address, "LinkedInApiUrl=" + address}
	s.mustTool(t, "", "sam", "build", "--build-dir", dir)
	s.update(t)

	s.app.RedirectURLs = []string{s.out["RedirectUrl"]}
	var err error
	s.sim, err = linkedinsim.New(linkedinsim.Config{URL: address, Apps: []linkedinsim.App{s.app}, Switches: linkedinsim.Switches{RevokeEndpoint: true}})
	must(t, err)
	e2e.Serve(t, linkedIn, s.sim)
	s.table, err = dynamo.Open(dynamo.Config{Table: s.out["Table"], Region: awstest.Region, Credentials: awstest.Credentials(), Endpoint: s.endpoint})
	must(t, err)
	return s
}

// update deploys with the settings, and any more given.
func (s *stack) update(t testing.TB, more ...string) {
	t.Helper()
	config, err := filepath.Abs("../../samconfig.toml")
	must(t, err)
	s.mustTool(t, "", append(append([]string{"sam", "deploy", "--config-file", config, "--template-file", s.template, "--no-confirm-changeset", "--stack-name", s.name, "--parameter-overrides"}, s.settings...), more...)...)
	s.out = s.outputs(t, s.name)
}

// browser is one browser: cookies, and no redirect followed by itself.
type browser struct {
	*stack
	client *http.Client
}

type answer struct {
	*http.Response
	body string
}

func (s *stack) browser() *browser {
	jar, _ := cookiejar.New(nil) // never fails
	return &browser{s, &http.Client{Jar: jar, Transport: gateway{s.account}, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// do sends one request to a path of keepin's, or a whole address.
func (b *browser) do(t testing.TB, method, address string, prepare ...func(*http.Request)) answer {
	t.Helper()
	if strings.HasPrefix(address, "/") {
		address = b.out["Url"] + address
	}
	req, err := http.NewRequestWithContext(t.Context(), method, address, http.NoBody)
	must(t, err)
	for _, p := range prepare {
		p(req)
	}
	res, err := b.client.Do(req)
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	must(t, err)
	return answer{res, string(text)}
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// callback goes by way of LinkedIn's consent page, and returns what the
// callback answers.
func (b *browser) callback(t testing.TB, login, member string) answer {
	t.Helper()
	a := b.do(t, "GET", login)
	if a.StatusCode != http.StatusSeeOther {
		return a
	}
	back, err := b.sim.Authorize(a.Header.Get("Location"), member)
	must(t, err)
	return b.do(t, "GET", back)
}

// newMember is somebody at LinkedIn who never signed in.
func (s *stack) newMember(t testing.TB) string {
	t.Helper()
	key := "member" + string(rune('a'+s.members.Load()/26%26)) + string(rune('a'+s.members.Add(1)%26))
	must(t, s.sim.AddMember(linkedinsim.Member{Key: key, Name: "Member " + key, GivenName: "Member", FamilyName: key, Email: key + "@example.com", LoggedIn: true}))
	return key
}

// signIn signs a new member in, and returns the member's id.
func (b *browser) signIn(t testing.TB) keeper.MemberID {
	t.Helper()
	if a := b.callback(t, "/login", b.newMember(t)); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("the callback = %d %s", a.StatusCode, a.body)
	}
	return b.validate(t)
}

type view struct {
	Member struct {
		ID   keeper.MemberID
		Name string
	}
	Grant struct{ Status string }
}

// validate is who is signed in; it must be somebody.
func (b *browser) validate(t testing.TB) keeper.MemberID {
	t.Helper()
	a := b.do(t, "GET", "/validate")
	var v view
	if a.StatusCode != http.StatusOK || json.Unmarshal([]byte(a.body), &v) != nil || v.Member.Name == "" || v.Grant.Status != "active" {
		t.Fatalf("/validate = %d %s", a.StatusCode, a.body)
	}
	return v.Member.ID
}

// grant is what the table holds of a member.
func (s *stack) grant(t testing.TB, id keeper.MemberID) keeper.Grant {
	t.Helper()
	g, err := s.table.Get(context.Background(), id)
	must(t, err)
	return g
}

// honours asks LinkedIn's API whether it takes an access token.
func (s *stack) honours(t testing.TB, access string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://sim/v2/userinfo", http.NoBody)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+access)
	res, err := s.sim.RoundTrip(req)
	must(t, err)
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// log is what a log group has had since a time in Unix milliseconds.
func (s *stack) log(t testing.TB, group string, since int64) string {
	t.Helper()
	var out struct{ Events []struct{ Message string } }
	s.json(t, "logs", "Logs_20140328.FilterLogEvents", map[string]any{"logGroupName": s.resources(t, s.name, "AWS::Logs::LogGroup")[group], "startTime": since}, &out)
	var lines []string
	for _, e := range out.Events {
		lines = append(lines, e.Message)
	}
	return strings.Join(lines, "\n")
}

// cold has a function start anew for its next call.
func (s *stack) cold(t testing.TB, function string) {
	t.Helper()
	name := s.resources(t, s.name, "AWS::Lambda::Function")[function]
	if status, body := s.call(t, root(t), "PUT", "lambda", "/2015-03-31/functions/"+name+"/configuration", []byte(`{"MemorySize":256}`)); status != http.StatusOK {
		t.Fatalf("lambda:UpdateFunctionConfiguration: %d %s", status, body)
	}
}

// pauseSchedule stops the schedule, or lets it run.
func (s *stack) pauseSchedule(t testing.TB, stop bool) {
	t.Helper()
	for _, id := range s.resources(t, s.name, "AWS::Scheduler::Schedule") {
		path := "/schedules/" + id[strings.LastIndex(id, "/")+1:] + "?groupName=" + s.name
		status, body := s.call(t, root(t), "GET", "scheduler", path, nil)
		var schedule map[string]any
		if status != http.StatusOK || json.Unmarshal([]byte(body), &schedule) != nil {
			t.Fatalf("scheduler:GetSchedule %s: %d %s", path, status, body)
		}
		schedule["State"] = map[bool]string{true: "DISABLED", false: "ENABLED"}[stop]
		raw, err := json.Marshal(schedule)
		must(t, err)
		if status, body := s.call(t, root(t), "PUT", "scheduler", path, raw); status != http.StatusOK {
			t.Fatalf("scheduler:UpdateSchedule: %d %s", status, body)
		}
	}
}
