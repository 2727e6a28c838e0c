// Package linear_test holds sign-in, logout and the token call to
// linearizability: whatever clients do at once, there is an order of their calls,
// each at a moment between its beginning and its end, in which every token that
// was given out was the member's own, and none is from before a logout.
package linear_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/keepin/keepin/shared/bolt"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/storetest"
)

// verb is what a client does for a member.
type verb string

const (
	signIn verb = "sign-in"
	logout verb = "logout"
	token  verb = "token"
)

type input struct {
	verb    verb
	member  int
	consent int // of a sign-in: its number
}

// The outcomes.
const (
	done     = "done"
	unknown  = "unknown" // it may have taken effect
	notFound = "not found"
	tryAgain = "try again"
	mustAsk  = "reconnect"
)

type output struct {
	outcome string
	consent int // of a token: the sign-in that it comes of
}

// model is one member: the numbers of the sign-ins since the last logout, any of
// whose tokens may still serve; "" is signed out.
var model = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var all [][]porcupine.Operation
		for _, op := range history {
			m := op.Input.(input).member
			for len(all) <= m {
				all = append(all, nil)
			}
			all[m] = append(all[m], op)
		}
		return all
	},
	Init: func() []any { return []any{""} },
	Step: func(state, in, out any) []any {
		s, i, o := state.(string), in.(input), out.(output)
		after := s
		switch i.verb {
		case signIn:
			after = s + strconv.Itoa(i.consent) + " "
		case logout:
			after = ""
		case token:
			if o.outcome == tryAgain || o.outcome == notFound && s == "" ||
				o.outcome == done && slices.Contains(strings.Fields(s), strconv.Itoa(o.consent)) {
				return []any{s}
			}
			return nil
		}
		if o.outcome == unknown {
			return []any{s, after}
		}
		return []any{after}
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprint(in, " -> ", out) },
	DescribeState:     func(state any) string { return fmt.Sprintf("%v", state) },
}

// system is what the clients talk to. It says what came of it.
type system interface {
	signIn(m *member, consent int) output
	logout(m *member) output
	token(m *member) output
	pass()
}

type member struct {
	key string
	id  keeper.MemberID
}

// scene is a LinkedIn with three members, and who asks of what.
type scene struct {
	sim     *linkedinsim.Sim
	clock   *linkedinsim.Clock
	members []*member
	tracker *tracker
}

const clientID = "77linear"

func newScene(t *testing.T, url, back string) *scene {
	t.Helper()
	s := &scene{clock: linkedinsim.NewClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))}
	var people []linkedinsim.Member
	for _, key := range []string{"ada", "grace", "linus"} {
		people = append(people, linkedinsim.Member{Key: key, Name: key, LoggedIn: true})
		s.members = append(s.members, &member{key, keeper.NewMemberID(clientID, linkedinsim.Subject(clientID, key))})
	}
	var err error
	// Tokens live for three minutes, and each call takes some seconds: so refreshes
	// are always in flight.
	s.sim, err = linkedinsim.New(linkedinsim.Config{Clock: s.clock, URL: url, Members: people,
		Apps:     []linkedinsim.App{{ClientID: clientID, Secret: "the-secret", RedirectURLs: []string{back}, Scopes: []string{"openid", "profile"}, Refresh: true}},
		Switches: linkedinsim.Switches{AccessLifetime: 3 * time.Minute, PropagationDelay: 5 * time.Second, RevokeEndpoint: true}})
	if err != nil {
		t.Fatal(err)
	}
	s.tracker = &tracker{scene: s, consents: map[string]int{}}
	return s
}

// run lets clients loose, each with so many calls, and returns their history.
func (s *scene) run(sys system, clients, calls int, seed uint64) []porcupine.Operation {
	var mu sync.Mutex
	var history []porcupine.Operation
	var all sync.WaitGroup
	begun := time.Now()
	consents := 0
	for c := range clients {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(c)))
			for range calls {
				in := input{verb: token, member: rng.IntN(len(s.members))}
				switch n := rng.IntN(100); {
				case n < 11:
					in.verb = signIn
					mu.Lock()
					consents++
					in.consent = consents
					mu.Unlock()
				case n < 16:
					in.verb = logout
				case n < 22:
					sys.pass()
					continue
				}
				s.clock.Advance(time.Duration(rng.IntN(30)) * time.Second)
				m := s.members[in.member]
				op := porcupine.Operation{ClientId: c, Input: in, Call: int64(time.Since(begun))}
				var out output
				switch in.verb {
				case signIn:
					out = sys.signIn(m, in.consent)
				case logout:
					out = sys.logout(m)
				case token:
					out = sys.token(m)
				}
				op.Output, op.Return = out, int64(time.Since(begun))
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return history
}

// judge counts what happened, and asks for an order of it.
func (s *scene) judge(t *testing.T, history []porcupine.Operation) porcupine.CheckResult {
	t.Helper()
	counts := map[string]int{}
	for _, op := range history {
		counts[string(op.Input.(input).verb)+" "+op.Output.(output).outcome]++
	}
	counts["refreshes"] = s.tracker.refreshes
	t.Logf("%d calls: %v", len(history), counts)
	for what, atLeast := range map[string]int{"token done": 20, "token not found": 3, "sign-in done": 5, "logout done": 5, "refreshes": 10} {
		if counts[what] < atLeast {
			t.Errorf("only %d of %s: too tame", counts[what], what)
		}
	}
	begun := time.Now()
	result, info := porcupine.CheckOperationsVerbose(model.ToModel(), history, time.Minute)
	t.Logf("checked in %v: %s", time.Since(begun).Round(time.Millisecond), result)
	if result == porcupine.Illegal && t.Name() != "TestTheCheckerFindsAStaleRead" {
		path := filepath.Join(t.ArtifactDir(), "history.html")
		if err := porcupine.VisualizePath(model.ToModel(), info, path); err == nil {
			t.Logf("see %s", path)
		}
	}
	return result
}

// keepers are processes of keepin over one store.
type keepers struct {
	*scene
	all    []*keeper.Keeper
	client *linkedin.Client
}

// clearSealer seals nothing: the tokens are the simulator's.
type clearSealer struct{}

func (clearSealer) Seal(_ context.Context, s secret.String, _ keeper.Purpose, _ string) ([]byte, error) {
	return []byte(s.Reveal()), nil
}

func (clearSealer) Open(_ context.Context, b []byte, _ keeper.Purpose, _ string) (secret.String, error) {
	return secret.New(string(b)), nil
}

func newKeepers(t *testing.T, s *scene, store interface {
	keeper.Store
	keeper.Desk
}) *keepers {
	t.Helper()
	k := &keepers{scene: s}
	var err error
	k.client, err = linkedin.New(linkedin.Config{LinkedInURL: "http://sim.test", APIURL: "http://sim.test", Issuer: "http://sim.test/oauth",
		RedirectURL: "http://localhost/callback", Scopes: []string{"openid", "profile"}, Now: s.clock.Now, Transport: s.tracker,
		Credentials: func(context.Context, bool) (linkedin.Credentials, error) {
			return linkedin.Credentials{ClientID: clientID, Secret: secret.New("the-secret")}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		one, err := keeper.New(keeper.Config{Store: store, Desk: store, Provider: k.client, Sealer: clearSealer{}, Now: s.clock.Now,
			Sleep: func(ctx context.Context, d time.Duration) error {
				time.Sleep(d / 500)
				return ctx.Err()
			}})
		if err != nil {
			t.Fatal(err)
		}
		k.all = append(k.all, one)
	}
	return k
}

func (k *keepers) any() *keeper.Keeper { return k.all[rand.IntN(len(k.all))] }

func (k *keepers) signIn(m *member, consent int) output {
	ctx := context.Background()
	a := keeper.Authorization{State: secret.New("0123456789abcdef0123456789abcdef"), IssuedAt: k.clock.Now()}
	to, err := k.client.AuthCodeURL(ctx, a)
	if err != nil {
		return output{outcome: unknown}
	}
	code, _, err := k.tracker.code(to, m, consent)
	if err != nil {
		return output{outcome: unknown}
	}
	id, tokens, err := k.client.Exchange(ctx, secret.New(code), a)
	if err != nil {
		return output{outcome: unknown}
	}
	keep := k.any()
	if _, err := keep.SignIn(ctx, storetest.Seen(ctx, keep.Store, id.Member()), id, tokens); err != nil {
		return output{outcome: unknown}
	}
	return output{outcome: done}
}

func (k *keepers) logout(m *member) output {
	if k.any().SignOut(context.Background(), m.id) != nil {
		return output{outcome: unknown}
	}
	return output{outcome: done}
}

func (k *keepers) token(m *member) output {
	got, _, err := k.any().Token(context.Background(), m.id, time.Minute)
	switch {
	case err == nil:
		return output{done, k.tracker.consent(got.Reveal())}
	case errors.Is(err, keeper.ErrNotFound):
		return output{outcome: notFound}
	case errors.Is(err, keeper.ErrReconnect):
		return output{outcome: mustAsk}
	}
	return output{outcome: tryAgain}
}

func (k *keepers) pass() {
	_, _ = k.any().Pass(context.Background(), keeper.Range{From: 0, To: keeper.Shards - 1})
}

// failing makes one of ten calls of a store fail, half of them after they were done.
func failing(m *storetest.Memory) *storetest.Memory {
	m.Before = func(op string) (bool, error) {
		if rand.IntN(10) > 0 {
			return true, nil
		}
		return rand.IntN(2) == 0, fmt.Errorf("%s failed", op)
	}
	return m
}

func TestCallsAreLinearizableInMemory(t *testing.T) {
	for seed := range uint64(2) {
		s := newScene(t, "http://sim.test", "http://localhost/callback")
		k := newKeepers(t, s, failing(storetest.NewMemory(s.clock.Now)))
		if got := s.judge(t, s.run(k, 8, 100, seed)); got != porcupine.Ok {
			t.Errorf("seed %d: %s", seed, got)
		}
	}
}

func TestCallsAreLinearizableInAFile(t *testing.T) {
	s := newScene(t, "http://sim.test", "http://localhost/callback")
	db, err := bolt.Open(filepath.Join(t.TempDir(), "linear.db"), s.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if got := s.judge(t, s.run(newKeepers(t, s, db), 8, 60, 1)); got != porcupine.Ok {
		t.Error(got)
	}
}

// stale is a store with a mistake: one read of four is of the past.
type stale struct {
	*storetest.Memory
	mu   sync.Mutex
	seen map[keeper.MemberID]keeper.Grant
}

func (s *stale) Get(ctx context.Context, id keeper.MemberID) (keeper.Grant, error) {
	g, err := s.Memory.Get(ctx, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.seen[id]; ok && rand.IntN(4) == 0 {
		return old, nil
	}
	if err == nil && rand.IntN(3) == 0 {
		s.seen[id] = g
	}
	return g, err
}

func TestTheCheckerFindsAStaleRead(t *testing.T) {
	for seed := range uint64(10) {
		s := newScene(t, "http://sim.test", "http://localhost/callback")
		k := newKeepers(t, s, &stale{Memory: storetest.NewMemory(s.clock.Now), seen: map[keeper.MemberID]keeper.Grant{}})
		if s.judge(t, s.run(k, 8, 60, seed)) == porcupine.Illegal {
			return
		}
	}
	t.Error("a store that reads the past was called linearizable ten times")
}

func decode(body []byte) (access, refresh string) {
	var answer struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	_ = json.Unmarshal(body, &answer)
	return answer.Access, answer.Refresh
}
