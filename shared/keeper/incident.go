package keeper

import (
	"context"
	"slices"
)

// report stores the incidents that a change of the control item opened or
// closed, and tells of them. The control item itself says which are untold, so
// a crash in between delays the telling to the next pass.
func (k *Keeper) report(ctx context.Context, gate *gate, was, is Control, record *Record) {
	news := false
	for _, o := range is.Open {
		if slices.Contains(was.Open, o) {
			continue
		}
		i := Incident{ID: o.ID, Cause: o.Cause, OpenedAt: o.Since}
		if o.Records > 1 {
			var err error
			if i, err = k.incident(ctx, o); err != nil {
				continue
			}
		} else {
			k.Log.Error("incident opened", "incident", o.ID, "cause", o.Cause)
			news = true
		}
		if record != nil && len(i.Records) < keepRecords {
			i.Records = append(i.Records, *record)
		}
		k.putIncident(ctx, i)
	}
	for _, w := range was.Open {
		if !slices.ContainsFunc(is.Open, func(o OpenIncident) bool { return o.ID == w.ID }) {
			k.Log.Info("incident closed", "incident", w.ID, "cause", w.Cause)
			if i, err := k.incident(ctx, w); err == nil {
				i.ClosedAt = k.now()
				k.putIncident(ctx, i)
			}
			news = true
		}
	}
	if news {
		k.tellIncidents(ctx, gate)
	}
}

// tellIncidents delivers what the control item says nobody was told of.
func (k *Keeper) tellIncidents(ctx context.Context, gate *gate) {
	gate.mu.Lock()
	untold := slices.Clone(gate.control.Untold)
	gate.mu.Unlock()
	var told []string
	for _, e := range untold {
		if err := k.Events(ctx, e); err != nil {
			k.Log.Warn("an event was not delivered", "type", string(e.Type), "event", e.ID, "error", err.Error())
			break
		}
		told = append(told, e.ID)
	}
	if len(told) == 0 {
		return
	}
	gate.change(ctx, func(c *Control) bool {
		n := len(c.Untold)
		c.Untold = slices.DeleteFunc(slices.Clone(c.Untold), func(e Event) bool { return slices.Contains(told, e.ID) })
		return len(c.Untold) != n
	})
}

// incident is the stored incident, or a new one where its item was lost. One that
// cannot be read must not be written: that would destroy the records it has.
func (k *Keeper) incident(ctx context.Context, o OpenIncident) (Incident, error) {
	all, err := k.Desk.Incidents(ctx, o.Since)
	if err != nil {
		return Incident{}, k.storeError("incidents", err)
	}
	if i := slices.IndexFunc(all, func(i Incident) bool { return i.ID == o.ID }); i >= 0 {
		return all[i], nil
	}
	return Incident{ID: o.ID, Cause: o.Cause, OpenedAt: o.Since}, nil
}

func (k *Keeper) putIncident(ctx context.Context, i Incident) {
	if err := k.Desk.PutIncident(ctx, i); err != nil {
		k.Log.Error("the store failed", "operation", "incident", "error", err.Error())
	}
}
