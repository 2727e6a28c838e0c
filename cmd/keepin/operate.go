package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v3"

	"github.com/keepin/keepin/shared/app/console"
	"github.com/keepin/keepin/shared/awsenv"
	"github.com/keepin/keepin/shared/config"
	"github.com/keepin/keepin/shared/local"
)

// operatorCommands work on the store of this machine, also while keepin serves,
// or on the table and the secrets of a stack on AWS.
func operatorCommands(out io.Writer) []*cli.Command {
	return []*cli.Command{
		group("keys", "the keys that seal tokens in the store", out,
			verb(out, "list", "which there are, and how many stored values name each", "keys", "list"),
			verb(out, "rotate", "add a key, which seals from then on", "keys", "rotate"),
			verb(out, "prune", "drop the keys that no stored value names", "keys", "prune")),
		group("incidents", "what went wrong with LinkedIn in the last 90 days", out,
			verb(out, "list", "all of them, the newest first, and what holds refreshes back now", "incidents", "list"),
			&cli.Command{Name: "show", Usage: "the failed calls of one, ready for LinkedIn's support", ArgsUsage: "ID",
				Action: func(ctx context.Context, c *cli.Command) error {
					if c.Args().Len() != 1 {
						return usageError{fmt.Errorf("keepin incidents show takes the id of one incident: see keepin incidents")}
					}
					return operate(ctx, c, out, "incidents", "show", c.Args().First())
				}}),
		verb(out, "pause", "refresh no token until keepin resume; sign-ins go on", "pause"),
		verb(out, "resume", "end a pause", "resume"),
	}
}

// readUnits bounds what a search of the table takes away from members.
const readUnits = "read-units"

// group lists where it is not told otherwise.
func group(name, usage string, out io.Writer, verbs ...*cli.Command) *cli.Command {
	g := &cli.Command{Name: name, Usage: usage, Commands: verbs, Action: func(ctx context.Context, c *cli.Command) error {
		if c.Args().Present() {
			return usageError{fmt.Errorf("there is no command %q: see keepin %s --help", c.Args().First(), name)}
		}
		return operate(ctx, c, out, name, "list")
	}}
	if name == "keys" {
		g.Flags = []cli.Flag{&cli.IntFlag{Name: readUnits, Value: 250, Usage: "on DynamoDB, search the table with at most this `NUMBER` of read units a second; 0: all it gets"}}
	}
	return g
}

func verb(out io.Writer, name, usage string, words ...string) *cli.Command {
	return &cli.Command{Name: name, Usage: usage, Action: func(ctx context.Context, c *cli.Command) error {
		if c.Args().Present() {
			return usageError{fmt.Errorf("keepin %s takes no arguments, and there is %q", c.FullName(), c.Args().First())}
		}
		return operate(ctx, c, out, words...)
	}}
}

func operate(ctx context.Context, command *cli.Command, out io.Writer, words ...string) error {
	c, err := config.Load(config.Operate, os.Getenv, os.Environ())
	if err != nil {
		return err
	}
	var text string
	if c.Store.Kind == "dynamodb" {
		text, err = onAWS(ctx, c, command.Int(readUnits), words...)
	} else if err = onThisMachine(c); err == nil {
		text, err = local.Operate(ctx, c.Store.Name, c.Keys.Name, nil, words...)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}

// onAWS works on a deployed stack. The verbs that touch no key need no KEEPIN_KEYS.
func onAWS(ctx context.Context, c config.Config, units int, words ...string) (string, error) {
	keyset := c.Keys.Name
	if c.Keys.Kind != "secretsmanager" {
		if os.Getenv("KEEPIN_KEYS") != "" || words[0] == "keys" {
			return "", usageError{fmt.Errorf("KEEPIN_KEYS: with KEEPIN_STORE=dynamodb:... it must be secretsmanager:ID, the stack's output Keyset")}
		}
		keyset = ""
	}
	return console.Operate(ctx, console.Config{
		Table: c.Store.Name, Keyset: keyset, ReadUnits: units,
		Endpoint: awsenv.Endpoint(os.Getenv, "DYNAMODB"), SecretsEndpoint: awsenv.Endpoint(os.Getenv, "SECRETS_MANAGER"),
	}, words...)
}
