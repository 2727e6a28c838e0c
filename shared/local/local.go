// Package local is the wiring of one machine: a bolt file, secrets in files,
// and passes in process.
package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/keepin/keepin/shared/bolt"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/operator"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/web"
)

// passFor is the deadline of one pass: the next one goes on where it ends.
const passFor = 5 * time.Minute

// Config says where everything is. Paths of the keyset and the back-end key may
// name files that are not there yet: they are made.
type Config struct {
	BaseURL                       string
	Scopes, ReturnOrigins         []string
	LinkedInURL, APIURL, Issuer   string
	SDKExchange                   string // "": no POST /exchange
	Store                         string // the bolt file
	Credentials, Keys, BackendKey string // files

	Events         func(context.Context, keeper.Event) error // nil: nobody is told
	PictureOrigins []string                                  // of portraits, besides LinkedIn's
	Transport      http.RoundTripper                         // to LinkedIn; nil: the linkedin package's own
	Timeout        time.Duration                             // of one call to LinkedIn; 0: 10 s
	Now            func() time.Time                          // nil: time.Now
	Log            *slog.Logger                              // nil: none
	Hide           func(secret.String)                       // told of secrets that no log line may show; nil: nobody
	// Sleep is what callers wait by while another refreshes; nil: a timer.
	Sleep func(context.Context, time.Duration) error

	// For an OpenID provider that is not LinkedIn: its addresses, and what LinkedIn
	// has no use for.
	Endpoints                   linkedin.Endpoints
	Nonce, PKCE, ResponseIssuer bool
}

// Machine is keepin on one machine.
type Machine struct {
	http.Handler // every route, and /healthz

	keeper   *keeper.Keeper
	db       *bolt.DB
	store    string // db's file
	operator *operator.Operator
	log      *slog.Logger
}

// Open opens the store and reads or makes the secrets. The file has no other
// user, so leases that a killed process left are void. Errors are sentences for
// the operator. It calls nobody: LinkedIn may be down.
func Open(ctx context.Context, c Config) (*Machine, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Hide == nil {
		c.Hide = func(secret.String) {}
	}
	keys := &secrets.Cache{Read: secrets.File(c.Keys), Now: c.Now}
	app := &secrets.Cache{Read: secrets.File(c.Credentials), Now: c.Now}
	backendKey, err := readSecrets(ctx, c, app)
	if err != nil {
		return nil, err
	}
	db, err := bolt.Open(c.Store, c.Now)
	if err != nil {
		return nil, err
	}
	m, err := wire(c, db, keys, app, backendKey)
	if err == nil {
		err = db.VoidLeases(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return m, nil
}

// readSecrets makes what may be made, and reports all that is wrong at once.
func readSecrets(ctx context.Context, c Config, app *secrets.Cache) (secret.String, error) {
	var errs []error
	if err := makeKeyset(c); err != nil {
		errs = append(errs, err)
	}
	if set, err := secrets.File(c.Keys)(ctx); err != nil {
		errs = append(errs, err)
	} else if err := seal.Check(set); err != nil {
		errs = append(errs, fmt.Errorf("file:%s: %w", c.Keys, err))
	}
	if _, err := secrets.Make(c.BackendKey, secrets.NewBackendKey); err != nil {
		errs = append(errs, err)
	}
	key, err := secrets.File(c.BackendKey)(ctx)
	if err == nil {
		key, err = secrets.ParseBackendKey("file:"+c.BackendKey, key)
	}
	errs = append(errs, err)
	text, err := app.Get(ctx, false)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf(`the LinkedIn app's credentials are missing: write {"client_id":"...","client_secret":"..."} to %s, mode 0600`, c.Credentials)
	}
	if err == nil {
		_, err = secrets.ParseCredentials("file:"+c.Credentials, text)
	}
	return key, errors.Join(append(errs, err)...)
}

// makeKeyset makes the first keyset, but not beside a store whose tokens it
// could not open.
func makeKeyset(c Config) error {
	_, noKeys := os.Stat(c.Keys)
	_, noStore := os.Stat(c.Store)
	if errors.Is(noKeys, fs.ErrNotExist) && noStore == nil {
		return fmt.Errorf("the sealing keys are missing: %s; without them the tokens in %s cannot be opened: put the file back, or move the store aside and let every member sign in again", c.Keys, c.Store)
	}
	_, err := secrets.Make(c.Keys, seal.NewKeyset)
	return err
}

func wire(c Config, db *bolt.DB, keys, app *secrets.Cache, backendKey secret.String) (*Machine, error) {
	site, err := web.NewSite(web.Config{BaseURL: c.BaseURL, Scopes: c.Scopes, ReturnOrigins: c.ReturnOrigins, Issuer: c.Issuer,
		Nonce: c.Nonce, PKCE: c.PKCE, ResponseIssuer: c.ResponseIssuer, PictureOrigins: c.PictureOrigins, Now: c.Now, Log: c.Log})
	if err != nil {
		return nil, err
	}
	sealer := seal.New(seal.Config{Source: keys.Get, Now: c.Now})
	client, err := linkedin.New(linkedin.Config{LinkedInURL: c.LinkedInURL, APIURL: c.APIURL, Issuer: c.Issuer,
		RedirectURL: site.RedirectURL(), Scopes: c.Scopes, SDKExchange: c.SDKExchange, Now: c.Now, Transport: c.Transport, Timeout: c.Timeout,
		Endpoints: c.Endpoints, Nonce: c.Nonce, PKCE: c.PKCE,
		Credentials: func(ctx context.Context, reread bool) (linkedin.Credentials, error) {
			text, err := app.Get(ctx, reread)
			if err != nil {
				return linkedin.Credentials{}, err
			}
			found, err := secrets.ParseCredentials("file:"+c.Credentials, text)
			c.Hide(found.Secret)
			c.Hide(found.Previous)
			return linkedin.Credentials(found), err
		}})
	if err != nil {
		return nil, err
	}
	k, err := keeper.New(keeper.Config{Store: db, Desk: db, Provider: client, Sealer: sealer, Events: c.Events, Now: c.Now, Sleep: c.Sleep, Log: c.Log})
	if err != nil {
		return nil, err
	}
	sessions, err := session.New(session.Config{Store: db, Burns: db, Sealer: sealer, Secure: site.Secure(), Now: c.Now, Sleep: c.Sleep})
	if err != nil {
		return nil, err
	}
	c.Hide(backendKey)
	routes := web.AllRoutes(site, sessions, client, k, c.SDKExchange != "", web.BearerAuth(backendKey))
	m := &Machine{keeper: k, db: db, store: c.Store, log: c.Log,
		operator: newOperator(db, c.Keys, c.Now, c.Log, sealsWith(sealer))}
	m.Handler = m.orHealth(web.Mux(site, site.Path(), routes))
	return m, nil
}

// orHealth answers GET /healthz, and leaves all else to next.
func (m *Machine) orHealth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			m.health(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// health is 200 while the store answers.
func (m *Machine) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if _, err := m.db.Control(r.Context()); err != nil {
		http.Error(w, "the store does not answer", http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "ok")
}

// Pass does all that is due, and removes what has ended.
func (m *Machine) Pass(ctx context.Context) (keeper.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, passFor)
	defer cancel()
	report, err := m.keeper.Pass(ctx, keeper.Range{From: 0, To: keeper.Shards - 1})
	return report, errors.Join(err, m.db.Sweep(ctx))
}

// Sweep runs a pass at once, then one every while and whenever nudge is sent
// to, until ctx ends.
func (m *Machine) Sweep(ctx context.Context, every time.Duration, nudge <-chan struct{}) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		report, err := m.Pass(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.log.Error("a pass failed", "error", err.Error())
		case report.Done+report.Failed > 0:
			m.log.Info("pass", "done", report.Done, "failed", report.Failed, "lag", report.Lag.Round(time.Second).String(), "blocked", report.Blocked)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-nudge:
		}
	}
}

// Close closes the store.
func (m *Machine) Close() error { return m.db.Close() }
