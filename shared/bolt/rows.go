package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// The buckets. A row's value is a head and an item. What bbolt hands out lives no longer than its transaction: decoding copies.
//
//nolint:gochecknoglobals // constants
var (
	grants    = []byte("grants")    // member
	dueIndex  = []byte("due")       // shard, time, member; no value
	sessions  = []byte("sessions")  // member, NUL, hash
	burns     = []byte("burns")     // hash
	control   = []byte("control")   // controlKey
	incidents = []byte("incidents") // time opened, id
	ends      = []byte("ends")      // time, name of the bucket, NUL, key of the row; no value

	controlKey = []byte("control")
)

// The head of a row: its version, the CRC-32C of what follows (bbolt has sums of
// its own for its first pages only), and timeKey of the row's end (zeros: none).
// A later version keeps reading the former ones.
const (
	version    = 2 // fields; 1 is JSON
	sumAt      = 1
	endAt      = sumAt + 4
	timeLength = 8
	headLength = endAt + timeLength
)

// timeKey sorts as t does, exact to the microsecond.
func timeKey(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMicro())^1<<63)
}

// timeOf is the time of a timeKey.
func timeOf(key []byte) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(key) ^ 1<<63)).UTC() //nolint:gosec // what timeKey made of it
}

func row(version byte, end time.Time, item []byte) []byte {
	row := make([]byte, headLength, headLength+len(item))
	row[0] = version
	if !end.IsZero() {
		copy(row[endAt:], timeKey(end))
	}
	row = append(row, item...)
	binary.BigEndian.PutUint32(row[sumAt:], sum(row))
	return row
}

func sum(row []byte) uint32 { return crc32.Checksum(row[endAt:], crc32.MakeTable(crc32.Castagnoli)) }

// verify tells a row that was written from one that was spoilt.
func verify(row []byte) error {
	switch {
	case len(row) > 0 && (row[0] == 0 || row[0] > version):
		return fmt.Errorf("a row of version %d: the file is damaged, or of another version of keepin", row[0])
	case len(row) < headLength || binary.BigEndian.Uint32(row[sumAt:]) != sum(row):
		return errDamaged
	}
	return nil
}

// endOf is timeKey of the row's end, nil for none.
func endOf(row []byte) []byte {
	if len(row) < headLength || bytes.Equal(row[endAt:headLength], make([]byte, timeLength)) {
		return nil
	}
	return row[endAt:headLength]
}

// live is the row at key, nil when there is none or it has ended.
func live(tx *bbolt.Tx, bucket, key []byte, now time.Time) []byte {
	v := tx.Bucket(bucket).Get(key)
	if end := endOf(v); end != nil && bytes.Compare(end, timeKey(now)) <= 0 {
		return nil
	}
	return v
}

// put and remove are the only ways to change a row: they keep ends true.
func put(tx *bbolt.Tx, bucket, key, row []byte) error {
	if err := remove(tx, bucket, key); err != nil {
		return err
	}
	if end := endOf(row); end != nil {
		if err := tx.Bucket(ends).Put(endKey(end, bucket, key), nil); err != nil {
			return err
		}
	}
	return tx.Bucket(bucket).Put(key, row)
}

func remove(tx *bbolt.Tx, bucket, key []byte) error {
	if end := endOf(tx.Bucket(bucket).Get(key)); end != nil {
		if err := tx.Bucket(ends).Delete(endKey(end, bucket, key)); err != nil {
			return err
		}
	}
	return tx.Bucket(bucket).Delete(key)
}

func endKey(end, bucket, key []byte) []byte {
	return bytes.Join([][]byte{end, bucket, {0}, key}, nil)
}

// purge removes at most limit rows that have ended.
func purge(tx *bbolt.Tx, now time.Time, limit int) error {
	last := timeKey(now)
	var gone [][]byte
	c := tx.Bucket(ends).Cursor()
	for k, _ := c.First(); k != nil && len(gone) < limit && bytes.Compare(k[:timeLength], last) <= 0; k, _ = c.Next() {
		gone = append(gone, bytes.Clone(k[timeLength:]))
	}
	for _, k := range gone {
		bucket, key, _ := bytes.Cut(k, []byte{0})
		var err error
		if bytes.Equal(bucket, grants) {
			err = removeGrant(tx, keeper.MemberID(key))
		} else {
			err = remove(tx, bucket, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func getGrant(tx *bbolt.Tx, id keeper.MemberID, now time.Time) (keeper.Grant, error) {
	v := live(tx, grants, []byte(id), now)
	if v == nil {
		return keeper.Grant{}, keeper.ErrNotFound
	}
	return decodeGrant([]byte(id), v)
}

func putGrant(tx *bbolt.Tx, g keeper.Grant) error {
	if err := removeDue(tx, g.Member); err != nil {
		return err
	}
	if !g.Due.IsZero() {
		if err := tx.Bucket(dueIndex).Put(dueKey(g.Member, g.Due), nil); err != nil {
			return err
		}
	}
	return put(tx, grants, []byte(g.Member), encodeGrant(g))
}

func removeGrant(tx *bbolt.Tx, id keeper.MemberID) error {
	if err := removeDue(tx, id); err != nil {
		return err
	}
	if err := endSessions(tx, id, ""); err != nil {
		return err
	}
	return remove(tx, grants, []byte(id))
}

// removeDue takes the stored grant of id, if there is one, out of the due index.
func removeDue(tx *bbolt.Tx, id keeper.MemberID) error {
	v := tx.Bucket(grants).Get([]byte(id))
	if v == nil {
		return nil
	}
	g, err := decodeGrant([]byte(id), v)
	if err != nil || g.Due.IsZero() {
		return err
	}
	return tx.Bucket(dueIndex).Delete(dueKey(id, g.Due))
}

func dueKey(id keeper.MemberID, at time.Time) []byte {
	return bytes.Join([][]byte{{byte(id.Shard())}, timeKey(at), []byte(id)}, nil)
}

func sessionKey(id keeper.MemberID, h session.Hash) []byte {
	return append(sessionPrefix(id), h[:]...)
}

func sessionPrefix(id keeper.MemberID) []byte { return append([]byte(id), 0) }

// sessionsOf are the stored sessions of id, those that have ended too.
func sessionsOf(tx *bbolt.Tx, id keeper.MemberID) (ss []session.Session, err error) {
	prefix := sessionPrefix(id)
	c := tx.Bucket(sessions).Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		s, err := decodeSession(k, v)
		if err != nil {
			return nil, err
		}
		ss = append(ss, s)
	}
	return ss, nil
}

// endSessions removes the sessions of id that are not of generation keep.
func endSessions(tx *bbolt.Tx, id keeper.MemberID, keep string) error {
	ss, err := sessionsOf(tx, id)
	if err != nil {
		return err
	}
	for _, s := range ss {
		if s.Generation != keep {
			if err := remove(tx, sessions, sessionKey(id, s.Hash)); err != nil {
				return err
			}
		}
	}
	return nil
}

func getControl(tx *bbolt.Tx, now time.Time) (keeper.Control, error) {
	v := live(tx, control, controlKey, now)
	if v == nil {
		return keeper.Control{}, nil
	}
	return decodeControl(v)
}
