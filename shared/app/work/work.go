// Package work is the wiring of the functions that sign members in and work on
// their grants: everything but validate.
package work

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/keepin/keepin/shared/app"
	"github.com/keepin/keepin/shared/awsjson"
	"github.com/keepin/keepin/shared/config"
	"github.com/keepin/keepin/shared/events"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/lambdahttp"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/telemetry"
	"github.com/keepin/keepin/shared/web"
)

// Work is what such a function works with.
type Work struct {
	*app.App
	LinkedIn *linkedin.Client
	Keeper   *keeper.Keeper
	Sessions *session.Manager
}

// Start runs the function that build makes, for ever.
func Start(build func(*Work) lambdahttp.Function) {
	app.Start(config.Work, func(a *app.App) (lambdahttp.Function, error) {
		w, err := open(a)
		if err != nil {
			return lambdahttp.Function{}, err
		}
		return build(w), nil
	})
}

func open(a *app.App) (*Work, error) {
	manager := secrets.NewClient(a.Service("SECRETS_MANAGER"))
	keys := &secrets.Cache{Read: read(manager, a.Keys), Now: a.Now}
	creds := &credentials{
		where:   a.Secret.String(),
		current: secrets.Cache{Read: read(manager, a.Secret), Now: a.Now},
		log:     func(err error) { a.Log.Error("the LinkedIn app's credentials cannot be used", "error", err) },
		now:     a.Now,
	}
	if a.Secret.Kind == "secretsmanager" {
		creds.previous = &secrets.Cache{Read: secrets.Manager{Client: manager, ID: a.Secret.Name}.Previous, Now: a.Now}
	}
	sealer := seal.New(seal.Config{Source: keys.Get, Now: a.Now})
	w := &Work{App: a}
	// A call to LinkedIn is made once. Its connections therefore end before a
	// frozen function can come back to one that LinkedIn has closed.
	transport := a.Transport.Clone()
	transport.IdleConnTimeout = 10 * time.Second
	var err error
	w.LinkedIn, err = linkedin.New(linkedin.Config{
		LinkedInURL: a.LinkedInURL, APIURL: a.APIURL, Issuer: a.Issuer, RedirectURL: a.Site.RedirectURL(), Scopes: a.Scopes, SDKExchange: a.SDKExchange,
		Credentials: creds.get, Transport: transport, Now: a.Now,
	})
	if err != nil {
		return nil, err
	}
	w.Keeper, err = keeper.New(keeper.Config{
		Store: a.Table, Desk: a.Table, Provider: w.LinkedIn, Sealer: sealer, Events: sink(a), Now: a.Now, Sleep: a.Sleep, Log: a.Log,
	})
	if err != nil {
		return nil, err
	}
	w.Sessions, err = session.New(session.Config{Store: a.Table, Burns: a.Table, Sealer: sealer, Secure: a.Site.Secure(), Now: a.Now, Sleep: a.Sleep})
	if err != nil {
		return nil, err
	}
	a.First("keyset", func(ctx context.Context) error {
		set, err := keys.Get(ctx, false)
		if err != nil {
			return err
		}
		return seal.Check(set)
	})
	a.First("LinkedIn app's credentials", func(ctx context.Context) error {
		_, err := creds.get(ctx, false)
		return err
	})
	return w, nil
}

// read reads a secret where the configuration says it is.
func read(client *awsjson.Client, p config.Place) func(context.Context) (secret.String, error) {
	if p.Kind == "file" {
		return secrets.File(p.Name)
	}
	return secrets.Manager{Client: client, ID: p.Name}.Current
}

// sink is where events go.
func sink(a *app.App) func(context.Context, keeper.Event) error {
	switch a.Events.Kind {
	case "eventbridge":
		return events.Bus{Client: events.NewClient(a.Service("EVENTBRIDGE")), Name: a.Events.Name, BaseURL: a.BaseURL}.Send
	case "webhook":
		return events.NewWebhook(a.Events.Name, a.BaseURL, a.Transport).Send
	default:
		return events.Log{Logger: a.Log, BaseURL: a.BaseURL}.Send
	}
}

// credentials are the LinkedIn app's own. What is wrong with them is logged
// here, since LinkedIn's client says only that there are none: when it changes,
// and each 10 minutes.
type credentials struct {
	where    string
	current  secrets.Cache
	previous *secrets.Cache // nil: none is kept
	log      func(error)
	now      func() time.Time

	mu     sync.Mutex
	said   string
	saidAt time.Time
}

// get reads the credentials. With reread, after LinkedIn refused the secret, it
// reads AWSPREVIOUS too: LinkedIn honours the secret before the last roll for a
// while.
func (c *credentials) get(ctx context.Context, reread bool) (linkedin.Credentials, error) {
	text, err := c.current.Get(ctx, reread)
	var found secrets.Credentials
	if err == nil {
		found, err = secrets.ParseCredentials(c.where, text)
	}
	if err != nil {
		c.say(err)
		return linkedin.Credentials{}, err
	}
	if reread && found.Previous.IsZero() && c.previous != nil {
		if text, err := c.previous.Get(ctx, true); err == nil {
			before, err := secrets.ParseCredentials(c.where, text)
			if err == nil && before.ClientID == found.ClientID && !before.Secret.Equal(found.Secret) {
				found.Previous = before.Secret
			}
		}
	}
	return linkedin.Credentials(found), nil
}

func (c *credentials) say(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); err.Error() != c.said || now.Sub(c.saidAt) >= 10*time.Minute {
		c.said, c.saidAt = err.Error(), now
		c.log(err)
	}
}

// Backend lets the application's back end through: on AWS by the signature that
// the gateway has verified, under sam local by the back-end key alone.
func (w *Work) Backend() func(http.Handler) http.Handler {
	if !app.SamLocal() {
		return web.CallerAuth(lambdahttp.Caller)
	}
	key, err := secrets.File(w.BackendKey.Name)(context.Background())
	if err == nil {
		key, err = secrets.ParseBackendKey(w.BackendKey.String(), key)
	}
	if err != nil {
		w.Log.Error("the back end's routes are closed", "error", err)
		key = secret.String{}
	}
	return web.BearerAuth(key)
}

// Pass does what is due of the shards from to to, and writes its metrics.
func (w *Work) Pass(ctx context.Context, from, to int) error {
	r, err := w.Keeper.Pass(ctx, keeper.Range{From: from, To: to})
	p := telemetry.Pass{Lag: r.Lag, Done: r.Done, Failed: r.Failed, Blocked: r.Blocked, Open: r.Open}
	return errors.Join(err, p.WriteEMF(os.Stdout, w.Now(), app.FunctionName()))
}
