package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/keepin/keepin/shared/config"
	"github.com/keepin/keepin/shared/events"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/local"
	"github.com/keepin/keepin/shared/telemetry"
)

func serveCommand(out, log io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run on this machine, with the real LinkedIn; configured by the environment (see README)",
		Action: func(ctx context.Context, _ *cli.Command) error {
			c, err := config.Load(config.Serve, os.Getenv, os.Environ())
			if err != nil {
				return err
			}
			return serve(ctx, c, out, log)
		},
	}
}

// gcPercent has a heap of few megabytes collected at 16 MB, not at 4: a tenth
// more validations a second.
const gcPercent = 400

// serve runs until ctx ends.
func serve(ctx context.Context, c config.Config, out, log io.Writer) error {
	if err := onThisMachine(c); err != nil {
		return err
	}
	if err := mayWrite(c.Data); err != nil {
		return err
	}
	if was := debug.SetGCPercent(gcPercent); was != 100 {
		debug.SetGCPercent(was) // GOGC says so; of 100 it cannot be told
	}
	hide := new(telemetry.Hide)
	logger := telemetry.Logger(log, c.LogLevel, false, hide)
	send, err := sink(c, logger)
	if err != nil {
		return err
	}
	l, err := listen(ctx, c.Listen, "KEEPIN_LISTEN")
	if err != nil {
		return err
	}
	m, err := local.Open(ctx, local.Config{BaseURL: c.BaseURL, Scopes: c.Scopes, ReturnOrigins: c.ReturnOrigins,
		LinkedInURL: c.LinkedInURL, APIURL: c.APIURL, Issuer: c.Issuer, SDKExchange: c.SDKExchange,
		Store: c.Store.Name, Credentials: c.Secret.Name, Keys: c.Keys.Name, BackendKey: c.BackendKey.Name,
		Events: send, PictureOrigins: pictures(c.LinkedInURL), Log: logger, Hide: hide.Value})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	logger.Info("keepin serves", "base_url", c.BaseURL, "listen", l.Addr().String(), "redirect_url", c.RedirectURL(), "data", c.Data)
	_, _ = fmt.Fprintf(out, "keepin serves %s on %s; register %s as the redirect URL at LinkedIn\n", c.BaseURL, l.Addr(), c.RedirectURL())

	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return serveUntil(ctx, l, m) })
	all.Go(func() error { m.Sweep(ctx, c.SweepEvery, nil); return nil })
	if operators, err := m.ListenOperator(ctx); err != nil {
		logger.Warn("operators cannot reach this process: stop it for keepin keys, incidents, pause and resume", "error", err.Error())
	} else {
		all.Go(func() error { return serveUntil(ctx, operators, m.OperatorHandler()) })
	}
	return errors.Join(all.Wait(), m.Close())
}

// mayWrite is an error where the data folder is there, and closed to this user:
// each file in it would else be complained of on its own.
func mayWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".may-write-*")
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("the data folder %s belongs to another user, or is closed to this one (uid %d): permission denied; run keepin as its owner, give the folder to this user (chown -R), or choose another with KEEPIN_DATA", dir, os.Getuid())
	}
	if err != nil {
		return nil // made, or complained of, later
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// onThisMachine refuses places that only the Lambda functions have.
func onThisMachine(c config.Config) error {
	for _, p := range []struct {
		variable, want string
		place          config.Place
	}{{"KEEPIN_STORE", "bolt", c.Store}, {"KEEPIN_SECRET", "file", c.Secret}, {"KEEPIN_KEYS", "file", c.Keys}} {
		if p.place.Kind != p.want {
			return usageError{fmt.Errorf("%s: this command works with what is on this machine: it must be %s:PATH, or unset; %s is for the Lambda functions", p.variable, p.want, p.place.Kind)}
		}
	}
	return nil
}

// sink is where events go.
func sink(c config.Config, log *slog.Logger) (func(context.Context, keeper.Event) error, error) {
	switch c.Events.Kind {
	case "webhook":
		return events.NewWebhook(c.Events.Name, c.BaseURL, nil).Send, nil
	case "log":
		return events.Log{Logger: log, BaseURL: c.BaseURL}.Send, nil
	}
	return nil, usageError{fmt.Errorf("KEEPIN_EVENTS: keepin serve sends events to log or webhook:URL; %s is for the Lambda functions", c.Events.Kind)}
}

// pictures are the origins of portraits besides LinkedIn's own: a simulator's.
func pictures(linkedIn string) []string {
	if linkedIn == "https://www.linkedin.com" {
		return nil
	}
	return []string{linkedIn}
}
