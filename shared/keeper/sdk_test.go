package keeper_test

import (
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

// TestAFailingSDKExchangeStopsNoRefresh: any signed cookie of the retired SDK
// asks at an address that LinkedIn may have closed, and for ever. That is an
// incident, and no reason to doubt LinkedIn, or the application's secret.
func TestAFailingSDKExchangeStopsNoRefresh(t *testing.T) {
	for class, want := range map[keeper.Class]int{
		keeper.ClassApplication: 1, keeper.ClassUnknown: 1, keeper.ClassOutage: 0, keeper.ClassBusy: 0, keeper.ClassMember: 0,
	} {
		w := newWorld(t, nil)
		id := w.signIn(t, "ada").Member
		w.clock.Advance(61 * day)
		for range 20 {
			w.clock.Advance(time.Minute)
			w.Observe(t.Context(), "sdk_exchange", &keeper.CallError{Class: class, RetryAt: w.clock.Now().Add(day), Record: keeper.Record{Operation: "sdk_exchange"}})
		}
		w.serves(t, id) // by a refresh
		all := w.incidents(t)
		if len(all) != want || want == 1 && (all[0].Cause != "unknown:sdk_exchange" || !all[0].ClosedAt.IsZero() || len(all[0].Records) != 3) {
			t.Errorf("%s: incidents %+v", class, all)
		}
		w.Observe(t.Context(), "sdk_exchange", nil)
		if all := w.incidents(t); want == 1 && all[0].ClosedAt.IsZero() {
			t.Errorf("%s: an exchange succeeds, and the incident stays: %+v", class, all)
		}
	}
}
