package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v3"

	"github.com/keepin/keepin/shared/linkedinsim"
)

func simCommand(out, _ io.Writer) *cli.Command {
	return &cli.Command{
		Name:  "sim",
		Usage: "run the simulated LinkedIn alone, for any OAuth client",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "localhost:8081", Usage: "the simulator's `ADDRESS`"},
			&cli.StringFlag{Name: "client-id", Usage: "the app's client `ID`"},
			&cli.StringSliceFlag{Name: "redirect", Usage: "a redirect `URL` of the app; may be repeated"},
			&cli.StringSliceFlag{Name: "scope", Usage: "a `SCOPE` that the app may ask for; may be repeated"},
			&cli.BoolFlag{Name: "no-refresh", Usage: "the app gets no refresh tokens, as most do"},
		},
		Action: func(ctx context.Context, c *cli.Command) error {
			app := linkedinsim.DefaultApp()
			if id := c.String("client-id"); id != "" {
				app.ClientID = id
			}
			if r := c.StringSlice("redirect"); len(r) > 0 {
				app.RedirectURLs = r
			}
			if s := c.StringSlice("scope"); len(s) > 0 {
				app.Scopes = s
			}
			app.Refresh = !c.Bool("no-refresh")
			l, err := listen(ctx, c.String("listen"), "--listen")
			if err != nil {
				return err
			}
			address := "http://" + c.String("listen")
			sim, err := linkedinsim.New(linkedinsim.Config{URL: address, Apps: []linkedinsim.App{app}})
			if err != nil {
				return usageError{err}
			}
			_, _ = fmt.Fprintf(out, `A simulated LinkedIn is at %[1]s

  authorization   %[1]s/oauth/v2/authorization
  token           %[1]s/oauth/v2/accessToken
  userinfo        %[1]s/v2/userinfo
  discovery       %[1]s/oauth/.well-known/openid-configuration
  client id       %[2]s
  client secret   %[3]s     (of the simulator only)
  redirect URLs   %[4]v
  control page    %[1]s/_sim/     time travel, faults, who holds which tokens, the last calls
`, address, app.ClientID, app.Secret, app.RedirectURLs)
			return serveUntil(ctx, l, sim)
		},
	}
}
