package telemetry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/telemetry"
	"github.com/keepin/keepin/test/bounds"
	"github.com/keepin/keepin/test/canary"
)

const (
	known  = `s3cr"et/+ <é>` // a secret that was registered; no shape gives it away
	token  = "AQXdSP_W41_UPs5ioT_t8HESyODB4FqbkJ8LrV_5mff4gPODzOYR"
	jwt    = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"
	code   = "authcode1" // short, in a query
	member = "0aZ9-_0aZ9-_0aZ9-_0aZ9"
)

var canaries = []canary.Canary{{Name: "known", Secret: known}, {Name: "token", Secret: token}, {Name: "jwt", Secret: jwt}, {Name: "code", Secret: code}}

// logger is a Logger in both forms, with what it wrote.
func logger(human bool) (*slog.Logger, *bytes.Buffer) {
	var out bytes.Buffer
	hide := new(telemetry.Hide)
	hide.Value(secret.New(known))
	return telemetry.Logger(&out, slog.LevelDebug, human, hide), &out
}

type valuer struct{ v any }

func (v valuer) LogValue() slog.Value { return slog.AnyValue(v.v) }

// TestNoSecretIsLogged puts secrets wherever a record can hold one.
func TestNoSecretIsLogged(t *testing.T) {
	callback := "https://app.example.com/callback?code=" + code + "&state=" + token
	parsed, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	urlError := &url.Error{Op: "Get", URL: callback, Err: errors.New("reset " + known)}
	type inner struct {
		Token string
		Map   map[string]any
	}
	for _, human := range []bool{false, true} {
		for name, log := range map[string]func(*slog.Logger){
			"message":   func(l *slog.Logger) { l.Info("got " + known + token) },
			"attribute": func(l *slog.Logger) { l.Info("m", "a", known, "b", token, "c", jwt, "d", callback) },
			"key":       func(l *slog.Logger) { l.Info("m", known, 1, token, 2) },
			"error":     func(l *slog.Logger) { l.Error("m", "error", fmt.Errorf("call: %w", errors.New(known+" "+jwt))) },
			"url error": func(l *slog.Logger) { l.Error("m", "error", urlError, "wrapped", fmt.Errorf("x: %w", urlError)) },
			"joined":    func(l *slog.Logger) { l.Error("m", "error", errors.Join(urlError, errors.New(token))) },
			"url":       func(l *slog.Logger) { l.Info("m", "url", parsed, "value", *parsed) },
			"group": func(l *slog.Logger) {
				l.Info("m", slog.Group("g", "a", known, slog.Group("h", "b", token, "e", urlError)))
			},
			"with": func(l *slog.Logger) {
				l.With("a", known).WithGroup("g").With("b", jwt).WithGroup(token).Info("m", "c", token)
			},
			"struct":  func(l *slog.Logger) { l.Info("m", "s", inner{token, map[string]any{known: []string{jwt, known}}}) },
			"pointer": func(l *slog.Logger) { l.Info("m", "s", &inner{Token: known}) },
			"bytes":   func(l *slog.Logger) { l.Info("m", "b", []byte(known), "s", []any{known, token}) },
			"header": func(l *slog.Logger) {
				l.Info("m", "h", http.Header{"Authorization": {"Bearer " + token}, "Cookie": {"a=" + known}})
			},
			"valuer": func(l *slog.Logger) {
				l.Info("m", "v", valuer{valuer{token}}, "w", valuer{inner{Token: known}}, "x", valuer{urlError})
			},
			"secret": func(l *slog.Logger) {
				l.Info("m", "s", secret.New(known), "t", []secret.String{secret.New(token)}, "u", struct{ S secret.String }{secret.New(token)})
			},
			"record": func(l *slog.Logger) {
				l.Error("m", "record", keeper.Record{URL: callback, RequestBody: "refresh_token=" + token, RequestHeaders: map[string]string{"X": known}})
			},
			"encoded": func(l *slog.Logger) {
				l.Info(url.QueryEscape(known), "p", url.PathEscape(known), "j", fmt.Sprintf("%q", known))
			},
			"user of url": func(l *slog.Logger) { l.Info("m", "u", "https://me:"+code+"@app.example.com/x") },
			"fragment":    func(l *slog.Logger) { l.Info("m", "u", "https://app.example.com/x#"+code) },
			"two urls":    func(l *slog.Logger) { l.Info("from " + callback + " to " + callback) },
		} {
			l, out := logger(human)
			log(l)
			if found := canary.Find(out.Bytes(), canaries...); len(found) > 0 || out.Len() == 0 {
				t.Errorf("%s: %q in %s", name, found, out)
			}
			if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 {
				t.Errorf("%s: %d lines", name, n)
			}
			if !human && !json.Valid(out.Bytes()) {
				t.Errorf("%s: no JSON: %s", name, out)
			}
		}
	}
}

// TestAPlantedSecretIsFound makes sure that the test above can fail.
func TestAPlantedSecretIsFound(t *testing.T) {
	var out bytes.Buffer
	l := telemetry.Logger(&out, slog.LevelInfo, false, nil)
	l.Info("m", "a", known)
	if len(canary.Find(out.Bytes(), canaries...)) != 1 {
		t.Errorf("not found: %s", out.Bytes())
	}
}

func TestWhatIsNoSecretIsLogged(t *testing.T) {
	l, out := logger(false)
	l = l.With("member", keeper.MemberID(member))
	record := keeper.Record{Operation: "refresh", Took: 1234567890123456789, URL: "https://www.linkedin.com/oauth/v2/accessToken", RequestBody: "refresh_token=sha256:01234567",
		ResponseHeaders: map[string]string{"x-li-uuid": "AAYVp0SbRyEwGbKp6ioAAA==", "x-li-request-id": "1f0e3dad-9990-8345-b3a4-6a2a1c5b7a11"}}
	l.Error("a call failed", slog.Group("g", "at", time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), "took", time.Second, "n", 7, "ok", true, "nil", nil),
		"error", errors.New("refresh: outage: status 503"), "record", record, "level", slog.LevelWarn, "ip", netip.MustParseAddr("::1"), "no_error", error(nil), "url", (*url.URL)(nil))
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := `{"at":"2026-03-10T12:00:00Z","n":7,"nil":null,"ok":true,"took":1000000000} 0aZ9-_0aZ9-_0aZ9-_0aZ9 refresh: outage: status 503 WARN ::1`
	g, _ := json.Marshal(got["g"])
	if s := fmt.Sprint(string(g), " ", got["member"], " ", got["error"], " ", got["level"], " ", got["ip"]); s != strings.Replace(want, "WARN", fmt.Sprint(got["level"]), 1) {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	wantRecord, _ := json.Marshal(record)
	var raw struct{ Record json.RawMessage }
	var a, b any
	if err := json.Unmarshal(out.Bytes(), &raw); err != nil {
		t.Fatal(err)
	}
	json.Unmarshal(raw.Record, &a)
	json.Unmarshal(wantRecord, &b)
	if fmt.Sprint(a) != fmt.Sprint(b) || !bytes.Contains(raw.Record, []byte("1234567890123456789")) {
		t.Errorf("got  %s\nwant %s", raw.Record, wantRecord)
	}
}

// TestNoTextBreaksALineOrMovesACursor forges a line and colours a terminal.
func TestNoTextBreaksALineOrMovesACursor(t *testing.T) {
	const evil = "a\r\n{\"level\":\"INFO\"}\x1b[31m\x9b31m\u009b31m\u2028\u202e\x7f\x00\u200b"
	for _, human := range []bool{false, true} {
		l, out := logger(human)
		l.WithGroup("g"+evil).Error(evil, "k"+evil, evil, "error", errors.New(evil), "s", struct{ A string }{evil}, "m", map[string]string{evil: evil})
		if n := bytes.Count(out.Bytes(), []byte("\n")); n != 1 || !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
			t.Errorf("%d lines: %q", n, out)
		}
		for _, r := range strings.TrimSuffix(out.String(), "\n") {
			if r < ' ' || r >= 0x7f && r <= 0x9f || r == '\u2028' || r == '\u202e' || r == '\u200b' {
				t.Errorf("human %v: %q is in %q", human, r, out)
			}
		}
		if !human && !json.Valid(out.Bytes()) {
			t.Errorf("no JSON: %s", out)
		}
	}
}

func TestTheLevelIsKept(t *testing.T) {
	var out bytes.Buffer
	l := telemetry.Logger(&out, slog.LevelWarn, true, nil)
	l.Info("no")
	l.Warn("yes", "for", "a person")
	if s := out.String(); strings.Contains(s, "no") || !strings.Contains(s, `level=WARN msg=yes for="a person"`) || strings.Contains(s, "T") {
		t.Error(s)
	}
}

func TestALongLivedProcessForgetsTheOldestSecrets(t *testing.T) {
	hide := new(telemetry.Hide)
	for i := range 300 {
		hide.Value(secret.New(fmt.Sprintf("secret-%03d", i)))
		hide.Value(secret.New(fmt.Sprintf("secret-%03d", i)))
	}
	hide.Value(secret.New("short"))
	hide.Value(secret.New("secret-299-and-longer"))
	if got := hide.In("secret-010 secret-299 short secret-299-and-longer!"); got != "secret-010 [redacted] short [redacted]!" {
		t.Error(got)
	}
}

func FuzzHide(f *testing.F) {
	hide := new(telemetry.Hide)
	hide.Value(secret.New(known))
	f.Add("", "")
	f.Add("https://a?", "#")
	f.Add("x ", ".eyJ")
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, s := range []string{known, token} {
			var got string
			bounds.Check(t, func() { got = hide.In(before + s + after) })
			if strings.Contains(got, s) {
				t.Errorf("%q", got)
			}
		}
	})
}
