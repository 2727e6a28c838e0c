package storetest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keepin/keepin/shared/keeper"
)

func grantComesBackWhole(b *bench) {
	g := b.put(full[keeper.Grant](b.T), "")
	b.same("a full grant", b.get(g.Member), g)

	small := b.put(keeper.Grant{Member: member(1)}, "")
	b.same("an empty grant", b.get(small.Member), small)
}

func grantIsReplacedWhole(b *bench) {
	g := b.put(full[keeper.Grant](b.T), "")
	small := b.put(keeper.Grant{Member: g.Member}, g.Rev)
	b.same("an empty grant over a full one", b.get(g.Member), small)
}

func grantOfAnotherMemberIsUntouched(b *bench) {
	one := b.put(full[keeper.Grant](b.T), "")
	two := full[keeper.Grant](b.T)
	two.Member, two.Subject = member(1), "another"
	two = b.put(two, "")
	two.Subject = "changed"
	two = b.put(two, two.Rev)
	b.same("the first", b.get(one.Member), one)
	b.same("the second", b.get(two.Member), two)
}

func missingGrantIsNotFound(b *bench) {
	g, err := b.Get(b.Context(), member(0))
	b.is("Get", err, keeper.ErrNotFound)
	b.same("Get", g, keeper.Grant{})
}

func emptyOldMeansMustNotExist(b *bench) {
	g := b.put(full[keeper.Grant](b.T), "")
	next := g
	next.Rev, next.Subject = rand.Text(), "changed"
	b.is("a Put that must create", b.Put(b.Context(), next, ""), keeper.ErrConflict)
	b.same("after it", b.get(g.Member), g)
}

func conflictChangesNothing(b *bench) {
	ctx := b.Context()
	other := full[keeper.Grant](b.T)
	other.Rev = rand.Text()
	b.is("a Put over what is not there", b.Put(ctx, other, "r"), keeper.ErrConflict)
	_, err := b.Get(ctx, other.Member)
	b.is("Get after it", err, keeper.ErrNotFound)
	if ids := b.due(other.Member, other.Due, 10); len(ids) != 0 {
		b.Errorf("Due after it: got %v, want none", ids)
	}

	g := keeper.Grant{Member: member(0), Subject: "first", Due: start}
	first := b.put(g, "")
	g.Subject = "second"
	g = b.put(g, first.Rev)
	other.Due = start.Add(-time.Hour)
	for _, old := range []string{first.Rev, "never", g.Rev + "x", strings.ToLower(g.Rev), other.Rev} {
		b.is("a Put over another revision", b.Put(ctx, other, old), keeper.ErrConflict)
	}
	b.same("after conflicts", b.get(g.Member), g)
	if ids := b.due(g.Member, start.Add(-time.Second), 10); len(ids) != 0 {
		b.Errorf("Due after conflicts: got %v, want none: the due time moved", ids)
	}
	if ids := b.due(g.Member, start, 10); !slices.Equal(ids, []keeper.MemberID{g.Member}) {
		b.Errorf("Due after conflicts: got %v, want the member once", ids)
	}
}

func revisionIsNeeded(b *bench) {
	if err := b.Put(b.Context(), keeper.Grant{Member: member(0)}, ""); err == nil {
		b.Error("a Put without a new revision: got no error")
	}
	if err := b.PutControl(b.Context(), keeper.Control{}, ""); err == nil {
		b.Error("a PutControl without a new revision: got no error")
	}
}

func ownRevisionIsSeenAfterALostAnswer(b *bench) {
	g := b.put(full[keeper.Grant](b.T), "")
	b.is("creating it again", b.Put(b.Context(), g, ""), keeper.ErrConflict)
	if got := b.get(g.Member).Rev; got != g.Rev {
		b.Errorf("revision after the creation was sent twice: got %q, want %q", got, g.Rev)
	}
	old := g.Rev
	g.Subject = "changed"
	g = b.put(g, old)
	b.is("changing it again", b.Put(b.Context(), g, old), keeper.ErrConflict)
	b.same("after the change was sent twice", b.get(g.Member), g)
}

// revisionOfAnEarlierLifeConflicts catches revisions that are numbers which
// begin anew when the grant does.
func revisionOfAnEarlierLifeConflicts(b *bench) {
	life := func(name string) (revs []string) {
		g := keeper.Grant{Member: member(0), Subject: name, ExpiresAt: b.clock.now().Add(time.Hour)}
		old := ""
		for range 3 {
			g = b.put(g, old)
			old = g.Rev
			revs = append(revs, old)
		}
		return revs
	}
	first := life("first")
	b.clock.set(start.Add(time.Hour))
	life("second")
	want := b.get(member(0))
	for _, old := range first {
		stale := keeper.Grant{Member: member(0), Subject: "stale", Rev: rand.Text()}
		b.is("a Put over a revision of the first life", b.Put(b.Context(), stale, old), keeper.ErrConflict)
	}
	b.same("the second life", b.get(member(0)), want)
}

func oneOfManyWritersWins(b *bench) {
	old := ""
	for _, what := range []string{"create", "change", "change again"} {
		var won, wins atomic.Value
		var count atomic.Int32
		race(16, func(int) {
			g := keeper.Grant{Member: member(0), Rev: rand.Text(), Due: start}
			switch err := b.Put(b.Context(), g, old); {
			case err == nil:
				count.Add(1)
				won.Store(g.Rev)
			case errors.Is(err, keeper.ErrConflict):
				if has, err := b.Get(b.Context(), g.Member); err == nil && has.Rev == g.Rev {
					wins.Store(g.Rev) // it was told of its own write
				}
			default:
				b.Errorf("%s: %v", what, err)
			}
		})
		has := b.get(member(0)).Rev
		switch {
		case count.Load() == 1 && won.Load() == has:
		case count.Load() == 0 && wins.Load() == has:
		default:
			b.Fatalf("%s: got %d winners, want one, whose revision is stored", what, count.Load())
		}
		old = has
	}
}

func incrementersLoseNothing(b *bench) {
	const writers, each, tries = 6, 4, 500
	b.put(keeper.Grant{Member: member(0)}, "")
	var read sync.WaitGroup
	read.Add(writers)
	race(writers, func(int) {
		for n := range each {
			for try := 0; ; try++ {
				g, err := b.Get(b.Context(), member(0))
				if n == 0 && try == 0 { // all have read before the first writes: no luck is needed
					read.Done()
					read.Wait()
				}
				if err != nil || try == tries {
					b.Errorf("try %d: Get: %v", try, err)
					return
				}
				old := g.Rev
				g.Rev, g.Trouble.Count = rand.Text(), g.Trouble.Count+1
				err = b.Put(b.Context(), g, old)
				if errors.Is(err, keeper.ErrConflict) {
					if has, err := b.Get(b.Context(), member(0)); err == nil && has.Rev == g.Rev {
						break
					}
					continue
				}
				if err != nil {
					b.Errorf("Put: %v", err)
					return
				}
				break
			}
		}
	})
	if got := b.get(member(0)).Trouble.Count; got != writers*each {
		b.Errorf("got %d increments, want %d", got, writers*each)
	}
}

func timesComeBackInUTC(b *bench) {
	east := time.FixedZone("east", 5*3600+1800)
	for name, at := range map[string]time.Time{
		"zero":            {},
		"zero, elsewhere": time.Time{}.In(east),
		"the epoch":       time.Unix(0, 0),
		"before it":       time.Date(1955, 1, 2, 3, 4, 5, 6000, east),
		"a microsecond":   start.Add(time.Microsecond),
		"nanoseconds":     start.Add(123456789 * time.Nanosecond),
		"another zone":    start.In(east),
		"far ahead":       time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC),
	} {
		g := keeper.Grant{Member: keeper.NewMemberID("client", name), Access: keeper.Token{ExpiresAt: at}, VerifiedAt: at}
		g = b.put(g, "")
		got := b.get(g.Member)
		for _, got := range []time.Time{got.Access.ExpiresAt, got.VerifiedAt} {
			if off := got.Sub(at); off >= time.Microsecond || off <= -time.Microsecond {
				b.Errorf("%s: got %v, want %v", name, got, at)
			}
			if got.Location() != time.UTC {
				b.Errorf("%s: got zone %v, want UTC", name, got.Location())
			}
			if got.IsZero() != at.IsZero() {
				b.Errorf("%s: got %v, want %v", name, got, at)
			}
		}
	}
}

func sealedBytesUpTo4KiB(b *bench) {
	g := keeper.Grant{Member: member(0)}
	for _, t := range []*keeper.Token{&g.Access, &g.Fresh, &g.Refresh} {
		t.Sealed = make([]byte, 4096)
		_, _ = rand.Read(t.Sealed)
		for i := range 256 {
			t.Sealed[i] = byte(i)
		}
	}
	g = b.put(g, "")
	got := b.get(g.Member)
	for name, pair := range map[string][2][]byte{
		"access":  {got.Access.Sealed, g.Access.Sealed},
		"fresh":   {got.Fresh.Sealed, g.Fresh.Sealed},
		"refresh": {got.Refresh.Sealed, g.Refresh.Sealed},
	} {
		if !bytes.Equal(pair[0], pair[1]) {
			b.Errorf("the %s token came back changed", name)
		}
	}
}

func textComesBackExactly(b *bench) {
	text := "Žofie \"von\" O'Neill\n\t<&>\\ \u2028 日本 🙂 "
	g := b.put(keeper.Grant{
		Member:  member(0),
		Subject: text,
		Profile: keeper.Profile{Name: text + text, Picture: "https://media.example/" + strings.Repeat("p", 3000), Email: text},
		Scopes:  []string{text, "a b", "c,d", "c"},
	}, "")
	b.same("text", b.get(g.Member), g)
}

func whatIsEmptyComesBackNil(b *bench) {
	g := keeper.Grant{Member: member(0), Scopes: []string{}, Access: keeper.Token{Sealed: []byte{}}, Outbox: keeper.Outbox{Events: []keeper.Event{}}}
	b.put(g, "")
	got := b.get(g.Member)
	if got.Scopes != nil || got.Access.Sealed != nil || got.Outbox.Events != nil {
		b.Errorf("got %#v, %#v, %#v, want nil", got.Scopes, got.Access.Sealed, got.Outbox.Events)
	}
}

func expiredGrantIsNone(b *bench) {
	ctx := b.Context()
	end := start.Add(time.Hour).Add(250 * time.Microsecond)
	old := b.put(keeper.Grant{Member: member(0), Subject: "old", ExpiresAt: end}, "")

	b.clock.set(end.Add(-time.Microsecond))
	b.get(old.Member)
	next := keeper.Grant{Member: member(0), Subject: "new", Rev: rand.Text()}
	b.is("a Put that must create, a microsecond before the end", b.Put(ctx, next, ""), keeper.ErrConflict)

	b.clock.set(end)
	_, err := b.Get(ctx, old.Member)
	b.is("Get at the end", err, keeper.ErrNotFound)
	b.is("a Put over what has ended", b.Put(ctx, next, old.Rev), keeper.ErrConflict)
	next = b.put(next, "")
	b.same("after it was created again", b.get(next.Member), next)

	b.clock.set(end.AddDate(100, 0, 0))
	b.same("without an end", b.get(next.Member), next)
}

func grantIsCopied(b *bench) {
	spoil := func(g *keeper.Grant) {
		g.Scopes[0] = "spoilt"
		g.Access.Sealed[0]++
		g.Fresh.Sealed[0]++
		g.Refresh.Sealed[0]++
		g.Outbox.Events[0].ID = "spoilt"
	}
	given := full[keeper.Grant](b.T)
	want := b.put(given, "")
	spoil(&given)
	got := b.get(want.Member)
	b.same("after what was given had changed", got, want)
	spoil(&got)
	b.same("after what was got had changed", b.get(want.Member), want)

	i := full[keeper.Incident](b.T)
	wantIncident := stored(i)
	b.ok("PutIncident", b.PutIncident(b.Context(), i))
	for range 2 {
		i.Records[0].RequestHeaders["spoilt"] = "spoilt"
		i.Records[0].Problem = "spoilt"
		is, err := b.Incidents(b.Context(), start)
		b.ok("Incidents", err)
		b.same("an incident", is, []keeper.Incident{wantIncident})
		i = is[0]
	}

	c := full[keeper.Control](b.T)
	wantControl := b.putControl(c, "")
	for range 2 {
		c.Brake.Refused[0], c.Open[0].Cause = "spoilt", "spoilt"
		c = b.control()
		b.same("the control item", c, wantControl)
	}
}

// inShard makes n members of one shard.
func inShard(n int) (ids []keeper.MemberID) {
	for i := 0; len(ids) < n; i++ {
		if id := member(i); id.Shard() == member(0).Shard() {
			ids = append(ids, id)
		}
	}
	return ids
}

// queue stores one grant for each of ids, the last due first: a minute apart,
// the first at start.
func (b *bench) queue(ids []keeper.MemberID) {
	b.Helper()
	for i := len(ids) - 1; i >= 0; i-- {
		b.put(keeper.Grant{Member: ids[i], Due: start.Add(time.Duration(i) * time.Minute)}, "")
	}
}

func dueNamesTheOldestFirst(b *bench) {
	ids := inShard(12)
	b.queue(ids)
	if got := b.due(ids[0], start.Add(time.Hour), 100); !slices.Equal(got, ids) {
		b.Errorf("got %v, want %v", got, ids)
	}
	epoch := keeper.Grant{Member: inShard(13)[12], Due: time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC)}
	b.put(epoch, "")
	if got := b.due(ids[0], start.Add(time.Hour), 2); !slices.Equal(got, []keeper.MemberID{epoch.Member, ids[0]}) {
		b.Errorf("with one due before 1970: got %v, want that one first", got)
	}
}

func dueNamesNoMoreThanLimit(b *bench) {
	ids := inShard(4)
	b.queue(ids)
	if got := b.due(ids[0], start.Add(time.Hour), 3); !slices.Equal(got, ids[:3]) {
		b.Errorf("limit 3: got %v, want the 3 longest due", got)
	}
}

func dueNamesNothingBeforeItsTime(b *bench) {
	ids := inShard(3)
	b.queue(ids)
	if got := b.due(ids[0], start.Add(time.Minute), 100); !slices.Equal(got, ids[:2]) {
		b.Errorf("got %v, want %v: what is due at that very time too", got, ids[:2])
	}
	if got := b.due(ids[0], start.Add(time.Minute-time.Microsecond), 100); !slices.Equal(got, ids[:1]) {
		b.Errorf("a microsecond earlier: got %v, want %v", got, ids[:1])
	}
	if got := b.due(ids[0], start.Add(-time.Microsecond), 100); len(got) != 0 {
		b.Errorf("before all: got %v, want none", got)
	}
}

func dueIsSparse(b *bench) {
	g := b.put(keeper.Grant{Member: member(0)}, "")
	never := func(what string) {
		b.Helper()
		if got := b.due(g.Member, start.AddDate(100, 0, 0), 100); len(got) != 0 {
			b.Errorf("%s: got %v, want none", what, got)
		}
	}
	never("never due")
	g.Due = start
	g = b.put(g, g.Rev)
	g.Due = time.Time{}
	g = b.put(g, g.Rev)
	never("no longer due")
}

func dueMovesWithTheGrant(b *bench) {
	ids := inShard(3)
	b.queue(ids)
	g := b.get(ids[0])
	for range 3 {
		g.Due = g.Due.Add(time.Hour)
		g = b.put(g, g.Rev)
	}
	if got, want := b.due(ids[0], start.AddDate(1, 0, 0), 100), []keeper.MemberID{ids[1], ids[2], ids[0]}; !slices.Equal(got, want) {
		b.Errorf("after it was put off: got %v, want %v", got, want)
	}
	if got, want := b.due(ids[0], start.Add(time.Hour), 100), ids[1:]; !slices.Equal(got, want) {
		b.Errorf("at its former time: got %v, want %v", got, want)
	}
	g.Due = start.Add(time.Second)
	b.put(g, g.Rev)
	if got := b.due(ids[0], start.AddDate(1, 0, 0), 100); !slices.Equal(got, ids) {
		b.Errorf("after it was brought forward: got %v, want %v", got, ids)
	}
}

func dueNamesOnlyItsShard(b *bench) {
	want := make(map[int][]keeper.MemberID)
	for i := range 40 {
		g := b.put(keeper.Grant{Member: member(i), Due: start.Add(time.Duration(i) * time.Second)}, "")
		want[g.Member.Shard()] = append(want[g.Member.Shard()], g.Member)
	}
	for shard := range keeper.Shards {
		due, err := b.Due(b.Context(), shard, keeper.Nominee{}, start.Add(time.Hour), 100)
		b.ok("Due", err)
		if got := names(due); !slices.Equal(got, want[shard]) {
			b.Errorf("shard %d: got %v, want %v", shard, got, want[shard])
		}
	}
}

// A pass takes what has ended out of the index, by a grant over it that has
// ended too and is never due.
func dueForgetsWhatHasEnded(b *bench) {
	end := start.Add(time.Hour)
	old := b.put(keeper.Grant{Member: member(0), Due: start, ExpiresAt: end}, "")
	b.clock.set(end)
	b.put(keeper.Grant{Member: old.Member, ExpiresAt: end.Add(-24 * time.Hour)}, "")
	if got := b.due(old.Member, end, 10); len(got) != 0 {
		b.Errorf("Due: got %v, want none", got)
	}
	_, err := b.Get(b.Context(), old.Member)
	b.is("Get", err, keeper.ErrNotFound)
	next := b.put(keeper.Grant{Member: old.Member, Due: end}, "")
	b.same("the next", b.get(old.Member), next)
}

func dueTellsWhen(b *bench) {
	g := b.put(keeper.Grant{Member: member(0), Due: start.Add(time.Microsecond).In(time.FixedZone("east", 3600))}, "")
	want := []keeper.Nominee{{Member: g.Member, Due: start.Add(time.Microsecond)}}
	b.same("what is due", b.dueAfter(g.Member, keeper.Nominee{}, start.Add(time.Hour), 10), want)
}

// readOn reads what is due of the shard of id to its end, limit at a time; then,
// where it is not nil, happens after each page.
func (b *bench) readOn(id keeper.MemberID, limit int, then func([]keeper.Nominee)) (all []keeper.MemberID) {
	b.Helper()
	for last := (keeper.Nominee{}); ; {
		page := b.dueAfter(id, last, start.Add(time.Hour), limit)
		all = append(all, names(page)...)
		if len(page) < limit {
			return all
		}
		if len(all) > 1000 {
			b.Fatal("it has no end")
		}
		if then != nil {
			then(page)
		}
		last = page[limit-1]
	}
}

func dueReadsOnBehindANominee(b *bench) {
	ids := inShard(12)
	b.queue(ids[:6])
	for _, id := range ids[6:] { // six of one time, in an order of the store's own
		b.put(keeper.Grant{Member: id, Due: start.Add(30 * time.Minute)}, "")
	}
	whole := b.readOn(ids[0], 100, nil)
	if got := slices.Sorted(slices.Values(whole)); !slices.Equal(whole[:6], ids[:6]) || !slices.Equal(got, slices.Sorted(slices.Values(ids))) {
		b.Fatalf("at once: got %v, want %v", whole, ids)
	}
	for _, limit := range []int{1, 2, 5} {
		if got := b.readOn(ids[0], limit, nil); !slices.Equal(got, whole) {
			b.Errorf("%d at a time: got %v, want %v", limit, got, whole)
		}
	}
	from := keeper.Nominee{Due: start.Add(3 * time.Minute)}
	if got := names(b.dueAfter(ids[0], from, start.Add(4*time.Minute), 10)); !slices.Equal(got, ids[3:5]) {
		b.Errorf("from a time on: got %v, want %v", got, ids[3:5])
	}
	if got := b.dueAfter(ids[0], from, start, 10); len(got) != 0 {
		b.Errorf("from a time that is later than the last: got %v, want none", got)
	}
	last := keeper.Nominee{Member: whole[11], Due: start.Add(30 * time.Minute)}
	if got := b.dueAfter(ids[0], last, start.Add(time.Hour), 10); len(got) != 0 {
		b.Errorf("behind the last: got %v, want none", got)
	}
}

// A pass works on what it has read: the entry at which it reads on is gone by then.
func dueReadsOnBehindWhatIsGone(b *bench) {
	ids := inShard(7)
	b.queue(ids)
	got := b.readOn(ids[0], 2, func(page []keeper.Nominee) {
		for i, n := range page {
			g := b.get(n.Member)
			if g.Due = (time.Time{}); i == 0 {
				g.Due = start.AddDate(1, 0, 0)
			}
			b.put(g, g.Rev)
		}
	})
	if !slices.Equal(got, ids) {
		b.Errorf("got %v, want %v", got, ids)
	}
}
