package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

func (o *Operator) listIncidents(ctx context.Context) (string, error) {
	incidents, c, err := o.incidents(ctx)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if !c.PausedAt.IsZero() {
		fmt.Fprintf(&b, "Refreshes are paused by an operator since %s: keepin resume ends it.\n", when(c.PausedAt))
	}
	if c.Breaker.Class == keeper.ClassApplication || c.Breaker.Until.After(o.Now()) {
		fmt.Fprintf(&b, "LinkedIn is called no more than it must be (%s) since %s; next call %s.\n", c.Breaker.Class, when(c.Breaker.Since), when(c.Breaker.Until))
	}
	if c.Braked(o.Now()) {
		fmt.Fprintf(&b, "So many members were refused that it may be LinkedIn that is ill: no grant is ended. Last refusal %s.\n", when(c.Brake.At))
	}
	if locked := c.Locked.Members; len(locked) > 0 {
		fmt.Fprintf(&b, "Tokens of %s do not open, perhaps others' too: put the key back that they were sealed with, or have those members sign in again.\n", locked)
	}
	if len(incidents) == 0 {
		return b.String() + "No incident in the last 90 days.\n", nil
	}
	return b.String() + table(func(row func(...any)) {
		row("INCIDENT", "CAUSE", "OPENED", "CLOSED", "RECORDS")
		for _, i := range incidents {
			row(i.ID, i.Cause, when(i.OpenedAt), closed(i, c), len(i.Records))
		}
	}), nil
}

func (o *Operator) showIncident(ctx context.Context, id string) (string, error) {
	incidents, c, err := o.incidents(ctx)
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(incidents, func(i keeper.Incident) bool { return i.ID == id })
	if at < 0 {
		return "", errors.New("there is no incident of that id in the last 90 days: see keepin incidents")
	}
	return supportText(incidents[at], c), nil
}

// incidents are all that are kept, and the control item as it was after that: it
// knows which are open, whether or not their end could be written down.
func (o *Operator) incidents(ctx context.Context) ([]keeper.Incident, keeper.Control, error) {
	all, err := o.Store.Incidents(ctx, time.Time{})
	if err != nil {
		return nil, keeper.Control{}, err
	}
	c, err := o.Store.Control(ctx)
	return all, c, err
}

// supportText is what LinkedIn's support asks for ("Best Practices for
// Application Development", Errors), of each call that the incident keeps.
func supportText(i keeper.Incident, c keeper.Control) string {
	var b strings.Builder
	fmt.Fprintf(&b, "incident: %s (%s), opened %s, closed %s\n", i.ID, i.Cause, when(i.OpenedAt), closed(i, c))
	if len(i.Records) == 0 {
		b.WriteString("No call was recorded.\n")
	}
	for n, r := range i.Records {
		fmt.Fprintf(&b, "\n== call %d of %d: %s ==\nclient_id: %s\ntime: %s, took %s\n", n+1, len(i.Records), r.Operation, r.ClientID, when(r.At), r.Took.Round(time.Millisecond))
		fmt.Fprintf(&b, "\nrequest: %s %s\n", r.Method, r.URL)
		writeMessage(&b, r.RequestHeaders, r.RequestBody)
		if r.Status == 0 {
			fmt.Fprintf(&b, "\nresponse: none (%s)\n", r.Problem)
			continue
		}
		fmt.Fprintf(&b, "\nresponse: %d\n", r.Status)
		writeMessage(&b, r.ResponseHeaders, r.ResponseBody)
		if r.Problem != "" {
			fmt.Fprintf(&b, "\nproblem: %s\n", r.Problem)
		}
	}
	b.WriteString("\nTokens, codes and secrets stand above as the first digits of their SHA-256.\n")
	return b.String()
}

func writeMessage(b *strings.Builder, headers map[string]string, body string) {
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(b, "%s: %s\n", name, headers[name])
	}
	if body != "" {
		fmt.Fprintf(b, "\n%s\n", body)
	}
}

func closed(i keeper.Incident, c keeper.Control) string {
	switch {
	case !i.ClosedAt.IsZero():
		return when(i.ClosedAt)
	case slices.ContainsFunc(c.Open, func(o keeper.OpenIncident) bool { return o.ID == i.ID }):
		return "not yet"
	}
	return "yes, unrecorded"
}
