package bolt_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/keepin/keepin/shared/bolt"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/shared/storetest"
)

func TestDBKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) storetest.Stores {
		return open(t, filepath.Join(t.TempDir(), "keepin.db"), now)
	})
}

func TestEverythingOutlivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keepin.db")
	ctx := t.Context()
	now := time.Now().UTC().Truncate(time.Microsecond)
	g := keeper.Grant{Member: alice, Generation: "g", Due: now, Rev: "r"}
	s := session.Session{Member: alice, Hash: session.Hash{1}, Generation: "g", CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
	burn := session.Burn{Use: session.Hash{2}, At: now, ExpiresAt: now.Add(time.Hour)}

	db, err := bolt.Open(path, nil)
	check(t, err)
	check(t, db.Put(ctx, g, ""))
	check(t, db.PutSession(ctx, s))
	_, err = db.Burn(ctx, session.Hash{3}, burn)
	check(t, err)
	check(t, db.PutControl(ctx, keeper.Control{PausedAt: now, Rev: "c"}, ""))
	check(t, db.PutIncident(ctx, keeper.Incident{ID: "i", OpenedAt: now}))
	check(t, db.Close())

	db = open(t, path, nil)
	if _, got, err := db.Look(ctx, alice, s.Hash); err != nil || got != s {
		t.Errorf("Look: got %+v, %v, want %+v", got, err, s)
	}
	if ids, err := db.Due(ctx, alice.Shard(), keeper.Nominee{}, now, 9); err != nil || len(ids) != 1 {
		t.Errorf("Due: got %v, %v, want one", ids, err)
	}
	if got, err := db.Burn(ctx, session.Hash{3}, session.Burn{}); !errors.Is(err, session.ErrUsed) || got != burn {
		t.Errorf("Burn: got %+v, %v, want %+v, ErrUsed", got, err, burn)
	}
	if c, err := db.Control(ctx); err != nil || c.Rev != "c" || !c.PausedAt.Equal(now) {
		t.Errorf("Control: got %+v, %v", c, err)
	}
	if is, err := db.Incidents(ctx, now); err != nil || len(is) != 1 {
		t.Errorf("Incidents: got %v, %v, want one", is, err)
	}
}

// TestKillLosesNothingAcknowledged kills a process in the middle of its writes,
// some times over, and looks for each write that it had been told was done.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keepin.db")
	acknowledged := make(map[keeper.MemberID]string)
	for round := range 5 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWriter$")
		cmd.Env = append(os.Environ(), writerEnv+"="+path)
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if id, rev, ok := strings.Cut(lines.Text(), " "); ok {
				acknowledged[keeper.MemberID(id)] = rev
			}
			if n == 40*(round+1) {
				check(t, cmd.Process.Kill())
			}
		}
		_ = cmd.Wait()

		db, err := bolt.Open(path, nil)
		check(t, err)
		for id, rev := range acknowledged {
			g, err := db.Get(t.Context(), id)
			check(t, err)
			if g.Rev != rev {
				t.Errorf("round %d: %s: got revision %s, acknowledged was %s", round, id, g.Rev, rev)
			}
		}
		check(t, db.Close())
	}
	if len(acknowledged) < 200 {
		t.Errorf("got %d writes acknowledged, want some hundred", len(acknowledged))
	}
}

const writerEnv = "KEEPIN_BOLT_WRITER"

// TestWriter is the process that is killed: it says what it was told is done.
func TestWriter(t *testing.T) {
	path := os.Getenv(writerEnv)
	if path == "" {
		t.Skip("run by TestKillLosesNothingAcknowledged")
	}
	db := open(t, path, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				g := keeper.Grant{Member: keeper.NewMemberID("c", rand.Text()), Subject: strings.Repeat("s", 900), Due: time.Now(), Rev: rand.Text()}
				if err := db.Put(context.Background(), g, ""); err != nil {
					fmt.Println("failed: ", err)
					return
				}
				fmt.Printf("%s %s\n", g.Member, g.Rev)
			}
		})
	}
	wg.Wait()
}

func TestOpenSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	held := filepath.Join(dir, "held.db")
	open(t, held, nil)
	text := filepath.Join(dir, "text.db")
	check(t, os.WriteFile(text, []byte("no database at all"), 0o600))

	for name, c := range map[string]struct {
		path string
		want []string
	}{
		"held by another": {held, []string{held, "in use", "stop"}},
		"no folder":       {filepath.Join(dir, "no", "x.db"), []string{filepath.Join(dir, "no"), "there is no folder", "make it"}},
		"a folder":        {dir, []string{dir, "is a directory"}},
		"below a file":    {filepath.Join(text, "x.db"), []string{text, "not a directory"}},
		"another file":    {text, []string{text, "damaged", "move it aside", "restore a copy", "sign in again"}},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := bolt.Open(c.path, nil)
			if err == nil {
				_ = db.Close()
				t.Fatal("got no error")
			}
			if _, again := bolt.Open(c.path, nil); again == nil || again.Error() != err.Error() {
				t.Errorf("opened again: got %v, want the same", again)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
		})
	}
	if got, err := os.ReadFile(text); err != nil || string(got) != "no database at all" {
		t.Errorf("a file that is none of ours was changed to %q", got)
	}
}

// TestOpenWithoutPermissionSaysSo needs a user that permissions apply to: root
// becomes nobody.
func TestOpenWithoutPermissionSaysSo(t *testing.T) {
	if path := os.Getenv(nobodyEnv); path != "" {
		_, err := bolt.Open(path, nil)
		fmt.Println("error:", err)
		return
	}
	dir, err := os.MkdirTemp("", "keepin") // t.TempDir is closed to nobody altogether
	check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	exe := filepath.Join(dir, "bolt.test")
	b, err := os.ReadFile(os.Args[0])
	check(t, err)
	check(t, os.WriteFile(exe, b, 0o755)) //nolint:gosec // nobody runs it
	locked := filepath.Join(dir, "locked.db")
	check(t, os.WriteFile(locked, nil, 0o400))
	check(t, os.Chmod(dir, 0o555)) //nolint:gosec // nobody must get in

	for _, path := range []string{filepath.Join(dir, "new.db"), locked} {
		cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestOpenWithoutPermissionSaysSo$")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), nobodyEnv+"="+path)
		if os.Geteuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{path, "may not read and write", "give this user the file and its folder"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("got %s, want %q in it", out, want)
			}
		}
	}
}

const nobodyEnv = "KEEPIN_BOLT_NOBODY"

// TestDamagedFileIsRefused spoils a file in many places. Either the damage is
// found when it is opened, or everything is still there to read.
func TestDamagedFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.db")
	db, err := bolt.Open(whole, nil)
	check(t, err)
	var ids []keeper.MemberID
	for n := range 200 {
		id := keeper.NewMemberID("c", fmt.Sprint(n))
		ids = append(ids, id)
		length := 300
		if n%20 == 0 {
			length = 9000 // more than a page
		}
		check(t, db.Put(t.Context(), keeper.Grant{Member: id, Subject: strings.Repeat("s", length), Due: time.Now(), Rev: "r"}, ""))
	}
	check(t, db.Close())
	good, err := os.ReadFile(whole)
	check(t, err)
	page := os.Getpagesize()

	cases := map[string][]byte{
		"both heads zeroed": append(make([]byte, 2*page), good[2*page:]...),
		"a page left":       good[:page],
		"noise":             bytes.Repeat([]byte("noise!\n"), 5000),
	}
	for at := 2 * page; at < len(good); at += page {
		spoilt := bytes.Clone(good)
		copy(spoilt[at:], bytes.Repeat([]byte{0xA5}, page))
		cases[fmt.Sprintf("page %d spoilt", at/page)] = spoilt
		cases[fmt.Sprintf("cut before page %d", at/page)] = good[:at]
	}
	refused := 0
	for name, content := range cases {
		path := filepath.Join(dir, "spoilt.db")
		check(t, os.WriteFile(path, content, 0o600))
		db, err := bolt.Open(path, nil)
		if err == nil {
			for _, id := range ids {
				if _, err := db.Get(t.Context(), id); err != nil {
					t.Errorf("%s: opened, and then: %v", name, err)
					break
				}
			}
			check(t, db.Close())
			continue
		}
		refused++
		if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move it aside") {
			t.Errorf("%s: got %q, want the file's name and a way out", name, err)
		}
		// The way out works.
		check(t, os.Rename(path, path+".aside"))
		db, err = bolt.Open(path, nil)
		check(t, err)
		check(t, db.Close())
	}
	if refused < len(cases)/3 {
		t.Errorf("got %d of %d spoilt files refused", refused, len(cases))
	}
}

func TestFileIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keepin.db")
	for _, was := range []os.FileMode{0, 0o644} {
		if was != 0 {
			check(t, os.Chmod(path, was))
		}
		db, err := bolt.Open(path, nil)
		check(t, err)
		check(t, db.Close())
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
		}
	}
}

func TestVoidLeasesFreesEveryLease(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "keepin.db"), nil)
	ctx := t.Context()
	leased := keeper.Grant{Member: alice, Subject: "s", Lease: keeper.Lease{ID: "l", Until: time.Now().Add(time.Hour)}, Rev: "1"}
	free := keeper.Grant{Member: bob, Subject: "s", Rev: "2"}
	check(t, db.Put(ctx, leased, ""))
	check(t, db.Put(ctx, free, ""))
	check(t, db.VoidLeases(ctx))

	if g, err := db.Get(ctx, alice); err != nil || g.Lease != (keeper.Lease{}) || g.Subject != "s" || g.Rev == "1" || g.Rev == "" {
		t.Errorf("got %+v, %v, want it free under a new revision", g, err)
	}
	if g, err := db.Get(ctx, bob); err != nil || g.Rev != "2" {
		t.Errorf("got %+v, %v, want the other untouched", g, err)
	}
}

func TestNewGenerationEndsTheSessionsOfTheOld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keepin.db")
	db, err := bolt.Open(path, nil)
	check(t, err)
	ctx := t.Context()
	check(t, db.Put(ctx, keeper.Grant{Member: alice, Generation: "g", Rev: "1"}, ""))
	for n := range byte(3) {
		for _, id := range []keeper.MemberID{alice, bob} {
			check(t, db.PutSession(ctx, session.Session{Member: id, Hash: session.Hash{n}, Generation: "g", ExpiresAt: time.Now().Add(time.Hour)}))
		}
	}
	check(t, db.Put(ctx, keeper.Grant{Member: alice, Generation: "h", Rev: "2"}, "1"))
	check(t, db.Close())
	if n := rows(t, path)["sessions"]; n != 3 {
		t.Errorf("got %d sessions, want the other member's 3", n)
	}
}

// TestWhatHasEndedLeavesTheFile fills every bucket, lets it all end, and counts.
func TestWhatHasEndedLeavesTheFile(t *testing.T) {
	start := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, use := range map[string]func(*bolt.DB){
		"by Sweep":   func(db *bolt.DB) { check(t, db.Sweep(t.Context())) },
		"by writing": func(db *bolt.DB) { check(t, db.EndSession(t.Context(), bob, session.Hash{})) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keepin.db")
			now := start
			db, err := bolt.Open(path, func() time.Time { return now })
			check(t, err)
			ctx := t.Context()
			end := start.Add(time.Hour)
			check(t, db.Put(ctx, keeper.Grant{Member: alice, Due: start, ExpiresAt: end.Add(-time.Minute), Rev: "1"}, ""))
			check(t, db.Put(ctx, keeper.Grant{Member: alice, Due: end, ExpiresAt: end, Rev: "2"}, "1"))
			check(t, db.PutSession(ctx, session.Session{Member: alice, Hash: session.Hash{1}, ExpiresAt: end}))
			check(t, db.PutSession(ctx, session.Session{Member: alice, Hash: session.Hash{2}, Generation: "void", ExpiresAt: end.AddDate(1, 0, 0)}))
			for range 2 {
				check(t, db.PutSession(ctx, session.Session{Member: bob, Hash: session.Hash{1}, ExpiresAt: end}))
			}
			_, err = db.Burn(ctx, session.Hash{1}, session.Burn{ExpiresAt: end})
			check(t, err)
			check(t, db.PutIncident(ctx, keeper.Incident{ID: "i", OpenedAt: end.Add(-keeper.KeepIncidents)}))
			now = end.Add(-time.Microsecond)
			use(db)
			check(t, db.Close())
			if got, want := fmt.Sprint(rows(t, path)), "map[burns:1 due:1 ends:6 grants:1 incidents:1 sessions:3]"; got != want {
				t.Errorf("a microsecond before: got %s, want %s", got, want)
			}

			db, err = bolt.Open(path, func() time.Time { return now })
			check(t, err)
			now = end
			use(db)
			check(t, db.Close())
			if got, want := fmt.Sprint(rows(t, path)), "map[]"; got != want {
				t.Errorf("at the end: got %s, want %s", got, want)
			}
		})
	}
}

// TestRowsOfVersion1AreRead holds a row as the first keepin wrote it. Its text
// must never be changed.
func TestRowsOfVersion1AreRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keepin.db")
	put(t, path, "grants", []byte(alice), []byte("\x01\xbe\x78\xd0\xea\x00\x00\x00\x00\x00\x00\x00\x00"+
		`{"sub":"s","profile":{"name":"Alice"},"generation":"g","status":"active","scopes":["openid"],`+
		`"access":{"sealed":"AQI=","issued_at":"2026-01-02T03:04:05.000006Z","expires_at":"2026-03-02T03:04:05Z"},`+
		`"lease":{"id":"l","until":"2026-01-02T03:04:50Z"},"announced":{"days":30},"due":"2026-02-20T00:00:00Z","rev":"r"}`))
	db := open(t, path, nil)
	g, err := db.Get(t.Context(), alice)
	check(t, err)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	if g.Subject != "s" || g.Profile.Name != "Alice" || g.Generation != "g" || g.Status != keeper.Active || len(g.Scopes) != 1 ||
		!bytes.Equal(g.Access.Sealed, []byte{1, 2}) || !g.Access.IssuedAt.Equal(at) || g.Lease.ID != "l" || g.Announced.Days != 30 || g.Rev != "r" {
		t.Errorf("got %+v", g)
	}
}

func TestRowsThatCannotBeReadAreErrors(t *testing.T) {
	for name, c := range map[string]struct {
		row    []byte
		opens  bool
		refuse string
	}{
		"a later version":         {append([]byte{3}, row(1, "{}")[1:]...), false, "version 3"},
		"version 0":               {append([]byte{0}, row(1, "{}")[1:]...), false, "version 0"},
		"too short":               {[]byte{1}, false, "damaged"},
		"another sum":             {append(row(1, `{"sub":"a"`), "hidden"...), false, "damaged"},
		"no JSON":                 {row(1, `{"sub":hidden`), true, "damaged"},
		"another shape":           {row(1, `{"due":"hidden"}`), true, "damaged"},
		"JSON in fields' stead":   {row(2, `{"sub":"hidden"}`), true, "damaged"},
		"another sum of fields":   {append(row(2, "\x01\x01a"), "hidden"...), false, "damaged"},
		"a field cut short":       {row(2, "\x01\x07hidden"), true, "damaged"},
		"a field without length":  {row(2, "\x01"), true, "damaged"},
		"a length too long":       {row(2, "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01hidden"), true, "damaged"},
		"a length without an end": {row(2, "\x01"+strings.Repeat("\xff", 11)), true, "damaged"},
		"a time of 6 bytes":       {row(2, "\x50\x06hidden"), true, "damaged"},
		"a number of 6 bytes":     {row(2, "\x33\x06hidden"), true, "damaged"},
		"an event cut short":      {row(2, "\x46\x08\x01\x07hidden"), true, "damaged"},
		"an end that is a field":  {row(2, "\x01\x01a\xff\x06hidden"), true, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "keepin.db")
			put(t, path, "grants", []byte(alice), c.row)
			db, err := bolt.Open(path, nil)
			if (err == nil) != c.opens {
				t.Errorf("Open: got %v, want it to open: %v", err, c.opens)
			}
			if err == nil {
				_, err = db.Get(t.Context(), alice)
				if db.Put(t.Context(), keeper.Grant{Member: alice, Rev: "r"}, "") == nil {
					t.Error("Put wrote over what cannot be read")
				}
				check(t, db.Close())
			}
			if err == nil || !strings.Contains(err.Error(), c.refuse) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("got %v, want %q and nothing of the row", err, c.refuse)
			}
			if errors.Is(err, keeper.ErrNotFound) {
				t.Error("what cannot be read is not found: a sign-in would write over it")
			}
		})
	}
}

// TestWhatIsReadOutlivesTheRow: what bbolt hands out is unmapped, or another row,
// when the transaction is over.
func TestWhatIsReadOutlivesTheRow(t *testing.T) {
	for version, row := range map[string][]byte{
		"1": row(1, `{"sub":"subject","scopes":["email"],"access":{"sealed":"AAH+/w=="},"outbox":{"events":[{"id":"event-1"}]},"rev":"r"}`),
		"2": row(2, "\x01\x07subject\x07\x05email\x0a\x04\x00\x01\xfe\xff\x46\x09\x01\x07event-1\x52\x01r"),
	} {
		key := []byte(alice)
		g, _, errs := bolt.DecodeAll(key, row)
		check(t, errs[0])
		clear(row)
		clear(key)
		want := keeper.Grant{Member: alice, Subject: "subject", Scopes: []string{"email"}, Access: keeper.Token{Sealed: []byte{0, 1, 254, 255}},
			Outbox: keeper.Outbox{Events: []keeper.Event{{ID: "event-1"}}}, Rev: "r"}
		if !reflect.DeepEqual(g, want) {
			t.Errorf("version %s: got %+v, want %+v", version, g, want)
		}
	}
}

func TestTextComesBackAsItWas(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "keepin.db"), nil)
	for n, name := range []string{"\xff", "half \xed\xa0\x80", "\x00", "<&>\u2028", strings.Repeat("long", 100)} {
		g := keeper.Grant{Member: keeper.NewMemberID("c", fmt.Sprint(n)), Profile: keeper.Profile{Name: name}, Scopes: []string{"", name, ""}, Rev: "r"}
		check(t, db.Put(t.Context(), g, ""))
		if got, err := db.Get(t.Context(), g.Member); err != nil || !reflect.DeepEqual(got, g) {
			t.Errorf("got %+v, %v, want %+v", got, err, g)
		}
	}
}

// TestFieldsOfALaterKeepinArePassedOver: what a later one adds to an item of this
// version does not stop this one.
func TestFieldsOfALaterKeepinArePassedOver(t *testing.T) {
	g, _, errs := bolt.DecodeAll([]byte(alice), row(2, "\x00\x01?\x01\x01s\x09\x02??\x46\x06\x01\x01e\x09\x01?\x52\x01r\x60\x00\xfe\x03???"))
	check(t, errs[0])
	want := keeper.Grant{Member: alice, Subject: "s", Outbox: keeper.Outbox{Events: []keeper.Event{{ID: "e"}}}, Rev: "r"}
	if !reflect.DeepEqual(g, want) {
		t.Errorf("got %+v, want %+v", g, want)
	}
}

// row is a row with a right sum and no end.
func row(version byte, item string) []byte {
	body := append(make([]byte, 8), item...)
	head := binary.BigEndian.AppendUint32([]byte{version}, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(head, body...)
}

// TestConflictUndoesNobodyElse has writes of one batch refused.
func TestConflictUndoesNobodyElse(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "keepin.db"), nil)
	check(t, db.Put(t.Context(), keeper.Grant{Member: alice, Rev: "r"}, ""))
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			if n%2 == 0 {
				if err := db.Put(t.Context(), keeper.Grant{Member: alice, Rev: fmt.Sprint(n)}, "other"); !errors.Is(err, keeper.ErrConflict) {
					t.Errorf("got %v, want ErrConflict", err)
				}
				return
			}
			g := keeper.Grant{Member: keeper.NewMemberID("c", fmt.Sprint(n)), Rev: "r"}
			if err := db.Put(t.Context(), g, ""); err != nil {
				t.Error(err)
			}
			if _, err := db.Get(t.Context(), g.Member); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func BenchmarkPut(b *testing.B) {
	db, err := bolt.Open(filepath.Join(b.TempDir(), "keepin.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			g := keeper.Grant{Member: keeper.NewMemberID("c", rand.Text()), Access: keeper.Token{Sealed: make([]byte, 400)}, Rev: "r"}
			if err := db.Put(context.Background(), g, ""); err != nil {
				b.Error(err)
			}
		}
	})
}

var alice, bob = keeper.NewMemberID("c", "alice"), keeper.NewMemberID("c", "bob")

func open(t *testing.T, path string, now func() time.Time) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(path, now)
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	return db
}

// rows counts what is in the file of a closed DB, by bucket.
func rows(t *testing.T, path string) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	eachRow(t, path, func(bucket string, _ []byte) { counts[bucket]++ })
	return counts
}

// eachRow is called with each row of a closed DB, and its bucket.
func eachRow(t *testing.T, path string, f func(bucket string, row []byte)) {
	t.Helper()
	raw(t, path, func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(_, v []byte) error {
				f(string(name), v)
				return nil
			})
		})
	})
}

// put writes a raw row.
func put(t *testing.T, path, bucket string, key, row []byte) {
	t.Helper()
	raw(t, path, func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucket))
		if err != nil {
			return err
		}
		return b.Put(key, row)
	})
}

func raw(t *testing.T, path string, f func(*bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	check(t, err)
	check(t, db.Update(f))
	check(t, db.Close())
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
