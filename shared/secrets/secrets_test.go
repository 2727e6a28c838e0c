package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
)

func mustWrite(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestAFileThatOthersCanReachIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o700} {
		mustWrite(t, path, "CANARY", mode)
		if got, err := secrets.File(path)(t.Context()); err != nil || got.Reveal() != "CANARY" {
			t.Errorf("%o: %v", mode, err)
		}
		os.Remove(path)
	}
	for bit := range 6 {
		mode := fs.FileMode(0o600 | 1<<bit)
		mustWrite(t, path, "CANARY", mode)
		got, err := secrets.File(path)(t.Context())
		if err == nil || !got.IsZero() || !strings.Contains(err.Error(), "chmod 600 "+path) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%o: %v", mode, err)
		}
		os.Remove(path)
	}
}

func TestWhatIsNoSecretFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	if _, err := secrets.File(dir)(t.Context()); err == nil {
		t.Error("a folder")
	}
	missing := filepath.Join(dir, "missing")
	if _, err := secrets.File(missing)(t.Context()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) || !strings.Contains(err.Error(), "0600") {
		t.Error(err)
	}
	big := filepath.Join(dir, "big")
	mustWrite(t, big, strings.Repeat("x", 64<<10+1), 0o600)
	if _, err := secrets.File(big)(t.Context()); err == nil {
		t.Error("65537 bytes")
	}
}

func TestASecretIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "key")
	made, err := secrets.Make(path, secrets.NewBackendKey)
	if err != nil || !made {
		t.Fatal(made, err)
	}
	first, err := secrets.File(path)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	made, err = secrets.Make(path, secrets.NewBackendKey)
	if again, _ := secrets.File(path)(t.Context()); err != nil || made || !again.Equal(first) {
		t.Error("it was made again", err)
	}
	if _, err := secrets.ParseBackendKey("file:x", first); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]fs.FileMode{path: 0o600, dir: 0o700 | fs.ModeDir} {
		if info, err := os.Stat(name); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// TestOfManyFirstRunsOneMakesTheSecret is why Make does not rename: the loser
// would replace a keyset that the winner has sealed with.
func TestOfManyFirstRunsOneMakesTheSecret(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "key")
		var mu sync.Mutex
		var winner secret.String
		wins := 0
		var wg sync.WaitGroup
		start := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				key := secrets.NewBackendKey()
				<-start
				made, err := secrets.Make(path, func() secret.String { return key })
				if err != nil {
					t.Error(err)
				}
				if made {
					mu.Lock()
					wins, winner = wins+1, key
					mu.Unlock()
				}
			})
		}
		close(start)
		wg.Wait()
		got, err := secrets.File(path)(t.Context())
		if wins != 1 || err != nil || strings.TrimSpace(got.Reveal()) != winner.Reveal() {
			t.Errorf("%d made it, %v", wins, err)
		}
		if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestAReaderNeverMeetsHalfASecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	a, b := strings.Repeat("a", 40_000), strings.Repeat("b", 40_000)
	if err := secrets.Replace(path, secret.New(a)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50 {
			if err := secrets.Replace(path, secret.New([]string{a, b}[i%2])); err != nil {
				t.Error(err)
			}
		}
	}()
	for {
		got, err := secrets.File(path)(t.Context())
		if s := strings.TrimSpace(got.Reveal()); err != nil || s != a && s != b {
			t.Fatalf("%d bytes, %v", len(s), err)
		}
		select {
		case <-done:
			if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
				t.Errorf("left behind: %v", left)
			}
			return
		default:
		}
	}
}

func TestASecretThatCannotBeWrittenIsAnError(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "file"), "", 0o600)
	if _, err := secrets.Make(filepath.Join(dir, "file", "key"), secrets.NewBackendKey); err == nil {
		t.Error("made below a file")
	}
	if err := secrets.Replace(filepath.Join(dir, "no", "key"), secret.New("CANARY")); err == nil || strings.Contains(err.Error(), "CANARY") {
		t.Error(err)
	}
}

func TestCredentialsAreRead(t *testing.T) {
	for text, want := range map[string]secrets.Credentials{
		`{"client_id":"86abc","client_secret":"WPL_AP1.x.y=="}` + "\n":                             {ClientID: "86abc", Secret: secret.New("WPL_AP1.x.y==")},
		` {"previous_client_secret":"old","client_secret":"new+/=","client_id":"86abc"} `:          {ClientID: "86abc", Secret: secret.New("new+/="), Previous: secret.New("old")},
		`{"client_id":"86abc","client_secret":"` + "\\u0061bc" + `","previous_client_secret":"b"}`: {ClientID: "86abc", Secret: secret.New("abc"), Previous: secret.New("b")},
	} {
		got, err := secrets.ParseCredentials("file:x", secret.New(text))
		if err != nil || got.ClientID != want.ClientID || !got.Secret.Equal(want.Secret) || !got.Previous.Equal(want.Previous) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestBadCredentialsAreExplainedAndNotQuoted holds that the error names the
// place, the fault and the shape.
func TestBadCredentialsAreExplainedAndNotQuoted(t *testing.T) {
	const ok = `"client_id":"CANARY86"`
	for text, fault := range map[string]string{
		``:                                     "is not a JSON object",
		`CANARY`:                               "is not a JSON object",
		`{` + ok:                               "is not a JSON object",
		`{` + ok + `,"client_secret":"CANARY"`: "is not a JSON object",
		`{` + ok + `,"client_secret":"CANARY"} CANARY`: "is not a JSON object",
		`{` + ok + `,"client_secret":1}`:               "is not a JSON object",
		`{` + ok + `,"client_secret":["CANARY"]}`:      "is not a JSON object",
		`{` + ok + `}`:                                                                   "has no client_secret",
		`{` + ok + `,"client_secret":""}`:                                                "has no client_secret",
		`{"client_secret":"CANARY"}`:                                                     "has no client_id",
		`{` + ok + `,"Client_Secret":"CANARY"}`:                                          "has a field of another name",
		`{` + ok + `,"CANARY":"CANARY"}`:                                                 "has a field of another name",
		`{` + ok + `,"client_secret":"a",` + ok + `}`:                                    "has client_id twice",
		`{` + ok + `,"client_secret":"CANARY CANARY"}`:                                   "with a space",
		`{` + ok + `,"client_secret":"CANARY\n"}`:                                        "with a space",
		`{` + ok + `,"client_secret":"CANARYé"}`:                                         "with a space",
		`{` + ok + `,"client_secret":"` + strings.Repeat("CANARY", 90) + `"}`:            "with a space",
		`{"client_id":"PUT-YOURS-HERE","client_secret":"PUT-YOURS-HERE"}`:                "still has a placeholder for client_id",
		`{` + ok + `,"client_secret":"PUT-YOURS-HERE"}`:                                  "still has a placeholder for client_secret",
		`{` + ok + `,"client_secret":"<CANARY>"}`:                                        "still has a placeholder for client_secret",
		`{` + ok + `,"client_secret":"xxxxx"}`:                                           "still has a placeholder for client_secret",
		`{` + ok + `,"client_secret":"CANARY","previous_client_secret":""}`:              "has no previous_client_secret",
		`{` + ok + `,"client_secret":"CANARY","previous_client_secret":"your_client_x"}`: "still has a placeholder for previous_client_secret",
	} {
		_, err := secrets.ParseCredentials("file:/data/app.json", secret.New(text))
		if err == nil {
			t.Errorf("%s: no error", text)
			continue
		}
		if s := err.Error(); !strings.Contains(s, fault) || !strings.Contains(s, "file:/data/app.json") || !strings.Contains(s, `{"client_id":"...","client_secret":"..."}`) || strings.Contains(s, "CANARY") {
			t.Errorf("%s:\n got %v\nwant %s", text, err, fault)
		}
	}
}

func TestABackendKeyIsOneLine(t *testing.T) {
	key := strings.Repeat("k", 32)
	for text, ok := range map[string]bool{
		key: true, key + "\n": true, key + "\r\n": true, strings.Repeat("k", 512): true,
		"": false, key[1:]: false, key + "\n\n": false, key + " \n": false, " " + key: false, key + "\nx": false, key + "é": false, strings.Repeat("k", 513): false,
	} {
		got, err := secrets.ParseBackendKey("file:x", secret.New(text))
		if (err == nil) != ok || ok && got.Reveal() != strings.TrimSpace(text) || !ok && strings.Contains(err.Error(), key[1:]) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if a, b := secrets.NewBackendKey(), secrets.NewBackendKey(); a.Equal(b) {
		t.Error("two keys are the same")
	}
}

// cache is a Cache over a value that can be changed, can fail, and counts.
type cache struct {
	secrets.Cache
	now   time.Time
	value string
	err   error
	reads int
}

func newCache() *cache {
	c := &cache{now: time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), value: "a"}
	c.Now = func() time.Time { return c.now }
	c.Read = func(context.Context) (secret.String, error) {
		c.reads++
		if c.err != nil {
			return secret.String{}, c.err
		}
		return secret.New(c.value), nil
	}
	return c
}

// get is what Get comes to and how often Read was called for it.
func (c *cache) get(reread bool) string {
	before := c.reads
	got, err := c.Get(context.Background(), reread)
	return fmt.Sprintf("%s %v %d", got.Reveal(), err, c.reads-before)
}

func TestTheCacheReadsNoMoreThanItMust(t *testing.T) {
	c := newCache()
	step := func(what string, reread bool, want string) {
		t.Helper()
		if got := c.get(reread); got != want {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	c.err = errors.New("down")
	step("fails at first", false, " down 1")
	step("and again", false, " down 1")
	c.err = nil
	step("first", false, "a <nil> 1")
	c.value = "b"
	c.now = c.now.Add(5*time.Minute - 1)
	step("young", false, "a <nil> 0")
	c.now = c.now.Add(1)
	step("old", false, "b <nil> 1")
	c.value = "c"
	step("reread", true, "c <nil> 1")
	c.value = "d"
	step("reread too early", true, "c <nil> 0")
	c.now = c.now.Add(10*time.Second - 1)
	step("reread too early", true, "c <nil> 0")
	c.now = c.now.Add(1)
	step("reread", true, "d <nil> 1")
	c.err = errors.New("down")
	c.now = c.now.Add(10 * time.Second)
	step("reread fails", true, " down 1")
	c.now = c.now.Add(9 * time.Second)
	step("reread too early after a failure", true, "d down 0")
	step("what is held goes on", false, "d <nil> 0")
	c.now = c.now.Add(time.Hour)
	step("old, and fails", false, "d <nil> 1")
	step("old, and failed a moment ago", false, "d <nil> 0")
	c.err, c.value = nil, "e"
	c.now = c.now.Add(10 * time.Second)
	step("works again", false, "e <nil> 1")
	c.value = ""
	c.now = c.now.Add(time.Hour)
	step("empty is no secret", false, "e <nil> 1")
	c.value = "f"
	c.now = c.now.Add(-24 * time.Hour)
	step("a clock that was set back", false, "f <nil> 1")
}

func TestACallerWhoLeftStopsNobody(t *testing.T) {
	c := newCache()
	c.get(false)
	c.now = c.now.Add(time.Hour)
	c.err = context.Canceled
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := c.Get(ctx, false); err != nil || got.Reveal() != "a" {
		t.Error(err)
	}
	c.err, c.value = nil, "b"
	if got := c.get(false); got != "b <nil> 1" {
		t.Error(got)
	}
}
