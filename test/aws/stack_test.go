package aws_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/test/aws/awstest"
	"github.com/keepin/keepin/test/e2e"
	"github.com/keepin/keepin/test/lambdahost"
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
	other    string        // address of another API
	queue    string        // what came to the bus waits here
	events   []string      // and is noted here, as "type subject"
	settings []string      // parameters
}

const (
	minute = time.Second               // the schedule's
	page   = "https://www.example.com" // the application's, on a host of its own
)

// deploy builds and deploys keepin into a new account, and registers it with LinkedIn.
func deploy(t *testing.T) *stack {
	t.Helper()
	s := &stack{name: "keepin", app: linkedinsim.DefaultApp()}
	watchSources(t)
	awstest.Tool(t, "sam")
	s.account = account{awstest.Account(t, minute)}
	linkedIn := e2e.Listen(t)
	address := "http://" + linkedIn.Addr().String()
	dir := t.TempDir()
	s.template = filepath.Join(dir, "template.yaml")
	s.settings = []string{"Architecture=x86_64", "AwsEndpointUrl=" + s.endpoint, "LinkedInUrl=" + address, "LinkedInApiUrl=" + address, "ReturnOrigins=" + page}
	s.mustTool(t, "", "sam", "build", "--build-dir", dir)
	must(t, s.update(t))
	s.out = s.outputs(t, s.name)

	s.app.RedirectURLs = []string{s.out["RedirectUrl"]}
	var err error
	s.sim, err = linkedinsim.New(linkedinsim.Config{URL: address, Apps: []linkedinsim.App{s.app}, Switches: linkedinsim.Switches{RevokeEndpoint: true}})
	must(t, err)
	e2e.Serve(t, linkedIn, s.sim)
	s.table, err = dynamo.Open(dynamo.Config{Table: s.out["Table"], Region: awstest.Region, Credentials: awstest.Credentials(), Endpoint: s.endpoint})
	must(t, err)
	return s
}

// watchSources has Go's cache of test results know what only other programs read.
func watchSources(t testing.TB) {
	t.Helper()
	must(t, lambdahost.Watch(t.Context(), "../../functions/..."))
	for _, pattern := range []string{"localaws.py", "install.sh", "../../*.yaml", "../../*.toml", "../../*.mk", "../../Makefile", "../../docs/deploy.md"} {
		found, err := filepath.Glob(pattern)
		must(t, err)
		if len(found) == 0 {
			t.Fatalf("there is no %s", pattern)
		}
		for _, f := range found {
			_, err := os.Stat(f)
			must(t, err)
		}
	}
}

// update deploys with the settings, and any more given.
func (s *stack) update(t testing.TB, more ...string) error {
	t.Helper()
	config, err := filepath.Abs("../../samconfig.toml")
	if err != nil {
		return err
	}
	said, err := s.tool(t, "", append(append([]string{"sam", "deploy", "--config-file", config, "--template-file", s.template, "--no-confirm-changeset", "--stack-name", s.name, "--parameter-overrides"}, s.settings...), more...)...)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, said)
	}
	return nil
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
	key := "member-" + rand.Text()
	must(t, s.sim.AddMember(linkedinsim.Member{Key: key, Name: "Member " + key, GivenName: "Member", FamilyName: key, Email: key + "@example.com", LoggedIn: true}))
	return key
}

// signIn signs a new member in, and returns the member's id.
func (b *browser) signIn(t testing.TB) keeper.MemberID {
	t.Helper()
	b.signInAs(t, b.newMember(t))
	return b.validate(t)
}

// signInAs signs a member in, and asks no more.
func (b *browser) signInAs(t testing.TB, member string) keeper.MemberID {
	t.Helper()
	if a := b.callback(t, "/login", member); a.StatusCode != http.StatusSeeOther {
		t.Fatalf("the callback = %d %s", a.StatusCode, a.body)
	}
	return b.member(t)
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

// token asks for a member's token as the back end does.
func (s *stack) token(t testing.TB, id keeper.MemberID) answer {
	t.Helper()
	return s.browser().do(t, "GET", "/members/"+string(id)+"/token?min_seconds=0", signedBy(t, root(t)))
}

// accessToken is a member's, as the back end gets it.
func (s *stack) accessToken(t testing.TB, id keeper.MemberID) string {
	t.Helper()
	a := s.token(t, id)
	var k struct {
		Token string `json:"access_token"`
	}
	if a.StatusCode != http.StatusOK || json.Unmarshal([]byte(a.body), &k) != nil || k.Token == "" {
		t.Fatalf("no token: %d %s", a.StatusCode, a.body)
	}
	return k.Token
}

// signedBy makes a request the back end's.
func signedBy(t testing.TB, who aws.Credentials) func(*http.Request) {
	return func(r *http.Request) { sign(t, r, who, "execute-api", nil) }
}

// signInDue signs a new member in with a token of one second; those that
// LinkedIn gives later have 60 days.
func (b *browser) signInDue(t testing.TB) keeper.MemberID {
	t.Helper()
	b.sim.SetSwitches(func(s *linkedinsim.Switches) { s.AccessLifetime = time.Second })
	defer b.sim.SetSwitches(func(s *linkedinsim.Switches) { s.AccessLifetime = 0 })
	return b.signInAs(t, b.newMember(t))
}

// member is whose cookie the browser has.
func (b *browser) member(t testing.TB) keeper.MemberID {
	t.Helper()
	u, err := url.Parse(b.out["Url"])
	must(t, err)
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == "__Host-keepin" {
			id, _, _ := strings.Cut(c.Value, ".")
			return keeper.MemberID(id)
		}
	}
	t.Fatal("nobody is signed in")
	return ""
}

// refreshed reports whether a member has a token of 60 days.
func (s *stack) refreshed(t testing.TB, id keeper.MemberID) bool {
	t.Helper()
	g := s.grant(t, id)
	return max(g.Access.ExpiresAt.Unix(), g.Fresh.ExpiresAt.Unix()) > time.Now().Add(50*24*time.Hour).Unix()
}

// sessions is how many a member has.
func (s *stack) sessions(t testing.TB, id keeper.MemberID) int {
	t.Helper()
	var out struct{ Count int }
	s.json(t, "dynamodb", "DynamoDB_20120810.Query", map[string]any{
		"TableName": s.out["Table"], "KeyConditionExpression": "pk = :pk AND begins_with(sk, :s)",
		"ExpressionAttributeValues": map[string]any{":pk": map[string]string{"S": "M#" + string(id)}, ":s": map[string]string{"S": "S#"}},
	}, &out)
	return out.Count
}

// watchBus has what comes to the bus put into a queue.
func (s *stack) watchBus(t testing.TB) {
	t.Helper()
	if s.queue != "" {
		return
	}
	var made struct {
		QueueURL string `json:"QueueUrl"`
	}
	s.json(t, "sqs", "AmazonSQS.CreateQueue", map[string]any{"QueueName": "events"}, &made)
	s.queue = made.QueueURL
	bus := s.out["Bus"][strings.LastIndex(s.out["Bus"], "/")+1:]
	s.json(t, "events", "AWSEvents.PutRule", map[string]any{"Name": "all", "EventBusName": bus, "EventPattern": `{"source":["keepin"]}`}, nil)
	s.json(t, "events", "AWSEvents.PutTargets", map[string]any{"Rule": "all", "EventBusName": bus,
		"Targets": []any{map[string]string{"Id": "queue", "Arn": "arn:aws:sqs:" + awstest.Region + ":000000000000:events"}}}, nil)
}

// forgetBus takes off the bus what watchBus put on it.
func (s *stack) forgetBus(t testing.TB) {
	t.Helper()
	bus := s.out["Bus"][strings.LastIndex(s.out["Bus"], "/")+1:]
	s.json(t, "events", "AWSEvents.RemoveTargets", map[string]any{"Rule": "all", "EventBusName": bus, "Ids": []string{"queue"}}, nil)
	s.json(t, "events", "AWSEvents.DeleteRule", map[string]any{"Name": "all", "EventBusName": bus}, nil)
}

// told waits for an event about a subject.
func (s *stack) told(t testing.TB, kind keeper.EventType, subject string) {
	t.Helper()
	eventually(t, string(kind)+" about "+subject, 2*time.Second, func() bool {
		var got struct{ Messages []struct{ Body string } }
		s.json(t, "sqs", "AmazonSQS.ReceiveMessage", map[string]any{"QueueUrl": s.queue, "MaxNumberOfMessages": 10}, &got)
		for _, m := range got.Messages {
			var e struct {
				Type   keeper.EventType `json:"detail-type"`
				Detail struct{ Subject string }
			}
			must(t, json.Unmarshal([]byte(m.Body), &e))
			s.events = append(s.events, string(e.Type)+" "+e.Detail.Subject)
		}
		return slices.Contains(s.events, string(kind)+" "+subject)
	})
}
