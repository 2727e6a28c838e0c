package console_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/keepin/keepin/shared/app/console"
	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
	"github.com/keepin/keepin/test/aws/awstest"
)

// stack is a table and a keyset on a local AWS, seen by an operator whose clock
// a test moves.
type stack struct {
	t     *testing.T
	table *dynamo.Table
	keys  secrets.Manager
	c     console.Config
	ahead time.Duration
}

func open(t *testing.T) *stack {
	t.Helper()
	tables, endpoint := awstest.Dynalite(t), awstest.Ministack(t)
	s := &stack{t: t, c: console.Config{Table: awstest.Table(t, tables), Keyset: "keepin/" + rand.Text(), Endpoint: tables, ReadUnits: 1000, Load: to(endpoint)}}
	s.c.Now = func() time.Time { return time.Now().Add(s.ahead) }
	a, _ := to(endpoint)(t.Context())
	s.keys = secrets.Manager{Client: secrets.NewClient(a), ID: s.c.Keyset}
	_, err := secretsmanager.NewFromConfig(a).CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &s.c.Keyset, SecretString: aws.String(seal.NewKeyset().Reveal())})
	if _, twice := errors.AsType[*smtypes.ResourceExistsException](err); !twice { // nobody else has this name: the client sent it twice
		must(t, err)
	}
	s.table, err = dynamo.Open(dynamo.Config{Table: s.c.Table, Region: awstest.Region, Credentials: awstest.Credentials(), Endpoint: tables, Timeout: 20 * time.Second})
	must(t, err)
	return s
}

// to is what the SDK would find for a person, with an address of its own.
func to(endpoint string) func(context.Context) (aws.Config, error) {
	return func(context.Context) (aws.Config, error) {
		return aws.Config{Region: awstest.Region, Credentials: awstest.Credentials(), BaseEndpoint: &endpoint}, nil
	}
}

func (s *stack) ask(words ...string) string {
	s.t.Helper()
	text, err := console.Operate(s.t.Context(), s.c, words...)
	if err != nil {
		s.t.Fatalf("%v: %v", words, err)
	}
	return text
}

func (s *stack) refused(want string, words ...string) {
	s.t.Helper()
	if text, err := console.Operate(s.t.Context(), s.c, words...); err == nil || !strings.Contains(err.Error(), want) {
		s.t.Errorf("%v: got %q, %v, want the error to say %q", words, text, err, want)
	}
}

func (s *stack) ids() []uint32 {
	s.t.Helper()
	set, err := s.keys.Current(s.t.Context())
	must(s.t, err)
	ids, err := seal.Keys(set)
	must(s.t, err)
	return ids
}

// keep stores member's grant, sealed with the newest key.
func (s *stack) keep(member string) {
	s.t.Helper()
	sealer := seal.New(seal.Config{Source: func(ctx context.Context, _ bool) (secret.String, error) { return s.keys.Current(ctx) }})
	id, old := keeper.MemberID(member), ""
	if g, err := s.table.Get(s.t.Context(), id); err == nil {
		old = g.Rev
	}
	token := func(p keeper.Purpose) keeper.Token {
		sealed, err := sealer.Seal(s.t.Context(), secret.New("a token"), p, member)
		must(s.t, err)
		return keeper.Token{Sealed: sealed, IssuedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
	}
	must(s.t, s.table.Put(s.t.Context(), keeper.Grant{Member: id, Status: keeper.Active, Access: token(keeper.PurposeAccess), Refresh: token(keeper.PurposeRefresh), Rev: "r" + old}, old))
}

func TestKeysAreRotatedAndPrunedOnAWS(t *testing.T) {
	s := open(t)
	s.keep("ada")
	s.keep("grace")
	if text := s.ask("keys", "rotate"); !strings.Contains(text, "Key 2") || !strings.Contains(text, "AWSPREVIOUS") {
		t.Errorf("rotate: %s", text)
	}
	s.keep("ada")

	s.ahead = 23 * time.Hour // environments that hold the keyset of before
	s.refused("prune after", "keys", "prune")
	s.ahead = 25 * time.Hour
	if text := s.ask("keys", "prune"); !strings.Contains(text, "none was dropped") || len(s.ids()) != 2 {
		t.Errorf("grace's tokens open no more: %s", text)
	}
	text := s.ask("keys", "list")
	for _, want := range []string{`(?m)^1 +2 *$`, `(?m)^2 +2 +seals what is new *$`, `Read 2 items of the table: \d+\.[1-9] read request units, about 0\.0000 US dollars`} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("the list does not match %s:\n%s", want, text)
		}
	}
	s.keep("grace")
	if text := s.ask("keys", "prune"); !strings.Contains(text, "[1]") || !slices.Equal(s.ids(), []uint32{2}) {
		t.Errorf("prune: %s, keys %v", text, s.ids())
	}
	before, err := s.keys.Previous(t.Context())
	must(t, err)
	if ids, err := seal.Keys(before); err != nil || !slices.Equal(ids, []uint32{1, 2}) {
		t.Errorf("the keyset before is %v %v", ids, err)
	}
	s.ahead = 0
	s.refused("prune after", "keys", "prune") // that was a change, too
}

func TestOperatorsWhoRotateAtOnceLoseNoKey(t *testing.T) {
	s := open(t)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if _, err := console.Operate(t.Context(), s.c, "keys", "rotate"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// The client may send a move twice, be told that it came late, and begin anew:
	// a key too many is none lost.
	if ids := s.ids(); len(ids) < 7 || int(ids[len(ids)-1]) != len(ids) {
		t.Errorf("keys %v after 6 rotations", ids)
	}
}

func TestPauseAndIncidentsOnAWS(t *testing.T) {
	s := open(t)
	s.c.Keyset = "" // none is needed for these
	first := s.ask("pause")
	s.ahead = time.Minute
	if again := s.ask("pause"); again != first {
		t.Errorf("a second pause begins anew:\n%s%s", first, again)
	}
	if c, err := s.table.Control(t.Context()); err != nil || c.PausedAt.IsZero() {
		t.Errorf("the functions see %+v %v", c, err)
	}
	must(t, s.table.PutIncident(t.Context(), keeper.Incident{ID: "INCIDENT0001", Cause: "application", OpenedAt: time.Now(), Records: []keeper.Record{
		{Operation: "refresh", At: time.Now(), ClientID: "77app", Method: "POST", URL: "https://www.linkedin.com/oauth/v2/accessToken", Status: 401, ResponseHeaders: map[string]string{"x-li-uuid": "U1"}}}}))
	if text := s.ask("incidents", "list"); !strings.Contains(text, "paused by an operator") || !strings.Contains(text, "INCIDENT0001") {
		t.Errorf("the list: %s", text)
	}
	if text := s.ask("incidents", "show", "INCIDENT0001"); !strings.Contains(text, "x-li-uuid: U1") {
		t.Errorf("the incident: %s", text)
	}
	s.ask("resume")
	if c, err := s.table.Control(t.Context()); err != nil || !c.PausedAt.IsZero() {
		t.Errorf("the functions see %+v %v", c, err)
	}
	s.refused("KEEPIN_KEYS is not set", "keys", "rotate")
}

// TestWhatIsWrongOnAWSIsASentence has AWS answer what it answers to a person
// without rights, of another account, or who signed in yesterday.
func TestWhatIsWrongOnAWSIsASentence(t *testing.T) {
	answer := ""
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(fake.Close)
	of := func(change func(*aws.Config)) func(context.Context) (aws.Config, error) {
		return func(ctx context.Context) (aws.Config, error) {
			a, err := to(fake.URL)(ctx)
			if change != nil {
				change(&a)
			}
			return a, err
		}
	}
	none := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("the SSO session has expired")
	})
	const denied = `{"__type":"AccessDeniedException","message":"User: arn:aws:sts::1:assumed-role/dev/ann is not authorized to perform: dynamodb:Scan on resource: table/keepin"}`
	for _, c := range []struct {
		name, answer string
		load         func(context.Context) (aws.Config, error)
		words, want  []string
	}{
		{"no right on the table", denied, of(nil), []string{"pause"}, []string{"may not do that", "docs/deploy.md", "dynamodb:Scan"}},
		{"no right on the secret", `{"__type":"AccessDeniedException","Message":"not authorized to perform: secretsmanager:GetSecretValue"}`, of(nil), []string{"keys", "list"}, []string{"may not do that", "secretsmanager:GetSecretValue"}},
		{"another table", `{"__type":"ResourceNotFoundException","message":"Requested resource not found"}`, of(nil), []string{"incidents", "list"}, []string{"KEEPIN_STORE=dynamodb:keepin", awstest.Region, "output Table"}},
		{"another secret", `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`, of(nil), []string{"keys", "rotate"}, []string{"output Keyset"}},
		{"credentials of yesterday", `{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}`, of(nil), []string{"pause"}, []string{"aws sso login"}},
		{"no Region", "", of(func(a *aws.Config) { a.Region = "" }), []string{"pause"}, []string{"AWS_REGION"}},
		{"no credentials", "", of(func(a *aws.Config) { a.Credentials = none }), []string{"pause"}, []string{"aws sso login", "AWS_PROFILE", "the SSO session has expired"}},
		{"nobody at all", "", of(func(a *aws.Config) { a.Credentials = nil }), []string{"pause"}, []string{"AWS_PROFILE"}},
	} {
		answer = c.answer
		_, err := console.Operate(t.Context(), console.Config{Table: "keepin", Keyset: "keepin/keys", Endpoint: fake.URL, Load: c.load}, c.words...)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", c.name, err, want)
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
