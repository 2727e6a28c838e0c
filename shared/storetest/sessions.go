package storetest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// browser is the n-th session of member(0): created n seconds after start,
// for a day.
func browser(n int) session.Session {
	at := start.Add(time.Duration(n) * time.Second)
	return session.Session{
		Member: member(0), Hash: session.Hash{0: byte(n * 37), 31: byte(n)}, Generation: "g",
		CreatedAt: at, ExpiresAt: at.AddDate(0, 0, 1),
	}
}

// signIn stores a grant for member(0) and n browsers of it.
func (b *bench) signIn(n int) {
	b.Helper()
	b.put(keeper.Grant{Member: member(0), Generation: "g"}, "")
	for i := range n {
		b.ok("PutSession", b.PutSession(b.Context(), browser(i)))
	}
}

// signedIn fails unless of the first n browsers exactly want are signed in.
func (b *bench) signedIn(what string, n int, want ...int) {
	b.Helper()
	var got []int
	for i := range n {
		_, s, err := b.Look(b.Context(), member(0), browser(i).Hash)
		switch {
		case err == nil:
			b.same(what, s, browser(i))
			got = append(got, i)
		case !errors.Is(err, session.ErrNone):
			b.Errorf("%s: Look: %v", what, err)
		}
	}
	if !slices.Equal(got, want) {
		b.Errorf("%s: got browsers %v signed in, want %v", what, got, want)
	}
}

func upTo(to int) (ns []int) {
	for n := range to {
		ns = append(ns, n)
	}
	return ns
}

func lookFindsGrantAndSession(b *bench) {
	g := b.put(full[keeper.Grant](b.T), "")
	s := full[session.Session](b.T)
	east := time.FixedZone("east", 3600)
	s.CreatedAt = s.CreatedAt.In(east).Add(999)
	b.ok("PutSession", b.PutSession(b.Context(), s))

	gotGrant, gotSession, err := b.Look(b.Context(), g.Member, s.Hash)
	b.ok("Look", err)
	g.Access.Sealed, g.Fresh.Sealed, g.Refresh.Sealed = nil, nil, nil
	b.same("the grant", gotGrant, g)
	b.same("the session", gotSession, stored(s))
}

func lookIsNoneWithoutEither(b *bench) {
	s := browser(1)
	none := func(what string, id keeper.MemberID, h session.Hash) {
		b.Helper()
		g, s, err := b.Look(b.Context(), id, h)
		b.is(what, err, session.ErrNone)
		b.same(what, g, keeper.Grant{})
		b.same(what, s, session.Session{})
	}
	none("nothing stored", s.Member, s.Hash)
	b.ok("PutSession", b.PutSession(b.Context(), s))
	none("a session without a grant", s.Member, s.Hash)
	b.ok("PutSession", b.PutSession(b.Context(), browser(0)))
	none("two sessions without a grant", s.Member, s.Hash)
	b.ok("EndSession", b.EndSession(b.Context(), s.Member, browser(0).Hash))
	g := b.put(keeper.Grant{Member: s.Member, Generation: "g", ExpiresAt: s.ExpiresAt.Add(-time.Minute)}, "")
	b.put(keeper.Grant{Member: member(1)}, "")
	b.signedIn("both stored", 2, 1)
	none("another hash", s.Member, session.Hash{0: s.Hash[0], 31: s.Hash[31] + 1})
	none("the zero hash", s.Member, session.Hash{})
	none("another member", member(1), s.Hash)

	b.clock.set(g.ExpiresAt)
	none("the grant has ended", s.Member, s.Hash)
	b.put(keeper.Grant{Member: s.Member, Generation: "g"}, "")
	b.clock.set(s.ExpiresAt.Add(-time.Microsecond))
	b.ok("PutSession", b.PutSession(b.Context(), s)) // it may have gone with its grant
	b.signedIn("a microsecond before the session's end", 2, 1)
	b.clock.set(s.ExpiresAt)
	none("the session has ended", s.Member, s.Hash)
}

func lookGivesNoSealedToken(b *bench) {
	g := keeper.Grant{Member: member(0)}
	for _, t := range []*keeper.Token{&g.Access, &g.Fresh, &g.Refresh} {
		t.Sealed = []byte("sealed")
	}
	b.put(g, "")
	b.ok("PutSession", b.PutSession(b.Context(), browser(0)))
	got, _, err := b.Look(b.Context(), g.Member, browser(0).Hash)
	b.ok("Look", err)
	if got.Access.Sealed != nil || got.Fresh.Sealed != nil || got.Refresh.Sealed != nil {
		b.Error("Look gave a sealed token")
	}
}

func sessionWithTheSameHashIsReplaced(b *bench) {
	b.signIn(session.MaxPerMember)
	s := browser(3)
	s.Generation, s.CreatedAt, s.ExpiresAt = "h", s.CreatedAt.Add(time.Hour), s.ExpiresAt.Add(time.Hour)
	b.ok("PutSession", b.PutSession(b.Context(), s))
	_, got, err := b.Look(b.Context(), s.Member, s.Hash)
	b.ok("Look", err)
	b.same("the session", got, s)
	b.ok("PutSession", b.PutSession(b.Context(), browser(3)))
	b.signedIn("a full house, one of it replaced", session.MaxPerMember, upTo(session.MaxPerMember)...)
}

func allReadsAMemberWhole(b *bench) {
	all := func(what string, want keeper.Grant, sessions ...session.Session) {
		b.Helper()
		g, have, err := b.All(b.Context(), want.Member)
		b.ok(what, err)
		b.same(what, g, want)
		slices.SortFunc(have, func(a, b session.Session) int { return a.CreatedAt.Compare(b.CreatedAt) })
		if len(have)+len(sessions) > 0 {
			b.same(what, have, sessions)
		}
	}
	g := full[keeper.Grant](b.T)
	s, none := browser(0), []session.Session(nil)
	g.Member, s.Member = member(0), member(0)
	all("nothing stored", keeper.Grant{Member: g.Member}, none...)
	b.ok("PutSession", b.PutSession(b.Context(), s))
	all("a session without a grant", keeper.Grant{Member: g.Member}, s)
	b.ok("EndSession", b.EndSession(b.Context(), s.Member, s.Hash))

	g.ExpiresAt = start.AddDate(0, 0, 2)
	g = b.put(g, "")
	all("a grant without a session", g, none...)
	var want []session.Session
	for i := range session.MaxPerMember + 3 { // two at once may leave one too many
		want = append(want, browser(i))
		b.ok("PutSession", b.PutSession(b.Context(), browser(i)))
	}
	b.put(keeper.Grant{Member: member(1)}, "")
	other := browser(1)
	other.Member = member(1)
	b.ok("PutSession", b.PutSession(b.Context(), other))
	all("a full house", g, want...)
	b.clock.set(start.Add(25 * time.Hour)) // each was for a day
	got, _, err := b.All(b.Context(), g.Member)
	b.ok("All", err)
	b.same("when the sessions have ended", got, g)
	b.clock.set(g.ExpiresAt)
	got, _, err = b.All(b.Context(), g.Member)
	b.ok("All", err)
	b.same("when the grant has ended", got, keeper.Grant{Member: g.Member})
}

func endSessionEndsOne(b *bench) {
	b.signIn(3)
	other := browser(1)
	other.Member = member(1)
	b.put(keeper.Grant{Member: other.Member}, "")
	b.ok("PutSession", b.PutSession(b.Context(), other))
	for range 2 {
		b.ok("EndSession", b.EndSession(b.Context(), member(0), browser(1).Hash))
		b.signedIn("one ended", 3, 0, 2)
	}
	b.ok("EndSession of an unknown member", b.EndSession(b.Context(), member(9), browser(1).Hash))
	if _, _, err := b.Look(b.Context(), other.Member, other.Hash); err != nil {
		b.Errorf("another member's session: %v", err)
	}
	b.ok("PutSession", b.PutSession(b.Context(), browser(1)))
	b.signedIn("begun again", 3, 0, 1, 2)
}

func putKeepsSessions(b *bench) {
	b.signIn(2)
	g := b.get(member(0))
	g.Subject = "changed"
	b.put(g, g.Rev)
	b.signedIn("after a write to the grant", 2, 0, 1)
}

func firstBurnWins(b *bench) {
	h := session.Hash{1}
	var mu sync.Mutex
	var winner string
	told := make(map[string]int)
	race(16, func(i int) {
		mine := session.Burn{Use: session.Hash{byte(i)}, At: start, ExpiresAt: start.Add(time.Hour), Outcome: string(rune('a' + i))}
		got, err := b.Burn(b.Context(), h, mine)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil && winner == "":
			winner = mine.Outcome
			told[got.Outcome]++
		case errors.Is(err, session.ErrUsed):
			told[got.Outcome]++
		default:
			b.Errorf("Burn: got error %v with %q as the winner, want ErrUsed", err, winner)
		}
	})
	if winner == "" || told[winner] != 16 {
		b.Errorf("got winner %q and the burns told %v, want one winner, told to all", winner, told)
	}
}

func burnReportsTheStoredOne(b *bench) {
	first := full[session.Burn](b.T)
	got, err := b.Burn(b.Context(), session.Hash{1}, first)
	b.ok("Burn", err)
	b.same("the first", got, stored(first))
	for range 2 {
		got, err = b.Burn(b.Context(), session.Hash{1}, session.Burn{At: start, ExpiresAt: start.AddDate(1, 0, 0)})
		b.is("burning it again", err, session.ErrUsed)
		b.same("the stored one", got, stored(first))
	}
	plain := session.Burn{Use: session.Hash{5}, At: start.In(time.FixedZone("east", 3600)), ExpiresAt: start.Add(time.Hour)}
	_, err = b.Burn(b.Context(), session.Hash{31: 1}, plain)
	b.ok("burning another", err)
	got, err = b.Burn(b.Context(), session.Hash{31: 1}, first)
	b.is("burning that again", err, session.ErrUsed)
	b.same("the plain one", got, stored(plain))
}

func burnExpires(b *bench) {
	h, end := session.Hash{1}, start.Add(time.Minute)
	_, err := b.Burn(b.Context(), h, session.Burn{At: start, ExpiresAt: end, Outcome: "first"})
	b.ok("Burn", err)
	second := session.Burn{At: start, ExpiresAt: end.Add(time.Minute), Outcome: "second"}
	b.clock.set(end.Add(-time.Microsecond))
	_, err = b.Burn(b.Context(), h, second)
	b.is("a microsecond before its end", err, session.ErrUsed)
	b.clock.set(end)
	got, err := b.Burn(b.Context(), h, second)
	b.ok("at its end", err)
	b.same("at its end", got, second)
	got, err = b.Burn(b.Context(), h, second)
	b.is("again", err, session.ErrUsed)
	b.same("again", got, second)
}

func settleReplacesTheBurn(b *bench) {
	h := session.Hash{1}
	open := session.Burn{Use: session.Hash{2}, At: start, ExpiresAt: start.Add(time.Hour)}
	for _, h := range []session.Hash{h, {3}} {
		_, err := b.Burn(b.Context(), h, open)
		b.ok("Burn", err)
	}
	settled := full[session.Burn](b.T)
	b.ok("Settle", b.Settle(b.Context(), h, settled))
	got, err := b.Burn(b.Context(), h, open)
	b.is("burning it again", err, session.ErrUsed)
	b.same("the settled one", got, stored(settled))
	got, err = b.Burn(b.Context(), session.Hash{3}, settled)
	b.is("burning the other", err, session.ErrUsed)
	b.same("the other", got, open)
}
