package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"

	"github.com/keepin/keepin/shared/bolt"
	"github.com/keepin/keepin/shared/events"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/local"
	"github.com/keepin/keepin/shared/telemetry"
)

const devSweepEvery = time.Second // only what is due is worked on

func devCommand(out, log io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "dev",
		Usage: "run keepin and a simulated LinkedIn, by one clock that you can turn",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "localhost:8080", Usage: "keepin's `ADDRESS`"},
			&cli.StringFlag{Name: "linkedin", Value: "localhost:8081", Usage: "the simulated LinkedIn's `ADDRESS`"},
			&cli.StringFlag{Name: "data", Value: filepath.Join(".keepin", "dev"), Usage: "a `FOLDER` for the run; its grants are new each time, as the simulator's are"},
			&cli.BoolFlag{Name: "no-refresh", Usage: "LinkedIn gives no refresh tokens, as to most apps"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "log at debug level"},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			level := slog.LevelInfo
			if c.Bool("verbose") {
				level = slog.LevelDebug
			}
			return dev(ctx, devConfig{keepin: c.String("listen"), linkedIn: c.String("linkedin"), data: c.String("data"),
				refresh: !c.Bool("no-refresh"), level: level}, out, log)
		},
	}
}

type devConfig struct {
	keepin, linkedIn, data string
	refresh                bool
	level                  slog.Level
}

// dev runs until ctx ends.
func dev(ctx context.Context, c devConfig, out, log io.Writer) error {
	front, err := listen(ctx, c.keepin, "--listen")
	if err != nil {
		return err
	}
	back, err := listen(ctx, c.linkedIn, "--linkedin")
	if err != nil {
		return errors.Join(err, front.Close())
	}
	defer func() { _, _ = front.Close(), back.Close() }()
	base, linkedIn := "http://"+c.keepin, "http://"+c.linkedIn

	nudge := make(chan struct{}, 1)
	app := linkedinsim.DefaultApp()
	app.RedirectURLs, app.Refresh = []string{base + "/callback"}, c.refresh
	clock := linkedinsim.RunningClock()
	sim, err := linkedinsim.New(linkedinsim.Config{Clock: clock, URL: linkedIn, Apps: []linkedinsim.App{app},
		Pass: func(time.Duration) {
			select {
			case nudge <- struct{}{}:
			default: // one is waiting already
			}
		}})
	if err != nil {
		return err
	}
	path := func(name string) string { return filepath.Join(c.data, name) }
	if err := freshData(path, app); err != nil {
		return err
	}
	hide := new(telemetry.Hide)
	logger := telemetry.Logger(log, c.level, true, hide)
	m, err := local.Open(ctx, local.Config{BaseURL: base, Scopes: app.Scopes, ReturnOrigins: nil,
		LinkedInURL: linkedIn, APIURL: linkedIn, Issuer: linkedIn + "/oauth", SDKExchange: linkedIn + "/uas/oauth/accessToken",
		Store: path("keepin.db"), Credentials: path("linkedin.json"), Keys: path("keys.json"), BackendKey: path("backend-key"),
		Events: events.Log{Logger: logger, BaseURL: base}.Send, PictureOrigins: []string{linkedIn}, Now: clock.Now, Log: logger, Hide: hide.Value})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, `keepin is at %[1]s, a simulated LinkedIn at %[2]s.

  1. Open %[1]s and sign in: choose a member, allow.
  2. Open %[2]s/_sim/ and press "+59 days": the token is renewed, and the member notices nothing.
  3. Break LinkedIn there ("500 internal error", "refuse the client secret", ...), travel on, and watch below.
  4. Ask for a token as your back end would; %[1]s/validate shows the member id:
     curl -H "Authorization: Bearer $(cat %[3]s)" %[1]s/members/MEMBER_ID/token
  5. Sign out, and ask again.
  6. Open %[2]s/_sim/sdk for a member of LinkedIn's retired JavaScript SDK, who skips the consent page.

Stop with Ctrl-C. Nothing is kept: every start is a new LinkedIn.

`, base, linkedIn, path("backend-key"))

	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return serveUntil(ctx, front, http.Handler(m)) })
	all.Go(func() error { return serveUntil(ctx, back, sim) })
	all.Go(func() error { m.Sweep(ctx, devSweepEvery, nudge); return nil })
	return errors.Join(all.Wait(), m.Close())
}

// freshData makes the folder of a run, without the grants of the last one: the
// simulator that gave them is gone.
func freshData(path func(string) string, app linkedinsim.App) error {
	if err := os.MkdirAll(path(""), 0o700); err != nil {
		return fmt.Errorf("the data folder cannot be made: %w; choose another with --data", err)
	}
	if err := unheld(path("keepin.db")); err != nil {
		return fmt.Errorf("%w, or choose another folder with --data", err)
	}
	if err := os.Remove(path("keepin.db")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the last run's file cannot be removed: %w; choose another folder with --data", err)
	}
	credentials, err := json.Marshal(map[string]string{"client_id": app.ClientID, "client_secret": app.Secret})
	if err != nil {
		return err
	}
	if err := os.WriteFile(path("linkedin.json"), credentials, 0o600); err != nil {
		return fmt.Errorf("the data folder cannot be written: %w; choose another with --data", err)
	}
	return nil
}

// unheld is an error when another process has the file open; any other trouble
// with it is over once it is removed.
func unheld(path string) error {
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	db, err := bolt.Open(path, nil)
	if errors.Is(err, bolt.ErrInUse) {
		return err
	}
	if err != nil {
		return nil
	}
	return db.Close()
}
