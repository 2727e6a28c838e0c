package bolt_test

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/bolt"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
)

// What a keepin that wrote rows of version 1 stored in testdata/version1.db.gz,
// at recordedAt: one of each kind, with every field that it had. Neither may ever
// be changed.
var (
	recordedAt = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

	recordedEvents = []keeper.Event{
		{ID: "event-1", Type: keeper.MemberReconnectDue, Subject: string(alice), At: later(1), Days: 30, ReconnectBy: later(2)},
		{ID: "event-2", Type: keeper.MemberReconnectRequired, Subject: string(alice), At: later(3), Reason: "expired"},
	}
	recordedGrant = keeper.Grant{
		Member: alice, Subject: "subject", Profile: keeper.Profile{Name: "Ada <Lovelace> \u2028", Picture: "https://media.example/ada?a=1&b=2", Email: "ada@example.com"},
		Generation: "generation", Status: keeper.Active, Scopes: []string{"email", "openid", "profile"},
		Access:  keeper.Token{Sealed: []byte{0, 1, 254, 255}, IssuedAt: later(4), ExpiresAt: later(5), ProvenAt: later(6), RefusedAt: later(7)},
		Fresh:   keeper.Token{Sealed: []byte("fresh"), IssuedAt: later(8), ExpiresAt: later(9), ProvenAt: later(10), RefusedAt: later(11)},
		Refresh: keeper.Token{Sealed: []byte("refresh"), IssuedAt: later(12), ExpiresAt: later(13), ProvenAt: later(14), RefusedAt: later(15)},
		Lease:   keeper.Lease{ID: "lease", Until: later(16)}, Trouble: keeper.Trouble{Class: keeper.ClassBusy, Count: 2, Since: later(17), At: later(18), RetryAt: later(19)},
		VerifiedAt: later(20), CheckedAt: later(21), Announced: keeper.Notice{Days: 14, Deadline: later(22)},
		Outbox: keeper.Outbox{Events: recordedEvents, Count: 3, RetryAt: later(23)}, Due: later(24), ExpiresAt: later(25), Rev: "revision",
	}
	recordedSession = session.Session{Member: alice, Hash: session.Hash{1, 2, 3}, Generation: "generation", CreatedAt: later(1), ExpiresAt: later(26)}
	recordedBurn    = session.Burn{Use: session.Hash{4, 5, 6}, At: later(1), ExpiresAt: later(27), Settled: true, Member: alice, Outcome: "signed_in"}
	recordedControl = keeper.Control{
		Breaker: keeper.Breaker{Class: keeper.ClassApplication, Since: later(1), Until: later(2), Count: 4}, Brake: keeper.Brake{Refused: []keeper.MemberID{alice, bob}, At: later(3)},
		Outage: keeper.Outage{Since: later(4), Count: 5, Operation: "refresh"}, Locked: keeper.Locked{Members: []keeper.MemberID{bob}, At: later(5)}, PausedAt: later(6),
		Open: []keeper.OpenIncident{{ID: "incident", Cause: "outage", Since: later(7), Records: 1}}, Untold: recordedEvents, Rev: "control revision",
	}
	recordedIncident = keeper.Incident{ID: "incident", Cause: "outage", OpenedAt: later(7), ClosedAt: later(8), Records: []keeper.Record{{
		Operation: "refresh", At: later(7), Took: 1234567, ClientID: "77app", Method: "POST", URL: "https://www.linkedin.com/oauth/v2/accessToken",
		RequestHeaders: map[string]string{"Accept": "application/json", "User-Agent": "keepin"}, RequestBody: "grant_type=refresh_token",
		Status: 503, ResponseHeaders: map[string]string{"X-Li-Uuid": "uuid"}, ResponseBody: "<html>", Problem: "an outage",
	}}}
)

func later(hours int) time.Time { return recordedAt.Add(time.Duration(hours) * time.Hour) }

// TestFileOfVersion1IsRead opens the recorded file and finds in it all that was
// stored, before and after a pass of writes has made rows of the present version
// of them.
func TestFileOfVersion1IsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keepin.db")
	check(t, os.WriteFile(path, recorded(t), 0o600))
	if n := versions(t, path); n[1] != 5 || len(n) != 1 {
		t.Fatalf("rows by version: %v, want 5 of version 1", n)
	}
	db, err := bolt.Open(path, func() time.Time { return recordedAt })
	check(t, err)
	compare(t, db)

	ctx := t.Context()
	check(t, db.VoidLeases(ctx)) // as every start does
	g, err := db.Get(ctx, alice)
	check(t, err)
	old := g.Rev
	if g.Lease != (keeper.Lease{}) || old == recordedGrant.Rev {
		t.Errorf("VoidLeases left %+v at revision %s", g.Lease, old)
	}
	check(t, db.Put(ctx, recordedGrant, old))
	check(t, db.PutSession(ctx, recordedSession))
	check(t, db.Settle(ctx, session.Hash{7}, recordedBurn))
	check(t, db.PutControl(ctx, recordedControl, recordedControl.Rev))
	check(t, db.PutIncident(ctx, recordedIncident))
	compare(t, db)
	if due, err := db.Due(ctx, alice.Shard(), keeper.Nominee{}, recordedGrant.Due, 9); err != nil || len(due) != 1 {
		t.Errorf("Due: got %v, %v, want one", due, err)
	}
	check(t, db.Close())
	if n := versions(t, path); n[2] != 5 || len(n) != 1 {
		t.Errorf("rows by version: %v, want 5 of version 2", n)
	}
}

// TestSignOutEndsSessionsOfVersion1 has a grant of version 2 and a session of
// version 1 in one file, as a file has for months.
func TestSignOutEndsSessionsOfVersion1(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keepin.db")
	check(t, os.WriteFile(path, recorded(t), 0o600))
	db := open(t, path, func() time.Time { return recordedAt })
	g := recordedGrant
	g.Rev = "2"
	check(t, db.Put(t.Context(), g, recordedGrant.Rev))
	if _, s, err := db.Look(t.Context(), alice, recordedSession.Hash); err != nil || s != recordedSession {
		t.Errorf("got %+v, %v, want %+v", s, err, recordedSession)
	}
	g.Generation, g.Rev = "another", "3"
	check(t, db.Put(t.Context(), g, "2"))
	if _, _, err := db.Look(t.Context(), alice, recordedSession.Hash); !errors.Is(err, session.ErrNone) {
		t.Errorf("got %v, want ErrNone", err)
	}
}

// compare looks for what was recorded.
func compare(t *testing.T, db *bolt.DB) {
	t.Helper()
	ctx := t.Context()
	if g, err := db.Get(ctx, alice); err != nil || !reflect.DeepEqual(g, recordedGrant) {
		t.Errorf("Get: got %+v, %v, want %+v", g, err, recordedGrant)
	}
	unsealed := recordedGrant
	unsealed.Access.Sealed, unsealed.Fresh.Sealed, unsealed.Refresh.Sealed = nil, nil, nil
	if g, s, err := db.Look(ctx, alice, recordedSession.Hash); err != nil || s != recordedSession || !reflect.DeepEqual(g, unsealed) {
		t.Errorf("Look: got %+v, %+v, %v, want %+v, %+v", g, s, err, unsealed, recordedSession)
	}
	if b, err := db.Burn(ctx, session.Hash{7}, session.Burn{}); !errors.Is(err, session.ErrUsed) || b != recordedBurn {
		t.Errorf("Burn: got %+v, %v, want %+v", b, err, recordedBurn)
	}
	if c, err := db.Control(ctx); err != nil || !reflect.DeepEqual(c, recordedControl) {
		t.Errorf("Control: got %+v, %v, want %+v", c, err, recordedControl)
	}
	if is, err := db.Incidents(ctx, recordedAt); err != nil || !reflect.DeepEqual(is, []keeper.Incident{recordedIncident}) {
		t.Errorf("Incidents: got %+v, %v, want %+v", is, err, recordedIncident)
	}
}

// recorded is the file.
func recorded(t *testing.T) []byte {
	t.Helper()
	f, err := os.Open("testdata/version1.db.gz")
	check(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	check(t, err)
	b, err := io.ReadAll(z)
	check(t, err)
	return b
}

// versions counts the rows of a closed file by their version.
func versions(t *testing.T, path string) map[byte]int {
	t.Helper()
	count := make(map[byte]int)
	eachRow(t, path, func(_ string, row []byte) {
		if len(row) > 0 { // an index has none
			count[row[0]]++
		}
	})
	return count
}
