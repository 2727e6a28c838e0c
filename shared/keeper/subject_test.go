package keeper_test

import (
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

// OpenID Connect Core 12.2: the ID token of a refresh has the same subject, or
// the answer is not ours to keep.
func TestRefreshWithAnotherMembersIDTokenIsNotKept(t *testing.T) {
	w := newWorld(t, nil)
	w.sim.SetSwitches(func(s *linkedinsim.Switches) { s.IDTokenOnRefresh = true })
	id := w.signIn(t, "ada").Member
	w.advance(t, 47*day, 12*time.Hour)
	before := w.grant(t, id)
	if err := w.sim.Fault(linkedinsim.Fault{Kind: linkedinsim.IDTokenSubject}); err != nil {
		t.Fatal(err)
	}
	w.advance(t, 4*day, time.Hour)
	if g := w.grant(t, id); !g.Access.ExpiresAt.Equal(before.Access.ExpiresAt) || !g.Fresh.IsZero() {
		t.Errorf("the answer was kept: %s", brief(g))
	}
	if all := w.incidents(t); len(all) == 0 {
		t.Error("no incident")
	}
	w.sim.Clear()
	w.advance(t, day, time.Hour)
	if g := w.grant(t, id); !g.Access.ExpiresAt.After(before.Access.ExpiresAt) {
		t.Errorf("after that no refresh: %s", brief(g))
	}
	w.serves(t, id)
}
