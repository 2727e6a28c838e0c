package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/keepin/keepin/test/canary"
)

// The hunt for secrets. Whatever secret passes while the suite runs is noted
// down, with its kind: at LinkedIn's door, in the browsers, where keepin keeps
// its own. When a scenario ends, all that keepin has said and stored is searched
// for all of them, and when the suite ends, what the suite itself has printed.

// mayBe are the places where a kind of secret belongs. All others may be nowhere.
var mayBe = map[string][]string{
	"session id":         {"set-cookie"},
	"transaction cookie": {"set-cookie"},
	"state":              {"location"}, // to LinkedIn
	"ticket":             {"location"}, // to the application
	"member's name":      {"answers", "store"},
	"member's e-mail":    {"answers", "store"},
}

// everyEngine are the kinds that the suite must have met, whatever it runs on.
var everyEngine = []string{
	"client secret", "client secret, rolled", "client secret, rolled again", "sealing key 1", "sealing key 2",
	"code", "state", "access token", "access token, refreshed", "refresh token", "ID token", "session id", "transaction cookie", "ticket",
	"SDK cookie's token", "SDK cookie's signature", "OAuth 1.0a signature", "back end's authorization", "member's name", "member's e-mail",
	"stranger's bearer key", "stranger's basic credentials", "stranger's session", "stranger's code", "stranger's state", "stranger's token in a query", "stranger's token in a path",
	"stranger's token in a header", "stranger's token in a body", "stranger's ticket", "stranger's SDK cookie", "another application's cookie", "LinkedIn's words to a stranger",
}

// hunt is what was noted of one keepin.
type hunt struct {
	mu      sync.Mutex
	secrets map[string]string // to their kind
	heard   map[string]*strings.Builder
}

func newHunt() *hunt {
	h := &hunt{secrets: map[string]string{}, heard: map[string]*strings.Builder{}}
	for _, m := range linkedinsim.DefaultMembers() {
		h.note("member's name", m.Name)
		h.note("member's e-mail", m.Email)
	}
	return h
}

// note notes a secret. A kind that it has already stays.
func (h *hunt) note(kind, secret string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.secrets[secret]; !known && len(secret) >= 8 {
		h.secrets[secret] = kind
	}
}

// noted are the secrets so far, with their kinds.
func (h *hunt) noted() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.secrets)
}

// hear takes down what keepin says at a place.
func (h *hunt) hear(place, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.heard[place] == nil {
		h.heard[place] = new(strings.Builder)
	}
	h.heard[place].WriteString(text + "\n")
}

// overhear is the transport of a browser: it notes what is sent and answered.
type overhear struct {
	hunt *hunt
	to   http.RoundTripper
}

func (o overhear) RoundTrip(r *http.Request) (*http.Response, error) {
	o.sent(r)
	to := o.to
	if to == nil {
		to = http.DefaultTransport
	}
	res, err := to.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	o.answered(r, res, body)
	return res, err
}

func (o overhear) sent(r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/callback") {
		o.hunt.note("code", r.URL.Query().Get("code"))
		o.hunt.note("state", r.URL.Query().Get("state"))
	}
	if a := r.Header.Get("Authorization"); a != "" {
		words := strings.FieldsFunc(a, func(r rune) bool { return r == ' ' || r == '=' })
		o.hunt.note("back end's authorization", words[len(words)-1]) // the key, or the signature
	}
	cookies := r.Cookies()
	if strings.HasSuffix(r.URL.Path, "/exchange") && r.GetBody != nil {
		var in struct{ Cookie string }
		if body, err := r.GetBody(); err == nil {
			_ = json.NewDecoder(body).Decode(&in)
			cookies = append(cookies, &http.Cookie{Value: in.Cookie})
		}
	}
	for _, c := range cookies { // the SDK's is JSON, escaped
		var sdk struct {
			AccessToken string `json:"access_token"`
			Signature   string
		}
		if text, err := url.PathUnescape(c.Value); err == nil && json.Unmarshal([]byte(text), &sdk) == nil {
			o.hunt.note("SDK cookie's token", sdk.AccessToken)
			o.hunt.note("SDK cookie's signature", sdk.Signature)
		}
	}
}

func (o overhear) answered(r *http.Request, res *http.Response, body []byte) {
	for name, values := range res.Header {
		place := map[string]string{"Location": "location", "Set-Cookie": "set-cookie"}[name]
		if place == "" {
			place = "headers"
		}
		for _, v := range values {
			o.hunt.hear(place, name+": "+v)
		}
	}
	for _, c := range res.Cookies() {
		_, id, session := strings.Cut(c.Value, ".")
		switch {
		case session && strings.HasSuffix(c.Name, "keepin"):
			o.hunt.note("session id", id)
		case c.MaxAge >= 0:
			o.hunt.note("transaction cookie", c.Value)
		}
	}
	if to, err := res.Location(); err == nil {
		o.hunt.note("state", to.Query().Get("state"))
		o.hunt.note("ticket", to.Query().Get("keepin_ticket"))
	}
	if !strings.HasSuffix(r.URL.Path, "/token") { // the answer that a token belongs in
		o.hunt.hear("answers", string(body))
	}
}

// Wire is LinkedIn, with the hunt listening at its door.
type Wire struct {
	hunt     *hunt
	linkedIn http.Handler
}

// NewWire begins a hunt. Have keepin call the Wire in LinkedIn's place.
func NewWire(linkedIn http.Handler) *Wire { return &Wire{newHunt(), linkedIn} }

var oauth1Signature = regexp.MustCompile(`oauth_signature="([^"]+)"`)

func (x *Wire) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	x.hunt.note("client secret", form.Get("client_secret"))
	x.hunt.note("code", form.Get("code"))
	if found := oauth1Signature.FindStringSubmatch(r.Header.Get("Authorization")); found != nil {
		signature, _ := url.QueryUnescape(found[1])
		x.hunt.note("OAuth 1.0a signature", signature)
	}
	tee := &tee{ResponseWriter: w}
	x.linkedIn.ServeHTTP(tee, r)
	var issued map[string]any
	if json.Unmarshal(tee.body.Bytes(), &issued) != nil {
		return
	}
	for field, kind := range map[string]string{"access_token": "access token", "refresh_token": "refresh token", "id_token": "ID token"} {
		if form.Get("grant_type") == "refresh_token" && field == "access_token" {
			kind += ", refreshed"
		}
		if v, ok := issued[field].(string); ok {
			x.hunt.note(kind, v)
		}
	}
}

type tee struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (t *tee) Write(p []byte) (int, error) {
	t.body.Write(p)
	return t.ResponseWriter.Write(p)
}

// Unwrap lets the simulator break the connection.
func (t *tee) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// Keys are the keys of a keyset, as Target.Secrets names them.
func Keys(set []byte) (map[string]string, error) {
	var keys map[string]string
	if err := json.Unmarshal(set, &keys); err != nil {
		return nil, err
	}
	named := map[string]string{}
	for id, key := range keys {
		named["sealing key "+id] = key
	}
	return named, nil
}

// places is all that this keepin has said and stored.
func (x *Target) places(t testing.TB) map[string][]byte {
	t.Helper()
	for kind, secret := range x.Secrets(t) {
		x.Wire.hunt.note(kind, secret)
	}
	x.Wire.hunt.mu.Lock()
	defer x.Wire.hunt.mu.Unlock()
	all := map[string][]byte{"logs": []byte(x.Logs()), "events": []byte(x.Sent()), "store": slices.Concat(x.Files(t)...)}
	for place, text := range x.Wire.hunt.heard {
		all[place] = []byte(text.String())
	}
	list := x.Operate(t, "incidents", "list")
	all["operator"] = []byte(list + x.Operate(t, "keys", "list"))
	for _, id := range regexp.MustCompile(`(?m)^([A-Z2-7]{12,}) `).FindAllStringSubmatch(list, -1) {
		all["operator"] = append(all["operator"], x.Operate(t, "incidents", "show", id[1])...)
	}
	return all
}

// leaks are the secrets in places where they do not belong.
func (h *hunt) leaks(places map[string][]byte) (found []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for place, text := range places {
		var look []canary.Canary
		for secret, kind := range h.secrets {
			if !slices.Contains(mayBe[kind], place) {
				look = append(look, canary.Canary{Name: kind, Secret: secret})
			}
		}
		for _, leak := range canary.NewHunter(look...).Find(text) {
			found = append(found, place+": "+leak)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// search ends a scenario.
func (x *Target) search(t *testing.T) {
	t.Helper()
	for _, leak := range x.Wire.hunt.leaks(x.places(t)) {
		t.Errorf("a secret leaks: %s", leak)
	}
	secrets := x.Wire.hunt.noted()
	everything.mu.Lock()
	defer everything.mu.Unlock()
	maps.Copy(everything.secrets, secrets)
}

// everything is what this process has noted of every keepin.
var everything = newHunt()

// enough holds that the whole suite has met every kind of secret, so that the
// search has shown something.
func enough(t *testing.T, all []*Target) {
	t.Helper()
	kinds, secrets := map[string]int{}, 0
	for _, x := range all {
		noted := x.Wire.hunt.noted()
		secrets += len(noted)
		for _, kind := range noted {
			kinds[kind]++
		}
	}
	for _, kind := range everyEngine {
		if kinds[kind] == 0 {
			t.Errorf("the suite met no %s to look for", kind)
		}
	}
	if len(kinds) < 25 || len(everyEngine) < 25 {
		t.Errorf("%d kinds of secrets, want 25 at least", len(kinds))
	}
	t.Logf("looked for %d secrets of %d kinds", secrets, len(kinds))
}

// Main is a TestMain that has the tests print as go test -v has them, and
// searches that.
func Main(m interface{ Run() int }) int {
	flag.Parse()
	if v := flag.Lookup("test.v"); v.Value.String() == "false" {
		_ = v.Value.Set("true")
	}
	code, printed, err := capture(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, leak := range everything.leaks(map[string][]byte{"output": printed}) {
		fmt.Fprintln(os.Stderr, "FAIL: a secret leaks:", leak)
		code = 1
	}
	return code
}

// capture runs run, passes on what it prints, and returns it.
func capture(run func() int) (code int, printed []byte, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 1, nil, err
	}
	stdout, stderr := os.Stdout, os.Stderr
	var out bytes.Buffer
	var reader sync.WaitGroup
	reader.Go(func() { _, err = io.Copy(io.MultiWriter(&out, stdout), r) })
	os.Stdout, os.Stderr = w, w
	code = run()
	os.Stdout, os.Stderr = stdout, stderr
	_ = w.Close()
	reader.Wait()
	return code, out.Bytes(), err
}
