package e2e

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

// planted is a secret that every encoding changes.
const planted = `AQ/+"planted~secret>of ada_9f8e7d6c5b4a`

// disguises are how a secret may look where it leaks.
func disguises() map[string]string {
	quoted, _ := json.Marshal(planted)
	reversed := []byte(planted)
	slices.Reverse(reversed)
	all := map[string]string{
		"as it is": planted, "JSON": string(quoted), "Go": fmt.Sprintf("%q", planted), "URL": url.QueryEscape(planted), "path": url.PathEscape(planted),
		"hex": hex.EncodeToString([]byte(planted)), "upper hex": strings.ToUpper(hex.EncodeToString([]byte(planted))), "reversed": string(reversed),
		"first 16": planted[:16], "last 16": planted[len(planted)-16:],
	}
	for at := range 3 {
		all[fmt.Sprintf("base64 at %d", at)] = base64.StdEncoding.EncodeToString([]byte("ab"[:at] + planted))
		all[fmt.Sprintf("base64url at %d", at)] = base64.RawURLEncoding.EncodeToString([]byte("ab"[:at] + planted))
	}
	return all
}

// TestALeakIsFoundWhereverItIs has a keepin that says a secret at one place, in
// one disguise: the search names that place, and no other keepin is to blame.
func TestALeakIsFoundWhereverItIs(t *testing.T) {
	for _, place := range []string{"none", "logs", "events", "store", "operator", "answers", "headers", "location", "set-cookie"} {
		for disguise, text := range disguises() {
			at := func(p string) string {
				if p == place {
					return text
				}
				return "nothing"
			}
			address := Serve(t, Listen(t), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Said", at("headers"))
				w.Header().Set("Location", "/?said="+at("location"))
				w.Header()["Set-Cookie"] = []string{"said=" + at("set-cookie")}
				_, _ = w.Write([]byte(at("answers")))
			}))
			x := &Target{BaseURL: address, Wire: NewWire(http.NotFoundHandler()),
				Logs: func() string { return at("logs") }, Sent: func() string { return at("events") },
				Files:   func(testing.TB) [][]byte { return [][]byte{[]byte(at("store"))} },
				Operate: func(_ testing.TB, words ...string) string { return at("operator") },
				Secrets: func(testing.TB) map[string]string { return map[string]string{"sealing key 1": planted} }}
			x.browser(t).get("/")
			found := x.Wire.hunt.leaks(x.places(t))
			if place == "none" && len(found) != 0 || place != "none" && (len(found) != 1 || !strings.HasPrefix(found[0], place+": sealing key 1: ")) {
				t.Errorf("%s, %s: found %q", place, disguise, found)
			}
			if strings.Contains(strings.Join(found, ""), "planted") {
				t.Errorf("%s, %s: the report quotes the secret", place, disguise)
			}
		}
	}
}

// TestASecretMayBeWhereItBelongs, and nowhere else.
func TestASecretMayBeWhereItBelongs(t *testing.T) {
	everywhere := map[string][]byte{}
	for _, place := range []string{"logs", "events", "store", "operator", "answers", "headers", "location", "set-cookie", "output"} {
		everywhere[place] = []byte(planted)
	}
	for _, kind := range everyEngine {
		h := &hunt{secrets: map[string]string{planted: kind}}
		if found := h.leaks(everywhere); len(found) != len(everywhere)-len(mayBe[kind]) {
			t.Errorf("%s: found %q", kind, found)
		}
	}
	for kind := range mayBe {
		if !slices.Contains(everyEngine, kind) {
			t.Errorf("%s is excused, and nobody looks for it", kind)
		}
	}
}

// TestALeakInTheOutputFailsTheRun plays a test that prints a secret as go test does.
func TestALeakInTheOutputFailsTheRun(t *testing.T) {
	everything.note("sealing key 1", planted)
	defer func() {
		everything.mu.Lock()
		defer everything.mu.Unlock()
		delete(everything.secrets, planted)
	}()
	stdout, stderr := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	must(t, err)
	defer null.Close()
	os.Stdout, os.Stderr = null, null
	for said, want := range map[string]int{"nothing": 0, planted: 1, hex.EncodeToString([]byte(planted)): 1} {
		if code := Main(printer(said)); code != want {
			t.Errorf("exit %d, want %d", code, want)
		}
	}
}

type printer string

func (p printer) Run() int {
	fmt.Fprintln(os.Stdout, "--- PASS: TestX:", string(p))
	return 0
}
