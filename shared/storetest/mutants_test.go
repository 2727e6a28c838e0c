package storetest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/storetest"
)

const mutantEnv = "KEEPIN_STORETEST_MUTANT"

// TestSuiteKillsBrokenStores runs the suite over each mutant in a process of
// its own, and wants the named case to fail there.
func TestSuiteKillsBrokenStores(t *testing.T) {
	failed := regexp.MustCompile(`(?m)^\s+--- FAIL: TestMutant/(\w+)`)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMutant$", "-test.timeout=30s")
			cmd.Env = append(os.Environ(), mutantEnv+"="+m.name, "GORACE=atexit_sleep_ms=0")
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("the suite passes a broken store")
			}
			var cases []string
			for _, f := range failed.FindAllStringSubmatch(string(out), -1) {
				cases = append(cases, f[1])
			}
			if !slices.Contains(cases, m.killer) {
				t.Errorf("got it killed by %v, want %s\n%s", cases, m.killer, out)
			}
		})
	}
}

// TestMutant is the other process.
func TestMutant(t *testing.T) {
	name := os.Getenv(mutantEnv)
	if name == "" {
		t.Skip("run by TestSuiteKillsBrokenStores")
	}
	i := slices.IndexFunc(mutants, func(m mutant) bool { return m.name == name })
	storetest.Run(t, func(_ *testing.T, now func() time.Time) storetest.Stores {
		return mutants[i].make(&base{storetest.NewMemory(now), now})
	})
}

// base is a right store; a mutant embeds it and gets one thing wrong.
type base struct {
	*storetest.Memory
	now func() time.Time
}

type mutant struct {
	name   string
	killer string // the case that must fail
	make   func(*base) storetest.Stores
}

var mutants = []mutant{
	{"no compare and swap", "OneOfManyWritersWins", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, _ string) error { return force(ctx, b, g) }}
	}},
	{"compare, then swap", "OneOfManyWritersWins", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, old string) error {
			have, err := b.Get(ctx, g.Member)
			if err != nil && !errors.Is(err, keeper.ErrNotFound) {
				return err
			}
			if have.Rev != old {
				return keeper.ErrConflict
			}
			time.Sleep(time.Millisecond) // widens the gap that is the fault
			return force(ctx, b, g)
		}}
	}},
	{"lost increments", "IncrementersLoseNothing", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, _ string) error { return force(ctx, b, g) }}
	}},
	{"revisions count", "RevisionOfAnEarlierLifeConflicts", func(b *base) storetest.Stores {
		return &counting{base: b, of: make(map[string]int)}
	}},
	{"revisions of its own", "GrantComesBackWhole", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) { g.Rev = "1" }}
	}},
	{"revisions ignore case", "ConflictChangesNothing", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, old string) error {
			if have, err := b.Get(ctx, g.Member); err == nil && strings.EqualFold(have.Rev, old) {
				old = have.Rev
			}
			return b.Put(ctx, g, old)
		}}
	}},
	{"empty old means any", "EmptyOldMeansMustNotExist", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, old string) error {
			if old == "" {
				return force(ctx, b, g)
			}
			return b.Put(ctx, g, old)
		}}
	}},
	{"its own revision passes", "OwnRevisionIsSeenAfterALostAnswer", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, old string) error {
			if have, err := b.Get(ctx, g.Member); err == nil && have.Rev == g.Rev {
				return nil
			}
			return b.Put(ctx, g, old)
		}}
	}},
	{"conflict is not found", "ConflictChangesNothing", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, old string) error {
			err := b.Put(ctx, g, old)
			if _, missing := b.Get(ctx, g.Member); errors.Is(err, keeper.ErrConflict) && errors.Is(missing, keeper.ErrNotFound) {
				return keeper.ErrNotFound
			}
			return err
		}}
	}},
	{"conflict moves the due time", "ConflictChangesNothing", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, old string) error {
			err := b.Put(ctx, g, old)
			if have, missing := b.Get(ctx, g.Member); errors.Is(err, keeper.ErrConflict) && missing == nil {
				have.Due = g.Due
				return errors.Join(err, force(ctx, b, have))
			}
			return err
		}}
	}},
	{"no revision needed", "RevisionIsNeeded", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, old string) error {
			if g.Rev == "" {
				g.Rev = "r"
			}
			return b.Put(ctx, g, old)
		}}
	}},
	{"writes merge", "GrantIsReplacedWhole", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, old string) error {
			if have, err := b.Get(ctx, g.Member); err == nil && g.Lease.ID == "" {
				g.Lease = have.Lease
			}
			return b.Put(ctx, g, old)
		}}
	}},
	{"one row for all", "GrantOfAnotherMemberIsUntouched", func(b *base) storetest.Stores {
		var last string
		var mu sync.Mutex
		return &getting{b, func(g *keeper.Grant) {
			mu.Lock()
			defer mu.Unlock()
			if last == "" {
				last = g.Subject
			}
			g.Subject = last
		}}
	}},
	{"a dropped field", "GrantComesBackWhole", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) { g.Announced.Deadline = time.Time{} }}
	}},
	{"a dropped field deep down", "GrantComesBackWhole", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) {
			for i := range g.Outbox.Events {
				g.Outbox.Events[i].Reason = ""
			}
		}}
	}},
	{"two fields swapped", "GrantComesBackWhole", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) { g.VerifiedAt, g.CheckedAt = g.CheckedAt, g.VerifiedAt }}
	}},
	{"local time", "TimesComeBackInUTC", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) { g.VerifiedAt = g.VerifiedAt.In(time.FixedZone("local", 3600)) }}
	}},
	{"zone dropped, not converted", "TimesComeBackInUTC", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, old string) error {
			v := g.VerifiedAt
			g.VerifiedAt = time.Date(v.Year(), v.Month(), v.Day(), v.Hour(), v.Minute(), v.Second(), v.Nanosecond(), time.UTC)
			return b.Put(ctx, g, old)
		}}
	}},
	{"whole seconds", "TimesComeBackInUTC", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) { g.Access.ExpiresAt = g.Access.ExpiresAt.Truncate(time.Second) }}
	}},
	{"the epoch is no time", "TimesComeBackInUTC", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) {
			if g.VerifiedAt.Equal(time.Unix(0, 0)) {
				g.VerifiedAt = time.Time{}
			}
		}}
	}},
	{"the zero time is the epoch", "TimesComeBackInUTC", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) {
			if g.VerifiedAt.IsZero() {
				g.VerifiedAt = time.Unix(0, 0).UTC()
			}
		}}
	}},
	{"long tokens are cut", "SealedBytesUpTo4KiB", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) { g.Refresh.Sealed = g.Refresh.Sealed[:min(len(g.Refresh.Sealed), 2048)] }}
	}},
	{"sealed bytes are text", "SealedBytesUpTo4KiB", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) {
			if g.Access.Sealed != nil {
				g.Access.Sealed = []byte(strings.ToValidUTF8(string(g.Access.Sealed), "\uFFFD"))
			}
		}}
	}},
	{"scopes are one text", "TextComesBackExactly", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) {
			if g.Scopes != nil {
				g.Scopes = strings.Split(strings.Join(g.Scopes, ","), ",")
			}
		}}
	}},
	{"scopes are a set", "TextComesBackExactly", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) { slices.Sort(g.Scopes) }}
	}},
	{"nil becomes empty", "WhatIsEmptyComesBackNil", func(b *base) storetest.Stores {
		return &getting{b, func(g *keeper.Grant) {
			if g.Scopes == nil {
				g.Scopes = []string{}
			}
		}}
	}},
	{"expiry is ignored on Get", "ExpiredGrantIsNone", func(b *base) storetest.Stores { return &undying{base: b} }},
	{"expiry is ignored on Put", "ExpiredGrantIsNone", func(b *base) storetest.Stores { return &unreplaceable{b} }},
	{"the end is not the end", "ExpiredGrantIsNone", func(b *base) storetest.Stores {
		return &base{storetest.NewMemory(func() time.Time { return b.now().Add(-time.Microsecond) }), b.now}
	}},
	{"expiry in whole seconds", "ExpiredGrantIsNone", func(b *base) storetest.Stores {
		return &base{storetest.NewMemory(func() time.Time { return b.now().Truncate(time.Second) }), b.now}
	}},
	{"keeps what it was given", "GrantIsCopied", func(b *base) storetest.Stores {
		return &aliasing{base: b, scopes: make(map[keeper.MemberID][]string)}
	}},
	{"hands out what it keeps", "GrantIsCopied", func(b *base) storetest.Stores {
		return &aliasing{base: b, scopes: make(map[keeper.MemberID][]string), out: true}
	}},

	{"due: the newest first", "DueNamesTheOldestFirst", func(b *base) storetest.Stores {
		return &dueing{b, func(_ int, before time.Time, limit int, due func(time.Time) []keeper.Nominee) []keeper.Nominee {
			ids := due(before)
			slices.Reverse(ids)
			return ids[:min(limit, len(ids))]
		}}
	}},
	{"due: by member", "DueNamesTheOldestFirst", func(b *base) storetest.Stores {
		return &dueing{b, func(_ int, before time.Time, limit int, due func(time.Time) []keeper.Nominee) []keeper.Nominee {
			ids := due(before)
			slices.SortFunc(ids, func(a, b keeper.Nominee) int { return strings.Compare(string(a.Member), string(b.Member)) })
			return ids[:min(limit, len(ids))]
		}}
	}},
	{"due: no limit", "DueNamesNoMoreThanLimit", func(b *base) storetest.Stores {
		return &dueing{b, func(_ int, before time.Time, _ int, due func(time.Time) []keeper.Nominee) []keeper.Nominee {
			return due(before)
		}}
	}},
	{"due: too early", "DueNamesNothingBeforeItsTime", func(b *base) storetest.Stores {
		return &dueing{b, func(_ int, before time.Time, limit int, due func(time.Time) []keeper.Nominee) []keeper.Nominee {
			ids := due(before.Add(time.Second))
			return ids[:min(limit, len(ids))]
		}}
	}},
	{"due: not at its very time", "DueNamesNothingBeforeItsTime", func(b *base) storetest.Stores {
		return &dueing{b, func(_ int, before time.Time, limit int, due func(time.Time) []keeper.Nominee) []keeper.Nominee {
			ids := due(before.Add(-time.Microsecond))
			return ids[:min(limit, len(ids))]
		}}
	}},
	{"due: dense", "DueIsSparse", func(b *base) storetest.Stores { return &dense{base: b} }},
	{"due: entries stay", "DueMovesWithTheGrant", func(b *base) storetest.Stores { return &sticky{base: b} }},
	{"due: gone entries stay", "DueIsSparse", func(b *base) storetest.Stores { return &sticky{base: b} }},
	{"due: of all shards", "DueNamesOnlyItsShard", func(b *base) storetest.Stores {
		return &dueing{b, func(shard int, before time.Time, limit int, due func(time.Time) []keeper.Nominee) []keeper.Nominee {
			ids := due(before)
			for other := range keeper.Shards {
				if other != shard {
					more, _ := b.Due(context.Background(), other, keeper.Nominee{}, before, limit)
					ids = append(ids, more...)
				}
			}
			return ids[:min(limit, len(ids))]
		}}
	}},

	{"due: without the time", "DueTellsWhen", func(b *base) storetest.Stores {
		return &dueing{b, func(_ int, before time.Time, limit int, due func(time.Time) []keeper.Nominee) []keeper.Nominee {
			ns := due(before)
			for i := range ns {
				ns[i].Due = ns[i].Due.Truncate(time.Second)
			}
			return ns[:min(limit, len(ns))]
		}}
	}},
	{"due: a grant that has ended already is not written", "DueForgetsWhatHasEnded", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, old string) error {
			if !g.ExpiresAt.IsZero() && !g.ExpiresAt.After(b.now()) {
				return nil
			}
			return b.Put(ctx, g, old)
		}}
	}},
	{"due: behind the time, not the nominee", "DueReadsOnBehindANominee", func(b *base) storetest.Stores {
		return &reading{b, func(after keeper.Nominee, all []keeper.Nominee) []keeper.Nominee {
			return slices.DeleteFunc(all, func(n keeper.Nominee) bool { return !n.Due.After(after.Due) && after != keeper.Nominee{} })
		}}
	}},
	{"due: with the nominee again", "DueReadsOnBehindANominee", func(b *base) storetest.Stores {
		return &reading{b, func(after keeper.Nominee, all []keeper.Nominee) []keeper.Nominee {
			return all[max(0, slices.Index(all, after)):]
		}}
	}},
	{"due: looks for the nominee's entry", "DueReadsOnBehindWhatIsGone", func(b *base) storetest.Stores {
		return &reading{b, func(after keeper.Nominee, all []keeper.Nominee) []keeper.Nominee {
			i := slices.Index(all, after)
			if i < 0 && after != (keeper.Nominee{}) {
				return nil
			}
			return all[i+1:]
		}}
	}},

	{"look: sealed tokens leak", "LookGivesNoSealedToken", func(b *base) storetest.Stores {
		return &looking{b, func(ctx context.Context, g *keeper.Grant, _ *session.Session) error {
			whole, err := b.Get(ctx, g.Member)
			g.Fresh.Sealed = whole.Fresh.Sealed
			return err
		}}
	}},
	{"look: a dropped field", "LookFindsGrantAndSession", func(b *base) storetest.Stores {
		return &looking{b, func(_ context.Context, g *keeper.Grant, _ *session.Session) error {
			g.Fresh = keeper.Token{}
			return nil
		}}
	}},
	{"look: a dropped field of the session", "LookFindsGrantAndSession", func(b *base) storetest.Stores {
		return &looking{b, func(_ context.Context, _ *keeper.Grant, s *session.Session) error {
			s.Generation = ""
			return nil
		}}
	}},
	{"look: any session will do", "LookIsNoneWithoutEither", func(b *base) storetest.Stores { return &anySession{base: b} }},
	{"look: not found is no session", "LookIsNoneWithoutEither", func(b *base) storetest.Stores { return &lookNotFound{b} }},
	{"look: ended sessions live", "LookIsNoneWithoutEither", func(b *base) storetest.Stores {
		return &sessionPutting{b, func(ctx context.Context, s session.Session) error {
			s.ExpiresAt = s.ExpiresAt.Add(time.Microsecond)
			return b.PutSession(ctx, s)
		}}
	}},
	{"all: no sealed tokens", "AllReadsAMemberWhole", func(b *base) storetest.Stores {
		return &readingAll{b, func(g *keeper.Grant, _ *[]session.Session) { g.Refresh.Sealed = nil }}
	}},
	{"all: one session is left out", "AllReadsAMemberWhole", func(b *base) storetest.Stores {
		return &readingAll{b, func(_ *keeper.Grant, have *[]session.Session) {
			*have = (*have)[:min(len(*have), session.MaxPerMember)]
		}}
	}},
	{"all: no member where there is no grant", "AllReadsAMemberWhole", func(b *base) storetest.Stores {
		return &readingAll{b, func(g *keeper.Grant, _ *[]session.Session) {
			if g.Rev == "" {
				*g = keeper.Grant{}
			}
		}}
	}},
	{"all: not found is an error", "AllReadsAMemberWhole", func(b *base) storetest.Stores { return &allNotFound{b} }},
	{"sessions: one hash, two rows", "SessionWithTheSameHashIsReplaced", func(b *base) storetest.Stores {
		return &sessionPutting{b, func(ctx context.Context, s session.Session) error {
			if _, _, err := b.Look(ctx, s.Member, s.Hash); err == nil {
				return nil
			}
			return b.PutSession(ctx, s)
		}}
	}},
	{"sessions: ending none is an error", "EndSessionEndsOne", func(b *base) storetest.Stores {
		return &ending{b, func(ctx context.Context, id keeper.MemberID, h session.Hash) error {
			if _, _, err := b.Look(ctx, id, h); err != nil {
				return err
			}
			return b.EndSession(ctx, id, h)
		}}
	}},
	{"sessions: ending does nothing", "EndSessionEndsOne", func(b *base) storetest.Stores {
		return &ending{b, func(context.Context, keeper.MemberID, session.Hash) error { return nil }}
	}},
	{"sessions: a write to the grant ends them", "PutKeepsSessions", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, old string) error {
			for n := range 40 {
				if err := b.EndSession(ctx, g.Member, session.Hash{0: byte(n * 37), 31: byte(n)}); err != nil {
					return err
				}
			}
			return b.Put(ctx, g, old)
		}}
	}},

	{"burn: overwrites", "BurnReportsTheStoredOne", func(b *base) storetest.Stores {
		return &burning{b, func(ctx context.Context, h session.Hash, n session.Burn) (session.Burn, error) {
			have, err := b.Burn(ctx, h, n)
			if errors.Is(err, session.ErrUsed) {
				return have, errors.Join(err, b.Settle(ctx, h, n))
			}
			return have, err
		}}
	}},
	{"burn: everybody wins", "FirstBurnWins", func(b *base) storetest.Stores {
		return &burning{b, func(ctx context.Context, h session.Hash, n session.Burn) (session.Burn, error) {
			return n, b.Settle(ctx, h, n)
		}}
	}},
	{"burn: reports the new one", "BurnReportsTheStoredOne", func(b *base) storetest.Stores {
		return &burning{b, func(ctx context.Context, h session.Hash, n session.Burn) (session.Burn, error) {
			_, err := b.Burn(ctx, h, n)
			return n, err
		}}
	}},
	{"burn: for ever", "BurnExpires", func(b *base) storetest.Stores {
		return &burning{b, func(ctx context.Context, h session.Hash, n session.Burn) (session.Burn, error) {
			end := n.ExpiresAt
			n.ExpiresAt = end.AddDate(100, 0, 0)
			have, err := b.Burn(ctx, h, n)
			have.ExpiresAt = end
			return have, err
		}}
	}},
	{"burn: a dropped field", "SettleReplacesTheBurn", func(b *base) storetest.Stores {
		return &burning{b, func(ctx context.Context, h session.Hash, n session.Burn) (session.Burn, error) {
			have, err := b.Burn(ctx, h, n)
			have.Outcome = ""
			return have, err
		}}
	}},
	{"burn: settles nothing", "SettleReplacesTheBurn", func(b *base) storetest.Stores { return &unsettled{b} }},
	{"burn: ErrUsed without a burn", "BurnReportsTheStoredOne", func(b *base) storetest.Stores {
		return &burning{b, func(ctx context.Context, h session.Hash, n session.Burn) (session.Burn, error) {
			have, err := b.Burn(ctx, h, n)
			if err != nil {
				return session.Burn{}, err
			}
			return have, nil
		}}
	}},

	{"control: no compare and swap", "ControlIsComparedAndSwapped", func(b *base) storetest.Stores { return &lastWriterWins{b} }},
	{"control: not found at first", "ControlIsZeroAtFirst", func(b *base) storetest.Stores { return &noControl{b} }},
	{"control: a dropped field", "ControlComesBackWhole", func(b *base) storetest.Stores { return &shortControl{b} }},
	{"incidents: appended", "IncidentIsReplaced", func(b *base) storetest.Stores { return &appending{base: b} }},
	{"incidents: one at a time", "IncidentIsReplaced", func(b *base) storetest.Stores {
		return &listing{b, func(is []keeper.Incident, _ time.Time) []keeper.Incident {
			return slices.CompactFunc(is, func(a, b keeper.Incident) bool { return a.OpenedAt.Equal(b.OpenedAt) })
		}}
	}},
	{"incidents: a dropped field", "IncidentComesBackWhole", func(b *base) storetest.Stores {
		return &listing{b, func(is []keeper.Incident, _ time.Time) []keeper.Incident {
			for _, i := range is {
				for n := range i.Records {
					i.Records[n].ResponseHeaders = nil
				}
			}
			return is
		}}
	}},
	{"incidents: the oldest first", "IncidentsAreNewestFirst", func(b *base) storetest.Stores {
		return &listing{b, func(is []keeper.Incident, _ time.Time) []keeper.Incident { slices.Reverse(is); return is }}
	}},
	{"incidents: since, but not at it", "IncidentsAreNewestFirst", func(b *base) storetest.Stores {
		return &listing{b, func(is []keeper.Incident, since time.Time) []keeper.Incident {
			return slices.DeleteFunc(is, func(i keeper.Incident) bool { return i.OpenedAt.Equal(since) })
		}}
	}},
	{"incidents: by day only", "IncidentsAreNewestFirst", func(b *base) storetest.Stores { return &byDay{b} }},
	{"incidents: for ever", "IncidentsGo", func(b *base) storetest.Stores {
		return &base{storetest.NewMemory(func() time.Time { return b.now().Add(-time.Microsecond) }), b.now}
	}},

	{"every fortieth write is lost", "AgreesWithMemory", func(b *base) storetest.Stores {
		var n atomic.Int32
		b.Before = func(op string) (bool, error) {
			return !strings.HasPrefix(op, "Put") || n.Add(1)%40 != 0, nil
		}
		return b
	}},
	{"contexts are ignored", "CancelledContextIsAnError", func(b *base) storetest.Stores {
		return &putting{b, func(ctx context.Context, g keeper.Grant, old string) error {
			return b.Put(context.WithoutCancel(ctx), g, old)
		}}
	}},
}

// force puts g over whatever is there.
func force(ctx context.Context, b *base, g keeper.Grant) error {
	for {
		have, err := b.Get(ctx, g.Member)
		if err != nil && !errors.Is(err, keeper.ErrNotFound) {
			return err
		}
		if err := b.Put(ctx, g, have.Rev); !errors.Is(err, keeper.ErrConflict) {
			return err
		}
	}
}

type putting struct {
	*base
	put func(context.Context, keeper.Grant, string) error
}

func (m *putting) Put(ctx context.Context, g keeper.Grant, old string) error {
	return m.put(ctx, g, old)
}

type getting struct {
	*base
	spoil func(*keeper.Grant)
}

func (m *getting) Get(ctx context.Context, id keeper.MemberID) (keeper.Grant, error) {
	g, err := m.base.Get(ctx, id)
	if err == nil {
		m.spoil(&g)
	}
	return g, err
}

// counting numbers the revisions of a life, and compares the numbers.
type counting struct {
	*base
	mu sync.Mutex
	of map[string]int
}

func (m *counting) Put(ctx context.Context, g keeper.Grant, old string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if have, err := m.Get(ctx, g.Member); err == nil && old != "" && m.of[old] == m.of[have.Rev] {
		old = have.Rev
	}
	err := m.base.Put(ctx, g, old)
	if err == nil {
		m.of[g.Rev] = 1
		if old != "" {
			m.of[g.Rev] = m.of[old] + 1
		}
	}
	return err
}

// undying gives back what it saw last, when that has ended.
type undying struct {
	*base
	mu   sync.Mutex
	last keeper.Grant
}

func (m *undying) Get(ctx context.Context, id keeper.MemberID) (keeper.Grant, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, err := m.base.Get(ctx, id)
	if err == nil {
		m.last = g
	} else if m.last.Member == id {
		return m.last, nil
	}
	return g, err
}

type unreplaceable struct{ *base }

func (m *unreplaceable) Put(ctx context.Context, g keeper.Grant, old string) error {
	if _, err := m.Get(ctx, g.Member); errors.Is(err, keeper.ErrNotFound) && old == "" {
		due, err := m.Due(ctx, g.Member.Shard(), keeper.Nominee{}, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC), 100)
		if err != nil || slices.ContainsFunc(due, func(n keeper.Nominee) bool { return n.Member == g.Member }) {
			return errors.Join(keeper.ErrConflict, err)
		}
	}
	if g.Due.IsZero() {
		g.Due = time.Date(8999, 1, 1, 0, 0, 0, 0, time.UTC) // its mark of what it knows
	}
	return m.base.Put(ctx, g, old)
}

// aliasing shares the slice of scopes with its caller.
type aliasing struct {
	*base
	mu     sync.Mutex
	scopes map[keeper.MemberID][]string
	out    bool
}

func (m *aliasing) Put(ctx context.Context, g keeper.Grant, old string) error {
	err := m.base.Put(ctx, g, old)
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.scopes[g.Member] = g.Scopes
		if m.out {
			m.scopes[g.Member] = slices.Clone(g.Scopes)
		}
	}
	return err
}

func (m *aliasing) Get(ctx context.Context, id keeper.MemberID) (keeper.Grant, error) {
	g, err := m.base.Get(ctx, id)
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		g.Scopes = m.scopes[id]
		if !m.out {
			g.Scopes = slices.Clone(g.Scopes)
		}
	}
	return g, err
}

type dueing struct {
	*base
	names func(shard int, before time.Time, limit int, due func(time.Time) []keeper.Nominee) []keeper.Nominee
}

func (m *dueing) Due(ctx context.Context, shard int, after keeper.Nominee, before time.Time, limit int) ([]keeper.Nominee, error) {
	var err error
	ns := m.names(shard, before, limit, func(before time.Time) (ns []keeper.Nominee) {
		ns, err = m.base.Due(ctx, shard, after, before, 1000)
		return ns
	})
	return ns, err
}

// reading gets wrong where it reads on.
type reading struct {
	*base
	due func(after keeper.Nominee, all []keeper.Nominee) []keeper.Nominee // all: from the first on
}

func (m *reading) Due(ctx context.Context, shard int, after keeper.Nominee, before time.Time, limit int) ([]keeper.Nominee, error) {
	all, err := m.base.Due(ctx, shard, keeper.Nominee{}, before, 1000)
	all = m.due(after, all)
	return all[:min(limit, len(all))], err
}

// dense has what is never due in its index, as due long ago.
type dense struct {
	*base
	mu    sync.Mutex
	never map[keeper.MemberID]bool
}

func (m *dense) Put(ctx context.Context, g keeper.Grant, old string) error {
	err := m.base.Put(ctx, g, old)
	if err == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.never == nil {
			m.never = make(map[keeper.MemberID]bool)
		}
		m.never[g.Member] = g.Due.IsZero()
	}
	return err
}

func (m *dense) Due(ctx context.Context, shard int, after keeper.Nominee, before time.Time, limit int) ([]keeper.Nominee, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var due []keeper.Nominee
	for id, never := range m.never {
		if never && id.Shard() == shard {
			due = append(due, keeper.Nominee{Member: id})
		}
	}
	more, err := m.base.Due(ctx, shard, after, before, limit)
	return append(due, more...), err
}

// sticky leaves the former entry of a grant in its index.
type sticky struct {
	*base
	mu  sync.Mutex
	was []keeper.Grant
}

func (m *sticky) Put(ctx context.Context, g keeper.Grant, old string) error {
	have, missing := m.Get(ctx, g.Member)
	err := m.base.Put(ctx, g, old)
	if err == nil && missing == nil && !have.Due.IsZero() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.was = append(m.was, have)
	}
	return err
}

func (m *sticky) Due(ctx context.Context, shard int, after keeper.Nominee, before time.Time, limit int) ([]keeper.Nominee, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	due, err := m.base.Due(ctx, shard, after, before, limit)
	for _, g := range m.was {
		if g.Member.Shard() == shard && !g.Due.After(before) {
			due = append(due, keeper.Nominee{Member: g.Member, Due: g.Due})
		}
	}
	return due, err
}

type looking struct {
	*base
	spoil func(context.Context, *keeper.Grant, *session.Session) error
}

func (m *looking) Look(ctx context.Context, id keeper.MemberID, h session.Hash) (keeper.Grant, session.Session, error) {
	g, s, err := m.base.Look(ctx, id, h)
	if err == nil {
		err = m.spoil(ctx, &g, &s)
	}
	return g, s, err
}

// anySession takes the first byte of a hash for the hash.
type anySession struct {
	*base
	mu  sync.Mutex
	all []session.Session
}

func (m *anySession) PutSession(ctx context.Context, s session.Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, s)
	return m.base.PutSession(ctx, s)
}

func (m *anySession) Look(ctx context.Context, id keeper.MemberID, h session.Hash) (keeper.Grant, session.Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.all {
		if s.Member == id && s.Hash[0] == h[0] {
			h = s.Hash
		}
	}
	return m.base.Look(ctx, id, h)
}

type lookNotFound struct{ *base }

func (m *lookNotFound) Look(ctx context.Context, id keeper.MemberID, h session.Hash) (keeper.Grant, session.Session, error) {
	if _, err := m.Get(ctx, id); err != nil {
		return keeper.Grant{}, session.Session{}, err
	}
	return m.base.Look(ctx, id, h)
}

type sessionPutting struct {
	*base
	put func(context.Context, session.Session) error
}

func (m *sessionPutting) PutSession(ctx context.Context, s session.Session) error {
	return m.put(ctx, s)
}

// readingAll reads a member as it likes.
type readingAll struct {
	*base
	spoil func(*keeper.Grant, *[]session.Session)
}

func (m *readingAll) All(ctx context.Context, id keeper.MemberID) (keeper.Grant, []session.Session, error) {
	g, have, err := m.base.All(ctx, id)
	m.spoil(&g, &have)
	return g, have, err
}

type allNotFound struct{ *base }

func (m *allNotFound) All(ctx context.Context, id keeper.MemberID) (keeper.Grant, []session.Session, error) {
	g, have, err := m.base.All(ctx, id)
	if err == nil && g.Rev == "" {
		err = keeper.ErrNotFound
	}
	return g, have, err
}

type ending struct {
	*base
	end func(context.Context, keeper.MemberID, session.Hash) error
}

func (m *ending) EndSession(ctx context.Context, id keeper.MemberID, h session.Hash) error {
	return m.end(ctx, id, h)
}

type burning struct {
	*base
	burn func(context.Context, session.Hash, session.Burn) (session.Burn, error)
}

func (m *burning) Burn(ctx context.Context, h session.Hash, b session.Burn) (session.Burn, error) {
	return m.burn(ctx, h, b)
}

type unsettled struct{ *base }

func (m *unsettled) Settle(context.Context, session.Hash, session.Burn) error { return nil }

type lastWriterWins struct{ *base }

func (m *lastWriterWins) PutControl(ctx context.Context, c keeper.Control, _ string) error {
	for {
		have, err := m.Control(ctx)
		if err != nil {
			return err
		}
		if err := m.base.PutControl(ctx, c, have.Rev); !errors.Is(err, keeper.ErrConflict) {
			return err
		}
	}
}

type noControl struct{ *base }

func (m *noControl) Control(ctx context.Context) (keeper.Control, error) {
	c, err := m.base.Control(ctx)
	if err == nil && c.Rev == "" {
		err = keeper.ErrNotFound
	}
	return c, err
}

type shortControl struct{ *base }

func (m *shortControl) Control(ctx context.Context) (keeper.Control, error) {
	c, err := m.base.Control(ctx)
	c.Brake.At = time.Time{}
	return c, err
}

type appending struct {
	*base
	mu  sync.Mutex
	all []keeper.Incident
}

func (m *appending) PutIncident(ctx context.Context, i keeper.Incident) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, i)
	return m.base.PutIncident(ctx, i)
}

func (m *appending) Incidents(context.Context, time.Time) ([]keeper.Incident, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.all), nil
}

type listing struct {
	*base
	spoil func([]keeper.Incident, time.Time) []keeper.Incident
}

func (m *listing) Incidents(ctx context.Context, since time.Time) ([]keeper.Incident, error) {
	is, err := m.base.Incidents(ctx, since)
	return m.spoil(is, since), err
}

type byDay struct{ *base }

func (m *byDay) Incidents(ctx context.Context, since time.Time) ([]keeper.Incident, error) {
	return m.base.Incidents(ctx, since.Truncate(24*time.Hour))
}
