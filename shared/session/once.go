package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

const (
	onceLease = time.Minute // longer than the sign-in that holds it may take
	onceLife  = time.Hour   // longer than LinkedIn's SDK tokens live
)

// Once is the right to sign in, once, by what LinkedIn's SDK signed.
type Once struct {
	key  Hash
	burn Burn
	// Session is the id that the session will have.
	Session secret.String
}

// Member is who has signed in by it already; "" when nobody has.
func (o Once) Member() keeper.MemberID { return o.burn.Member }

// TakeOnce takes a signature for a minute. Who has it must Spend it, which keeps
// everybody else out for an hour, before anything is given for it; or Return it.
// A process that dies in between has given nothing, and lets the browser try
// again after the minute. While another has the signature, TakeOnce waits up to
// 5 s: ErrPending when it was spent meanwhile, or still is not. ErrUsed is one
// that was spent before; the Once then tells by whom.
func (m *Manager) TakeOnce(ctx context.Context, signature secret.String) (Once, error) {
	now := m.Now().UTC()
	o := Once{key: hash(secret.New("sdk\n" + signature.Reveal())), Session: newID()}
	// Use is random: it tells our own burn, whose answer was lost, from another's.
	o.burn = Burn{Use: hash(newID()), At: now, ExpiresAt: now.Add(onceLease)}
	for wait, waited, failed := 100*time.Millisecond, time.Duration(0), 0; ; wait = min(2*wait, time.Second) {
		have, err := m.Burns.Burn(ctx, o.key, o.burn)
		switch {
		case err == nil, errors.Is(err, ErrUsed) && have.Use == o.burn.Use:
			return o, nil
		case errors.Is(err, ErrUsed) && have.Settled && waited == 0:
			return Once{key: o.key, burn: have}, ErrUsed
		case errors.Is(err, ErrUsed) && (have.Settled || waited >= duplicateWait):
			return Once{}, ErrPending
		case errors.Is(err, ErrUsed):
			wait = min(wait, duplicateWait-waited)
			waited += wait
		case failed+1 >= tries:
			return Once{}, fmt.Errorf("burn a signature: %w", err)
		default:
			failed++
		}
		if err := m.Sleep(ctx, wait); err != nil {
			return Once{}, fmt.Errorf("wait for a sign-in: %w", err)
		}
		o.burn.At = m.Now().UTC()
		o.burn.ExpiresAt = o.burn.At.Add(onceLease)
	}
}

// Spend uses o up for member. Only after it may anything be given for it.
func (m *Manager) Spend(ctx context.Context, o Once, member keeper.MemberID) error {
	o.burn.Settled, o.burn.Member = true, member
	o.burn.ExpiresAt = o.burn.At.Add(onceLife)
	return m.settleOnce(ctx, o)
}

// Return lets the browser try again: nothing was given for o.
func (m *Manager) Return(ctx context.Context, o Once) error {
	o.burn.ExpiresAt = o.burn.At
	return m.settleOnce(ctx, o)
}

// settleOnce writes the burn anew. It may be written twice: what it says is the same.
func (m *Manager) settleOnce(ctx context.Context, o Once) error {
	if err := m.retry(ctx, func() error { return m.Burns.Settle(ctx, o.key, o.burn) }); err != nil {
		return fmt.Errorf("settle a signature: %w", err)
	}
	return nil
}
