// Command cost reckons what keepin costs on AWS, from list prices and from what
// its own code does in a year of a member. docs/cost.md is what it prints:
//
//	go run ./docs/cost > docs/cost.md
package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

// List prices in US dollars, us-east-1, on demand, as of November 2024, without
// the free tier. They come from lists that others keep; nobody asked AWS.
const (
	perWrite       = 0.625 / 1e6        // DynamoDB write request unit: 1 KB
	perRead        = 0.125 / 1e6        // DynamoDB read request unit: 4 KB, consistent
	perTableGB     = 0.25               // a month
	perBackupGB    = 0.20               // point-in-time recovery, a month
	perGBSecond    = 0.0000133334       // Lambda, arm64
	perInvocation  = 0.20 / 1e6         // Lambda
	perRequest     = 1.00 / 1e6         // API Gateway HTTP API
	perLogGB       = 0.50               // CloudWatch Logs, taken in
	perEvent       = 1.00 / 1e6         // EventBridge, custom events
	perSecret      = 0.40               // Secrets Manager, a month
	perAlarmMetric = 0.10               // CloudWatch, a month
	perMetric      = 0.30               // CloudWatch, a month
	perDashboard   = 3.00               // CloudWatch, a month
	perOutGB       = 0.09               // data to the Internet; the first 100 GB of a month are free
	freeOutGB      = 100.0              // a month
	month          = 365.0 / 12 * 86400 // seconds
)

// What things measure; the tests named hold the code to them.
const (
	grantKB     = 1.2  // an item with two tokens: at most 1.5 (TestItemsAreOfTheirSize)
	freshKB     = 1.7  // the same while a third token waits for its proof
	sessionKB   = 0.25 // one a member
	indexKB     = 0.12 // an entry of the due index
	overheadKB  = 0.1  // what DynamoDB adds to each, for storage
	memoryGB    = 0.25 // template.yaml
	passSeconds = 0.1  // of a pass that finds nothing: 16 queries and the control item
	callKB      = 1.2  // one call to LinkedIn, sent
	refreshedKB = 0.4  // the log line of a refresh
	metricsKB   = 0.5  // the log line of a pass
	accessKB    = 0.46 // the access log line of a validation
	taskReads   = 1    // of the grant, for each task (TestPassOverAFileReadsWhatIsDue)

	alarmMetrics = 22 // template.yaml
	metrics      = 5  // shared/telemetry

	taskRate   = 138.0       // grants a second that a pass of 256 MB did, half of them proofs (make bench-scale: T14 besides); it begins 250 at most
	workShare  = 40.0 / 60.0 // of each minute: a pass begins nothing in the last 20 s of its 60
	validateMS = 6.0         // billed for a warm one; not measured on AWS
)

func main() {
	if err := write(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// tasks is what is done for one member in a year.
type tasks struct{ refresh, prove, verify, announce float64 }

func (t tasks) all() float64 { return t.refresh + t.prove + t.verify + t.announce }

// aYear lives a year of members whose refresh token has 365 days, through the
// keeper's own transitions, and returns the mean.
func aYear() tasks {
	const members = 200
	var sum tasks
	for i := range members {
		t := oneYear(fmt.Sprint("member-", i))
		sum.refresh += t.refresh / members
		sum.prove += t.prove / members
		sum.verify += t.verify / members
		sum.announce += t.announce / members
	}
	return sum
}

func oneYear(subject string) (t tasks) {
	const day = 24 * time.Hour
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	end, now := begin.Add(365*day), begin
	id := keeper.Identity{ClientID: "app", Subject: subject}
	token := func(now time.Time) keeper.Token {
		ends := now.Add(60 * day)
		if ends.After(end) {
			ends = end
		}
		return keeper.Token{Sealed: []byte{1}, IssuedAt: now, ExpiresAt: ends}
	}
	g := keeper.Grant{Member: keeper.NewMemberID(id.ClientID, subject)}
	g.SignIn(now, "g", id, keeper.Issued{Access: token(now), Refresh: keeper.Token{Sealed: []byte{2}, IssuedAt: now, ExpiresAt: end}})
	for {
		task, at := g.Next(now)
		if task == keeper.TaskNone || at.After(end) {
			return t
		}
		if at.After(now) {
			now = at
		}
		active := keeper.Inspection{Active: true}
		switch task {
		case keeper.TaskRefresh:
			t.refresh++
			g.Lease = keeper.Lease{ID: "l", Until: now.Add(time.Minute)}
			g.Verified(now, g.Access, active)
			_ = g.Refreshed("l", keeper.Issued{Access: token(now)})
		case keeper.TaskProve:
			t.prove++
			_ = g.Proven(now, "", g.Fresh, keeper.Profile{})
		case keeper.TaskVerify:
			t.verify++
			g.Verified(now, g.Access, active)
		case keeper.TaskAnnounce:
			t.announce++
			g.Announce(now)
			g.Delivered(g.Outbox.Events)
		}
	}
}

// units is how many KB a write of so many is charged for.
func units(kb float64) float64 { return math.Ceil(kb) }

// moved is what a write costs in the index where the due time moves: an entry
// goes and another comes.
const moved = 2

// bill is a month of so many stored members.
type bill struct {
	storage, backup, writes, reads, lambda, logs, events, out float64
	tasksPerSecond                                            float64
}

func (b bill) total() float64 {
	return b.storage + b.backup + b.writes + b.reads + b.lambda + b.logs + b.events + b.out
}

func (b bill) schedules() float64 { return math.Ceil(b.tasksPerSecond / (taskRate * workShare)) }

func stored(members float64, year tasks) (b bill) {
	each := func(perYear float64) float64 { return members * perYear / 12 }
	gb := members * (grantKB + sessionKB + indexKB + 3*overheadKB) / 1e6
	b.storage, b.backup = gb*perTableGB, members*(grantKB+sessionKB+2*overheadKB)/1e6*perBackupGB

	refresh := units(grantKB) + units(freshKB) + moved // the lease, and the answer
	prove := units(grantKB) + moved                    // that the new token serves
	verify := units(grantKB) + moved                   // that the token lives
	announce := 2 * (units(grantKB) + moved)           // what is to be told, and that it was
	b.writes = perWrite * (each(year.refresh)*refresh + each(year.prove)*prove + each(year.verify)*verify + each(year.announce)*announce)
	b.reads = perRead * each(year.all()) * (taskReads + 0.5*indexKB/4)
	b.tasksPerSecond = each(year.all()) / month
	b.lambda = each(year.all()) / taskRate * memoryGB * perGBSecond
	b.logs = each(year.refresh) * refreshedKB / 1e6 * perLogGB
	b.events = each(year.announce) * perEvent
	calls := 2*year.refresh + year.prove + year.verify
	b.out = math.Max(0, each(calls)*callKB/1e6-freeOutGB) * perOutGB
	return b
}

// idle is a month in which nothing happens.
func idle() (fixed, passes float64) {
	n := month / 60
	fixed = 2*perSecret + alarmMetrics*perAlarmMetric + metrics*perMetric + perDashboard
	passes = n * (passSeconds*memoryGB*perGBSecond + 2*perInvocation + (16*0.5+1)*perRead + metricsKB/1e6*perLogGB)
	return fixed, passes
}

// validation is one, through the HTTP API.
func validation() float64 {
	return perRequest + perInvocation + validateMS/1000*memoryGB*perGBSecond + perRead + accessKB/1e6*perLogGB
}

func write(w io.Writer) error {
	year := aYear()
	fixed, passes := idle()
	p := fmt.Sprintf
	out := `# What keepin costs on AWS

Printed by ` + "`go run ./docs/cost`" + `; a test holds this page to it. The prices are list prices of us-east-1, on demand, of
November 2024, without the free tier, taken from lists that others keep: **not verified against AWS, and not taken
from a bill.** The amounts follow from what the code does: the program lives a year of a member through the keeper's
own transitions, and a task costs the reads and writes that ` + "`test/scale`" + ` counts.

## A member's year

With a refresh token of 365 days and access tokens of 60, the mean of 200 members:

| task | a year | reads of the grant | writes of it | calls to LinkedIn |
|---|---|---|---|---|
`
	for _, r := range []struct {
		name                 string
		n                    float64
		reads, writes, calls int
	}{{"refresh", year.refresh, 1, 2, 2}, {"proof of the new token", year.prove, 1, 1, 1}, {"weekly introspection", year.verify, 1, 1, 1}, {"notice", year.announce, 1, 2, 0}} {
		out += p("| %s | %.1f | %d | %d | %d |\n", r.name, r.n, r.reads, r.writes, r.calls)
	}
	out += `
## A month of stored members

US dollars. Whatever is stored and not due costs its storage and nothing else.

| members | tasks a second | storage | backup | writes | reads | Lambda | logs | events | data to LinkedIn | total |
|---|---|---|---|---|---|---|---|---|---|---|
`
	sizes := []float64{1e6, 10e6, 100e6}
	for _, n := range sizes {
		b := stored(n, year)
		out += p("| %.0f million | %.1f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | **%.0f** |\n",
			n/1e6, b.tasksPerSecond, b.storage, b.backup, b.writes, b.reads, b.lambda, b.logs, b.events, b.out, b.total())
	}
	noVerify := year
	noVerify.verify = 0
	out += p(`
Of the writes, the weekly introspection of every grant is the largest part: without it the totals would be %.0f, %.0f
and %.0f. To find what is due by reading every grant each minute would cost %.0f a month for 100 million.

A worker of 256 MB does some %.0f tasks a second (`+"`make bench-scale`"+`) for 40 seconds of each minute, so one schedule
carries %.0f a second: 100 million members need %.0f schedules, each with a part of the 16 shards, or a function with
more memory; below about %.0f million, one is enough.

`, stored(sizes[0], noVerify).total(), stored(sizes[1], noVerify).total(), stored(sizes[2], noVerify).total(),
		100e6*month/60*perRead/2, taskRate, taskRate*workShare, stored(100e6, year).schedules(), 100*taskRate*workShare/stored(100e6, year).tasksPerSecond)
	out += p(`## Besides

| | US dollars |
|---|---|
| nothing happening: two secrets, %d alarmed metrics, a dashboard, %d metrics of keepin's own | %.2f a month |
| 43,800 passes that find nothing | %.2f a month |
| a million validations: HTTP API %.2f, Lambda %.2f, the table %.3f, the access log %.2f | %.2f |
`, alarmMetrics, metrics, fixed, passes, perRequest*1e6, (perInvocation+validateMS/1000*memoryGB*perGBSecond)*1e6, perRead*1e6, accessKB*perLogGB, validation()*1e6)
	if _, err := io.WriteString(w, out); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
