package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// Memory is the reference store: everything in maps under one lock. It passes
// Run, is safe for concurrent use, and can be told to fail.
type Memory struct {
	// Before, where it is set, is called at the start of every call with the
	// name of the method ("Get", "Put", "PutSession", ...). It decides whether
	// the call takes effect and what error the caller gets:
	//
	//	true, nil    all is well
	//	false, err   failed, and nothing was stored
	//	true, err    stored, but the answer was lost
	//	false, nil   a store that lies
	//
	// It runs without the lock, so it may use the store itself: what it does
	// there happens just before the call. Set it before the store is shared.
	Before func(op string) (apply bool, err error)

	now       func() time.Time
	mu        sync.Mutex
	grants    map[keeper.MemberID]keeper.Grant
	sessions  map[keeper.MemberID][]session.Session
	burns     map[session.Hash]session.Burn
	control   keeper.Control
	incidents []keeper.Incident
}

var _ Stores = (*Memory)(nil)

// NewMemory makes an empty store that judges expiry by now (nil: time.Now).
func NewMemory(now func() time.Time) *Memory {
	if now == nil {
		now = time.Now
	}
	return &Memory{
		now:      now,
		grants:   make(map[keeper.MemberID]keeper.Grant),
		sessions: make(map[keeper.MemberID][]session.Session),
		burns:    make(map[session.Hash]session.Burn),
	}
}

// do runs f under the lock, as the context and Before have it.
func (m *Memory) do(ctx context.Context, op string, f func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("storetest: %s: %w", op, err)
	}
	apply, fault := true, error(nil)
	if m.Before != nil {
		apply, fault = m.Before(op)
	}
	var err error
	if apply {
		m.mu.Lock()
		err = f()
		m.mu.Unlock()
	}
	if fault != nil {
		return fault
	}
	return err
}

// Get implements keeper.Store.
func (m *Memory) Get(ctx context.Context, id keeper.MemberID) (keeper.Grant, error) {
	var g keeper.Grant
	err := m.do(ctx, "Get", func() (err error) {
		g, err = m.grant(id)
		return err
	})
	if err != nil {
		return keeper.Grant{}, err
	}
	return g, nil
}

// grant is the live grant of id.
func (m *Memory) grant(id keeper.MemberID) (keeper.Grant, error) {
	g, ok := m.grants[id]
	if !ok || !g.ExpiresAt.IsZero() && !g.ExpiresAt.After(m.now()) {
		return keeper.Grant{}, keeper.ErrNotFound
	}
	return stored(g), nil
}

// Put implements keeper.Store.
func (m *Memory) Put(ctx context.Context, g keeper.Grant, old string) error {
	if g.Rev == "" {
		return errors.New("storetest: Put: no revision")
	}
	g = stored(g)
	return m.do(ctx, "Put", func() error {
		have, err := m.grant(g.Member)
		if err != nil {
			have.Rev = ""
		}
		if have.Rev != old {
			return keeper.ErrConflict
		}
		m.grants[g.Member] = g
		return nil
	})
}

// Due implements keeper.Store. Grants of one time come in the order of their ids.
func (m *Memory) Due(ctx context.Context, shard int, after keeper.Nominee, before time.Time, limit int) ([]keeper.Nominee, error) {
	order := func(a, b keeper.Nominee) int {
		return cmp.Or(a.Due.Compare(b.Due), strings.Compare(string(a.Member), string(b.Member)))
	}
	var due []keeper.Nominee
	err := m.do(ctx, "Due", func() error {
		for id, g := range m.grants {
			n := keeper.Nominee{Member: id, Due: g.Due}
			if id.Shard() == shard && !g.Due.IsZero() && !g.Due.After(before) && (after == keeper.Nominee{} || order(n, after) > 0) {
				due = append(due, n)
			}
		}
		slices.SortFunc(due, order)
		due = due[:min(len(due), limit)]
		return nil
	})
	if err != nil {
		return nil, err
	}
	return due, nil
}

// Look implements session.Store.
func (m *Memory) Look(ctx context.Context, id keeper.MemberID, h session.Hash) (keeper.Grant, session.Session, error) {
	var g keeper.Grant
	var s session.Session
	err := m.do(ctx, "Look", func() (err error) {
		if g, err = m.grant(id); err != nil {
			return session.ErrNone
		}
		g.Access.Sealed, g.Fresh.Sealed, g.Refresh.Sealed = nil, nil, nil
		i := slices.IndexFunc(m.sessions[id], func(s session.Session) bool { return s.Hash == h })
		if i < 0 || !m.sessions[id][i].ExpiresAt.After(m.now()) {
			return session.ErrNone
		}
		s = m.sessions[id][i]
		return nil
	})
	if err != nil {
		return keeper.Grant{}, session.Session{}, err
	}
	return g, s, nil
}

// All implements session.Store.
func (m *Memory) All(ctx context.Context, id keeper.MemberID) (keeper.Grant, []session.Session, error) {
	g, have := keeper.Grant{Member: id}, []session.Session(nil)
	err := m.do(ctx, "All", func() error {
		if stored, err := m.grant(id); err == nil {
			g = stored
		}
		have = slices.Clone(m.sessions[id])
		return nil
	})
	if err != nil {
		return keeper.Grant{}, nil, err
	}
	return g, have, nil
}

// PutSession implements session.Store.
func (m *Memory) PutSession(ctx context.Context, s session.Session) error {
	s = stored(s)
	return m.do(ctx, "PutSession", func() error {
		m.sessions[s.Member] = append(slices.DeleteFunc(m.sessions[s.Member], func(o session.Session) bool { return o.Hash == s.Hash }), s)
		return nil
	})
}

// EndSession implements session.Store.
func (m *Memory) EndSession(ctx context.Context, id keeper.MemberID, h session.Hash) error {
	return m.do(ctx, "EndSession", func() error {
		m.sessions[id] = slices.DeleteFunc(m.sessions[id], func(s session.Session) bool { return s.Hash == h })
		return nil
	})
}

// Burn implements session.Burns.
func (m *Memory) Burn(ctx context.Context, h session.Hash, b session.Burn) (session.Burn, error) {
	b = stored(b)
	used := false
	err := m.do(ctx, "Burn", func() error {
		if have, ok := m.burns[h]; ok && have.ExpiresAt.After(m.now()) {
			b, used = have, true
			return nil
		}
		m.burns[h] = b
		return nil
	})
	if err != nil {
		return session.Burn{}, err
	}
	if used {
		return b, session.ErrUsed
	}
	return b, nil
}

// Settle implements session.Burns.
func (m *Memory) Settle(ctx context.Context, h session.Hash, b session.Burn) error {
	b = stored(b)
	return m.do(ctx, "Settle", func() error {
		m.burns[h] = b
		return nil
	})
}

// Control implements keeper.Desk.
func (m *Memory) Control(ctx context.Context) (keeper.Control, error) {
	var c keeper.Control
	err := m.do(ctx, "Control", func() error {
		c = stored(m.control)
		return nil
	})
	if err != nil {
		return keeper.Control{}, err
	}
	return c, nil
}

// PutControl implements keeper.Desk.
func (m *Memory) PutControl(ctx context.Context, c keeper.Control, old string) error {
	if c.Rev == "" {
		return errors.New("storetest: PutControl: no revision")
	}
	c = stored(c)
	return m.do(ctx, "PutControl", func() error {
		if m.control.Rev != old {
			return keeper.ErrConflict
		}
		m.control = c
		return nil
	})
}

// PutIncident implements keeper.Desk.
func (m *Memory) PutIncident(ctx context.Context, i keeper.Incident) error {
	i = stored(i)
	return m.do(ctx, "PutIncident", func() error {
		m.incidents = append(slices.DeleteFunc(m.incidents, func(o keeper.Incident) bool {
			return o.ID == i.ID && o.OpenedAt.Equal(i.OpenedAt)
		}), i)
		return nil
	})
}

// Incidents implements keeper.Desk.
func (m *Memory) Incidents(ctx context.Context, since time.Time) ([]keeper.Incident, error) {
	var is []keeper.Incident
	err := m.do(ctx, "Incidents", func() error {
		gone := m.now().Add(-keeper.KeepIncidents)
		for _, i := range m.incidents {
			if !i.OpenedAt.Before(since) && i.OpenedAt.After(gone) {
				is = append(is, stored(i))
			}
		}
		slices.SortFunc(is, func(a, b keeper.Incident) int {
			if c := b.OpenedAt.Compare(a.OpenedAt); c != 0 {
				return c
			}
			return strings.Compare(b.ID, a.ID)
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return is, nil
}

// stored is v as a store keeps it: a deep copy, times in UTC and whole
// microseconds, what is empty nil. By reflection, so that a new field cannot be
// forgotten here.
func stored[T any](v T) T {
	keep(reflect.ValueOf(&v).Elem())
	return v
}

// keep makes v, a shallow copy, one that shares nothing.
func keep(v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = x.UTC().Truncate(time.Microsecond)
		return
	case *[]byte:
		*x = append([]byte(nil), *x...)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			keep(v.Field(i))
		}
	case reflect.Slice:
		if v.Len() == 0 {
			v.SetZero()
			return
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(out, v)
		for i := range out.Len() {
			keep(out.Index(i))
		}
		v.Set(out)
	case reflect.Map:
		old := reflect.ValueOf(v.Interface())
		v.SetZero()
		if old.Len() > 0 {
			v.Set(reflect.MakeMapWithSize(v.Type(), old.Len()))
		}
		for key, value := range old.Seq2() {
			e := reflect.New(v.Type().Elem()).Elem()
			e.Set(value)
			keep(e)
			v.SetMapIndex(key, e)
		}
	}
}
