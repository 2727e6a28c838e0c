package lambdahost_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"gopkg.in/yaml.v3"

	"github.com/keepin/keepin/shared/app/console"
	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/test/aws/awstest"
	"github.com/keepin/keepin/test/e2e"
	"github.com/keepin/keepin/test/lambdahost"
)

// functions are built once, with the clock that a test can move.
var functions = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(bin, "keepin")
	for _, name := range []string{"callback", "validate", "logout", "members", "refresh"} {
		if err := lambdahost.Build(context.Background(), dir, name, "../../functions/"+name, "lambdahost"); err != nil {
			return "", err
		}
	}
	return dir, nil
})

// TestKeepinOnLambda runs the end-to-end suite on the real bootstraps, with
// template.yaml's routes and environment, DynamoDB and Secrets Manager as
// servers.
func TestKeepinOnLambda(t *testing.T) {
	used := &calls{seen: map[string]bool{}}
	tables, aws := used.through(t, awstest.Dynalite(t)), used.through(t, awstest.Ministack(t))
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	e2e.Run(t, func(t *testing.T, refreshTokens bool) *e2e.Target {
		used.stacks++
		s := open(t, tables, aws, key, func(s *stack) { s.app.Refresh, s.config.Freeze = refreshTokens, true })
		return &e2e.Target{
			BaseURL: s.base, Sim: s.sim, Wire: s.wire, Clock: s.clock, Logs: s.log.String, Events: s.events, Sent: s.received.String,
			Files: s.items, Secrets: s.secrets,
			Backend: signed, Stranger: http.StatusForbidden, Operate: s.operate, SetSecret: s.setSecret,
			Pass: func(t testing.TB) {
				t.Helper()
				for range 3 { // what one task makes due is done as well
					told := s.log.Len()
					must(t, s.host.Tick(t.Context()))
					if strings.Contains(s.log.From(told), `"Done":0,"Failed":0`) {
						break
					}
				}
			},
		}
	})
	all := used.stacks > 20
	t.Run("AnIncidentThatACallerMet", func(t *testing.T) { incidentOfACaller(t, tables, aws, key) })
	rolesGrantWhatIsUsed(t, used, all)
}

// incidentOfACaller has callers of members meet a wrong client secret: the
// first opens the incident, the probe of a minute later adds to it.
func incidentOfACaller(t *testing.T, tables, aws string, key *rsa.PrivateKey) {
	s := open(t, tables, aws, key, func(s *stack) {
		s.credentials = `{"client_id":"` + s.app.ClientID + `","client_secret":"wrong"}`
	})
	db := s.open(t)
	now, member := s.clock.Now(), keeper.NewMemberID(s.app.ClientID, "subject")
	sealer := seal.New(seal.Config{Now: s.clock.Now, Source: func(context.Context, bool) (secret.String, error) { return secret.New(s.keyset), nil }})
	token := func(purpose keeper.Purpose, ends time.Time) keeper.Token {
		sealed, err := sealer.Seal(t.Context(), secret.New("a token of LinkedIn's"), purpose, string(member))
		must(t, err)
		return keeper.Token{Sealed: sealed, IssuedAt: now.Add(-time.Hour), ExpiresAt: ends}
	}
	must(t, db.Put(t.Context(), keeper.Grant{
		Member: member, Subject: "subject", Status: keeper.Active, Generation: "g", Scopes: []string{"openid"}, Rev: "1",
		Access: token(keeper.PurposeAccess, now.Add(-time.Minute)), Refresh: token(keeper.PurposeRefresh, now.Add(day)),
	}, ""))
	for range 2 {
		if r := get(t, s.base+"/members/"+string(member)+"/token", signed); r.StatusCode != 503 {
			t.Errorf("got %d %s", r.StatusCode, r.body)
		}
		s.clock.Advance(61 * time.Second)
	}
	incidents, err := db.Incidents(t.Context(), now.Add(-day))
	must(t, err)
	if len(incidents) != 1 || incidents[0].Cause != "application" || len(incidents[0].Records) < 2 {
		t.Errorf("got %+v", incidents)
	}
}

const day = 24 * time.Hour

func signed(r *http.Request) { lambdahost.Sign(r, backend) }

// open is the stack's table.
func (s *stack) open(t *testing.T) *dynamo.Table {
	t.Helper()
	db, err := dynamo.Open(dynamo.Config{Table: s.table, Region: awstest.Region, Credentials: awstest.Credentials(), Endpoint: s.config.Env["AWS_ENDPOINT_URL_DYNAMODB"], Now: s.clock.Now})
	must(t, err)
	return db
}

// calls are the calls to AWS that functions made, as "refresh dynamodb:Query due".
type calls struct {
	mu     sync.Mutex
	seen   map[string]bool
	stacks int // how much of the suite was run
}

// through is the address of a service by way of which calls are noted.
func (c *calls) through(t *testing.T, service string) string {
	to, err := url.Parse(service)
	must(t, err)
	proxy := httputil.NewSingleHostReverseProxy(to)
	return e2e.Serve(t, e2e.Listen(t), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		var in struct{ IndexName string }
		_ = json.Unmarshal(body, &in)
		target, action, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		if target == "DynamoDB_20120810" {
			target = "dynamodb"
		}
		_, key, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		key, _, _ = strings.Cut(key, "/")
		c.mu.Lock()
		c.seen[key+" "+strings.TrimSpace(target+":"+action+" "+in.IndexName)] = true
		c.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
}

// grants are the actions that the functions' roles grant on the table, its
// index and the secrets, by function.
func grants(t *testing.T) map[string][]string {
	t.Helper()
	raw, err := os.ReadFile("../../template.yaml")
	must(t, err)
	var doc struct {
		Resources map[string]struct {
			Properties struct {
				Policies []struct {
					PolicyDocument struct {
						Statement []yaml.Node `yaml:"Statement"`
					} `yaml:"PolicyDocument"`
				} `yaml:"Policies"`
			} `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	must(t, yaml.Unmarshal(raw, &doc))
	roles := map[string][]string{}
	for id, r := range doc.Resources {
		name, ok := strings.CutSuffix(id, "Role")
		if !ok {
			continue
		}
		for _, p := range r.Properties.Policies {
			for _, n := range p.PolicyDocument.Statement {
				if n.Kind != yaml.MappingNode {
					continue // the customer key's
				}
				fields := map[string]yaml.Node{}
				must(t, n.Decode(&fields))
				action, resource := fields["Action"], fields["Resource"]
				actions := []*yaml.Node{&action}
				if action.Kind == yaml.SequenceNode {
					actions = action.Content
				}
				_, index, _ := strings.Cut(resource.Value, "/index/")
				for _, a := range actions {
					if strings.HasPrefix(a.Value, "dynamodb:") || strings.HasPrefix(a.Value, "secretsmanager:") {
						roles[strings.ToLower(name)] = append(roles[strings.ToLower(name)], strings.TrimSpace(a.Value+" "+index))
					}
				}
			}
		}
	}
	return roles
}

// rolesGrantWhatIsUsed, and no more: of the whole suite, each action that a
// role grants on the table and the secrets was used, and no other was.
func rolesGrantWhatIsUsed(t *testing.T, used *calls, all bool) {
	t.Helper()
	roles := grants(t)
	for _, name := range []string{"callback", "validate", "logout", "members", "refresh"} {
		var got []string
		for call := range used.seen {
			if action, ok := strings.CutPrefix(call, lambdahost.AccessKey(name)+" "); ok {
				got = append(got, action)
			}
		}
		for _, action := range got {
			if !slices.Contains(roles[name], action) {
				t.Errorf("%s uses %s, which its role does not grant", name, action)
			}
		}
		for _, action := range roles[name] {
			if all && !slices.Contains(got, action) {
				t.Errorf("%s is granted %s, and never uses it", name, action)
			}
		}
	}
}

// backend is the access key of the application's back end.
const backend = "AKIABACKEND0000000001"

// stack is keepin on a Lambda host, beside a LinkedIn with one clock.
type stack struct {
	host             *lambdahost.Host
	sim              *linkedinsim.Sim
	wire             *e2e.Wire
	app              linkedinsim.App
	clock            *linkedinsim.Clock
	base             string
	log              *e2e.Log
	credentials      string // what the secrets hold
	keyset           string
	own              map[string]string // secrets of the functions' environment
	table            string
	config           lambdahost.Config
	mu               sync.Mutex
	sent             []string
	received         e2e.Log // by the application's receiver of events, whole
	secret, keysetID string
	aws              string    // Secrets Manager's address
	opened           time.Time // by the machine's clock, when this one's stood at began
}

var began = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func (s *stack) events() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.sent...)
}

// open starts one; change may change what is in it first.
func open(t *testing.T, tables, endpoint string, key *rsa.PrivateKey, change func(*stack)) *stack {
	t.Helper()
	dir, err := functions()
	must(t, err)
	s := &stack{clock: linkedinsim.NewClock(began), aws: endpoint, opened: time.Now(), own: map[string]string{
		"webhook's key": rand.Text(), "function's AWS secret key": rand.Text() + rand.Text(), "function's AWS session token": rand.Text() + rand.Text(),
	}, log: new(e2e.Log), app: linkedinsim.DefaultApp()}
	front, back := e2e.Listen(t), e2e.Listen(t)
	s.base = "http://" + front.Addr().String()
	linkedIn := "http://" + back.Addr().String()
	s.app.RedirectURLs = []string{s.base + "/callback"}
	s.credentials = `{"client_id":"` + s.app.ClientID + `","client_secret":"` + s.app.Secret + `"}`
	s.keyset = seal.NewKeyset().Reveal()
	s.table = awstest.Table(t, tables)
	s.secret, s.keysetID = s.table+"/linkedin", s.table+"/keys"
	s.config = lambdahost.Config{
		Template: "../../template.yaml", Bin: dir, Environments: 60, Log: s.log, Now: s.clock.Now,
		Callers: map[string]string{backend: "arn:aws:sts::111122223333:assumed-role/backend/i-07"},
		Values: map[string]string{
			"Table": s.table, "ClientSecret": s.secret, "Keyset": s.keysetID, "Scopes": "openid profile email w_member_social",
			"LogLevel": "debug", "BaseUrl": s.base, "LinkedInUrl": linkedIn, "LinkedInApiUrl": linkedIn, "AwsEndpointUrl": endpoint,
			"SdkExchange": linkedIn + "/uas/oauth/accessToken",
		},
		Env: map[string]string{
			"KEEPIN_TEST_CLOCK": e2e.Serve(t, e2e.Listen(t), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, s.clock.Now().Format(time.RFC3339Nano))
			})),
			"AWS_ENDPOINT_URL_DYNAMODB": tables,
			"KEEPIN_EVENTS":             "webhook:" + e2e.Serve(t, e2e.Listen(t), http.HandlerFunc(s.take)) + "/events?key=" + s.own["webhook's key"],
			"AWS_SECRET_ACCESS_KEY":     s.own["function's AWS secret key"],
			"AWS_SESSION_TOKEN":         s.own["function's AWS session token"],
		},
	}
	change(s)
	s.sim, err = linkedinsim.New(linkedinsim.Config{Clock: s.clock, URL: linkedIn, Apps: []linkedinsim.App{s.app}, Members: linkedinsim.DefaultMembers(), Key: key})
	must(t, err)
	sm := s.manager()
	for id, text := range map[string]string{s.secret: s.credentials, s.keysetID: s.keyset} {
		_, err := sm.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(id), SecretString: aws.String(text)})
		// Nobody else has this name: the client sent it twice.
		if _, twice := errors.AsType[*smtypes.ResourceExistsException](err); !twice {
			must(t, err)
		}
	}
	s.host, err = lambdahost.Open(s.config)
	must(t, err)
	t.Cleanup(func() {
		s.host.Close()
		if t.Failed() && testing.Verbose() {
			t.Log(s.log.String())
		}
	})
	s.wire = e2e.NewWire(s.sim)
	e2e.Serve(t, back, s.wire)
	e2e.Serve(t, front, s.host.Gateway)
	return s
}

// operate does an operator's verb. His clock goes as fast as the functions'.
func (s *stack) operate(t testing.TB, words ...string) string {
	t.Helper()
	text, err := console.Operate(t.Context(), console.Config{
		Table: s.table, Keyset: s.keysetID, Endpoint: s.config.Env["AWS_ENDPOINT_URL_DYNAMODB"], ReadUnits: 1000,
		Load: func(context.Context) (aws.Config, error) {
			return aws.Config{Region: awstest.Region, Credentials: awstest.Credentials(), BaseEndpoint: &s.aws}, nil
		},
		Now: func() time.Time { return s.opened.Add(s.clock.Now().Sub(began)) },
	}, words...)
	if err != nil {
		return err.Error()
	}
	return text
}

// items is all that the table holds, attribute by attribute.
func (s *stack) items(t testing.TB) (all [][]byte) {
	t.Helper()
	endpoint := s.config.Env["AWS_ENDPOINT_URL_DYNAMODB"]
	db := dynamodb.New(dynamodb.Options{Region: awstest.Region, Credentials: awstest.Credentials(), BaseEndpoint: &endpoint})
	var value func(name string, v types.AttributeValue)
	value = func(name string, v types.AttributeValue) {
		switch v := v.(type) {
		case *types.AttributeValueMemberS:
			all = append(all, []byte(name+"="+v.Value+"\n"))
		case *types.AttributeValueMemberN:
			all = append(all, []byte(name+"="+v.Value+"\n"))
		case *types.AttributeValueMemberB:
			all = append(all, v.Value, []byte("\n"))
		case *types.AttributeValueMemberL:
			for _, inner := range v.Value {
				value(name, inner)
			}
		case *types.AttributeValueMemberM:
			for name, inner := range v.Value {
				value(name, inner)
			}
		default:
			t.Errorf("attribute %s is a %T", name, v)
		}
	}
	pages := dynamodb.NewScanPaginator(db, &dynamodb.ScanInput{TableName: &s.table, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		must(t, err)
		for _, item := range page.Items {
			value("item", &types.AttributeValueMemberM{Value: item})
		}
	}
	return all
}

// secrets are the functions' own.
func (s *stack) secrets(t testing.TB) map[string]string {
	t.Helper()
	set, err := s.manager().GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &s.keysetID, VersionStage: aws.String("AWSCURRENT")})
	must(t, err)
	all, err := e2e.Keys([]byte(*set.SecretString))
	must(t, err)
	maps.Copy(all, s.own)
	return all
}

func (s *stack) manager() *secretsmanager.Client {
	return secretsmanager.New(secretsmanager.Options{Region: awstest.Region, Credentials: awstest.Credentials(), BaseEndpoint: &s.aws})
}

// setSecret puts another client secret; the one before it stays as AWSPREVIOUS.
func (s *stack) setSecret(t testing.TB, current, _ string) {
	t.Helper()
	_, err := s.manager().PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
		SecretId: &s.secret, SecretString: aws.String(`{"client_id":"` + s.app.ClientID + `","client_secret":"` + current + `"}`),
	})
	must(t, err)
}

// take is the application's receiver of events.
func (s *stack) take(_ http.ResponseWriter, r *http.Request) {
	var e struct{ Type string }
	body, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(body, &e)
	fmt.Fprintf(&s.received, "%v\n%s\n", r.Header, body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, e.Type)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
