package dynamo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/session"
	"github.com/keepin/keepin/test/aws/awstest"
)

// TestScanMeetsEverySealedToken stores more than a page holds, with sessions
// and what has ended between.
func TestScanMeetsEverySealedToken(t *testing.T) {
	for name, start := range map[string]func(testing.TB) string{"dynalite": awstest.Dynalite, "ministack": awstest.Ministack} {
		t.Run(name, func(t *testing.T) {
			endpoint := start(t)
			db, ctx := open(t, endpoint, awstest.Table(t, endpoint), nil), t.Context()
			big := bytes.Repeat([]byte{7}, 20_000)
			for n := range 40 {
				id := keeper.MemberID(fmt.Sprintf("member-%d", n))
				token := func(of int) keeper.Token {
					if n%4 < of {
						return keeper.Token{}
					}
					return keeper.Token{Sealed: append([]byte{byte(n), byte(of)}, big...)}
				}
				g := keeper.Grant{Member: id, Rev: "1", Profile: keeper.Profile{Name: "Ada"}, Access: token(1), Fresh: token(2), Refresh: token(3)}
				if n == 39 {
					g.ExpiresAt = at
				}
				if err := db.Put(ctx, g, ""); err != nil {
					t.Fatal(err)
				}
				if err := db.PutSession(ctx, session.Session{Member: id, Hash: session.Hash{byte(n)}, CreatedAt: at, ExpiresAt: time.Now().Add(time.Hour)}); err != nil {
					t.Fatal(err)
				}
			}
			var waits []time.Duration
			scan := &dynamo.Scan{Table: db, UnitsPerSecond: 50, Sleep: func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil }}
			met, tokens := map[keeper.MemberID]bool{}, 0
			err := scan.Each(ctx, func(g keeper.Grant) error {
				met[g.Member] = true
				for of, x := range []keeper.Token{g.Access, g.Fresh, g.Refresh} {
					if len(x.Sealed) > 0 {
						tokens++
						if len(x.Sealed) != 20_002 || x.Sealed[1] != byte(of+1) {
							t.Errorf("%s: token %d is not what was stored", g.Member, of)
						}
					}
				}
				if g.Profile.Name != "" {
					t.Errorf("%s: more than tokens was read", g.Member)
				}
				return nil
			})
			// Of four members one has no token, one has one, one two, one three.
			if err != nil || len(met) != 40 || tokens != 60 || scan.Items != 80 {
				t.Errorf("met %d grants with %d tokens among %d items: %v", len(met), tokens, scan.Items, err)
			}
			if len(waits) == 0 {
				t.Fatal("there was one page: the test shows nothing")
			}
			// The stand-ins count units each in a way of its own.
			if want := time.Duration(scan.Units / 50 * float64(time.Second)); waits[0] <= 0 || waits[0] > want {
				t.Errorf("%.0f units, with waits of %v", scan.Units, waits)
			}
			stop := errors.New("stop")
			if err := scan.Each(ctx, func(keeper.Grant) error { return stop }); !errors.Is(err, stop) {
				t.Errorf("it does not stop: %v", err)
			}
		})
	}
}

func TestScanWaitsWhereTheTableIsBusy(t *testing.T) {
	calls := 0
	db := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		if calls++; calls < 8 {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}`))
			return
		}
		_, _ = w.Write([]byte(`{"Items":[],"Count":0,"ScannedCount":0}`))
	})
	waits := 0
	scan := &dynamo.Scan{Table: db, Sleep: func(context.Context, time.Duration) error { waits++; return nil }}
	if err := scan.Each(t.Context(), func(keeper.Grant) error { return nil }); err != nil || waits == 0 {
		t.Errorf("got %v after %d waits and %d calls", err, waits, calls)
	}
	calls = -1 << 20
	if err := scan.Each(t.Context(), func(keeper.Grant) error { return nil }); err == nil || waits > 100 {
		t.Errorf("it never ends: %v after %d waits", err, waits)
	}
}
