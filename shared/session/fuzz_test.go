package session_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/test/bounds"
)

// FuzzOpenTransaction: what we did not seal is no transaction; and whatever stands
// inside a seal of ours is one only for its own state and in its ten minutes, and
// comes out as it went in.
func FuzzOpenTransaction(f *testing.F) {
	b := newBench(&testing.T{}, true)
	state := strings.Repeat("A", 43)
	sum := sha256.Sum256([]byte(state))
	name := "__Host-keepin_tx_" + base64.RawURLEncoding.EncodeToString(sum[:])[:8]
	f.Add([]byte{}, state, false)
	f.Add([]byte(strings.Repeat("x", 60)), state, false)
	at := b.clock().UnixMilli()
	for _, inside := range []map[string]any{
		{"s": state, "i": state, "r": "https://app.example/", "c": []string{"openid"}, "t": at, "u": "https://www.linkedin.com/oauth", "k": true, "n": true, "o": state, "v": state},
		{"s": state, "i": state, "t": at - 600_000}, {"s": state, "i": state, "t": at - 599_999}, {"s": state, "i": state, "t": int64(1) << 62}, {"s": state, "i": state, "t": -(int64(1) << 62)},
		{"s": state[:42], "i": state, "t": at}, {"s": strings.Repeat("B", 43), "i": state, "t": at}, {"s": state, "i": "", "t": at}, {"S": state, "I": state, "T": at}, {"s": []string{state}}, {},
	} {
		text, err := json.Marshal(inside)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, state, true)
	}
	f.Add([]byte("null"), state, true)
	f.Add([]byte(`{"i":"m","m":"0123456789abcdefghijkl","g":"g","t":1}`), state, true) // a ticket's inside
	seal := func(t testing.TB, inside []byte) []byte {
		sealed, err := b.sealer.Seal(t.Context(), secret.New(string(inside)), keeper.PurposeTransaction, name)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	good := seal(f, fmt.Appendf(nil, `{"s":%q,"i":%q,"t":%d}`, state, state, at))
	if _, err := b.Resume(httptest.NewRecorder(), request(name+"="+base64.RawURLEncoding.EncodeToString(good)), state); err != nil {
		f.Fatalf("nothing opens, and nothing is shown: %v", err)
	}
	f.Fuzz(func(t *testing.T, inside []byte, asked string, ours bool) {
		sealed := inside
		if ours {
			sealed = seal(t, inside)
		}
		r := request(name + "=" + base64.RawURLEncoding.EncodeToString(sealed))
		var tx session.Transaction
		var err error
		bounds.Check(t, func() { tx, err = b.Resume(httptest.NewRecorder(), r, asked) })
		if err != nil {
			if !errors.Is(err, session.ErrState) || !reflect.DeepEqual(tx, session.Transaction{}) {
				t.Fatalf("%q: %v", inside, err)
			}
			return
		}
		age := b.clock().Sub(tx.IssuedAt)
		if !ours || asked != state || tx.State.Reveal() != state || len(tx.Session.Reveal()) != 43 || age >= 600e9 {
			t.Fatalf("%q opens for %q: %+v", inside, asked, tx)
		}
		var in struct {
			Issuer   string `json:"u"`
			ReturnTo string `json:"r"`
		}
		if json.Unmarshal(inside, &in) != nil || in.Issuer != tx.Issuer || in.ReturnTo != tx.ReturnTo {
			t.Fatalf("%q comes out as %+v", inside, tx)
		}
	})
}

// FuzzOpenSession: nobody is signed in by a cookie but by ours to the letter, and
// the store is asked only for what could be one.
func FuzzOpenSession(f *testing.F) {
	b := newBench(&testing.T{}, true)
	g := keeper.Grant{Member: keeper.NewMemberID("client", "ada"), Subject: "ada", Generation: "g", Status: keeper.Active, Rev: "1"}
	id := secret.New(strings.Repeat("A", 42) + "E")
	if err := b.store.Put(f.Context(), g, ""); err != nil {
		f.Fatal(err)
	}
	if _, err := b.Start(f.Context(), request(), g, id, nil); err != nil {
		f.Fatal(err)
	}
	good := string(g.Member) + "." + id.Reveal()
	for _, seed := range []string{
		"GOOD", "", ".", "GOODA", "GOOD=", "GOOD.", "GOOD GOOD", `"GOOD"`, "GOOD\x00", "x" + good[1:], good[:22] + "." + strings.Repeat("A", 43), good[:22] + "." + strings.Repeat("A", 42) + "F", // the same bytes in another spelling
		strings.ToUpper(good), good[:22] + "%2E" + good[23:], "../" + good, strings.Repeat("A", 22) + "." + strings.Repeat("-", 43),
	} {
		f.Add(seed)
	}
	shape := regexp.MustCompile(`^[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$`) // 256 bits end in one of 16
	looks := 0
	before := b.store.Before
	b.store.Before = func(op string) (bool, error) {
		if op == "Look" {
			looks++
		}
		return before(op)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsAny(value, ";") {
			return // two cookies: FuzzCookieHeader
		}
		value = strings.Trim(strings.ReplaceAll(value, "GOOD", good), " \t")
		b.writes = nil
		var err error
		bounds.Check(t, func() {
			looks = 0
			_, _, err = b.Member(request("__Host-keepin=" + value))
		})
		if signedIn := err == nil; signedIn != (value == good) || !signedIn && !errors.Is(err, session.ErrNone) {
			t.Fatalf("%q: %v", value, err)
		}
		if could := shape.MatchString(value); (looks == 1) != could {
			t.Fatalf("%q asks the store %d times", value, looks)
		}
		if len(b.writes) > 0 {
			t.Fatalf("%q is written: %v", value, b.writes)
		}
	})
}

// FuzzCookieHeader: no text is a session or a transaction, and what is cleared is
// ours by name, in a line that no value can break.
func FuzzCookieHeader(f *testing.F) {
	b := newBench(&testing.T{}, true)
	for _, seed := range []string{"", "a=b", "__Host-keepin=x", "__Host-keepin=x; __Host-keepin=y", ";;;=;", "__Host-keepin_tx_AAAAAAAA=\"\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var w *httptest.ResponseRecorder
		bounds.Check(t, func() {
			w = httptest.NewRecorder()
			r := request(line)
			if _, _, err := b.Member(r); !errors.Is(err, session.ErrNone) {
				t.Fatalf("somebody is signed in by %q: %v", line, err)
			}
			if _, err := b.Resume(w, r, strings.Repeat("A", 43)); !errors.Is(err, session.ErrState) {
				t.Fatalf("a sign-in is under way by %q: %v", line, err)
			}
			b.ClearBroken(w, r)
			b.Clear(w, r)
		})
		for _, c := range w.Header()["Set-Cookie"] {
			name, _, _ := strings.Cut(c, "=")
			if !strings.HasPrefix(c, "__Host-keepin") || !strings.HasSuffix(c, "; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax") || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~") != "" {
				t.Fatalf("%q makes %q", line, c)
			}
		}
		if len(b.writes) > 0 {
			t.Fatalf("%q is written: %v", line, b.writes)
		}
	})
}
