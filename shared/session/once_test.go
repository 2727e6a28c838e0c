package session_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/session"
)

var signed = secret.New("4F8GWZ0BD2ghAlwv5bWTLX3h4iQ=")

const someone keeper.MemberID = "AAAAAAAAAAAAAAAAAAAAAA"

func TestASpentSignatureIsUsedForAnHour(t *testing.T) {
	b := newBench(t, true)
	o, err := b.TakeOnce(t.Context(), signed)
	b.must(err)
	if o.Session.IsZero() || o.Member() != "" {
		t.Errorf("got %+v", o)
	}
	b.pass(20 * time.Second) // at LinkedIn
	b.must(b.Spend(t.Context(), o, someone))
	for _, after := range []time.Duration{0, time.Minute, time.Hour - 81*time.Second} {
		b.pass(after)
		used, err := b.TakeOnce(t.Context(), signed)
		if !errors.Is(err, session.ErrUsed) || used.Member() != someone || !used.Session.IsZero() {
			t.Errorf("after %v more: %+v, %v", after, used, err)
		}
	}
	if _, err := b.TakeOnce(t.Context(), secret.New("another signature")); err != nil {
		t.Errorf("another signature: %v", err)
	}
	b.pass(time.Second)
	again, err := b.TakeOnce(t.Context(), signed)
	if err != nil || again.Session.Equal(o.Session) {
		t.Errorf("after the hour: %v", err)
	}
}

// TestATakenSignatureIsFreeAgain: at once when it is returned, after a minute
// when the process that took it has died.
func TestATakenSignatureIsFreeAgain(t *testing.T) {
	b := newBench(t, true)
	_, err := b.TakeOnce(t.Context(), signed)
	b.must(err)
	if _, err := b.TakeOnce(t.Context(), signed); !errors.Is(err, session.ErrPending) || b.slept != 5*time.Second {
		t.Errorf("taken: %v after %v", err, b.slept)
	}
	b.pass(55*time.Second - time.Millisecond)
	_, err = b.TakeOnce(t.Context(), signed)
	if b.must(err); b.slept > 6*time.Second {
		t.Errorf("the minute is over, and it waits %v", b.slept)
	}
	b.pass(time.Minute)
	o, err := b.TakeOnce(t.Context(), signed)
	b.must(err)
	b.must(b.Return(t.Context(), o))
	b.slept = 0
	if _, err = b.TakeOnce(t.Context(), signed); err != nil || b.slept != 0 {
		t.Errorf("returned: %v after %v", err, b.slept)
	}
}

func TestWhoWaitsForASignatureSeesWhatBecomesOfIt(t *testing.T) {
	for name, c := range map[string]struct {
		then func(*bench, session.Once) error
		want error
	}{
		"spent":    {func(b *bench, o session.Once) error { return b.Spend(b.Context(), o, someone) }, session.ErrPending},
		"returned": {func(b *bench, o session.Once) error { return b.Return(b.Context(), o) }, nil},
	} {
		b := newBench(t, true)
		o, err := b.TakeOnce(t.Context(), signed)
		b.must(err)
		b.onSleep = sync.OnceFunc(func() { b.must(c.then(b, o)) })
		got, err := b.TakeOnce(t.Context(), signed)
		if !errors.Is(err, c.want) || b.slept != 100*time.Millisecond || c.want == nil && got.Session.Equal(o.Session) {
			t.Errorf("%s: %v after %v", name, err, b.slept)
		}
	}
}

func TestOneOfManyTakesASignature(t *testing.T) {
	b := newBench(t, true)
	var all sync.WaitGroup
	var taken, pending atomic.Int32
	for range 8 { // eight times five seconds of waiting is less than the minute
		all.Go(func() {
			switch _, err := b.TakeOnce(t.Context(), signed); {
			case err == nil:
				taken.Add(1)
			case errors.Is(err, session.ErrPending):
				pending.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if taken.Load() != 1 || pending.Load() != 7 {
		t.Errorf("%d have it, %d wait", taken.Load(), pending.Load())
	}
}

// TestALostAnswerOfTheStoreIsNoLostSignature: each write fails, or succeeds and
// its answer is lost, once and for good.
func TestALostAnswerOfTheStoreIsNoLostSignature(t *testing.T) {
	for _, apply := range []bool{false, true} {
		for _, times := range []int{1, 2, 1000} {
			for _, at := range []string{"Burn", "Settle"} {
				b := newBench(t, true)
				left := times
				b.store.Before = func(op string) (bool, error) {
					if op == at && left > 0 {
						left--
						return apply, errors.New("canary")
					}
					return true, nil
				}
				o, err := b.TakeOnce(t.Context(), signed)
				if err == nil {
					err = b.Spend(t.Context(), o, someone)
				}
				if (err == nil) != (times < 3) {
					t.Errorf("%s fails %d times, stored %v: %v", at, times, apply, err)
				}
				left = 0
				used, err := b.TakeOnce(t.Context(), signed)
				switch stored := apply && times == 1000; {
				case times < 3 && (!errors.Is(err, session.ErrUsed) || used.Member() != someone):
					t.Errorf("%s failed %d times, stored %v: then %+v, %v", at, times, apply, used, err)
				case stored && at == "Settle" && !errors.Is(err, session.ErrUsed): // nothing was given, and nobody else is let in
					t.Errorf("%s was stored: then %v", at, err)
				case stored && at == "Burn" && !errors.Is(err, session.ErrPending):
					t.Errorf("%s was stored: then %v", at, err)
				}
				if times < 1000 {
					continue
				}
				b.pass(time.Hour)
				if _, err := b.TakeOnce(t.Context(), signed); err != nil {
					t.Errorf("%s, stored %v: an hour later %v", at, apply, err)
				}
			}
		}
	}
}

func TestASignatureIsNoState(t *testing.T) {
	b := newBench(t, true)
	jar := map[string]string{}
	tx := b.begin(jar, usual())
	_, err := b.TakeOnce(t.Context(), tx.State)
	b.must(err)
	if _, err := b.Claim(t.Context(), tx, secret.New("code")); err != nil {
		t.Errorf("a state of the same text: %v", err)
	}
}
