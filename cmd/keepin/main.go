// Command keepin keeps an application's LinkedIn members signed in.
//
//	keepin dev      everything on this machine, with a simulated LinkedIn
//	keepin serve    one machine, the real LinkedIn
//	keepin sim      the simulated LinkedIn alone
//	keepin keys, incidents, pause, resume    for its operator
//	keepin version
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v3"

	"github.com/keepin/keepin/shared/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(os.Stdout, os.Stderr).Run(ctx, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "keepin:", err)
		os.Exit(exitCode(err))
	}
}

// exitCode is 2 for what the operator wrote wrong, 1 for what went wrong.
func exitCode(err error) int {
	if _, ok := errors.AsType[config.Mistakes](err); ok {
		return 2
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

func command(out, log io.Writer) *cli.Command {
	root := &cli.Command{
		Name:           "keepin",
		Usage:          "keeps an application's LinkedIn members signed in",
		Writer:         out,
		ErrWriter:      log,
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		Commands: []*cli.Command{
			devCommand(out, log),
			serveCommand(out, log),
			simCommand(out, log),
			{
				Name:  "version",
				Usage: "print the version",
				Action: func(context.Context, *cli.Command) error {
					_, err := fmt.Fprintln(out, version())
					return err
				},
			},
		},
		Action: func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return usageError{fmt.Errorf("there is no command %q: see keepin help", c.Args().First())}
			}
			return cli.ShowAppHelp(c)
		},
	}
	root.Commands = append(root.Commands, operatorCommands(out)...)
	flagsAreUsage(root)
	return root
}

// flagsAreUsage has c and all below it, which do not inherit it, call a wrong
// flag a mistake of the operator's.
func flagsAreUsage(c *cli.Command) {
	c.OnUsageError = func(_ context.Context, _ *cli.Command, err error, _ bool) error { return usageError{err} }
	for _, sub := range c.Commands {
		flagsAreUsage(sub)
	}
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "keepin (unknown version)"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && (v == "" || v == "(devel)") {
			v = s.Value[:12]
		}
	}
	if v == "" {
		v = "(devel)"
	}
	return "keepin " + v + " " + info.GoVersion
}
