package storetest

import (
	"crypto/rand"
	"errors"
	"sync/atomic"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

func controlIsZeroAtFirst(b *bench) {
	b.same("the control item", b.control(), keeper.Control{})
}

func controlComesBackWhole(b *bench) {
	for _, c := range []keeper.Control{full[keeper.Control](b.T), {}} {
		want := b.putControl(c, b.control().Rev)
		b.same("the control item", b.control(), want)
	}
}

func controlIsComparedAndSwapped(b *bench) {
	ctx := b.Context()
	old := ""
	for _, what := range []string{"create", "change"} {
		var wins atomic.Int32
		race(12, func(int) {
			c := keeper.Control{Outage: keeper.Outage{Count: 1}, Rev: rand.Text()}
			switch err := b.PutControl(ctx, c, old); {
			case err == nil:
				wins.Add(1)
			case !errors.Is(err, keeper.ErrConflict):
				b.Errorf("%s: %v", what, err)
			}
		})
		if wins.Load() > 1 {
			b.Errorf("%s: got %d winners, want one", what, wins.Load())
		}
		c := b.control()
		if c.Rev == "" || c.Rev == old {
			b.Errorf("%s: nobody won", what)
		}
		old = c.Rev
	}
	want := b.control()
	for _, old := range []string{"", "never"} {
		c := keeper.Control{Outage: keeper.Outage{Count: 9}, Rev: rand.Text()}
		b.is("over another revision", b.PutControl(ctx, c, old), keeper.ErrConflict)
	}
	b.is("its own write, sent twice", b.PutControl(ctx, want, "never"), keeper.ErrConflict)
	b.same("after conflicts", b.control(), want)
}

func incidentComesBackWhole(b *bench) {
	i := full[keeper.Incident](b.T)
	b.ok("PutIncident", b.PutIncident(b.Context(), i))
	small := keeper.Incident{ID: "small", OpenedAt: i.OpenedAt.Add(-time.Hour)}
	b.ok("PutIncident", b.PutIncident(b.Context(), small))
	got, err := b.Incidents(b.Context(), start.Add(-time.Hour))
	b.ok("Incidents", err)
	b.same("incidents", got, []keeper.Incident{stored(i), stored(small)})
}

func incidentIsReplaced(b *bench) {
	i := full[keeper.Incident](b.T)
	i.ClosedAt = time.Time{}
	b.ok("PutIncident", b.PutIncident(b.Context(), i))
	i.ClosedAt = i.OpenedAt.Add(time.Hour)
	i.Records = i.Records[:1]
	b.ok("PutIncident", b.PutIncident(b.Context(), i))
	twin := i
	twin.ID += "a" // opened in the same microsecond
	b.ok("PutIncident", b.PutIncident(b.Context(), twin))
	got, err := b.Incidents(b.Context(), time.Time{})
	b.ok("Incidents", err)
	if len(got) == 2 && got[0].ID == i.ID {
		got[0], got[1] = got[1], got[0] // of one time, in any order
	}
	b.same("incidents", got, []keeper.Incident{stored(twin), stored(i)})
}

func incidentsAreNewestFirst(b *bench) {
	var given, want []keeper.Incident
	for day := range 12 {
		for _, hour := range []int{13, 1} {
			at := start.AddDate(0, 0, -3*day).Truncate(24 * time.Hour).Add(time.Duration(hour)*time.Hour + 5)
			// In a zone where the day is often another one.
			i := keeper.Incident{ID: rand.Text(), Cause: "outage", OpenedAt: at.In(time.FixedZone("west", -11*3600))}
			given, want = append(given, i), append(want, stored(i))
		}
	}
	given, want = given[1:], want[1:] // 13 o'clock of the first day is still to come
	for i := range want {
		b.ok("PutIncident", b.PutIncident(b.Context(), given[i*7%len(given)])) // in no order
	}
	got, err := b.Incidents(b.Context(), time.Time{})
	b.ok("Incidents", err)
	b.same("all", got, want)
	got, err = b.Incidents(b.Context(), want[5].OpenedAt)
	b.ok("Incidents", err)
	b.same("since the sixth", got, want[:6])
	got, err = b.Incidents(b.Context(), want[5].OpenedAt.Add(time.Microsecond))
	b.ok("Incidents", err)
	b.same("since just after the sixth", got, want[:5])
	got, err = b.Incidents(b.Context(), start.Add(time.Hour))
	b.ok("Incidents", err)
	if len(got) != 0 {
		b.Errorf("since later than all: got %d, want none", len(got))
	}
}

func incidentsGo(b *bench) {
	i := keeper.Incident{ID: "i", OpenedAt: start}
	b.ok("PutIncident", b.PutIncident(b.Context(), i))
	b.clock.set(start.Add(keeper.KeepIncidents - time.Microsecond))
	got, err := b.Incidents(b.Context(), time.Time{})
	b.ok("Incidents", err)
	b.same("a microsecond before its end", got, []keeper.Incident{i})
	b.clock.set(start.Add(keeper.KeepIncidents))
	got, err = b.Incidents(b.Context(), time.Time{})
	b.ok("Incidents", err)
	if len(got) != 0 {
		b.Errorf("at its end: got %d incidents, want none", len(got))
	}
}

func incidentOfAClockAheadIsSeen(b *bench) {
	b.clock.set(start.Truncate(24 * time.Hour).Add(-time.Second))
	i := keeper.Incident{ID: "i", OpenedAt: b.clock.now().Add(3 * time.Second)} // tomorrow
	b.ok("PutIncident", b.PutIncident(b.Context(), i))
	got, err := b.Incidents(b.Context(), b.clock.now())
	b.ok("Incidents", err)
	b.same("incidents", got, []keeper.Incident{i})
}
