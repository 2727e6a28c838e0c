package lambdahost_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/seal"
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
	tables, aws := awstest.Dynalite(t), awstest.Ministack(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	e2e.Run(t, func(t *testing.T, refreshTokens bool) *e2e.Target {
		s := open(t, tables, aws, key, func(s *stack) { s.app.Refresh, s.config.Freeze = refreshTokens, true })
		return &e2e.Target{
			BaseURL: s.base, Sim: s.sim, Clock: s.clock, Logs: s.log.String, Events: s.events,
			Backend: func(r *http.Request) { lambdahost.Sign(r, backend) }, Stranger: http.StatusForbidden,
			Pass: func(t testing.TB) {
				t.Helper()
				for range 3 { // what one task makes due is done as well
					told := len(s.log.String())
					must(t, s.host.Tick(t.Context()))
					if strings.Contains(s.log.String()[told:], `"Done":0,"Failed":0`) {
						break
					}
				}
			},
		}
	})
}

// backend is the access key of the application's back end.
const backend = "AKIABACKEND0000000001"

// stack is keepin on a Lambda host, beside a LinkedIn with one clock.
type stack struct {
	host             *lambdahost.Host
	sim              *linkedinsim.Sim
	app              linkedinsim.App
	clock            *linkedinsim.Clock
	base             string
	log              *buffer
	credentials      string // what the secret holds
	table            string
	config           lambdahost.Config
	mu               sync.Mutex
	sent             []string
	secret, keysetID string
}

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
	s := &stack{clock: linkedinsim.NewClock(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)), log: new(buffer), app: linkedinsim.DefaultApp()}
	front, back := listen(t), listen(t)
	s.base = "http://" + front.Addr().String()
	linkedIn := "http://" + back.Addr().String()
	s.app.RedirectURLs = []string{s.base + "/callback"}
	s.credentials = `{"client_id":"` + s.app.ClientID + `","client_secret":"` + s.app.Secret + `"}`
	s.table = awstest.Table(t, tables)
	s.secret, s.keysetID = s.table+"/linkedin", s.table+"/keys"
	s.config = lambdahost.Config{
		Template: "../../template.yaml", Bin: dir, Environments: 60, Log: s.log, Now: s.clock.Now,
		Callers: map[string]string{backend: "arn:aws:sts::111122223333:assumed-role/backend/i-07"},
		Values: map[string]string{
			"Table": s.table, "ClientSecret": s.secret, "Keyset": s.keysetID, "Scopes": "openid profile email w_member_social",
			"BaseUrl": s.base, "LinkedInUrl": linkedIn, "LinkedInApiUrl": linkedIn, "AwsEndpointUrl": endpoint,
		},
		Env: map[string]string{
			"KEEPIN_TEST_CLOCK": serve(t, listen(t), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, s.clock.Now().Format(time.RFC3339Nano))
			})),
			"AWS_ENDPOINT_URL_DYNAMODB": tables,
			"KEEPIN_EVENTS":             "webhook:" + serve(t, listen(t), http.HandlerFunc(s.take)) + "/events",
		},
	}
	change(s)
	s.sim, err = linkedinsim.New(linkedinsim.Config{Clock: s.clock, URL: linkedIn, Apps: []linkedinsim.App{s.app}, Members: linkedinsim.DefaultMembers(), Key: key})
	must(t, err)
	sm := secretsmanager.New(secretsmanager.Options{Region: awstest.Region, Credentials: awstest.Credentials(), BaseEndpoint: &endpoint})
	for id, text := range map[string]string{s.secret: s.credentials, s.keysetID: seal.NewKeyset().Reveal()} {
		_, err := sm.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(id), SecretString: aws.String(text)})
		must(t, err)
	}
	s.host, err = lambdahost.Open(s.config)
	must(t, err)
	t.Cleanup(func() {
		s.host.Close()
		if t.Failed() && testing.Verbose() {
			t.Log(s.log.String())
		}
	})
	serve(t, back, s.sim)
	serve(t, front, s.host.Gateway)
	return s
}

// take is the application's receiver of events.
func (s *stack) take(_ http.ResponseWriter, r *http.Request) {
	var e struct{ Type string }
	_ = json.NewDecoder(r.Body).Decode(&e)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, e.Type)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return l
}

func serve(t *testing.T, l net.Listener, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	must(t, s.Listener.Close())
	s.Listener = l
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// buffer is a log that many write to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
