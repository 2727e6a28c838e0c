package scale_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/bolt"
	"github.com/keepin/keepin/shared/dynamo"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/test/aws/awstest"
)

// What a pass reads is what is due and the 16 shards, the same for every number
// of grants stored; and a refresh with its proof costs 2 reads and 3 writes of
// the grant, and 3 calls to LinkedIn. (T9 and T11 of the budgets.)
func TestPassOverAFileReadsWhatIsDue(t *testing.T) {
	sizes, due := []int{1_000, 4_000}, 160
	if full() {
		sizes, due = []int{10_000, 100_000, 1_000_000}, 320
	}
	clock := time.Now().UTC().Truncate(time.Microsecond)
	now := func() time.Time { return clock }
	db, err := bolt.Open(filepath.Join(folder(t), "grants.db"), now)
	must(t, err)
	defer db.Close()
	passes(t, &clock, sizes, &counting{Store: db, Desk: db, now: now}, due, 1000, nil)
	if full() {
		t.Run("one in a hundred is due", func(t *testing.T) {
			s := stock{clock, sealer(seal.NewKeyset())}
			load(t, db, 1000, 10_000, func(i int) keeper.Grant { return s.grant(t, 900_000_000+i, clock.Add(-time.Minute), false) })
			c := &counting{Store: db, Desk: db, now: now}
			began := time.Now()
			r, err := worker(t, c, s.sealer, now).Pass(t.Context(), keeper.Range{From: 0, To: 15})
			must(t, err)
			got := c.take()
			t.Logf("1,000,000 stored, 10,000 due: %d queries, %d names, %d grants read, %d written, %d calls, in %.1f s",
				got.queries, got.names, got.gets, got.puts, got.calls, time.Since(began).Seconds())
			if r.Done != 10_000 || got.gets != 10_000 || got.puts != 20_000 || got.queries > 16+10_000/100+16 {
				t.Errorf("%+v, %+v", r, got)
			}
		})
	}
}

// The same in DynamoDB, counted as the calls that it is sent.
func TestPassOverATableReadsWhatIsDue(t *testing.T) {
	sizes, due := []int{60, 200}, 20
	if full() {
		sizes, due = []int{1_000, 10_000, 50_000}, 320
	}
	endpoint := awstest.Dynalite(t)
	clock := time.Now().UTC().Truncate(time.Microsecond)
	now := func() time.Time { return clock }
	sent := &sent{n: map[string]int{}}
	table, err := dynamo.Open(dynamo.Config{
		Table: awstest.Table(t, endpoint), Region: awstest.Region, Credentials: awstest.Credentials(), Endpoint: endpoint, Transport: sent, Now: now, Timeout: time.Minute,
	})
	must(t, err)
	passes(t, &clock, sizes, &counting{Store: table, Desk: table, now: now}, due, 16, sent.take)
}

// passes stores more and more grants, of which the same number is due, and has
// those refreshed and proven. wire is what a store was sent since the last time.
func passes(t *testing.T, clock *time.Time, sizes []int, c *counting, due, writers int, wire func() map[string]int) {
	s := stock{*clock, sealer(seal.NewKeyset())}
	k := worker(t, c, s.sealer, c.now)
	idle := s.grant(t, 0, time.Time{}, false) // its sealed bytes do for those that nobody opens
	stored := 0
	var first []counts
	for _, n := range sizes {
		began := time.Now()
		load(t, c.Store, writers, n-stored-due, func(i int) keeper.Grant {
			g := idle
			g.Subject = fmt.Sprintf("i%09d", stored+i)
			g.Member, g.Due = keeper.NewMemberID(clientID, g.Subject), clock.Add(time.Duration(1+i%50)*day)
			g.Rev = g.Subject
			return g
		})
		load(t, c.Store, writers, due, func(i int) keeper.Grant { return s.grant(t, stored+i, clock.Add(-time.Minute), false) })
		stored = n
		t.Logf("%d grants stored; the last of them in %.1f s", n, time.Since(began).Seconds())

		var now []counts
		for _, what := range []string{"refresh", "prove", "nothing is due"} {
			c.take()
			if wire != nil {
				wire()
			}
			began := time.Now()
			r, err := k.Pass(t.Context(), keeper.Range{From: 0, To: 15})
			must(t, err)
			got := c.take()
			now = append(now, got)
			t.Logf("%9d stored, %d due, %-15s %3d queries, %d names, %d grants read, %d written, %d calls to LinkedIn, in %v",
				n, due, what+":", got.queries, got.names, got.gets, got.puts, got.calls, time.Since(began).Round(time.Millisecond))
			want := counts{queries: 16, names: int64(due), gets: int64(due), puts: 2 * int64(due), control: 1, calls: 2 * int64(due)}
			switch what {
			case "prove":
				want.puts, want.calls = int64(due), int64(due)
			case "nothing is due":
				want = counts{queries: 16, control: 1}
			}
			if got != want || r.Done != int(want.gets) || r.Failed+r.Skipped > 0 {
				t.Errorf("%s: %+v, and the pass %+v, want %+v", what, got, r, want)
			}
			if wire != nil {
				if sent := wire(); sent["Query"] != 16 || sent["GetItem"] != int(want.gets)+1 || sent["PutItem"] != int(want.puts) || len(sent) > 3 {
					t.Errorf("%s: DynamoDB was sent %v", what, sent)
				}
			}
			*clock = clock.Add(61 * time.Second)
		}
		if first == nil {
			first = now
		}
		if !slices.Equal(now, first) {
			t.Errorf("%d stored: %+v, and with %d stored: %+v", n, now, sizes[0], first)
		}
	}
	if d := int64(due); !t.Failed() {
		t.Logf("T11: reads of a pass with %d due: 16 queries and %.2f grants for each that is due, the same at %d stored as at %d; budget: proportional to what is due and 16 shards: pass",
			due, float64(first[0].gets)/float64(d), sizes[len(sizes)-1], sizes[0])
		t.Logf("T9: a refresh with its proof: %d calls to LinkedIn, %d reads and %d writes of the grant; budget 3, 2 and 3: pass",
			(first[0].calls+first[1].calls)/d, (first[0].gets+first[1].gets)/d, (first[0].puts+first[1].puts)/d)
	}
}

func worker(t *testing.T, c *counting, s *seal.Sealer, now func() time.Time) *keeper.Keeper {
	t.Helper()
	k, err := keeper.New(keeper.Config{Store: c, Desk: c, Provider: c, Sealer: s, Now: now, Workers: 16,
		Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	must(t, err)
	return k
}

// load stores n grants by so many writers at once: a file makes one transaction
// of what is written at once.
func load(t *testing.T, store keeper.Store, writers, n int, grant func(i int) keeper.Grant) {
	t.Helper()
	const at = 200_000 // at once in memory
	for from := 0; from < n; from += at {
		all := make([]keeper.Grant, 0, at)
		for i := from; i < min(n, from+at); i++ {
			all = append(all, grant(i))
		}
		// In the order of their keys, so that a file grows page by page.
		slices.SortFunc(all, func(a, b keeper.Grant) int { return strings.Compare(string(a.Member), string(b.Member)) })
		next := make(chan keeper.Grant)
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for g := range next {
					if err := store.Put(context.Background(), g, ""); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for _, g := range all {
			next <- g
		}
		close(next)
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
}

// folder is in memory where that is possible: a million writes need no disk.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "keepin-scale-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// sent counts what DynamoDB is sent, by operation.
type sent struct {
	mu sync.Mutex
	n  map[string]int
}

func (s *sent) RoundTrip(r *http.Request) (*http.Response, error) {
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	s.mu.Lock()
	s.n[operation]++
	s.mu.Unlock()
	return http.DefaultTransport.RoundTrip(r)
}

func (s *sent) take() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.n
	s.n = map[string]int{}
	return n
}
