// Package app is the wiring that all functions on AWS share: configuration,
// log, table and site. What signs in and works on grants is in app/work, so
// that validate links none of it.
package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/keepin/keepin/shared/awsenv"
	"github.com/keepin/keepin/shared/config"
	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/lambdahttp"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/telemetry"
	"github.com/keepin/keepin/shared/web"
)

// firstCalls is how long all first calls together may take: Lambda gives an
// init 10 s, and a member is waiting.
const firstCalls = 2 * time.Second

// App is a function's surroundings.
type App struct {
	config.Config
	Log       *slog.Logger
	AWS       aws.Config
	Transport *http.Transport
	Table     *dynamo.Table
	Site      *web.Site
	Now       func() time.Time
	Sleep     func(context.Context, time.Duration) error // nil, but in a test

	first []firstCall
}

// Service is how to reach an AWS service, named as in AWS_ENDPOINT_URL_<SERVICE>.
func (a *App) Service(name string) aws.Config {
	c := a.AWS
	if url := awsenv.Endpoint(os.Getenv, name); url != "" {
		c.BaseEndpoint = &url
	}
	return c
}

type firstCall struct {
	what string
	call func(context.Context) error
}

// First has call made once while the function starts, beside the others: names
// are looked up and connections made before a member waits for them. When it
// fails, the first use tries again.
func (a *App) First(what string, call func(context.Context) error) {
	a.first = append(a.first, firstCall{what, call})
}

// Start runs the function that wire makes of its surroundings, for ever. A
// mistake in the configuration does not end it, as Lambda would only start it
// again: callers get 503, and the operator one line for each mistake.
func Start(need config.Need, wire func(*App) (lambdahttp.Function, error)) {
	a, err := open(need)
	var f lambdahttp.Function
	if err == nil {
		f, err = wire(a)
	}
	if err != nil {
		tell(a.Log, err)
		f = unavailable()
	}
	f.Log = a.Log
	a.warm(f)
	lambda.Start(f)
}

// open makes the surroundings. Its App has a Log also when there is an error.
func open(need config.Need) (*App, error) {
	a := &App{Now: clock(os.Getenv), Sleep: sleep(os.Getenv), Log: newLog(slog.LevelInfo)}
	cfg, err := config.Load(need, os.Getenv, os.Environ())
	if err != nil {
		return a, err
	}
	a.Config, a.Log = cfg, newLog(cfg.LogLevel)
	if cfg.Store.Kind != "dynamodb" {
		return a, errors.New("KEEPIN_STORE: a function keeps its data in dynamodb:TABLE")
	}
	a.Transport = awsenv.Transport(os.Getenv)
	if a.AWS, err = awsenv.Config(os.Getenv, a.Transport); err != nil {
		return a, err
	}
	a.Table, err = dynamo.Open(dynamo.Config{
		Table: cfg.Store.Name, Region: a.AWS.Region, Credentials: a.AWS.Credentials,
		Endpoint: awsenv.Endpoint(os.Getenv, "DYNAMODB"), Transport: a.Transport, Now: a.Now,
	})
	if err != nil {
		return a, err
	}
	a.Site, err = web.NewSite(web.Config{
		BaseURL: cfg.BaseURL, ReturnOrigins: cfg.ReturnOrigins, Scopes: cfg.Scopes, Issuer: cfg.Issuer,
		PictureOrigins: pictures(cfg), Now: a.Now, Log: a.Log,
	})
	if err != nil {
		return a, err
	}
	a.First("table", func(ctx context.Context) error { return reach(ctx, a.Table, need) })
	return a, nil
}

// reach makes the cheapest call that the function's role allows.
func reach(ctx context.Context, table *dynamo.Table, need config.Need) error {
	if need != config.Validate {
		_, err := table.Control(ctx)
		return err
	}
	if _, _, err := table.Look(ctx, keeper.NewMemberID("", ""), session.Hash{}); !errors.Is(err, session.ErrNone) {
		return err
	}
	return nil
}

// pictures are where portraits come from besides LinkedIn's own host: the
// address that stands in LinkedIn's place, a simulator's.
func pictures(cfg config.Config) []string {
	if cfg.LinkedInURL == "https://www.linkedin.com" {
		return nil
	}
	return []string{cfg.LinkedInURL}
}

// visit is a browser's question that every function with routes answers from
// memory: 401, or 404.
const visit = `{"version":"2.0","routeKey":"GET /validate","rawPath":"/validate","headers":{"accept":"application/json"},"requestContext":{"http":{"method":"GET"}}}`

// warm makes the first calls, and while it waits for them a first answer to
// nobody: what is done for the first time costs several times as much, and Lambda
// gives a whole processor to an init, but a fourteenth of one to an answer at 128 MB.
func (a *App) warm(f lambdahttp.Function) {
	ctx, cancel := context.WithTimeout(context.Background(), firstCalls)
	defer cancel()
	var all sync.WaitGroup
	if f.HTTP != nil {
		all.Go(func() { _, _ = f.Invoke(context.Background(), []byte(visit)) })
	}
	for _, first := range a.first {
		all.Go(func() {
			if err := first.call(ctx); err != nil {
				a.Log.Warn("not to be had at the start; it is asked for again when it is needed", "what", first.what, "error", err)
			}
		})
	}
	all.Wait()
}

// unavailable is the function whose wiring failed.
func unavailable() lambdahttp.Function {
	h := http.HandlerFunc(lambdahttp.Unavailable)
	return lambdahttp.Function{HTTP: h, Validate: h, Tick: func(context.Context, int, int) error {
		return errors.New("the function could not be wired; its first lines say why")
	}}
}

// tell logs each mistake on a line of its own.
func tell(log *slog.Logger, err error) {
	if mistakes, ok := errors.AsType[config.Mistakes](err); ok {
		for _, m := range mistakes {
			log.Error("the configuration is wrong", "variable", m.Variable, "error", m.Error())
		}
		return
	}
	log.Error("the function cannot be wired", "error", err)
}

// newLog writes JSON lines with the id of the request that they belong to.
func newLog(level slog.Level) *slog.Logger {
	return slog.New(requestID{telemetry.Logger(os.Stdout, level, false, nil).Handler()})
}

type requestID struct{ slog.Handler }

func (h requestID) Handle(ctx context.Context, r slog.Record) error {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		r.AddAttrs(slog.String("request_id", lc.AwsRequestID))
	}
	return h.Handler.Handle(ctx, r) //nolint:wrapcheck // a handler's own
}

func (h requestID) WithAttrs(as []slog.Attr) slog.Handler { return requestID{h.Handler.WithAttrs(as)} }
func (h requestID) WithGroup(name string) slog.Handler    { return requestID{h.Handler.WithGroup(name)} }

// SamLocal reports whether the function runs under sam local, which knows no IAM.
func SamLocal() bool { return os.Getenv("AWS_SAM_LOCAL") == "true" }

// FunctionName is Lambda's.
func FunctionName() string { return strings.TrimSpace(os.Getenv("AWS_LAMBDA_FUNCTION_NAME")) }
