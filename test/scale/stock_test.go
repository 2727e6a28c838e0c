// Package scale_test proves that keepin's work grows with what is due, and not
// with what is stored, and measures what one worker carries. In make test it
// runs small; make bench-scale runs it with a million grants.
package scale_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
)

const (
	clientID = "77scale0keepin"
	day      = 24 * time.Hour
)

// full reports whether the long form was asked for.
func full() bool { return os.Getenv("KEEPIN_SCALE") == "full" }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// stock makes grants as they are in the middle of their lives, with sealed
// tokens of LinkedIn's length.
type stock struct {
	now    time.Time
	sealer *seal.Sealer
}

// token is 350 characters, as LinkedIn's; it tells whose it is.
func token(kind, subject string) string {
	s := kind + "." + subject + "."
	return s + strings.Repeat("x", 350-len(s))
}

// subjectOf is whose a token is.
func subjectOf(token string) string { return strings.Split(token, ".")[1] }

// grant is the n-th member's: due at due, for a refresh, or with fresh for the
// proof of a token that was refreshed a minute before.
func (s stock) grant(t testing.TB, n int, due time.Time, fresh bool) keeper.Grant {
	t.Helper()
	subject := fmt.Sprintf("m%09d", n)
	g := keeper.Grant{
		Member: keeper.NewMemberID(clientID, subject), Subject: subject, Generation: rand.Text(), Status: keeper.Active, Rev: rand.Text(),
		Profile: keeper.Profile{Name: "Ada Lovelace", Email: "ada@example.com", Picture: "https://media.licdn.com/dms/image/v2/D4E03AQ0123456789/profile-displayphoto-shrink_100_100/0/1516300000000?e=1780000000&v=beta&t=0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"},
		Scopes:  []string{"email", "openid", "profile", "w_member_social"},
		Due:     due,
	}
	issued := s.now.Add(-52 * day)
	g.Access = s.token(t, g.Member, keeper.PurposeAccess, token("access", subject), issued, issued.Add(60*day))
	g.Refresh = s.token(t, g.Member, keeper.PurposeRefresh, token("refresh", subject), issued, issued.Add(365*day))
	g.Access.ProvenAt, g.VerifiedAt, g.CheckedAt = issued.Add(time.Minute), s.now.Add(-3*day), s.now.Add(-3*day)
	if fresh {
		g.Fresh = s.token(t, g.Member, keeper.PurposeAccess, token("fresh", subject), s.now.Add(-2*time.Minute), s.now.Add(60*day))
	}
	return g
}

func (s stock) token(t testing.TB, id keeper.MemberID, p keeper.Purpose, text string, issued, ends time.Time) keeper.Token {
	t.Helper()
	sealed, err := s.sealer.Seal(context.Background(), secret.New(text), p, string(id))
	must(t, err)
	return keeper.Token{Sealed: sealed, IssuedAt: issued, ExpiresAt: ends}
}

// sealer seals with a keyset of its own.
func sealer(set secret.String) *seal.Sealer {
	return seal.New(seal.Config{Source: func(context.Context, bool) (secret.String, error) { return set, nil }})
}

// counts is what a pass cost: of the store, and of LinkedIn.
type counts struct{ queries, names, gets, puts, control, calls int64 }

// counting counts the calls of a store, and is a LinkedIn that is well.
type counting struct {
	keeper.Store
	keeper.Desk
	now func() time.Time

	queries, names, gets, puts, control, calls atomic.Int64
}

// take is what was counted since the last time.
func (c *counting) take() counts {
	return counts{c.queries.Swap(0), c.names.Swap(0), c.gets.Swap(0), c.puts.Swap(0), c.control.Swap(0), c.calls.Swap(0)}
}

func (c *counting) Get(ctx context.Context, id keeper.MemberID) (keeper.Grant, error) {
	c.gets.Add(1)
	return c.Store.Get(ctx, id)
}

func (c *counting) Put(ctx context.Context, g keeper.Grant, old string) error {
	c.puts.Add(1)
	return c.Store.Put(ctx, g, old)
}

func (c *counting) Due(ctx context.Context, shard int, after keeper.Nominee, before time.Time, limit int) ([]keeper.Nominee, error) {
	due, err := c.Store.Due(ctx, shard, after, before, limit)
	c.queries.Add(1)
	c.names.Add(int64(len(due)))
	return due, err
}

func (c *counting) Control(ctx context.Context) (keeper.Control, error) {
	c.control.Add(1)
	return c.Desk.Control(ctx)
}

func (c *counting) Refresh(_ context.Context, refresh secret.String) (keeper.Tokens, error) {
	c.calls.Add(1)
	return keeper.Tokens{Access: secret.New(token("access", subjectOf(refresh.Reveal()))), IssuedAt: c.now(), ExpiresAt: c.now().Add(60 * day)}, nil
}

func (c *counting) Inspect(context.Context, secret.String) (keeper.Inspection, error) {
	c.calls.Add(1)
	return keeper.Inspection{Active: true, Status: "active"}, nil
}

func (c *counting) Identify(_ context.Context, access secret.String) (keeper.Identity, error) {
	c.calls.Add(1)
	return keeper.Identity{ClientID: clientID, Subject: subjectOf(access.Reveal())}, nil
}

func (c *counting) Revoke(context.Context, secret.String) error { return nil }
