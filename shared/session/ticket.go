package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

const (
	ticketLife  = time.Minute
	ticketOwner = "ticket" // the seal's; who the member is stands inside
	maxTicket   = 1024     // characters
)

// ErrTicket: the ticket is not ours, too old, used, or its member has signed out.
var ErrTicket = errors.New("session: no such ticket")

type sealedTicket struct {
	ID         string          `json:"i"`
	Member     keeper.MemberID `json:"m"`
	Generation string          `json:"g"`
	IssuedAt   int64           `json:"t"` // Unix milliseconds
}

// NewTicket makes a ticket for g's member: a text for a URL that is good for
// one Redeem within 60 s. All tickets of one session id are one ticket; a zero
// id is a new one each time.
func (m *Manager) NewTicket(ctx context.Context, g keeper.Grant, session secret.String) (string, error) {
	if session.IsZero() {
		session = newID()
	}
	sum := sha256.Sum256([]byte("keepin ticket\n" + session.Reveal()))
	clear, err := json.Marshal(sealedTicket{
		ID: base64.RawURLEncoding.EncodeToString(sum[:]), Member: g.Member,
		Generation: g.Generation, IssuedAt: m.Now().UnixMilli(),
	})
	if err != nil {
		return "", errors.New("encode a ticket")
	}
	sealed, err := m.Sealer.Seal(ctx, secret.New(string(clear)), keeper.PurposeTicket, ticketOwner)
	if err != nil {
		return "", fmt.Errorf("seal a ticket: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Redeem is the grant that a ticket stands for, as grant reads it, once. The
// error is ErrTicket, or one of the stores': then it may be tried again.
func (m *Manager) Redeem(ctx context.Context, ticket string, grant func(context.Context, keeper.MemberID) (keeper.Grant, error)) (keeper.Grant, error) {
	if len(ticket) > maxTicket {
		return keeper.Grant{}, ErrTicket
	}
	sealed, ok := decode(ticket)
	if !ok {
		return keeper.Grant{}, ErrTicket
	}
	clear, err := m.Sealer.Open(ctx, sealed, keeper.PurposeTicket, ticketOwner)
	if errors.Is(err, keeper.ErrUnavailable) {
		return keeper.Grant{}, fmt.Errorf("open a ticket: %w", err)
	}
	if err != nil {
		return keeper.Grant{}, ErrTicket
	}
	var t sealedTicket
	if json.Unmarshal([]byte(clear.Reveal()), &t) != nil {
		return keeper.Grant{}, ErrTicket
	}
	now := m.Now().UTC()
	if !now.Before(time.UnixMilli(t.IssuedAt).Add(ticketLife)) {
		return keeper.Grant{}, ErrTicket
	}
	g, err := grant(ctx, t.Member)
	switch {
	case errors.Is(err, keeper.ErrNotFound):
		return keeper.Grant{}, ErrTicket
	case err != nil:
		return keeper.Grant{}, fmt.Errorf("read a ticket's grant: %w", err)
	case g.Generation != t.Generation || g.Status == keeper.SignedOut:
		return keeper.Grant{}, ErrTicket
	}
	if err := m.burnTicket(ctx, hash(secret.New(t.ID)), t.Member); err != nil {
		return keeper.Grant{}, err
	}
	return g, nil
}

// burnTicket uses a ticket up, or says ErrTicket. Use is random: it tells our own
// burn, whose answer was lost, from another's.
func (m *Manager) burnTicket(ctx context.Context, id Hash, member keeper.MemberID) error {
	now := m.Now().UTC()
	b := Burn{Use: hash(newID()), At: now, ExpiresAt: now.Add(burnLife), Settled: true, Member: member, Outcome: "redeemed"}
	used := false
	err := m.retry(ctx, func() error {
		have, err := m.Burns.Burn(ctx, id, b)
		if errors.Is(err, ErrUsed) {
			used, err = have.Use != b.Use, nil
		}
		return err
	})
	switch {
	case used:
		return ErrTicket
	case err != nil:
		return fmt.Errorf("burn a ticket: %w", err)
	}
	return nil
}
