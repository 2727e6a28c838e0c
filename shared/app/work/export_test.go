package work

import (
	"context"
	"time"

	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
)

// Credentials makes the source of credentials of two readings.
func Credentials(current, previous func(context.Context) (secret.String, error), log func(error), now func() time.Time) func(context.Context, bool) (linkedin.Credentials, error) {
	c := &credentials{where: "secretsmanager:app", current: secrets.Cache{Read: current, Now: now}, log: log, now: now}
	if previous != nil {
		c.previous = &secrets.Cache{Read: previous, Now: now}
	}
	return c.get
}
