// Package storetest holds every store to one contract: Run is the conformance
// suite, Memory the reference that passes it and can be told to fail.
package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// Stores is all that keepin stores, in one value.
type Stores interface {
	keeper.Store
	keeper.Desk
	session.Store
	session.Burns
}

// Run holds a store to the contracts of the interfaces in Stores. open is
// called once for every case, and gives an empty store of its own that judges
// expiry by now; it cleans up by t.Cleanup. The clock stands at a day in 2031
// and is moved by hand.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) Stores) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			clock := &clock{at: start}
			c.run(&bench{T: t, Stores: open(t, clock.now), clock: clock})
		})
	}
}

// cases are all properties that a store must have.
//
//nolint:gochecknoglobals // a table
var cases = []struct {
	name string
	run  func(*bench)
}{
	{"GrantComesBackWhole", grantComesBackWhole},
	{"GrantIsReplacedWhole", grantIsReplacedWhole},
	{"GrantOfAnotherMemberIsUntouched", grantOfAnotherMemberIsUntouched},
	{"MissingGrantIsNotFound", missingGrantIsNotFound},
	{"EmptyOldMeansMustNotExist", emptyOldMeansMustNotExist},
	{"ConflictChangesNothing", conflictChangesNothing},
	{"RevisionIsNeeded", revisionIsNeeded},
	{"OwnRevisionIsSeenAfterALostAnswer", ownRevisionIsSeenAfterALostAnswer},
	{"RevisionOfAnEarlierLifeConflicts", revisionOfAnEarlierLifeConflicts},
	{"OneOfManyWritersWins", oneOfManyWritersWins},
	{"IncrementersLoseNothing", incrementersLoseNothing},
	{"TimesComeBackInUTC", timesComeBackInUTC},
	{"SealedBytesUpTo4KiB", sealedBytesUpTo4KiB},
	{"TextComesBackExactly", textComesBackExactly},
	{"WhatIsEmptyComesBackNil", whatIsEmptyComesBackNil},
	{"ExpiredGrantIsNone", expiredGrantIsNone},
	{"GrantIsCopied", grantIsCopied},

	{"DueNamesTheOldestFirst", dueNamesTheOldestFirst},
	{"DueNamesNoMoreThanLimit", dueNamesNoMoreThanLimit},
	{"DueNamesNothingBeforeItsTime", dueNamesNothingBeforeItsTime},
	{"DueIsSparse", dueIsSparse},
	{"DueMovesWithTheGrant", dueMovesWithTheGrant},
	{"DueNamesOnlyItsShard", dueNamesOnlyItsShard},
	{"DueTellsWhen", dueTellsWhen},
	{"DueForgetsWhatHasEnded", dueForgetsWhatHasEnded},
	{"DueReadsOnBehindANominee", dueReadsOnBehindANominee},
	{"DueReadsOnBehindWhatIsGone", dueReadsOnBehindWhatIsGone},

	{"LookFindsGrantAndSession", lookFindsGrantAndSession},
	{"LookIsNoneWithoutEither", lookIsNoneWithoutEither},
	{"LookGivesNoSealedToken", lookGivesNoSealedToken},
	{"SessionWithTheSameHashIsReplaced", sessionWithTheSameHashIsReplaced},
	{"AllReadsAMemberWhole", allReadsAMemberWhole},
	{"EndSessionEndsOne", endSessionEndsOne},
	{"PutKeepsSessions", putKeepsSessions},

	{"FirstBurnWins", firstBurnWins},
	{"BurnReportsTheStoredOne", burnReportsTheStoredOne},
	{"BurnExpires", burnExpires},
	{"SettleReplacesTheBurn", settleReplacesTheBurn},

	{"ControlIsZeroAtFirst", controlIsZeroAtFirst},
	{"ControlComesBackWhole", controlComesBackWhole},
	{"ControlIsComparedAndSwapped", controlIsComparedAndSwapped},
	{"IncidentComesBackWhole", incidentComesBackWhole},
	{"IncidentIsReplaced", incidentIsReplaced},
	{"IncidentsAreNewestFirst", incidentsAreNewestFirst},
	{"IncidentOfAClockAheadIsSeen", incidentOfAClockAheadIsSeen},
	{"IncidentsGo", incidentsGo},

	{"CancelledContextIsAnError", cancelledContextIsAnError},
	{"ConcurrentUseIsSafe", concurrentUseIsSafe},
	{"AgreesWithMemory", agreesWithMemory},
}

// start is where the clock of every case stands at first: far enough ahead that
// no server's own expiry reaches it.
//
//nolint:gochecknoglobals // a constant
var start = time.Date(2031, 3, 4, 5, 6, 7, 0, time.UTC)

// bench is what a case works on.
type bench struct {
	*testing.T
	Stores
	clock *clock
}

type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

// member is the n-th member.
func member(n int) keeper.MemberID {
	return keeper.NewMemberID("client", fmt.Sprint("subject-", n))
}

// put stores g with a new revision over old, which must work, and returns it as
// stored.
func (b *bench) put(g keeper.Grant, old string) keeper.Grant {
	b.Helper()
	g.Rev = rand.Text()
	// A conflict with a write of our own, that the client sent twice, is none:
	// the contract has it so.
	if err := b.Put(b.Context(), g, old); err != nil && (!errors.Is(err, keeper.ErrConflict) || b.get(g.Member).Rev != g.Rev) {
		b.Fatalf("Put: %v", err)
	}
	return stored(g)
}

// putControl is put for the control item.
func (b *bench) putControl(c keeper.Control, old string) keeper.Control {
	b.Helper()
	c.Rev = rand.Text()
	if err := b.PutControl(b.Context(), c, old); err != nil && (!errors.Is(err, keeper.ErrConflict) || b.control().Rev != c.Rev) {
		b.Fatalf("PutControl: %v", err)
	}
	return stored(c)
}

// control is the stored control item.
func (b *bench) control() keeper.Control {
	b.Helper()
	c, err := b.Control(b.Context())
	b.ok("Control", err)
	return c
}

// get is the stored grant, which must be there.
func (b *bench) get(id keeper.MemberID) keeper.Grant {
	b.Helper()
	g, err := b.Get(b.Context(), id)
	if err != nil {
		b.Fatalf("Get: %v", err)
	}
	return g
}

// due is whom Due names of the shard of id, from the first on.
func (b *bench) due(id keeper.MemberID, before time.Time, limit int) []keeper.MemberID {
	b.Helper()
	return names(b.dueAfter(id, keeper.Nominee{}, before, limit))
}

// dueAfter is what Due names of the shard of id behind after.
func (b *bench) dueAfter(id keeper.MemberID, after keeper.Nominee, before time.Time, limit int) []keeper.Nominee {
	b.Helper()
	due, err := b.Due(b.Context(), id.Shard(), after, before, limit)
	if err != nil {
		b.Fatalf("Due: %v", err)
	}
	return due
}

// names are the members of due.
func names(due []keeper.Nominee) (ids []keeper.MemberID) {
	for _, n := range due {
		ids = append(ids, n.Member)
	}
	return ids
}

// same fails unless got is want, and names the fields that differ.
func (b *bench) same(what string, got, want any) {
	b.Helper()
	for _, d := range diff(got, want) {
		b.Errorf("%s: %s", what, d)
	}
}

// is fails unless err is want.
func (b *bench) is(what string, err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// ok stops the case unless err is nil.
func (b *bench) ok(what string, err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%s: %v", what, err)
	}
}

// race runs f n times at once.
func race(n int, f func(i int)) {
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-begin
			f(i)
		})
	}
	close(begin)
	wg.Wait()
}

func cancelledContextIsAnError(b *bench) {
	g := b.put(full[keeper.Grant](b.T), "")
	s := full[session.Session](b.T)
	b.ok("PutSession", b.PutSession(b.Context(), s))
	ctx, cancel := context.WithCancel(b.Context())
	cancel()

	next := g
	next.Rev, next.Subject = rand.Text(), "changed"
	for name, call := range map[string]func() error{
		"Get":         func() error { _, err := b.Get(ctx, g.Member); return err },
		"Put":         func() error { return b.Put(ctx, next, g.Rev) },
		"Due":         func() error { _, err := b.Due(ctx, 0, keeper.Nominee{}, start, 1); return err },
		"Look":        func() error { _, _, err := b.Look(ctx, g.Member, s.Hash); return err },
		"PutSession":  func() error { return b.PutSession(ctx, s) },
		"EndSession":  func() error { return b.EndSession(ctx, s.Member, s.Hash) },
		"Burn":        func() error { _, err := b.Burn(ctx, s.Hash, full[session.Burn](b.T)); return err },
		"Settle":      func() error { return b.Settle(ctx, s.Hash, full[session.Burn](b.T)) },
		"Control":     func() error { _, err := b.Control(ctx); return err },
		"PutControl":  func() error { return b.PutControl(ctx, keeper.Control{Rev: "r"}, "") },
		"PutIncident": func() error { return b.PutIncident(ctx, keeper.Incident{ID: "i", OpenedAt: start}) },
		"Incidents":   func() error { _, err := b.Incidents(ctx, start); return err },
	} {
		b.is(name, call(), context.Canceled)
	}
	b.same("after a cancelled Put", b.get(g.Member), g)
}

// concurrentUseIsSafe is for the race detector.
func concurrentUseIsSafe(b *bench) {
	ctx := b.Context()
	race(8, func(i int) {
		g := full[keeper.Grant](b.T)
		g.Member, g.Rev = member(i%2), rand.Text()
		s := full[session.Session](b.T)
		s.Member = g.Member
		h := session.Hash{byte(i)}
		for range 3 {
			old, err := b.Get(ctx, g.Member)
			if err != nil && !errors.Is(err, keeper.ErrNotFound) {
				b.Errorf("Get: %v", err)
			}
			g.Rev = rand.Text()
			if err := b.Put(ctx, g, old.Rev); err != nil && !errors.Is(err, keeper.ErrConflict) {
				b.Errorf("Put: %v", err)
			}
			if err := b.PutSession(ctx, s); err != nil {
				b.Errorf("PutSession: %v", err)
			}
			if _, _, err := b.Look(ctx, g.Member, s.Hash); err != nil && !errors.Is(err, session.ErrNone) {
				b.Errorf("Look: %v", err)
			}
			if err := b.EndSession(ctx, g.Member, session.Hash{99}); err != nil {
				b.Errorf("EndSession: %v", err)
			}
			if _, err := b.Due(ctx, g.Member.Shard(), keeper.Nominee{}, start.AddDate(1, 0, 0), 2); err != nil {
				b.Errorf("Due: %v", err)
			}
			if _, err := b.Burn(ctx, h, full[session.Burn](b.T)); err != nil && !errors.Is(err, session.ErrUsed) {
				b.Errorf("Burn: %v", err)
			}
			if err := b.Settle(ctx, h, full[session.Burn](b.T)); err != nil {
				b.Errorf("Settle: %v", err)
			}
			c, err := b.Control(ctx)
			if err != nil {
				b.Errorf("Control: %v", err)
			}
			was := c.Rev
			c.Rev = rand.Text()
			if err := b.PutControl(ctx, c, was); err != nil && !errors.Is(err, keeper.ErrConflict) {
				b.Errorf("PutControl: %v", err)
			}
			if err := b.PutIncident(ctx, full[keeper.Incident](b.T)); err != nil {
				b.Errorf("PutIncident: %v", err)
			}
			if _, err := b.Incidents(ctx, start); err != nil {
				b.Errorf("Incidents: %v", err)
			}
		}
	})
}

// Seen is what a sign-in has seen of a grant (see keeper.SignIn); the zero Grant
// where it cannot be read.
func Seen(ctx context.Context, s keeper.Store, id keeper.MemberID) keeper.Grant {
	g, err := s.Get(ctx, id)
	if errors.Is(err, keeper.ErrNotFound) {
		return keeper.Grant{Member: id}
	}
	if err != nil {
		return keeper.Grant{}
	}
	return g
}
