package config_test

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/config"
)

// env is an environment: good, and then what overrides it, name by name.
type env map[string]string

func (e env) load(need config.Need) (config.Config, error) {
	all := env{"KEEPIN_BASE_URL": "https://app.example.com/auth", "KEEPIN_SCOPES": "openid profile email", "KEEPIN_STORE": "dynamodb:keepin",
		"KEEPIN_SECRET": "secretsmanager:keepin/linkedin", "KEEPIN_KEYS": "secretsmanager:arn:aws:secretsmanager:eu-central-1:111122223333:secret:Keyset-AbCdEf"}
	for name, value := range e {
		all[name] = value
	}
	environ := []string{"PATH=/bin", "HOME"}
	for name, value := range all {
		environ = append(environ, name+"="+value)
	}
	return config.Load(need, func(name string) string { return all[name] }, environ)
}

func TestAFunctionGetsWhatTheTemplateGivesIt(t *testing.T) {
	got, err := env{"KEEPIN_RETURN_ORIGINS": "", "KEEPIN_SDK_EXCHANGE": "", "KEEPIN_LINKEDIN_URL": "https://www.linkedin.com", "KEEPIN_LINKEDIN_API_URL": "https://api.linkedin.com",
		"KEEPIN_ISSUER": "https://www.linkedin.com/oauth", "KEEPIN_EVENTS": "eventbridge:keepin", "KEEPIN_LOG": "warn"}.load(config.Work)
	want := config.Config{
		BaseURL: "https://app.example.com/auth", Scopes: []string{"openid", "profile", "email"}, ReturnOrigins: []string{}, LogLevel: slog.LevelWarn,
		LinkedInURL: "https://www.linkedin.com", APIURL: "https://api.linkedin.com", Issuer: "https://www.linkedin.com/oauth",
		Store: config.Place{"dynamodb", "keepin"}, Secret: config.Place{"secretsmanager", "keepin/linkedin"},
		Keys: config.Place{"secretsmanager", "arn:aws:secretsmanager:eu-central-1:111122223333:secret:Keyset-AbCdEf"}, Events: config.Place{"eventbridge", "keepin"},
		Listen: "127.0.0.1:8080", Data: ".keepin", SweepEvery: time.Minute,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
	if got.RedirectURL() != "https://app.example.com/auth/callback" {
		t.Error(got.RedirectURL())
	}
}

func TestWhatIsNotSetHasADefault(t *testing.T) {
	none := env{"KEEPIN_STORE": "", "KEEPIN_SECRET": "", "KEEPIN_KEYS": ""}
	got, err := none.load(config.Serve)
	if err != nil {
		t.Fatal(err)
	}
	places := fmt.Sprint(got.Store, got.Secret, got.Keys, got.Events, got.BackendKey)
	if want := "bolt:.keepin/keepin.db file:.keepin/linkedin.json file:.keepin/keys.json log file:.keepin/backend-key"; places != want {
		t.Errorf("got %s, want %s", places, want)
	}
	if got.LinkedInURL != "https://www.linkedin.com" || got.APIURL != "https://api.linkedin.com" || got.Issuer != "https://www.linkedin.com/oauth" || got.LogLevel != slog.LevelInfo || got.SDKExchange != "" {
		t.Errorf("got %+v", got)
	}
	none["KEEPIN_DATA"], none["KEEPIN_LINKEDIN_URL"] = "/data", "http://localhost:9000"
	got, err = none.load(config.Serve)
	if err != nil || got.Keys.String() != "file:/data/keys.json" || got.Issuer != "http://localhost:9000/oauth" {
		t.Errorf("%v, got %+v", err, got)
	}
}

// TestAProgramNeedsNoMoreThanItUses is why validate starts without a secret.
func TestAProgramNeedsNoMoreThanItUses(t *testing.T) {
	for need, want := range map[config.Need]string{
		config.Validate: "KEEPIN_BASE_URL KEEPIN_SCOPES KEEPIN_STORE",
		config.Work:     "KEEPIN_BASE_URL KEEPIN_SCOPES KEEPIN_STORE KEEPIN_SECRET KEEPIN_KEYS",
		config.Serve:    "KEEPIN_BASE_URL KEEPIN_SCOPES",
		config.Operate:  "",
	} {
		_, err := config.Load(need, func(string) string { return "" }, nil)
		var names []string
		for _, m := range mistakes(t, err) {
			names = append(names, m.Variable)
			if m.Seen != "nothing" {
				t.Errorf("%s: %s", m.Variable, m.Seen)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%d: got %s, want %s", need, got, want)
		}
	}
}

func mistakes(t *testing.T, err error) config.Mistakes {
	t.Helper()
	m, ok := errors.AsType[config.Mistakes](err)
	if err != nil && !ok {
		t.Fatal(err)
	}
	return m
}

func TestEachMistakeIsFound(t *testing.T) {
	long := strings.Repeat("x", 1100)
	for _, tt := range []struct{ name, value, seen string }{
		{"KEEPIN_BASE_URL", "https://app.example.com/", "a URL with a final slash"},
		{"KEEPIN_BASE_URL", "https://app.example.com/auth/", "a URL with a final slash"},
		{"KEEPIN_BASE_URL", "http://app.example.com", "an http URL of another machine"},
		{"KEEPIN_BASE_URL", "http://[::1]:8080", "an http URL of another machine"},
		{"KEEPIN_BASE_URL", "http://127.0.0.2", "an http URL of another machine"},
		{"KEEPIN_BASE_URL", "http://localhost.example.com", "an http URL of another machine"},
		{"KEEPIN_BASE_URL", "http://host.docker.internal", "an http URL of another machine"},
		{"KEEPIN_BASE_URL", "http://172.18.0.1", "an http URL of another machine"},
		{"KEEPIN_BASE_URL", "https://u:p@app.example.com", "a URL with a user name"},
		{"KEEPIN_BASE_URL", "https://app.example.com?a=b", "a URL with a query"},
		{"KEEPIN_BASE_URL", "https://app.example.com?", "a URL with a query"},
		{"KEEPIN_BASE_URL", "https://app.example.com#", "a URL with a fragment"},
		{"KEEPIN_BASE_URL", "https://app.example.com#a", "a URL with a fragment"},
		{"KEEPIN_BASE_URL", "ftp://app.example.com", "a URL of another scheme than https"},
		{"KEEPIN_BASE_URL", "//app.example.com", "17 characters that are no URL"},
		{"KEEPIN_BASE_URL", "app.example.com/auth", "20 characters that are no URL"},
		{"KEEPIN_BASE_URL", "https:app.example.com", "21 characters that are no URL"},
		{"KEEPIN_BASE_URL", " https://app.example.com", "24 characters that are no URL"},
		{"KEEPIN_BASE_URL", "https://app.example.com\n", "24 characters that are no URL"},
		{"KEEPIN_BASE_URL", "https://", "a URL without a host"},
		{"KEEPIN_BASE_URL", "https://:443", "a URL without a host"},
		{"KEEPIN_BASE_URL", "https://App.example.com", "a URL with a host that is not in lower-case ASCII"},
		{"KEEPIN_BASE_URL", "https://käse.example.com", "a URL with a host that is not in lower-case ASCII"},
		{"KEEPIN_BASE_URL", "https://app.example.com.", "a URL with a host that is not in lower-case ASCII"},
		{"KEEPIN_BASE_URL", "https://-app.example.com", "a URL with a host that is not in lower-case ASCII"},
		{"KEEPIN_BASE_URL", "https://app.example.com:", "a URL with a bad port"},
		{"KEEPIN_BASE_URL", "https://app.example.com:65536", "a URL with a bad port"},
		{"KEEPIN_BASE_URL", "https://app.example.com:0443", "a URL with a bad port"},
		{"KEEPIN_BASE_URL", "https://app.example.com:443", "a URL with the port that it has anyway"},
		{"KEEPIN_BASE_URL", "http://localhost:80", "a URL with the port that it has anyway"},
		{"KEEPIN_BASE_URL", "https://app.example.com/a%2Fb", "a URL with a path that must be encoded"},
		{"KEEPIN_BASE_URL", "https://app.example.com/a b", "a URL with a path that must be encoded"},
		{"KEEPIN_BASE_URL", `https://app.example.com/a\b`, "a URL with a path that must be encoded"},
		{"KEEPIN_BASE_URL", "https://app.example.com//a", "a URL with an empty or dotted path segment"},
		{"KEEPIN_BASE_URL", "https://app.example.com/a/../b", "a URL with an empty or dotted path segment"},
		{"KEEPIN_BASE_URL", "https://app.example.com/.", "a URL with an empty or dotted path segment"},
		{"KEEPIN_BASE_URL", "https://" + long, "1108 characters"},
		{"KEEPIN_SCOPES", "  ", "nothing"},
		{"KEEPIN_SCOPES", "profile email", "no openid"},
		{"KEEPIN_SCOPES", "openidx", "no openid"},
		{"KEEPIN_SCOPES", "openid,profile", "a comma"},
		{"KEEPIN_SCOPES", "openid profile openid", "the same scope twice"},
		{"KEEPIN_SCOPES", "openid \tprofile", "a character that no scope has"},
		{"KEEPIN_SCOPES", `openid "profile"`, "a character that no scope has"},
		{"KEEPIN_SCOPES", "openid é", "a character that no scope has"},
		{"KEEPIN_SCOPES", "openid " + long, "1107 characters"},
		{"KEEPIN_RETURN_ORIGINS", "https://a.example https://b.example/", "a URL with a final slash (origin 2)"},
		{"KEEPIN_RETURN_ORIGINS", "https://a.example/path", "a URL with a path (origin 1)"},
		{"KEEPIN_RETURN_ORIGINS", "https://*.example", "a URL with a host that is not in lower-case ASCII (origin 1)"},
		{"KEEPIN_RETURN_ORIGINS", "*", "1 characters that are no URL (origin 1)"},
		{"KEEPIN_RETURN_ORIGINS", "null", "4 characters that are no URL (origin 1)"},
		{"KEEPIN_RETURN_ORIGINS", "https://a.example:443", "a URL with the port that it has anyway (origin 1)"},
		{"KEEPIN_RETURN_ORIGINS", "http://a.example", "an http URL of another machine (origin 1)"},
		{"KEEPIN_RETURN_ORIGINS", "https://a.example,https://b.example", "a URL with a host that is not in lower-case ASCII (origin 1)"},
		{"KEEPIN_RETURN_ORIGINS", "https://a.example https://a.example", "the same origin twice"},
		{"KEEPIN_RETURN_ORIGINS", strings.Repeat("https://a.example ", 500), "9000 characters"},
		{"KEEPIN_RETURN_ORIGINS", many(101), "101 origins"},
		{"KEEPIN_LINKEDIN_URL", "http://www.linkedin.com", "an http URL of another machine"},
		{"KEEPIN_LINKEDIN_API_URL", "https://api.linkedin.com/", "a URL with a final slash"},
		{"KEEPIN_ISSUER", "http://issuer.example", "an http URL of another machine"},
		{"KEEPIN_ISSUER", "https://issuer.example//", "a URL with a final slash"},
		{"KEEPIN_SDK_EXCHANGE", "https://u@api.linkedin.com/x", "a URL with a user name"},
		{"KEEPIN_STORE", "keepin", "6 characters"},
		{"KEEPIN_STORE", "postgres:keepin", "15 characters"},
		{"KEEPIN_STORE", "dynamodb", `"dynamodb" with nothing after it`},
		{"KEEPIN_STORE", "dynamodb:ab", `"dynamodb" with 2 characters that do not fit`},
		{"KEEPIN_STORE", "dynamodb:a b c", `"dynamodb" with 5 characters that do not fit`},
		{"KEEPIN_STORE", "bolt:", `"bolt" with nothing after it`},
		{"KEEPIN_STORE", "bolt: x", `"bolt" with 2 characters that do not fit`},
		{"KEEPIN_SECRET", `{"client_id":"CANARY"}`, "22 characters"},
		{"KEEPIN_SECRET", "secretsmanager:a b", `"secretsmanager" with 3 characters that do not fit`},
		{"KEEPIN_KEYS", "file:", `"file" with nothing after it`},
		{"KEEPIN_EVENTS", "log:x", `"log" with 1 characters that do not fit`},
		{"KEEPIN_EVENTS", "webhook:http://app.example.com/x", `"webhook" with 24 characters that do not fit`},
		{"KEEPIN_EVENTS", "webhook:https://u:p@app.example.com/x", `"webhook" with 29 characters that do not fit`},
		{"KEEPIN_EVENTS", "webhook:https://app.example.com/x#y", `"webhook" with 27 characters that do not fit`},
		{"KEEPIN_EVENTS", "eventbridge:a b", `"eventbridge" with 3 characters that do not fit`},
		{"KEEPIN_BACKEND_KEY", "secretsmanager:x", "16 characters"},
		{"KEEPIN_LOG", "INFO", "4 characters"},
		{"KEEPIN_LISTEN", "8080", "4 characters"},
		{"KEEPIN_LISTEN", "127.0.0.1:http", "14 characters"},
		{"KEEPIN_LISTEN", "a b:80", "6 characters"},
		{"KEEPIN_LISTEN", ":65536", "6 characters"},
		{"KEEPIN_DATA", "a\x00b", "3 characters"},
		{"KEEPIN_SWEEP_EVERY", "60", "2 characters"},
		{"KEEPIN_SWEEP_EVERY", "999ms", "5 characters"},
		{"KEEPIN_SWEEP_EVERY", "61m", "3 characters"},
		{"AWS_ENDPOINT_URL", "http://aws.example", "an http URL of another machine"},
		{"AWS_ENDPOINT_URL_DYNAMODB", "http://host.docker.internal:8000", "an http URL of another machine"},
		{"AWS_ENDPOINT_URL_SECRETS_MANAGER", "x", "1 characters that are no URL"},
		{"AWS_ENDPOINT_URL_EVENTBRIDGE", "https://x?y", "a URL with a query"},
	} {
		for _, need := range []config.Need{config.Work, config.Serve} {
			got, err := env{tt.name: tt.value}.load(need)
			m := mistakes(t, err)
			if len(m) != 1 || m[0].Variable != tt.name || m[0].Seen != tt.seen || m[0].Want == "" || !reflect.DeepEqual(got, config.Config{}) {
				t.Errorf("%s=%.60q:\n got %v\nwant %s", tt.name, tt.value, err, tt.seen)
			}
		}
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "https://a%d.example ", i)
	}
	return b.String()
}

func TestWhatIsRightIsTaken(t *testing.T) {
	for _, e := range []env{
		{"KEEPIN_BASE_URL": "http://localhost"}, {"KEEPIN_BASE_URL": "http://localhost:8080/auth"}, {"KEEPIN_BASE_URL": "http://127.0.0.1:8080"},
		{"KEEPIN_BASE_URL": "https://a_b.example:8443/A-b/c_d/e.f~"}, {"KEEPIN_BASE_URL": "https://[2001:db8::1]"}, {"KEEPIN_BASE_URL": "https://xn--kse-qla.example"},
		{"KEEPIN_SCOPES": "openid"}, {"KEEPIN_SCOPES": " openid  r_liteprofile w_member_social "},
		{"KEEPIN_RETURN_ORIGINS": many(100)}, {"KEEPIN_RETURN_ORIGINS": "http://localhost:3000 http://[::1]:3000 https://a.example:8443"},
		{"KEEPIN_LINKEDIN_URL": "http://127.0.0.5:9"}, {"KEEPIN_ISSUER": "https://issuer.example/"}, {"KEEPIN_SDK_EXCHANGE": "https://api.linkedin.com/uas/oauth/accessToken"},
		{"KEEPIN_STORE": "bolt:a:b"}, {"KEEPIN_STORE": "bolt:C:\\keepin\\keepin.db"}, {"KEEPIN_SECRET": "file:my secret.json"}, {"KEEPIN_EVENTS": "log"}, {"KEEPIN_EVENTS": "webhook:https://app.example.com/"},
		{"KEEPIN_EVENTS": "webhook:http://localhost:3000/events?key=a%20b"}, {"KEEPIN_EVENTS": "eventbridge:arn:aws:events:eu-central-1:111122223333:event-bus/keepin"},
		{"KEEPIN_LISTEN": ":8080"}, {"KEEPIN_LISTEN": "[::1]:0"}, {"KEEPIN_LISTEN": "localhost:65535"}, {"KEEPIN_SWEEP_EVERY": "1s"}, {"KEEPIN_SWEEP_EVERY": "1h"},
		{"AWS_ENDPOINT_URL": "http://localhost:4566/"}, {"AWS_ENDPOINT_URL_DYNAMODB": "https://dynamodb.eu-central-1.amazonaws.com"}, {"AWS_ENDPOINT_URL_S3": "anything"},
		{"AWS_SAM_LOCAL": "true", "AWS_ENDPOINT_URL_DYNAMODB": "http://host.docker.internal:8000", "KEEPIN_LINKEDIN_URL": "http://host.docker.internal:9000"},
		{"AWS_SAM_LOCAL": "true", "AWS_ENDPOINT_URL": "http://172.18.0.1:4566", "KEEPIN_LINKEDIN_URL": "http://172.18.0.1:8081"},
		{"KEEPIN_TEST_REQUIRE": "1"}, {"KEEPINX": "1"},
	} {
		if _, err := e.load(config.Work); err != nil {
			t.Errorf("%v: %v", e, err)
		}
	}
}

func TestAnUnknownVariableNamesTheNearest(t *testing.T) {
	for name, want := range map[string]string{
		"KEEPIN_SCOPE": "KEEPIN_SCOPES", "KEEPIN_BASEURL": "KEEPIN_BASE_URL", "KEEPIN_RETURN_ORIGIN": "KEEPIN_RETURN_ORIGINS", "KEEPIN_LOG_LEVEL": "KEEPIN_LOG", "KEEPIN_scopes": "KEEPIN_SCOPES",
		"KEEPIN_": "KEEPIN_LOG", "KEEPIN_LINKEDIN_AP_URL": "KEEPIN_LINKEDIN_API_URL",
	} {
		_, err := env{name: "CANARY"}.load(config.Work)
		m := mistakes(t, err)
		if len(m) != 1 || m[0].Variable != name || m[0].Example != want || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}

func TestEveryMistakeIsToldAtOnceAndInOrder(t *testing.T) {
	e := env{"KEEPIN_NONSENSE": "x", "AWS_ENDPOINT_URL": "x"}
	var want []string
	for _, name := range config.Variables() {
		e[name] = "\x01"
		if name != "KEEPIN_SDK_EXCHANGE" {
			e[name] = "\x01,\x02"
		}
		want = append(want, name)
	}
	_, err := e.load(config.Serve)
	var got []string
	for _, m := range mistakes(t, err) {
		got = append(got, m.Variable)
	}
	want = append(want, "AWS_ENDPOINT_URL", "KEEPIN_NONSENSE")
	if !reflect.DeepEqual(got, want) {
		t.Errorf(" got %v\nwant %v", got, want)
	}
	if lines := strings.Count(err.Error(), "\n"); lines != len(want) {
		t.Errorf("%d lines for %d mistakes:\n%v", lines, len(want), err)
	}
	if _, ok := errors.AsType[config.Mistake](err); !ok {
		t.Error("one mistake cannot be found with errors.As")
	}
}

// TestNoValueStandsInAnError pastes a secret into every variable in every form
// that gets a different message.
func TestNoValueStandsInAnError(t *testing.T) {
	const canary = "WPL_AP1CANARY.9f8e"
	forms := []string{"%s", "https://%s", "https://u:%s@a.example", "https://a.example/%s/", "https://a.example?k=%s", "https://a.example#%s", "%s://a.example", "https://a.example:%s",
		"dynamodb:%s ", "bolt:%s\x00", "file:%s\n", "secretsmanager: %s", "webhook:%s", "eventbridge:%s ", "log:%s", "%s:8080", "openid %s %s", "1%s", "https://a.example https://%s", "\x7f%s"}
	names := append(config.Variables(), "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "KEEPIN_UNKNOWN")
	failed := map[string]bool{}
	for _, name := range names {
		for _, form := range forms {
			_, err := env{name: strings.ReplaceAll(form, "%s", canary)}.load(config.Serve)
			if err == nil {
				continue
			}
			failed[name] = true
			for _, shown := range []string{err.Error(), fmt.Sprintf("%+v %#v", err, err)} {
				if strings.Contains(shown, "CANARY") || strings.Contains(strings.ToLower(shown), "9f8e") {
					t.Errorf("%s=%s: %s", name, form, shown)
				}
			}
		}
		if !failed[name] {
			t.Errorf("%s never failed", name)
		}
	}
	name := "KEEPIN_" + strings.Repeat("CANARY", 8)
	if _, err := (env{name: "x"}).load(config.Work); err == nil || strings.Contains(err.Error(), "CANARY") {
		t.Error(err)
	}
}
