package bolt_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/bolt"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/test/bounds"
)

// FuzzRow: whatever a row of the file holds, with a good sum or without, it is read
// as what it is or not at all, and its error quotes none of it; what was read is
// written and read again as it was.
func FuzzRow(f *testing.F) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	whole := bolt.EncodeGrant(keeper.Grant{
		Member: alice, Subject: "x", Generation: "g", Status: keeper.Active, Scopes: []string{"openid"}, Rev: "1", Due: at, ExpiresAt: at.Add(time.Hour),
		Access: keeper.Token{Sealed: []byte("sealed"), IssuedAt: at, ExpiresAt: at}, Outbox: keeper.Outbox{Count: 1, Events: []keeper.Event{{ID: "1", At: at}}},
	})
	f.Add([]byte(alice), whole, false)
	f.Add([]byte(alice), whole[:len(whole)-1], false)
	f.Add([]byte(alice), []byte{}, false)
	f.Add([]byte(alice), []byte{3}, false)
	f.Add([]byte{}, append([]byte{1}, make([]byte, 12)...), false)
	for _, item := range []string{
		string(whole[13:]), "\x01\x01a\x01\x01b", "\x07\x00\x07\x01a", "\x02\x01b\x01\x01a", "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff",
		"\x33\x01\x02", "\x46\x00\x46\x03\x01\x01e", "\xff\x00", strings.Repeat("\x46\x00", 2000), ``, `{}`, `null`, `[]`, `{"sub":7}`, `{"sub":"a","sub":"b"}`, `{"SUB":"a"}`, `{"access":{"sealed":"!"}}`, `{"due":"9999-12-31T23:59:59.999999999Z"}`, `{"due":"10000-01-01T00:00:00Z"}`,
		`{"use":"AAAA"}`, `{"records":[{"took_ns":1e400}]}`, `{"open":[null],"untold":[{}]}`, `{"scopes":null,"outbox":{"events":[{"at":"0001-01-01T00:00:00Z"}]}}`, strings.Repeat("[", 20000),
	} {
		f.Add([]byte(alice), []byte(item), true)
	}
	f.Add([]byte("k"), []byte(`{}`), true)
	f.Add(append([]byte(alice), make([]byte, 33)...), []byte(`{"generation":"g"}`), true)
	f.Fuzz(func(t *testing.T, key, row []byte, sum bool) {
		if !sum {
			read(t, key, row, string(row))
			return
		}
		for version := range byte(3) {
			read(t, key, bolt.Row(version, at, row), string(row))
		}
	})
}

func read(t *testing.T, key, row []byte, text string) {
	t.Helper()
	var g keeper.Grant
	var b session.Burn
	var errs [5]error
	bounds.Check(t, func() { g, b, errs = bolt.DecodeAll(key, row) })
	for i, err := range errs {
		if err != nil && len(text) > 8 && strings.Contains(err.Error(), text) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if errs[0] != nil && !reflect.DeepEqual(g, keeper.Grant{}) || errs[2] != nil && b != (session.Burn{}) {
		t.Errorf("%v, and yet %+v, %+v", errs, g, b)
	}
	if errs[0] != nil {
		return
	}
	again := bolt.EncodeGrant(g)
	for range 2 { // what is empty is left out by the first writing, what holds only that by the second
		row = again
		g, _, errs := bolt.DecodeAll(key, row)
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
		again = bolt.EncodeGrant(g)
	}
	if string(again) != string(row) {
		t.Errorf("%q is stored as %q, then as %q", text, row, again)
	}
}
