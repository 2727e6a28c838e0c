// Package bolt keeps grants, sessions, burns and incidents in one file of this
// machine (go.etcd.io/bbolt), which one process at a time may use.
package bolt

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// DB implements keeper.Store, keeper.Desk, session.Store and session.Burns on
// one file. A call that has returned without an error has been written to the
// disk: a crash loses nothing of it. It is safe for concurrent use; concurrent
// writes share their syncs.
type DB struct {
	file *bbolt.DB
	path string
	now  func() time.Time
}

var (
	_ keeper.Store  = (*DB)(nil)
	_ keeper.Desk   = (*DB)(nil)
	_ session.Store = (*DB)(nil)
	_ session.Burns = (*DB)(nil)
)

const (
	lockTimeout = time.Second
	batchDelay  = time.Millisecond // what a lone write waits for company
	purgeAtOnce = 16               // expired rows that a write removes by the way
	sweepAtOnce = 1000
)

// Open opens the file at path, or makes one with mode 0600 in a folder that
// must exist, and reads through it once. Expiry is judged by now (nil:
// time.Now). Its errors say what to do.
func Open(path string, now func() time.Time) (*DB, error) {
	if now == nil {
		now = time.Now
	}
	db := &DB{path: path, now: now}
	switch err := db.open(); {
	case err == nil:
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("bolt: %s is in use: %w; stop that one first, or name another file", path, ErrInUse)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("bolt: cannot make %s: there is no folder %s; make it first, or name another file", path, filepath.Dir(path))
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("bolt: may not read and write %s: give this user the file and its folder, or name another file: %w", path, err)
	case errors.Is(err, errDamaged):
		return nil, fmt.Errorf("bolt: %s is damaged, or is no keepin file: move it aside, then restore a copy, or start without one (members sign in again): %w", path, err)
	default:
		return nil, fmt.Errorf("bolt: open %s: %w", path, err)
	}
}

// ErrInUse: another process has the file open.
var ErrInUse = errors.New("another keepin holds it")

// errDamaged: what is in the file cannot be.
var errDamaged = errors.New("damaged")

// open opens, reads through and prepares the file. Where bbolt meets what
// cannot be it panics, and beyond the end of a file that was cut short the
// machine faults: both are found here, and not by a member's request.
func (db *DB) open() (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil { // what bbolt holds then, it holds until the process ends
			err = fmt.Errorf("%w: %v", errDamaged, r)
		} else if err != nil && db.file != nil {
			_ = db.file.Close()
		}
	}()

	db.file, err = bbolt.Open(db.path, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout), errors.As(err, new(syscall.Errno)):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	db.file.MaxBatchDelay = batchDelay

	info, err := os.Stat(db.path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(db.path, 0o600); err != nil {
			return err
		}
	}
	return db.file.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{grants, dueIndex, sessions, burns, control, incidents, ends} {
			bucket, err := tx.CreateBucketIfNotExists(b)
			if err != nil {
				return err
			}
			index := bytes.Equal(b, dueIndex) || bytes.Equal(b, ends)
			err = bucket.ForEach(func(_, v []byte) error {
				if index {
					return nil
				}
				return verify(v)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Close waits for the calls under way and gives the file free.
func (db *DB) Close() error {
	if err := db.file.Close(); err != nil {
		return fmt.Errorf("bolt: close: %w", err)
	}
	return nil
}

// VoidLeases frees every lease. A process that has just opened the file is its
// only user, so whoever held a lease is gone.
func (db *DB) VoidLeases(ctx context.Context) error {
	return db.write(ctx, "void leases", func(tx *bbolt.Tx) error {
		var leased []keeper.Grant
		err := tx.Bucket(grants).ForEach(func(k, v []byte) error {
			g, err := decodeGrant(k, v)
			if err == nil && g.Lease != (keeper.Lease{}) {
				leased = append(leased, g)
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, g := range leased {
			g.Lease, g.Rev = keeper.Lease{}, rand.Text()
			if err := putGrant(tx, g); err != nil {
				return err
			}
		}
		return nil
	})
}

// Each calls f with every stored grant, those that have ended too, as they were
// at one moment, until f returns an error. It is for people: it costs what is
// stored.
func (db *DB) Each(ctx context.Context, f func(keeper.Grant) error) error {
	return db.read(ctx, "each grant", func(tx *bbolt.Tx) error {
		return tx.Bucket(grants).ForEach(func(k, v []byte) error {
			g, err := decodeGrant(k, v)
			if err != nil {
				return err
			}
			return f(g)
		})
	})
}

// Sweep removes what has expired, some at a time; call it now and then. Writes
// remove a little by the way, so it matters only where there are few.
func (db *DB) Sweep(ctx context.Context) error {
	return db.write(ctx, "sweep", func(tx *bbolt.Tx) error { return purge(tx, db.now(), sweepAtOnce) })
}

// Get implements keeper.Store.
func (db *DB) Get(ctx context.Context, id keeper.MemberID) (g keeper.Grant, err error) {
	err = db.read(ctx, "get grant", func(tx *bbolt.Tx) error {
		g, err = getGrant(tx, id, db.now())
		return err
	})
	return g, err
}

// Put implements keeper.Store. Where the generation changes, the sessions that
// are not of the new one go in the same transaction.
func (db *DB) Put(ctx context.Context, g keeper.Grant, old string) error {
	if g.Rev == "" {
		return errors.New("bolt: put grant: no revision")
	}
	return db.write(ctx, "put grant", func(tx *bbolt.Tx) error {
		have, err := getGrant(tx, g.Member, db.now())
		switch {
		case errors.Is(err, keeper.ErrNotFound):
			have.Rev = ""
		case err != nil:
			return err
		}
		if have.Rev != old {
			return keeper.ErrConflict
		}
		if have.Generation != g.Generation {
			if err := endSessions(tx, g.Member, g.Generation); err != nil {
				return err
			}
		}
		return putGrant(tx, g)
	})
}

// Due implements keeper.Store. Grants of one time come in the order of their ids.
func (db *DB) Due(ctx context.Context, shard int, after keeper.Nominee, before time.Time, limit int) (due []keeper.Nominee, err error) {
	err = db.read(ctx, "due", func(tx *bbolt.Tx) error {
		last := append([]byte{byte(shard)}, timeKey(before)...)
		first := last[:1]
		if after != (keeper.Nominee{}) {
			first = append(bytes.Join([][]byte{last[:1], timeKey(after.Due), []byte(after.Member)}, nil), 0) // the next key there could be
		}
		c := tx.Bucket(dueIndex).Cursor()
		for k, _ := c.Seek(first); k != nil && len(due) < limit && bytes.Compare(k[:len(last)], last) <= 0; k, _ = c.Next() {
			due = append(due, keeper.Nominee{Member: keeper.MemberID(k[len(last):]), Due: timeOf(k[1:len(last)])})
		}
		return nil
	})
	return due, err
}

// Look implements session.Store.
func (db *DB) Look(ctx context.Context, id keeper.MemberID, h session.Hash) (g keeper.Grant, s session.Session, err error) {
	err = db.read(ctx, "look", func(tx *bbolt.Tx) error {
		key, now := sessionKey(id, h), db.now()
		v := live(tx, sessions, key, now)
		if v == nil {
			return session.ErrNone
		}
		if s, err = decodeSession(key, v); err != nil {
			return err
		}
		if v = live(tx, grants, []byte(id), now); v == nil {
			return session.ErrNone
		}
		g, err = decode(v, lookFields, grantV1)
		return err
	})
	if err != nil {
		return keeper.Grant{}, session.Session{}, err
	}
	g.Member = id
	g.Access.Sealed, g.Fresh.Sealed, g.Refresh.Sealed = nil, nil, nil // version 1 has them
	return g, s, nil
}

// All implements session.Store.
func (db *DB) All(ctx context.Context, id keeper.MemberID) (g keeper.Grant, have []session.Session, err error) {
	err = db.read(ctx, "read a member", func(tx *bbolt.Tx) error {
		if g, err = getGrant(tx, id, db.now()); errors.Is(err, keeper.ErrNotFound) {
			g, err = keeper.Grant{Member: id}, nil
		}
		if err == nil {
			have, err = sessionsOf(tx, id)
		}
		return err
	})
	if err != nil {
		return keeper.Grant{}, nil, err
	}
	return g, have, nil
}

// PutSession implements session.Store.
func (db *DB) PutSession(ctx context.Context, s session.Session) error {
	return db.write(ctx, "put session", func(tx *bbolt.Tx) error {
		return put(tx, sessions, sessionKey(s.Member, s.Hash), encodeSession(s))
	})
}

// EndSession implements session.Store.
func (db *DB) EndSession(ctx context.Context, id keeper.MemberID, h session.Hash) error {
	return db.write(ctx, "end session", func(tx *bbolt.Tx) error {
		return remove(tx, sessions, sessionKey(id, h))
	})
}

// Burn implements session.Burns.
func (db *DB) Burn(ctx context.Context, h session.Hash, b session.Burn) (session.Burn, error) {
	var out session.Burn
	err := db.write(ctx, "burn", func(tx *bbolt.Tx) (err error) {
		have := live(tx, burns, h[:], db.now())
		if have == nil {
			v := encodeBurn(b)
			if err = put(tx, burns, h[:], v); err == nil {
				out, err = decodeBurn(v)
			}
			return err
		}
		if out, err = decodeBurn(have); err != nil {
			return err
		}
		return session.ErrUsed
	})
	if err != nil && !errors.Is(err, session.ErrUsed) {
		return session.Burn{}, err
	}
	return out, err
}

// Settle implements session.Burns.
func (db *DB) Settle(ctx context.Context, h session.Hash, b session.Burn) error {
	return db.write(ctx, "settle", func(tx *bbolt.Tx) error {
		return put(tx, burns, h[:], encodeBurn(b))
	})
}

// Control implements keeper.Desk.
func (db *DB) Control(ctx context.Context) (c keeper.Control, err error) {
	err = db.read(ctx, "get control", func(tx *bbolt.Tx) error {
		c, err = getControl(tx, db.now())
		return err
	})
	return c, err
}

// PutControl implements keeper.Desk.
func (db *DB) PutControl(ctx context.Context, c keeper.Control, old string) error {
	if c.Rev == "" {
		return errors.New("bolt: put control: no revision")
	}
	return db.write(ctx, "put control", func(tx *bbolt.Tx) error {
		have, err := getControl(tx, db.now())
		if err != nil {
			return err
		}
		if have.Rev != old {
			return keeper.ErrConflict
		}
		return put(tx, control, controlKey, encodeControl(c))
	})
}

// PutIncident implements keeper.Desk.
func (db *DB) PutIncident(ctx context.Context, i keeper.Incident) error {
	return db.write(ctx, "put incident", func(tx *bbolt.Tx) error {
		return put(tx, incidents, append(timeKey(i.OpenedAt), i.ID...), encodeIncident(i))
	})
}

// Incidents implements keeper.Desk.
func (db *DB) Incidents(ctx context.Context, since time.Time) (is []keeper.Incident, err error) {
	err = db.read(ctx, "incidents", func(tx *bbolt.Tx) error {
		first := timeKey(since)
		c := tx.Bucket(incidents).Cursor()
		for k, _ := c.Last(); k != nil && bytes.Compare(k, first) >= 0; k, _ = c.Prev() {
			v := live(tx, incidents, k, db.now())
			if v == nil {
				continue
			}
			i, err := decodeIncident(v)
			if err != nil {
				return err
			}
			if !i.OpenedAt.Before(since) {
				is = append(is, i)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return is, nil
}

// read runs f on what is stored.
func (db *DB) read(ctx context.Context, verb string, f func(*bbolt.Tx) error) error {
	err := ctx.Err()
	if err == nil {
		err = db.file.View(f)
	}
	return db.wrap(verb, err)
}

// write runs f, perhaps more than once and together with other writes, and
// returns when the disk has it. An f that refuses must not have written.
func (db *DB) write(ctx context.Context, verb string, f func(*bbolt.Tx) error) error {
	err := ctx.Err()
	if err != nil {
		return db.wrap(verb, err)
	}
	var refused error
	err = db.file.Batch(func(tx *bbolt.Tx) error {
		refused = nil
		if err := purge(tx, db.now(), purgeAtOnce); err != nil {
			return err
		}
		err := f(tx)
		if errors.Is(err, keeper.ErrConflict) || errors.Is(err, session.ErrUsed) {
			refused, err = err, nil // an error would have the whole batch done again
		}
		return err
	})
	return db.wrap(verb, errors.Join(err, refused))
}

func (db *DB) wrap(verb string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errDamaged):
		return fmt.Errorf("bolt: %s: %s: %w: move the file aside and restore a copy", verb, db.path, err)
	}
	return fmt.Errorf("bolt: %s: %w", verb, err)
}
