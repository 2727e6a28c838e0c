package keeper_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// mutant is one mistake in the keeper that a good engineer could make.
type mutant struct {
	what, file string
	edits      []string // from, to, from, to, ...
}

var mutants = []mutant{
	{"no lease check", "transitions.go", []string{"case g.Lease.Until.After(now):", "case false:"}},
	{"the answer of a lease that is lost is stored", "transitions.go", []string{`Active && lease != "" && g.Lease.ID == lease`, `Active && lease != ""`}},
	{"a sign-in leaves the lease", "transitions.go", []string{"g.Lease, g.Trouble, g.VerifiedAt = Lease{}, Trouble{}, time.Time{}", "g.Trouble, g.VerifiedAt = Trouble{}, time.Time{}"}},
	{"the refresh token is dropped when the answer has none", "transitions.go", []string{"	end := g.Refresh.ExpiresAt\n	if !in.Refresh.IsZero() {", "	end := g.Refresh.ExpiresAt\n	if true {"}},
	{"the old refresh token is kept when the answer has a new one", "transitions.go", []string{"	end := g.Refresh.ExpiresAt\n	if !in.Refresh.IsZero() {", "	end := g.Refresh.ExpiresAt\n	if false {"}},
	{"a refreshed token serves at once", "transitions.go", []string{"	g.Fresh = in.Access\n	end :=", "	g.Access = in.Access\n	end :="}},
	{"an unproven token serves", "view.go", []string{"if g.Fresh.live(now) && g.Fresh.proven(now) {", "if g.Fresh.live(now) {"}},
	{"a young token counts as proven", "view.go", []string{"now.Sub(t.IssuedAt) >= proofAge)", "now.Sub(t.IssuedAt) >= time.Second)"}},
	{"the proof of one token promotes another", "transitions.go", []string{"	if g.Status != Active || fresh.IsZero() || !g.Fresh.same(fresh) {\n		return errOvertaken\n	}\n	g.Access, g.Fresh", "	if g.Status != Active || fresh.IsZero() || g.Fresh.IsZero() {\n		return errOvertaken\n	}\n	g.Access, g.Fresh"}},
	{"a logout keeps the generation", "transitions.go", []string{"Generation: generation, Status: SignedOut", "Generation: g.Generation, Status: SignedOut"}},
	{"a logout keeps the refresh token", "transitions.go", []string{"Status: SignedOut, Outbox: outbox", "Status: SignedOut, Refresh: g.Refresh, Outbox: outbox"}},
	{"a logout that is retried has one generation", "keeper.go", []string{"	var was Grant\n", "	generation := rand.Text()\n	var was Grant\n", "g.SignOut(k.now(), rand.Text())", "g.SignOut(k.now(), generation)"}},
	{"a sign-in that is retried undoes a logout", "keeper.go", []string{"} else if g.Status == SignedOut && g.Generation != begun {", "} else if g.Generation == begun+begun+begun {"}},
	{"one refusal ends a grant", "transitions.go", []string{"now.Sub(first) >= secondLook", "true"}},
	{"a live token does not save a refused grant", "transitions.go", []string{"alive := g.Access.good(now) || g.Fresh.live(now)", "alive := false"}},
	{"an outage counts as a refusal", "work.go", []string{"		case ClassMember:\n			return g.Refused", "		case ClassMember, ClassOutage:\n			return g.Refused"}},
	{"a failure drops the refresh token", "transitions.go", []string{"	g.trouble(now, class, func", "	g.Refresh = Token{}\n	g.trouble(now, class, func"}},
	{"the token call is made again after a failed put", "work.go", []string{"	issued, err := k.seal(store, g.Member, tokens)", "	if _, err := k.updateFrom(store, g, 1, func(g *Grant) error { g.CheckedAt = k.now(); return nil }); err != nil {\n		tokens, _ = k.Provider.Refresh(store, refresh)\n	}\n	issued, err := k.seal(store, g.Member, tokens)"}},
	{"a conflict counts as success", "keeper.go", []string{"if err = k.Store.Put(ctx, g, old); err == nil {", "if err = k.Store.Put(ctx, g, old); err == nil || errors.Is(err, ErrConflict) {"}},
	{"a failed put counts as success", "keeper.go", []string{"if err = k.Store.Put(ctx, g, old); err == nil {", "if err = k.Store.Put(ctx, g, old); err == nil || !errors.Is(err, ErrConflict) {"}},
	{"a token is revoked whoever signed in since", "keeper.go", []string{"if err == nil && now.Status != SignedOut || err != nil && !errors.Is(err, ErrNotFound) {", "if _ = now; err != nil && !errors.Is(err, ErrNotFound) {"}},
	{"a caller is answered by the grant as it was", "keeper.go", []string{"		return k.serveWhatLives(ctx, id)\n	}\n}", "		if serving {\n			return k.open(ctx, g, t)\n		}\n		if f := g.Fresh; f.live(now) {\n			return k.open(ctx, g, f)\n		}\n		return k.serveWhatLives(ctx, id)\n	}\n}"}},
	{"a caller refreshes though a fresh token waits", "transitions.go", []string{"	case g.Fresh.live(now):\n		if g.Fresh", "	case false:\n		if g.Fresh", "later(try, g.Access.IssuedAt.Add(callerRetry))", "try"}},
	{"a caller does not wait 30 s", "transitions.go", []string{"try = g.Trouble.At.Add(callerRetry)", "try = now"}},
	{"the breaker does not stop a refresh", "gate.go", []string{"	case g.control.Blocked(now):\n		return false, errBlocked\n", ""}},
	{"a worker that stood still uses its old lease", "work.go", []string{"|| g.Lease.Until.Sub(k.now()) < callFor", ""}},
	{"a doubted token is a reason to ask the member", "view.go", []string{"return g.end().Sub(now) >= left", "return !g.Fresh.IsZero() && g.Fresh.ExpiresAt.Sub(now) >= left || g.Access.good(now)"}},
	{"an expired lease is held for ever", "transitions.go", []string{"case g.Lease.Until.After(now):", `case g.Lease.ID != "":`}},
}

// The model check must find each of them. Every one is a build of its own, so
// this runs only when it is asked for: KEEPIN_MUTANTS=1 for
// all, or a part of one's name.
func TestModelFindsEveryMutant(t *testing.T) {
	eachMutant(t, func(m mutant) {
		found, out := m.run(t, "model_test.go", "-test.run", "TestNoHistoryBreaksAnInvariant")
		if !found {
			t.Errorf("%s: survived", m.what)
			return
		}
		t.Logf("%-60s %s", m.what, reason(out, "model_test.go"))
	})
}

// livesFind are those that 20,000 random lives find, most of them within some
// hundred. Of the others what is wrong is one call too many, or no life has shown
// it; which of them are found is told.
var livesFind = []string{
	"a logout keeps the refresh token", "one refusal ends a grant",
	"a live token does not save a refused grant", "an outage counts as a refusal", "a failure drops the refresh token",
	"the token call is made again after a failed put", "a conflict counts as success", "a failed put counts as success",
	"a caller is answered by the grant as it was", "a caller refreshes though a fresh token waits", "an expired lease is held for ever",
}

func TestLivesFindMutants(t *testing.T) {
	for _, what := range livesFind {
		if !slices.ContainsFunc(mutants, func(m mutant) bool { return m.what == what }) {
			t.Errorf("%q is no mutant", what)
		}
	}
	eachMutant(t, func(m mutant) {
		found, out := m.run(t, "sim_test.go", "-test.run", "TestRandomLives", "-rapid.nofailfile", "-rapid.shrinktime=0s")
		switch {
		case found:
			t.Logf("%-60s %s", m.what, reason(out, "sim_test.go"))
		case slices.Contains(livesFind, m.what):
			t.Errorf("%s: survived", m.what)
		default:
			t.Logf("%-60s SURVIVES", m.what)
		}
	})
}

// reason is the first thing that a test said.
func reason(out, file string) string {
	why, _, _ := strings.Cut(out[strings.Index(out, file):], "\n")
	_, why, _ = strings.Cut(why, ": ")
	return why
}

func eachMutant(t *testing.T, find func(mutant)) {
	if os.Getenv("KEEPIN_MUTANTS") == "" {
		t.Skip("KEEPIN_MUTANTS is not set")
	}
	var wait sync.WaitGroup
	slots := make(chan struct{}, 2)
	only := os.Getenv("KEEPIN_MUTANTS")
	for _, m := range mutants {
		if only != "1" && !strings.Contains(m.what, only) {
			continue
		}
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			find(m)
		})
	}
	wait.Wait()
}

// run builds the mutant and runs the tests of a file that must find it.
func (m mutant) run(t *testing.T, file string, args ...string) (found bool, out string) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		t.Error(err)
		return true, file
	}
	text := string(source)
	for i := 0; i < len(m.edits); i += 2 {
		if strings.Count(text, m.edits[i]) != 1 {
			t.Errorf("%s: %q is not in %s once", m.what, m.edits[i], m.file)
			return true, file
		}
		text = strings.Replace(text, m.edits[i], m.edits[i+1], 1)
	}
	dir := t.TempDir()
	path, _ := filepath.Abs(m.file)
	overlay, _ := json.Marshal(map[string]any{"Replace": map[string]string{path: filepath.Join(dir, m.file)}})
	if err := os.WriteFile(filepath.Join(dir, m.file), []byte(text), 0o600); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Error(err)
	}
	binary := filepath.Join(dir, "mutant.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".")
	if b, err := build.CombinedOutput(); err != nil {
		t.Errorf("%s: does not build: %s", m.what, b)
		return true, file
	}
	cmd := exec.CommandContext(t.Context(), binary, append(args, "-test.timeout", "10m")...)
	cmd.Env = append(os.Environ(), "KEEPIN_MODEL=mutant", "KEEPIN_MUTANTS=")
	b, err := cmd.CombinedOutput()
	_ = os.Remove(binary)
	return err != nil && strings.Contains(string(b), file), string(b)
}
