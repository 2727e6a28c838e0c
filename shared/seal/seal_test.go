package seal_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/test/bounds"
)

// source is a keyset that can be replaced, can fail, and counts its readings.
type source struct {
	mu      sync.Mutex
	set     secret.String
	cached  secret.String // what a reading that is no reread gets; zero: set
	err     error
	reads   int
	rereads int
}

func (s *source) read(_ context.Context, reread bool) (secret.String, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if reread {
		s.rereads++
	}
	if !reread && !s.cached.IsZero() {
		return s.cached, s.err
	}
	return s.set, s.err
}

func (s *source) put(set secret.String, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set, s.err = set, err
}

// fixture is a Sealer with its source and a clock.
type fixture struct {
	*seal.Sealer
	*source
	mu  sync.Mutex
	now time.Time
}

func newFixture(set secret.String) *fixture {
	f := &fixture{source: &source{set: set}, now: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)}
	f.Sealer = seal.New(seal.Config{Source: f.read, Now: func() time.Time {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.now
	}})
	return f
}

func (f *fixture) pass(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) mustSeal(t testing.TB, clear string) []byte {
	t.Helper()
	blob, err := f.Seal(context.Background(), secret.New(clear), keeper.PurposeAccess, owner)
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

const owner = "AAAAAAAAAAAAAAAAAAAAAA"

// first is a keyset as CloudFormation's GenerateSecretString makes it.
var first = secret.New(`{"1":"` + strings.Repeat("0aZ9", 16) + `"}`)

func mustAdd(t testing.TB, set secret.String) secret.String {
	t.Helper()
	out, err := seal.AddKey(set)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatWasSealedOpens(t *testing.T) {
	for _, set := range []secret.String{first, seal.NewKeyset(), mustAdd(t, first)} {
		f := newFixture(set)
		for _, clear := range []string{"", "a", strings.Repeat("x", 100_000)} {
			blob := f.mustSeal(t, clear)
			got, err := f.Open(t.Context(), blob, keeper.PurposeAccess, owner)
			if err != nil || got.Reveal() != clear || len(blob) != len(clear)+53 {
				t.Errorf("%d bytes: %v, %d bytes sealed", len(clear), err, len(blob))
			}
		}
	}
}

func TestTwoSealedValuesAreNeverTheSame(t *testing.T) {
	f := newFixture(first)
	if a, b := f.mustSeal(t, "same"), f.mustSeal(t, "same"); bytes.Equal(a[37:], b[37:]) || bytes.Equal(a[5:37], b[5:37]) {
		t.Error("salt or ciphertext repeats")
	}
}

func TestAValueOpensForItsOwnerAndPurposeOnly(t *testing.T) {
	f := newFixture(first)
	blob := f.mustSeal(t, "token")
	for _, tt := range []struct {
		purpose keeper.Purpose
		owner   string
	}{
		{keeper.PurposeRefresh, owner},
		{keeper.PurposeTransaction, owner},
		{keeper.PurposeTicket, owner},
		{"", owner},
		{keeper.PurposeAccess, "BAAAAAAAAAAAAAAAAAAAAA"},
		{keeper.PurposeAccess, owner[:21]},
		{keeper.PurposeAccess, ""},
		{keeper.PurposeAccess + "A", owner[1:]}, // the same bytes, cut elsewhere
		{keeper.PurposeAccess[:5], "s" + owner},
	} {
		if got, err := f.Open(t.Context(), blob, tt.purpose, tt.owner); err != seal.ErrOpen || !got.IsZero() {
			t.Errorf("%q, %q: %v", tt.purpose, tt.owner, err)
		}
	}
}

func TestNoChangeOfABitGoesUnnoticed(t *testing.T) {
	blob := newFixture(first).mustSeal(t, "token")
	for i := range len(blob) * 8 {
		f := newFixture(first)
		changed := bytes.Clone(blob)
		changed[i/8] ^= 1 << (i % 8)
		if _, err := f.Open(t.Context(), changed, keeper.PurposeAccess, owner); err != seal.ErrOpen {
			t.Errorf("bit %d: %v", i, err)
		}
	}
	for n := range blob {
		if _, err := newFixture(first).Open(t.Context(), blob[:n], keeper.PurposeAccess, owner); err != seal.ErrOpen {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := newFixture(first).Open(t.Context(), append(blob, 0), keeper.PurposeAccess, owner); err != seal.ErrOpen {
		t.Errorf("one byte more: %v", err)
	}
}

func TestTheKeyIDIsVouchedForEvenWhenTheKeysAreTheSame(t *testing.T) {
	key := strings.Repeat("k", 43)
	f := newFixture(secret.New(`{"1":"` + key + `","2":"` + key + `"}`))
	blob := f.mustSeal(t, "token")
	blob[4] = 1
	if _, err := f.Open(t.Context(), blob, keeper.PurposeAccess, owner); err != seal.ErrOpen {
		t.Error(err)
	}
}

// golden is "golden token" as sealed with first for owner.
const golden = "01000000016ae6783f4fbde91b6eb88b73a48ed247dbe5882e2579683432c1bfc525454addd5c1d6c7e2e657e969be01e6fde3e605ba1cd4fbfb09dd9d07289fc7"

// TestTheFormatStays opens a value that an earlier keepin wrote, and seals the
// same with the same randomness.
func TestTheFormatStays(t *testing.T) {
	want, err := hex.DecodeString(golden)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(first)
	got, err := f.Open(t.Context(), want, keeper.PurposeAccess, owner)
	if err != nil || got.Reveal() != "golden token" {
		t.Errorf("open: %v", err)
	}
	cryptotest.SetGlobalRandom(t, 1)
	if blob := f.mustSeal(t, "golden token"); !bytes.Equal(blob, want) {
		t.Errorf("got %x", blob)
	}
}

func TestTheKeysetIsReadOnceInFiveMinutes(t *testing.T) {
	f := newFixture(first)
	for range 10 {
		f.mustSeal(t, "a")
	}
	f.pass(5*time.Minute - 1)
	f.mustSeal(t, "a")
	if f.reads != 1 {
		t.Errorf("%d readings before 5 minutes", f.reads)
	}
	f.pass(1)
	f.mustSeal(t, "a")
	f.mustSeal(t, "a")
	if f.reads != 2 || f.rereads != 0 {
		t.Errorf("%d readings after 5 minutes, %d rereads", f.reads, f.rereads)
	}
}

func TestANewKeyIsFoundByOneReread(t *testing.T) {
	old, second := newFixture(first), mustAdd(t, first)
	old.mustSeal(t, "a")
	blob := newFixture(second).mustSeal(t, "b")
	old.cached = first // a source that caches must be told to read again
	old.put(second, nil)
	if got, err := old.Open(t.Context(), blob, keeper.PurposeAccess, owner); err != nil || got.Reveal() != "b" {
		t.Fatal(err)
	}
	if old.rereads != 1 {
		t.Errorf("%d rereads", old.rereads)
	}
	if id, err := seal.KeyID(old.mustSeal(t, "c")); err != nil || id != 2 {
		t.Errorf("sealed with key %d, %v", id, err)
	}
}

// TestAnUnknownKeyCostsOneReadingInTenSeconds also holds that a value whose
// key may still come is not called broken.
func TestAnUnknownKeyCostsOneReadingInTenSeconds(t *testing.T) {
	f := newFixture(first)
	foreign := newFixture(mustAdd(t, first)).mustSeal(t, "b")
	open := func() error {
		_, err := f.Open(t.Context(), foreign, keeper.PurposeAccess, owner)
		return err
	}
	if err := open(); err != seal.ErrOpen {
		t.Errorf("read just now: %v", err)
	}
	for range 5 {
		if err := open(); !errors.Is(err, seal.ErrKeyset) || errors.Is(err, seal.ErrOpen) {
			t.Errorf("read a moment ago: %v", err)
		}
	}
	f.pass(10*time.Second - 1)
	open()
	if f.rereads != 1 {
		t.Errorf("%d rereads within 10 s", f.rereads)
	}
	f.pass(1)
	if err := open(); err != seal.ErrOpen || f.rereads != 2 {
		t.Errorf("after 10 s: %v, %d rereads", err, f.rereads)
	}
	f.pass(-time.Hour) // a clock that is set back stops nothing
	if open(); f.rereads != 3 {
		t.Errorf("clock set back: %d rereads", f.rereads)
	}
}

func TestAKeyThatWasPrunedOpensNothing(t *testing.T) {
	blob := newFixture(first).mustSeal(t, "a")
	pruned, dropped, err := seal.Prune(mustAdd(t, first), func(uint32) bool { return false })
	if err != nil || fmt.Sprint(dropped) != "[1]" {
		t.Fatal(dropped, err)
	}
	f := newFixture(pruned)
	for range 3 {
		if _, err := f.Open(t.Context(), blob, keeper.PurposeAccess, owner); err != seal.ErrOpen {
			t.Error(err)
		}
	}
	if f.rereads != 1 {
		t.Errorf("%d rereads", f.rereads)
	}
}

func TestTheKeysetThatIsHeldGoesOnWhileTheSourceFails(t *testing.T) {
	f := newFixture(first)
	blob := f.mustSeal(t, "a")
	for _, broken := range []struct {
		set secret.String
		err error
	}{{first, errors.New("down")}, {secret.New("{}"), nil}} {
		f.put(broken.set, broken.err)
		f.pass(24 * time.Hour)
		reads := f.reads
		for range 3 {
			if _, err := f.Open(t.Context(), blob, keeper.PurposeAccess, owner); err != nil {
				t.Error(err)
			}
			f.mustSeal(t, "b")
		}
		if f.reads != reads+1 {
			t.Errorf("%d readings within 10 s of a failure", f.reads-reads)
		}
	}
	f.put(first, nil)
	f.pass(10 * time.Second)
	f.mustSeal(t, "c")
	f.pass(time.Minute)
	reads := f.reads
	if f.mustSeal(t, "d"); f.reads != reads {
		t.Error("a source that works again is not believed")
	}
}

func TestAnUnavailableKeysetIsNotABrokenValue(t *testing.T) {
	blob := newFixture(mustAdd(t, first)).mustSeal(t, "a")
	down := errors.New("down")
	t.Run("none yet", func(t *testing.T) {
		f := newFixture(first)
		f.put(first, down)
		if _, err := f.Seal(t.Context(), secret.New("a"), keeper.PurposeAccess, owner); !errors.Is(err, seal.ErrKeyset) || !errors.Is(err, down) {
			t.Error(err)
		}
		f.put(first, nil)
		f.mustSeal(t, "a") // at once
	})
	t.Run("a key that may be new", func(t *testing.T) {
		f := newFixture(first)
		f.mustSeal(t, "a")
		f.put(first, down)
		for range 2 {
			if _, err := f.Open(t.Context(), blob, keeper.PurposeAccess, owner); !errors.Is(err, seal.ErrKeyset) || errors.Is(err, seal.ErrOpen) {
				t.Error(err)
			}
		}
		if f.rereads != 1 {
			t.Errorf("%d rereads", f.rereads)
		}
	})
	t.Run("a caller who left", func(t *testing.T) {
		f := newFixture(first)
		f.mustSeal(t, "a")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		f.pass(6 * time.Minute)
		f.put(first, context.Canceled)
		if _, err := f.Seal(ctx, secret.New("a"), keeper.PurposeAccess, owner); err != nil {
			t.Error(err)
		}
		f.put(mustAdd(t, first), nil)
		if id, _ := seal.KeyID(f.mustSeal(t, "a")); id != 2 {
			t.Error("others must wait because of it")
		}
	})
}

// TestKeysRotateWhileOthersSealAndOpen rotates and prunes under two processes
// that seal and open each other's values: none of them ever fails to open.
func TestKeysRotateWhileOthersSealAndOpen(t *testing.T) {
	set := first
	a, b := newFixture(set), newFixture(set)
	blobs, stop := make(chan []byte, 16), make(chan struct{})
	var wg sync.WaitGroup
	work := func(f *fixture) (done *atomic.Int64) {
		done = new(atomic.Int64)
		for range 2 {
			wg.Go(func() {
				for ; ; done.Add(1) {
					blob, err := f.Seal(t.Context(), secret.New("x"), keeper.PurposeAccess, owner)
					if err != nil {
						t.Error(err)
					}
					select {
					case <-stop:
						return
					case blobs <- blob:
					case blob = <-blobs:
						if _, err := f.Open(t.Context(), blob, keeper.PurposeAccess, owner); errors.Is(err, seal.ErrOpen) {
							t.Error(err)
						}
					}
				}
			})
		}
		return done
	}
	byA, byB := work(a), work(b)
	some := func() {
		for atA, atB := byA.Load(), byB.Load(); byA.Load() < atA+100 || byB.Load() < atB+100; {
			runtime.Gosched()
		}
	}
	for range 20 {
		some()
		set = mustAdd(t, set)
		a.put(set, nil)
		b.put(set, nil)
		a.pass(time.Minute)
		b.pass(11 * time.Second) // so that only a value of a's has it read the new keyset
	}
	some()
	close(stop)
	wg.Wait()
	if b.rereads == 0 {
		t.Error("b met no key that it did not hold: the test shows nothing")
	}
}

func TestAKeysetIsCheckedAndNotQuoted(t *testing.T) {
	k := strings.Repeat("CANARY-", 7)
	many := `{"1":"` + k + `"`
	for i := range 64 {
		many += fmt.Sprintf(`,"%d":"%s"`, i+2, k)
	}
	for _, bad := range []string{
		"", "null", "[]", k, `{}`, `{"1":"` + k + `"`, `{"1":"` + k + `"} x`, `{"1":"` + k + `"}{}`, `{"1":"` + k,
		`{"1":"` + k + `","1":"` + k + `x"}`, `{"0":"` + k + `"}`, `{"01":"` + k + `"}`, `{"-1":"` + k + `"}`, `{"CANARY-":"` + k + `"}`,
		`{"4294967296":"` + k + `"}`, `{"1":"` + k[:42] + `"}`, `{"1":1}`, `{"1":{"a":"` + k + `"}}`, `{"1":["` + k + `"]}`, `{"1":null}`,
		`{"1":"` + strings.Repeat("CANARY-", 200) + `"}`, many + "}",
	} {
		err := seal.Check(secret.New(bad))
		if err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%.60q: %v", bad, err)
		}
		if _, err := seal.AddKey(secret.New(bad)); err == nil {
			t.Errorf("%.60q: a key was added", bad)
		}
		if _, _, err := seal.Prune(secret.New(bad), func(uint32) bool { return true }); err == nil {
			t.Errorf("%.60q: was pruned", bad)
		}
	}
	if err := seal.Check(first); err != nil {
		t.Error(err)
	}
}

func TestAKeysetDoesNotGrowForever(t *testing.T) {
	set := first
	for range 63 {
		set = mustAdd(t, set)
	}
	if _, err := seal.AddKey(set); err == nil {
		t.Error("65 keys")
	}
	set, dropped, err := seal.Prune(set, func(id uint32) bool { return id == 10 })
	if err != nil || len(dropped) != 62 || dropped[0] != 1 || dropped[61] != 63 {
		t.Fatal(dropped, err)
	}
	var ids []uint32
	for range 2 {
		f := newFixture(set)
		id, err := seal.KeyID(f.mustSeal(t, "a"))
		if err != nil {
			t.Fatal(err)
		}
		ids, set = append(ids, id), mustAdd(t, set)
	}
	if fmt.Sprint(ids) != "[64 65]" { // an id never comes again
		t.Error(ids)
	}
}

func FuzzOpen(f *testing.F) {
	fx := newFixture(first)
	blob, _ := hex.DecodeString(golden) // each worker of the fuzzer must have the same
	f.Add(blob)
	f.Add(blob[:53])
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		var got secret.String
		var err error
		bounds.Check(t, func() { got, err = fx.Open(context.Background(), b, keeper.PurposeAccess, owner) })
		if bytes.Equal(b, blob) {
			if err != nil || got.Reveal() != "golden token" {
				t.Fatal(err)
			}
			return
		}
		if err == nil || !got.IsZero() || !errors.Is(err, seal.ErrOpen) && !errors.Is(err, seal.ErrKeyset) {
			t.Fatalf("%x opens: %v", b, err)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	f := newFixture(first)
	blob := f.mustSeal(b, strings.Repeat("t", 400))
	for b.Loop() {
		if _, err := f.Open(b.Context(), blob, keeper.PurposeAccess, owner); err != nil {
			b.Fatal(err)
		}
	}
}
