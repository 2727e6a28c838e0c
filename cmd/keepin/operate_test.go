package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

// TestOperatorVerbsWhileItServesAndAfter has a member signed in and LinkedIn
// refuse the client secret, and asks the program in both ways.
func TestOperatorVerbsWhileItServesAndAfter(t *testing.T) {
	sim, linkedIn := restless(t)
	s := newServer(t, sim, linkedIn)
	refreshes := func() int { return refreshesOf(sim) }
	ask := func(args ...string) string {
		t.Helper()
		code, out := run(t, s.bin, s.dir, nil, args...) // no KEEPIN_ variable: a verb needs none
		if code != 0 {
			t.Fatalf("keepin %q: exit %d: %s\n%s", args, code, out, s.log)
		}
		return out
	}

	s.start()
	defer s.kill()
	if !s.signIn(s.client(), sim, "ada") {
		t.Fatalf("no sign-in: %s", s.log)
	}
	waitFor(t, s.log, "a refresh", func() bool { return refreshes() > 0 })
	ask("pause")
	time.Sleep(1500 * time.Millisecond) // what was under way
	before := refreshes()
	time.Sleep(4 * time.Second) // the token's whole life, and four passes
	if n := refreshes(); n != before {
		t.Errorf("%d refreshes while paused", n-before)
	}
	must(t, sim.SetSecret("77killed", "another", ""))
	ask("resume")
	id := regexp.MustCompile(`(?m)^(\w{12}) +application +\S+ +not yet`)
	var out string
	waitFor(t, s.log, "an incident", func() bool { out = ask("incidents"); return id.MatchString(out) })
	shown := ask("incidents", "show", id.FindStringSubmatch(out)[1])
	for _, want := range []string{"client_id: 77killed", "/oauth/v2/accessToken", "x-li-uuid: ", "response: 401"} {
		if !strings.Contains(shown, want) {
			t.Errorf("the incident lacks %q:\n%s", want, shown)
		}
	}
	if app := linkedinsim.DefaultApp(); strings.Contains(shown, app.Secret) {
		t.Error("the incident holds the client secret")
	}
	ask("keys", "rotate")
	if out := ask("keys"); !strings.Contains(out, "\n2 ") {
		t.Errorf("keys: %s", out)
	}

	s.kill() // leaves a socket that nobody answers
	if _, err := os.Stat(filepath.Join(s.dir, ".keepin", "keepin.db.sock")); err != nil {
		t.Errorf("the socket: %v", err)
	}
	if out := ask("keys", "list"); !strings.Contains(out, "\n1 ") || !strings.Contains(out, "\n2 ") {
		t.Errorf("keys: %s", out)
	}
	if after := ask("incidents", "show", id.FindStringSubmatch(out)[1]); !strings.Contains(after, "client_id: 77killed") {
		t.Errorf("the incident: %s", after)
	}
	ask("pause")
	s.start()
	if out := ask("incidents", "list"); !strings.Contains(out, "paused by an operator") {
		t.Errorf("the pause is lost: %s", out)
	}
}

func TestMistakesInAVerbEndWith2(t *testing.T) {
	bin := keepin(t)
	for _, c := range []struct {
		env  []string
		args []string
		want string
	}{
		{nil, []string{"keys", "nonsense"}, "nonsense"},
		{nil, []string{"keys", "rotate", "nonsense"}, "nonsense"},
		{nil, []string{"keys", "rotate", "--nonsense"}, "nonsense"},
		{nil, []string{"pause", "nonsense"}, "nonsense"},
		{nil, []string{"incidents", "show"}, "the id of one incident"},
		{[]string{"KEEPIN_STORE=dynamodb:keepin"}, []string{"keys"}, "KEEPIN_STORE"},
		{[]string{"KEEPIN_KEYS=nonsense"}, []string{"keys"}, "KEEPIN_KEYS"},
	} {
		if code, out := run(t, bin, t.TempDir(), c.env, c.args...); code != 2 || !strings.Contains(out, c.want) {
			t.Errorf("%v keepin %q: exit %d: %s", c.env, c.args, code, out)
		}
	}
	if code, out := run(t, bin, t.TempDir(), nil, "keys"); code != 1 || !strings.Contains(out, "there is no store") {
		t.Errorf("without a store: exit %d: %s", code, out)
	}
}
