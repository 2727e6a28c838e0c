package keeper

import (
	"crypto/rand"
	"slices"
	"time"
)

const (
	probeEvery   = time.Minute    // one call may try while LinkedIn refuses the application
	brakeAt      = 3              // members refused since the last success
	brakeForgets = 72 * time.Hour // a refused grant is asked about once a day: 24 h would forget between two askings (docs/adr/0009)
	outageAfter  = 15 * time.Minute
	outageCount  = 5
	keepRecords  = 3 // of one incident
	keepLocked   = 3
	lockForgets  = day // a token that does not open is tried each 6 hours
)

// The causes of incidents.
const (
	causeApplication = "application"
	causeOutage      = "outage"
	causeBrake       = "brake"
	causeKeys        = "keys"
	causeUnknown     = "unknown:" // and the operation
)

// Blocked reports whether refreshes must wait: while an operator has paused
// them, and while the breaker is open. From Until on a breaker of
// ClassApplication lets one call probe, and one of ClassBusy is closed.
func (c Control) Blocked(now time.Time) bool {
	return !c.PausedAt.IsZero() || c.Breaker.Until.After(now)
}

// Braked reports whether so many members were refused since the last success
// that it may be LinkedIn that is ill: no grant is ended meanwhile.
func (c Control) Braked(now time.Time) bool {
	return len(c.Brake.Refused) >= brakeAt && now.Sub(c.Brake.At) < brakeForgets
}

// probe claims the one call of this minute through a half-open breaker.
func (c *Control) probe(now time.Time) { c.Breaker.Until = now.Add(probeEvery) }

// half reports whether a call now would be a probe.
func (c Control) half(now time.Time) bool {
	return c.Breaker.Class == ClassApplication && !c.Breaker.Until.After(now)
}

// refused remembers a member for the brake. Who is refused again is no news: so
// three members who are really gone are forgotten in the end. changed is false
// when there is nothing to store.
func (c *Control) refused(now time.Time, id MemberID) (changed bool) {
	if now.Sub(c.Brake.At) >= brakeForgets && len(c.Brake.Refused) > 0 {
		c.Brake, changed = Brake{}, true
		c.close(now, causeBrake)
	}
	if slices.Contains(c.Brake.Refused, id) {
		return changed
	}
	if len(c.Brake.Refused) < brakeAt {
		c.Brake.Refused, changed = append(slices.Clone(c.Brake.Refused), id), true
	}
	if len(c.Brake.Refused) == brakeAt {
		changed = c.open(now, causeBrake) || changed
	}
	if changed || now.Sub(c.Brake.At) >= time.Hour {
		c.Brake.At, changed = now, true
	}
	return changed
}

// failed takes in a call that failed for a reason that is no member's.
func (c *Control) failed(now time.Time, operation string, class Class, retryAt time.Time) (changed bool) {
	if operation == "sdk_exchange" { // a relic of its own: what ails it must not stop refreshes
		return (class == ClassApplication || class == ClassUnknown) && c.open(now, causeUnknown+operation)
	}
	switch class {
	case ClassApplication:
		if c.Breaker.Class != class {
			c.Breaker = Breaker{Class: class, Since: now}
		}
		if !c.Breaker.Until.After(now) {
			c.Breaker.Count++
			c.Breaker.Until, changed = now.Add(probeEvery), true
		}
		changed = c.open(now, causeApplication) || changed
	case ClassBusy:
		if c.Breaker.Class == ClassApplication {
			return false // the worse trouble stands
		}
		if c.Breaker.Class != class {
			c.Breaker = Breaker{Class: class, Since: now}
		}
		if c.Breaker.Until.After(now) && !retryAt.After(c.Breaker.Until) {
			return false
		}
		c.Breaker.Count++
		c.Breaker.Until, changed = now.Add(doubled(c.Breaker.Count)), true
		if retryAt.After(now) {
			c.Breaker.Until = earlier(retryAt, now.Add(day)) // no quota of LinkedIn's is longer
		}
	case ClassOutage, ClassUnknown:
		if operation == "authorize" { // any browser can bring one: no sign of an outage
			return c.open(now, causeUnknown+operation)
		}
		if c.Outage.Count == 0 {
			c.Outage.Since = now
		}
		if c.Outage.Count < outageCount {
			c.Outage.Count++
			changed = true
		}
		// Where several operations fail, the one that issues tokens ends the outage.
		if o := c.Outage.Operation; o == "" || o != operation && operation == "refresh" {
			c.Outage.Operation, changed = operation, true
		}
		if c.Outage.Count >= outageCount && now.Sub(c.Outage.Since) >= outageAfter {
			changed = c.open(now, causeOutage) || changed
		}
		if class == ClassUnknown {
			changed = c.open(now, causeUnknown+operation) || changed
		}
	}
	return changed
}

// succeeded takes in a call that LinkedIn answered. It ends an outage of its own
// operation (introspection may work while no token is issued); introspection
// shows as well that the application's credentials are good. Tokens that were
// issued end every trouble; those of a refresh alone lift the brake. Where LinkedIn
// answered a while ago, at says when, else it is zero: nothing that has gone wrong
// since is over, nor an outage of another operation, whose last failure is not kept.
func (c *Control) succeeded(now time.Time, operation string, at time.Time) (changed bool) {
	issued := operation == "refresh" || operation == "exchange"
	newer := func(trouble time.Time) bool { return !at.IsZero() && at.Before(trouble) }
	if c.Outage != (Outage{}) && (issued && at.IsZero() || c.Outage.Operation == operation && !newer(c.Outage.Since)) {
		c.Outage, changed = Outage{}, true
	}
	// A success that was under way when LinkedIn said "too many" proves nothing.
	busy := c.Breaker.Class == ClassBusy && c.Breaker.Until.After(now)
	if c.Breaker != (Breaker{}) && !busy && !newer(c.Breaker.Until.Add(-probeEvery)) && (issued || c.Breaker.Class == ClassApplication && operation == "introspect") {
		c.Breaker, changed = Breaker{}, true
	}
	if operation == "refresh" && len(c.Brake.Refused) > 0 { // a sign-in says nothing of refresh tokens
		c.Brake, changed = Brake{}, true
	}
	for _, o := range slices.Clone(c.Open) {
		over := false
		switch o.Cause {
		case causeOutage:
			over = c.Outage == Outage{}
		case causeApplication:
			over = c.Breaker.Class != ClassApplication
		case causeBrake:
			over = len(c.Brake.Refused) == 0
		default:
			over = !newer(o.Since) && (o.Cause == causeUnknown+operation || operation == "exchange" && o.Cause == causeUnknown+"authorize")
		}
		changed = over && c.close(now, o.Cause) || changed
	}
	return changed
}

// locked takes in that a token of id does not open.
func (c *Control) locked(now time.Time, id MemberID) (changed bool) {
	if len(c.Locked.Members) == 0 {
		c.open(now, causeKeys)
	}
	if n := len(c.Locked.Members); n < keepLocked && !slices.Contains(c.Locked.Members, id) {
		c.Locked.Members, changed = append(slices.Clone(c.Locked.Members), id), true
	}
	if changed || now.Sub(c.Locked.At) >= time.Hour {
		c.Locked.At, changed = now, true
	}
	return changed
}

// unlocked takes in that a token of id opens.
func (c *Control) unlocked(now time.Time, id MemberID) (changed bool) {
	if !slices.Contains(c.Locked.Members, id) {
		return false
	}
	c.Locked.Members = slices.DeleteFunc(slices.Clone(c.Locked.Members), func(m MemberID) bool { return m == id })
	if len(c.Locked.Members) == 0 {
		c.Locked = Locked{}
		c.close(now, causeKeys)
	}
	return true
}

// forget ends what nothing will: of the members who were locked out, nobody has
// a token any more that is tried in vain. It is for the end of a pass.
func (c *Control) forget(now time.Time) (changed bool) {
	if len(c.Locked.Members) == 0 || c.Blocked(now) || now.Sub(c.Locked.At) < lockForgets {
		return false
	}
	c.Locked = Locked{}
	return c.close(now, causeKeys)
}

// open begins an incident. Where one of that cause is open, it counts the
// record that the incident is to keep; false: it has enough of them.
func (c *Control) open(now time.Time, cause string) bool {
	c.Open = slices.Clone(c.Open)
	for i := range c.Open {
		if o := &c.Open[i]; o.Cause == cause {
			if o.Records >= keepRecords {
				return false
			}
			o.Records++
			return true
		}
	}
	o := OpenIncident{ID: rand.Text()[:12], Cause: cause, Since: now, Records: 1}
	c.Open = append(c.Open, o)
	c.tell(Event{ID: o.ID + "-opened", Type: IncidentOpened, Subject: o.ID, At: now, Reason: cause})
	return true
}

// close ends the incident of that cause.
func (c *Control) close(now time.Time, cause string) (closed bool) {
	c.Open = slices.DeleteFunc(slices.Clone(c.Open), func(o OpenIncident) bool {
		if o.Cause != cause {
			return false
		}
		c.tell(Event{ID: o.ID + "-closed", Type: IncidentClosed, Subject: o.ID, At: now, Reason: cause})
		closed = true
		return true
	})
	return closed
}

// tell keeps e until it is delivered, with the latest 16.
func (c *Control) tell(e Event) {
	c.Untold = append(slices.Clone(c.Untold), e)
	if over := len(c.Untold) - outboxSize; over > 0 {
		c.Untold = c.Untold[over:]
	}
}
