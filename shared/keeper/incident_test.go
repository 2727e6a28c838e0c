package keeper_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

// unlisted is a desk that cannot list its incidents: a role may lack that.
type unlisted struct{ keeper.Desk }

func (unlisted) Incidents(context.Context, time.Time) ([]keeper.Incident, error) {
	return nil, errStore
}

func TestAnIncidentThatCannotBeReadIsLogged(t *testing.T) {
	w, log := newWorld(t, nil), new(bytes.Buffer)
	k := w.keeper(t, func(c *keeper.Config) {
		c.Desk, c.Log = unlisted{c.Desk}, slog.New(slog.NewTextHandler(log, nil))
	})
	k.Observe(t.Context(), "exchange", &keeper.CallError{Class: keeper.ClassApplication})
	if strings.Contains(log.String(), "the store failed") {
		t.Fatalf("before anything was read: %s", log)
	}
	k.Observe(t.Context(), "exchange", nil)
	if !strings.Contains(log.String(), `msg="the store failed" operation=incidents`) {
		t.Errorf("the log says %s", log)
	}
}

// Whoever cannot read an incident leaves the records in it alone.
func TestAnIncidentThatCannotBeReadKeepsItsRecords(t *testing.T) {
	w := newWorld(t, nil)
	blind := w.keeper(t, func(c *keeper.Config) { c.Desk = unlisted{c.Desk} })
	refused := &keeper.CallError{Class: keeper.ClassApplication, Record: keeper.Record{Operation: "exchange", RequestBody: "the first"}}
	w.Observe(t.Context(), "exchange", refused)
	blind.Observe(t.Context(), "exchange", refused)
	blind.Observe(t.Context(), "exchange", nil)
	all, err := w.store.Incidents(t.Context(), time.Time{})
	if err != nil || len(all) != 1 || len(all[0].Records) != 1 || all[0].Records[0].RequestBody != "the first" {
		t.Errorf("%+v, %v", all, err)
	}
}
