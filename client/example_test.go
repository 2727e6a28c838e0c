package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/oauth2"

	"github.com/keepin/keepin/client"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/local"
)

// A back end calls LinkedIn for a member; keepin and LinkedIn run beside it.
func Example() {
	machine, err := start()
	if err != nil {
		log.Fatal(err)
	}
	defer machine.stop()
	ctx, member := context.Background(), machine.member

	keepin, err := client.New(client.Config{
		BaseURL: machine.keepin,
		HTTP:    &http.Client{Transport: client.BearerKey(machine.backendKey, nil), Timeout: 20 * time.Second},
		Keep:    30 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	linkedIn := oauth2.NewClient(ctx, keepin.TokenSource(ctx, member))
	res, err := linkedIn.Get(machine.linkedIn + "/v2/userinfo")
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	var who struct{ Name string }
	if err := json.NewDecoder(res.Body).Decode(&who); err != nil {
		log.Fatal(err)
	}
	fmt.Println("LinkedIn says:", who.Name)

	machine.signOut()
	_, err = keepin.Token(ctx, member)
	if e, ok := errors.AsType[*client.Error](err); ok && errors.Is(err, client.ErrNotConnected) {
		fmt.Println("send the browser to", e.LoginURL[len(machine.keepin):])
	}
	// Output:
	// LinkedIn says: Ada Lovelace
	// send the browser to /login
}

// On AWS the back end signs its requests with its role's credentials.
func ExampleConfig_signed() {
	region, credentials := "eu-central-1", aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIA...", SecretAccessKey: "..."}, nil // yours: config.LoadDefaultConfig(ctx)
	})
	signed := roundTripper(func(r *http.Request) (*http.Response, error) {
		c, err := credentials.Retrieve(r.Context())
		if err != nil {
			return nil, err
		}
		r, none := r.Clone(r.Context()), sha256.Sum256(nil) // a round tripper changes no request of others; these have no body
		if err := v4.NewSigner().SignHTTP(r.Context(), c, r, hex.EncodeToString(none[:]), "execute-api", region, time.Now()); err != nil {
			return nil, err
		}
		return http.DefaultTransport.RoundTrip(r)
	})
	_, err := client.New(client.Config{BaseURL: "https://members.example.com", HTTP: &http.Client{Transport: signed, Timeout: 20 * time.Second}})
	fmt.Println(err)
	// Output: <nil>
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// machine is a keepin with one member signed in, and the LinkedIn beside it.
type machine struct {
	keepin, linkedIn, backendKey, member string
	signOut, stop                        func()
}

func start() (*machine, error) {
	var listeners []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, l)
	}
	m := &machine{keepin: "http://" + listeners[0].Addr().String(), linkedIn: "http://" + listeners[1].Addr().String()}
	app := linkedinsim.DefaultApp()
	app.RedirectURLs = []string{m.keepin + "/callback"}
	sim, err := linkedinsim.New(linkedinsim.Config{URL: m.linkedIn, Apps: []linkedinsim.App{app}, Members: linkedinsim.DefaultMembers()})
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "keepin")
	if err != nil {
		return nil, err
	}
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("linkedin.json"), []byte(`{"client_id":"`+app.ClientID+`","client_secret":"`+app.Secret+`"}`), 0o600); err != nil {
		return nil, err
	}
	k, err := local.Open(context.Background(), local.Config{BaseURL: m.keepin, Scopes: []string{"openid", "profile"},
		LinkedInURL: m.linkedIn, APIURL: m.linkedIn, Issuer: m.linkedIn + "/oauth",
		Store: path("keepin.db"), Credentials: path("linkedin.json"), Keys: path("keys.json"), BackendKey: path("backend-key")})
	if err != nil {
		return nil, err
	}
	servers := []*httptest.Server{{Listener: listeners[0], Config: &http.Server{Handler: k}}, {Listener: listeners[1], Config: &http.Server{Handler: sim}}}
	for _, s := range servers {
		s.Start()
	}
	m.stop = func() {
		for _, s := range servers {
			s.Close()
		}
		_, _ = k.Close(), os.RemoveAll(dir)
	}
	key, err := os.ReadFile(path("backend-key"))
	if err != nil {
		return nil, err
	}
	m.backendKey = string(bytes.TrimSpace(key))
	return m, m.signIn(sim)
}

// signIn signs Ada in, as her browser would.
func (m *machine) signIn(sim *linkedinsim.Sim) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := browser.Get(m.keepin + "/login")
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	back, err := sim.Authorize(res.Header.Get("Location"), "ada")
	if err != nil {
		return err
	}
	if res, err = browser.Get(back); err != nil {
		return err
	}
	_ = res.Body.Close()
	if res, err = browser.Get(m.keepin + "/validate"); err != nil {
		return err
	}
	defer res.Body.Close()
	var who struct{ Member struct{ ID string } }
	m.signOut = func() {
		if res, err := browser.Post(m.keepin+"/logout", "", nil); err == nil {
			_ = res.Body.Close()
		}
	}
	err = json.NewDecoder(res.Body).Decode(&who)
	m.member = who.Member.ID
	return err
}
