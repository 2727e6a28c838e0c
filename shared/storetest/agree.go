package storetest

import (
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// agreesWithMemory does some hundred random things to the store and to a
// Memory, and wants the same of both each time. The seed is fixed.
func agreesWithMemory(b *bench) {
	ctx := b.Context()
	model := NewMemory(b.clock.now)
	dice := mathrand.New(mathrand.NewPCG(1, 2)) //nolint:gosec // a test wants the same dice each time
	pick := func() keeper.MemberID { return member(dice.IntN(3)) }
	hash := func() session.Hash { return session.Hash{byte(dice.IntN(session.MaxPerMember - 5))} } // void ones may count for the cap, or not
	later := func() time.Time { return b.clock.now().Add(time.Duration(dice.IntN(90)) * time.Minute) }
	revs := []string{""}

	for n := range 600 {
		var what string
		var got, want any
		var gotErr, wantErr error
		switch dice.IntN(12) {
		case 0, 1, 2:
			g := full[keeper.Grant](b.T)
			g.Member, g.Rev, g.Generation = pick(), rand.Text(), fmt.Sprint("g", dice.IntN(2))
			g.Due, g.ExpiresAt = time.Time{}, time.Time{}
			if dice.IntN(3) > 0 {
				g.Due = later()
			}
			if dice.IntN(2) > 0 {
				g.ExpiresAt = later()
			}
			old := ""
			if has, err := model.Get(ctx, g.Member); err == nil {
				old = has.Rev
			}
			if dice.IntN(4) == 0 {
				old = revs[dice.IntN(len(revs))]
			}
			revs = append(revs, g.Rev)
			what = "Put"
			gotErr, wantErr = b.Put(ctx, g, old), model.Put(ctx, g, old)
			if errors.Is(gotErr, keeper.ErrConflict) && wantErr == nil && b.get(g.Member).Rev == g.Rev {
				gotErr = nil // told of its own write
			}
		case 3, 4:
			id := pick()
			what = "Get"
			got, gotErr = b.Get(ctx, id)
			want, wantErr = model.Get(ctx, id)
		case 5:
			shard, before, limit := pick().Shard(), later(), 1+dice.IntN(3)
			what = "Due"
			after := keeper.Nominee{}
			if dice.IntN(2) > 0 {
				after = keeper.Nominee{Member: pick(), Due: b.clock.now()}
				shard = after.Member.Shard()
			}
			var gotDue, wantDue []keeper.Nominee
			gotDue, gotErr = b.Due(ctx, shard, after, before, limit)
			wantDue, wantErr = model.Due(ctx, shard, after, before, limit)
			for _, due := range []*[]keeper.Nominee{&gotDue, &wantDue} {
				*due = slices.DeleteFunc(*due, func(n keeper.Nominee) bool {
					_, err := model.Get(ctx, n.Member)
					return err != nil // it may name what has ended, or not
				})
			}
			got, want = fmt.Sprint(gotDue), fmt.Sprint(wantDue)
		case 6, 7:
			s := full[session.Session](b.T)
			s.Member, s.Hash, s.Generation = pick(), hash(), fmt.Sprint("g", dice.IntN(2))
			s.CreatedAt = b.clock.now().Add(time.Duration(n) * time.Microsecond) // no two alike: the oldest is clear
			s.ExpiresAt = later()
			what = "PutSession"
			gotErr, wantErr = b.PutSession(ctx, s), model.PutSession(ctx, s)
		case 8:
			id, h := pick(), hash()
			what = "Look"
			gotGrant, gotSession, err := b.Look(ctx, id, h)
			gotErr = err
			wantGrant, wantSession, err := model.Look(ctx, id, h)
			wantErr = err
			if errors.Is(gotErr, session.ErrNone) && wantErr == nil && wantGrant.Generation != wantSession.Generation {
				continue // void: it may be gone already
			}
			got, want = []any{gotGrant, gotSession}, []any{wantGrant, wantSession}
		case 9:
			id, h := pick(), hash()
			what = "EndSession"
			gotErr, wantErr = b.EndSession(ctx, id, h), model.EndSession(ctx, id, h)
		case 10:
			h, burn := hash(), full[session.Burn](b.T)
			burn.ExpiresAt, burn.Outcome = later(), fmt.Sprint(n)
			if dice.IntN(3) == 0 {
				what = "Settle"
				gotErr, wantErr = b.Settle(ctx, h, burn), model.Settle(ctx, h, burn)
				break
			}
			what = "Burn"
			got, gotErr = b.Burn(ctx, h, burn)
			want, wantErr = model.Burn(ctx, h, burn)
		case 11:
			b.clock.set(later())
			continue
		}
		for _, sentinel := range []error{keeper.ErrNotFound, keeper.ErrConflict, session.ErrNone, session.ErrUsed, nil} {
			if errors.Is(gotErr, sentinel) != errors.Is(wantErr, sentinel) {
				b.Fatalf("step %d: %s: got error %v, want %v", n, what, gotErr, wantErr)
			}
		}
		if got != nil {
			if b.same(fmt.Sprintf("step %d: %s", n, what), got, want); b.Failed() {
				return
			}
		}
	}
}
