package operator_test

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/operator"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/storetest"
)

// store is storetest's, with grants to hand out.
type store struct {
	*storetest.Memory
	grants []keeper.Grant
	during func() // what happens while it is searched
}

func (s *store) Each(_ context.Context, f func(keeper.Grant) error) error {
	for _, g := range s.grants {
		if err := f(g); err != nil {
			return err
		}
	}
	if s.during != nil {
		s.during()
	}
	return nil
}

// keyset is a keyset that others may change between a reading and a writing.
type keyset struct {
	set     secret.String
	changed time.Time
	before  func() // called once, between a reading of Replace and its writing
}

func (k *keyset) Read(context.Context) (secret.String, time.Time, error) {
	return k.set, k.changed, nil
}

func (k *keyset) Replace(_ context.Context, edit func(secret.String) (secret.String, error)) error {
	for {
		was := k.set
		next, err := edit(was)
		if err != nil {
			return err
		}
		if b := k.before; b != nil {
			k.before = nil
			b()
		}
		if k.set.Equal(was) {
			k.set = next
			return nil
		}
	}
}

func (k *keyset) ids(t *testing.T) []uint32 {
	t.Helper()
	ids, err := seal.Keys(k.set)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func (k *keyset) add(t *testing.T) {
	t.Helper()
	set, err := seal.AddKey(k.set)
	if err != nil {
		t.Fatal(err)
	}
	k.set = set
}

// sealed names key id as the first bytes of a sealed value do.
func sealed(id uint32) keeper.Token {
	b := make([]byte, 60)
	b[0] = 1
	binary.BigEndian.PutUint32(b[1:], id)
	return keeper.Token{Sealed: b}
}

func open(t *testing.T, s *store, k *keyset, change func(*operator.Config)) *operator.Operator {
	t.Helper()
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	if s.Memory == nil {
		s.Memory = storetest.NewMemory(func() time.Time { return now })
	}
	k.set, k.changed = seal.NewKeyset(), now.Add(-48*time.Hour)
	c := operator.Config{Store: s, Keys: k, Where: "the keyset", Backup: "Copy it.", PruneAfter: 24 * time.Hour, Now: func() time.Time { return now }}
	if change != nil {
		change(&c)
	}
	return operator.New(c)
}

func TestTwoWhoRotateBothAddAKey(t *testing.T) {
	k := new(keyset)
	o := open(t, new(store), k, nil)
	k.before = func() { k.add(t) }
	text, err := o.Do(t.Context(), "keys", "rotate")
	if got := k.ids(t); err != nil || !slices.Equal(got, []uint32{1, 2, 3}) || !strings.Contains(text, "Key 3 was added") || !strings.Contains(text, "Copy it.") {
		t.Errorf("got keys %v, %q, %v", got, text, err)
	}
}

// TestPruneDropsNothingOfAKeysetThatChanged: key 2 was the newest when the
// store was searched, so processes seal with it; a key 3 must not make it old.
func TestPruneDropsNothingOfAKeysetThatChanged(t *testing.T) {
	for name, when := range map[string]func(*store, *keyset, func()){
		"while the store is searched": func(s *store, _ *keyset, f func()) { s.during = f },
		"before it is written":        func(_ *store, k *keyset, f func()) { k.before = f },
	} {
		s, k := &store{grants: []keeper.Grant{{Member: "ada", Access: sealed(1)}}}, new(keyset)
		o := open(t, s, k, nil)
		k.add(t) // 2, which nothing names yet
		s.grants[0].Access = sealed(2)
		when(s, k, func() { k.add(t) })
		_, err := o.Do(t.Context(), "keys", "prune")
		if got := k.ids(t); err == nil || !strings.Contains(err.Error(), "was changed while") || !slices.Equal(got, []uint32{1, 2, 3}) {
			t.Errorf("%s: got keys %v, %v", name, got, err)
		}
	}
}

func TestPruneWaitsUntilNobodyHoldsAnOlderKeyset(t *testing.T) {
	s, k := new(store), new(keyset)
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	o := open(t, s, k, func(c *operator.Config) { c.Now = func() time.Time { return now } })
	k.add(t)
	k.changed = now
	for _, left := range []time.Duration{24 * time.Hour, time.Second} {
		now = k.changed.Add(24*time.Hour - left)
		if _, err := o.Do(t.Context(), "keys", "prune"); err == nil || !strings.Contains(err.Error(), "prune after 2026-03-02T09:00:00Z") {
			t.Errorf("%v before: %v", left, err)
		}
	}
	now = k.changed.Add(24 * time.Hour)
	if text, err := o.Do(t.Context(), "keys", "prune"); err != nil || !strings.Contains(text, "[1]") {
		t.Errorf("then: %q %v", text, err)
	}
}

func TestPruneCountsEveryTokenOfAGrant(t *testing.T) {
	s, k := &store{grants: []keeper.Grant{{Member: "ada", Access: sealed(2)}, {Member: "bob", Fresh: sealed(3)}, {Member: "cy", Refresh: sealed(4)}}}, new(keyset)
	o := open(t, s, k, func(c *operator.Config) { c.Cost = func() string { return "It cost a penny.\n" } })
	for range 5 {
		k.add(t)
	}
	text, err := o.Do(t.Context(), "keys", "prune")
	if got := k.ids(t); err != nil || !slices.Equal(got, []uint32{2, 3, 4, 6}) || !strings.Contains(text, "[1 5]") || !strings.Contains(text, "It cost a penny.") {
		t.Errorf("got keys %v, %q, %v", got, text, err)
	}
}

// TestAPauseLosesNothingOfOthers: what others write to the control item between is kept.
func TestAPauseLosesNothingOfOthers(t *testing.T) {
	s := &store{}
	o := open(t, s, new(keyset), nil)
	s.Memory = storetest.NewMemory(o.Now)
	other := &desk{store: s}
	other.before = func() {
		if err := s.PutControl(context.Background(), keeper.Control{Rev: "theirs", Outage: keeper.Outage{Count: 7}}, ""); err != nil {
			t.Error(err)
		}
	}
	o.Store = other
	if _, err := o.Do(t.Context(), "pause"); err != nil {
		t.Fatal(err)
	}
	c, err := s.Control(t.Context())
	if err != nil || c.PausedAt.IsZero() || c.Outage.Count != 7 {
		t.Errorf("got %+v %v", c, err)
	}
}

func TestTheListSaysWhoseTokensDoNotOpen(t *testing.T) {
	s := &store{}
	o := open(t, s, new(keyset), nil)
	s.Memory = storetest.NewMemory(o.Now)
	if err := s.PutControl(t.Context(), keeper.Control{Rev: "r", Locked: keeper.Locked{Members: []keeper.MemberID{"ada", "bob"}, At: o.Now()}}, ""); err != nil {
		t.Fatal(err)
	}
	text, err := o.Do(t.Context(), "incidents", "list")
	if want := "Tokens of [ada bob] do not open"; err != nil || !strings.Contains(text, want) || !strings.Contains(text, "put the key back") {
		t.Errorf("got %q %v, want %q", text, err, want)
	}
}

// An incident whose end could not be written down is not open for that.
func TestTheListKnowsWhichIncidentsAreOpen(t *testing.T) {
	s := &store{}
	o := open(t, s, new(keyset), nil)
	s.Memory = storetest.NewMemory(o.Now)
	at := o.Now()
	for _, i := range []keeper.Incident{{ID: "ended", OpenedAt: at.Add(-3 * time.Hour), ClosedAt: at}, {ID: "lost", OpenedAt: at.Add(-2 * time.Hour)}, {ID: "open", OpenedAt: at.Add(-time.Hour)}} {
		if err := s.PutIncident(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutControl(t.Context(), keeper.Control{Rev: "r", Open: []keeper.OpenIncident{{ID: "open"}}}, ""); err != nil {
		t.Fatal(err)
	}
	list, err := o.Do(t.Context(), "incidents", "list")
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"open": "not yet", "lost": "yes, unrecorded", "ended": at.UTC().Format(time.DateOnly)} {
		if !slices.ContainsFunc(strings.Split(list, "\n"), func(line string) bool { return strings.HasPrefix(line, id) && strings.Contains(line, want) }) {
			t.Errorf("%s: got %q, want %q", id, list, want)
		}
		if text, err := o.Do(t.Context(), "incidents", "show", id); err != nil || !strings.Contains(text, "closed "+want) {
			t.Errorf("%s: got %q, %v, want closed %s", id, text, err, want)
		}
	}
}

// desk lets another write once before the first put.
type desk struct {
	*store
	before func()
}

func (d *desk) PutControl(ctx context.Context, c keeper.Control, old string) error {
	if b := d.before; b != nil {
		d.before = nil
		b()
	}
	return d.store.PutControl(ctx, c, old)
}

func TestAStoreThatFailsKeepsEveryKey(t *testing.T) {
	broken := errors.New("it broke in the middle")
	s, k := &store{}, new(keyset)
	o := open(t, s, k, nil)
	k.add(t)
	o.Store = failing{s, broken}
	if _, err := o.Do(t.Context(), "keys", "prune"); !errors.Is(err, broken) || len(k.ids(t)) != 2 {
		t.Errorf("got %v, keys %v", err, k.ids(t))
	}
}

type failing struct {
	*store
	err error
}

func (f failing) Each(context.Context, func(keeper.Grant) error) error { return f.err }
