package keeper_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
)

// keys is a world whose tokens are sealed, by a keyset that can be lost.
func keys(t *testing.T) (w *world, keyset *secret.String, log *bytes.Buffer) {
	t.Helper()
	w, log = newWorld(t, nil), new(bytes.Buffer)
	set := seal.NewKeyset()
	w.config.Log = slog.New(slog.NewTextHandler(log, nil))
	w.restart(t, &set)
	return w, &set, log
}

// restart begins anew, with a keyset that nobody has read yet.
func (w *world) restart(t *testing.T, keyset *secret.String) {
	t.Helper()
	w.config.Sealer = seal.New(seal.Config{Now: w.clock.Now, Source: func(context.Context, bool) (secret.String, error) {
		if keyset.IsZero() {
			return secret.String{}, errStore
		}
		return *keyset, nil
	}})
	w.Keeper = w.keeper(t, nil)
}

// open are the causes of the open incidents.
func open(t *testing.T, w *world) string {
	t.Helper()
	var causes []string
	for _, i := range w.incidents(t) {
		if i.ClosedAt.IsZero() {
			causes = append(causes, i.Cause)
		}
	}
	return strings.Join(causes, " ")
}

// A pruned key is one incident, however many members it locks out and however
// often they are tried; it ends when the key is back. LinkedIn has no part in it.
func TestLostKeyIsAnIncidentUntilItIsBack(t *testing.T) {
	w, keyset, log := keys(t)
	ids := w.signInAll(t)
	w.settle(t)
	before := *keyset
	rotated, err := seal.AddKey(*keyset)
	if err != nil {
		t.Fatal(err)
	}
	pruned, _, err := seal.Prune(rotated, func(uint32) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	*keyset = pruned
	w.clock.Advance(51 * day)
	calls := w.sim.Count(linkedinsim.TokenEndpoint)
	w.advance(t, 3*day, time.Hour)
	if got := open(t, w); got != "keys" || w.told(keeper.IncidentOpened) != 1 || w.told(keeper.IncidentClosed) != 0 {
		t.Fatalf("open: %q, told of %d, and of the end of %d", got, w.told(keeper.IncidentOpened), w.told(keeper.IncidentClosed))
	}
	if n := w.sim.Count(linkedinsim.TokenEndpoint) - calls; n != 0 {
		t.Errorf("%d token calls with no token to send", n)
	}
	for _, id := range ids {
		if !strings.Contains(log.String(), "a token does not open\" member="+string(id)) {
			t.Errorf("the log does not name %s", id)
		}
		if g := w.grant(t, id); g.Status != keeper.Active || len(g.Outbox.Events) > 0 || w.told(keeper.MemberReconnectRequired) > 0 {
			t.Errorf("the member pays: %s", brief(g))
		}
	}
	if r := w.pass(t); r.Open != 1 || r.Blocked {
		t.Errorf("the pass reports %+v", r)
	}
	*keyset = before
	w.advance(t, 7*time.Hour, 10*time.Minute)
	if got := open(t, w); got != "" || w.told(keeper.IncidentOpened) != 1 || w.told(keeper.IncidentClosed) != 1 {
		t.Errorf("the key is back: open %q, told of %d, and of the end of %d", got, w.told(keeper.IncidentOpened), w.told(keeper.IncidentClosed))
	}
	for _, id := range ids {
		w.serves(t, id)
	}
}

// spoil damages the stored tokens of a member.
func (w *world) spoil(t *testing.T, id keeper.MemberID) {
	t.Helper()
	g := w.grant(t, id)
	old := g.Rev
	for _, tok := range []*keeper.Token{&g.Access, &g.Fresh, &g.Refresh} {
		if len(tok.Sealed) > 0 {
			tok.Sealed[len(tok.Sealed)-1] ^= 1
		}
	}
	g.Rev = "spoilt"
	if err := w.store.Put(t.Context(), g, old); err != nil {
		t.Fatal(err)
	}
}

// Damaged tokens of one member are the same incident. It ends when the member
// signs in again, or else a day after they were tried for the last time.
func TestDamagedTokenIsAnIncidentUntilNobodyHasIt(t *testing.T) {
	for what, end := range map[string]func(*testing.T, *world, keeper.MemberID){
		"signs in again": func(t *testing.T, w *world, _ keeper.MemberID) {
			w.signIn(t, "ada")
			w.advance(t, 5*time.Minute, time.Minute)
		},
		"signs out": func(t *testing.T, w *world, id keeper.MemberID) {
			if err := w.SignOut(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			if w.advance(t, 17*time.Hour, time.Hour); open(t, w) != "keys" { // it was tried within 6 hours before
				t.Errorf("not yet a day after the last try: open %q", open(t, w))
			}
			w.advance(t, 8*time.Hour, time.Hour)
		},
	} {
		w, _, _ := keys(t)
		id := w.signIn(t, "ada").Member
		w.settle(t)
		w.spoil(t, id)
		if _, _, err := w.Token(t.Context(), id, time.Minute); err == nil {
			t.Fatalf("%s: a damaged token opens", what)
		}
		if got := open(t, w); got != "keys" {
			t.Fatalf("%s: a caller met it: open %q", what, got)
		}
		if w.advance(t, 25*time.Hour, time.Hour); open(t, w) != "" {
			t.Errorf("%s: nobody has met it for a day: open %q", what, open(t, w))
		}
		w.clock.Advance(50 * day)
		w.advance(t, 2*day, time.Hour)
		if got := open(t, w); got != "keys" {
			t.Fatalf("%s: a refresh met it: open %q", what, got)
		}
		opened := w.told(keeper.IncidentOpened)
		end(t, w, id)
		if got := open(t, w); got != "" || w.told(keeper.IncidentOpened) != opened || w.told(keeper.IncidentClosed) != opened {
			t.Errorf("%s: open %q, told of %d, and of the end of %d", what, got, w.told(keeper.IncidentOpened), w.told(keeper.IncidentClosed))
		}
	}
}

// A keyset that cannot be read says nothing of any token.
func TestUnreadableKeysetIsNoLostKey(t *testing.T) {
	w, keyset, _ := keys(t)
	id := w.signIn(t, "ada").Member
	w.settle(t)
	had := *keyset
	*keyset = secret.String{}
	w.restart(t, keyset)
	if _, _, err := w.Token(t.Context(), id, time.Minute); err == nil {
		t.Fatal("a token opens without a key")
	}
	w.clock.Advance(51 * day)
	w.advance(t, time.Hour, 10*time.Minute)
	if got := open(t, w); got != "" {
		t.Errorf("open: %q", got)
	}
	*keyset = had
	w.advance(t, 7*time.Hour, 10*time.Minute)
	w.serves(t, id)
}
