// Package config turns the environment into a Config, and tells every mistake
// in it at once.
package config

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config is all that a deployer can choose. Addresses have no final slash.
type Config struct {
	BaseURL       string   // KEEPIN_BASE_URL: keepin's public address, maybe with a path
	Scopes        []string // KEEPIN_SCOPES: all that may be asked of a member, openid among them
	ReturnOrigins []string // KEEPIN_RETURN_ORIGINS: origins of the application's pages on other hosts
	LogLevel      slog.Level

	LinkedInURL string // KEEPIN_LINKEDIN_URL
	APIURL      string // KEEPIN_LINKEDIN_API_URL
	Issuer      string // KEEPIN_ISSUER, compared exactly
	SDKExchange string // KEEPIN_SDK_EXCHANGE; "": there is no POST /exchange

	Store  Place // KEEPIN_STORE: "dynamodb" table, "bolt" file
	Secret Place // KEEPIN_SECRET: "secretsmanager" id, "file" path
	Keys   Place // KEEPIN_KEYS: the same
	Events Place // KEEPIN_EVENTS: "eventbridge" bus, "webhook" address, "log"

	Listen     string        // KEEPIN_LISTEN
	Data       string        // KEEPIN_DATA, a folder
	BackendKey Place         // KEEPIN_BACKEND_KEY: "file" path
	SweepEvery time.Duration // KEEPIN_SWEEP_EVERY
}

// RedirectURL is what the deployer registers with LinkedIn.
func (c Config) RedirectURL() string { return c.BaseURL + "/callback" }

// Place is where something is kept: a kind, and the name that it has there.
type Place struct{ Kind, Name string }

// String is the place as it is written in the environment; "" for none.
func (p Place) String() string {
	if p.Name == "" {
		return p.Kind
	}
	return p.Kind + ":" + p.Name
}

// Need is what a program cannot do without. Whatever is set is checked all the
// same.
type Need int

const (
	// Validate needs the base URL, the scopes and the store.
	Validate Need = iota
	// Work needs the secret and the keys besides: the four other functions.
	Work
	// Serve is one machine: what it needs it finds in its data folder, but for
	// the base URL and the scopes.
	Serve
	// Operate is an operator's verb on one machine: where the store and the keys
	// are, it finds as Serve does.
	Operate
)

// Mistake is one wrong variable. It holds nothing of the variable's value, which
// may be a secret that was put in the wrong place.
type Mistake struct {
	Variable string
	Seen     string // its shape: "nothing", "12 characters", "a URL with a query"
	Want     string
	Example  string // "" where there is none
}

// Error is the mistake as one sentence.
func (m Mistake) Error() string {
	s := fmt.Sprintf("%s: there is %s; it must be %s", m.Variable, m.Seen, m.Want)
	if m.Example != "" {
		s += ", such as " + m.Example
	}
	return s
}

// Mistakes are all of them, in the order of Variables; unknown ones come last.
type Mistakes []Mistake

// Error has one line for each mistake.
func (m Mistakes) Error() string {
	lines := []string{"the configuration is wrong:"}
	for _, mistake := range m {
		lines = append(lines, "  "+mistake.Error())
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find each one.
func (m Mistakes) Unwrap() []error {
	errs := make([]error, len(m))
	for i := range m {
		errs[i] = m[i]
	}
	return errs
}

// Load reads the environment: getenv is os.Getenv, and environ os.Environ(),
// which is searched for KEEPIN_ variables that do not exist. An empty variable
// is one that is not set. The error is Mistakes.
func Load(need Need, getenv func(string) string, environ []string) (Config, error) {
	l := &loader{getenv: getenv, samLocal: getenv("AWS_SAM_LOCAL") == "true"}
	c := Config{
		BaseURL:       l.baseURL(need != Operate),
		Scopes:        l.scopes(need != Operate),
		ReturnOrigins: l.origins(),
		LogLevel:      l.level(),
		LinkedInURL:   l.url("KEEPIN_LINKEDIN_URL", "https://www.linkedin.com"),
		APIURL:        l.url("KEEPIN_LINKEDIN_API_URL", "https://api.linkedin.com"),
		SDKExchange:   l.url("KEEPIN_SDK_EXCHANGE", ""),
		Listen:        l.listen(),
		Data:          l.data(),
		SweepEvery:    l.sweepEvery(),
	}
	c.Issuer = l.issuer(c.LinkedInURL + "/oauth")

	in := func(kind, name string) Place {
		if need != Serve && need != Operate {
			return Place{}
		}
		return Place{kind, filepath.Join(c.Data, name)}
	}
	stores := []kind{{"dynamodb", isTable, "dynamodb:keepin"}, {"bolt", isPath, "bolt:/var/lib/keepin/keepin.db"}}
	secrets := []kind{{"secretsmanager", isSecretID, "secretsmanager:keepin/linkedin"}, {"file", isPath, "file:/var/lib/keepin/linkedin.json"}}
	c.Store = l.place("KEEPIN_STORE", true, in("bolt", "keepin.db"), stores)
	c.Secret = l.place("KEEPIN_SECRET", need != Validate, in("file", "linkedin.json"), secrets)
	c.Keys = l.place("KEEPIN_KEYS", need != Validate, in("file", "keys.json"), secrets)
	c.Events = l.place("KEEPIN_EVENTS", false, Place{Kind: "log"}, []kind{
		{"eventbridge", isBus, "eventbridge:keepin"}, {"webhook", l.isWebhook, "webhook:https://app.example.com/events"}, {"log", nil, "log"}})
	c.BackendKey = l.place("KEEPIN_BACKEND_KEY", false, in("file", "backend-key"), []kind{{"file", isPath, "file:/var/lib/keepin/backend-key"}})
	l.awsEndpoints()
	l.unknown(environ)

	if len(l.mistakes) > 0 {
		slices.SortStableFunc(l.mistakes, func(a, b Mistake) int { return order(a.Variable) - order(b.Variable) })
		return Config{}, l.mistakes
	}
	return c, nil
}

// Variables are all that Load knows of keepin's own.
func Variables() []string {
	return []string{
		"KEEPIN_BASE_URL", "KEEPIN_SCOPES", "KEEPIN_RETURN_ORIGINS", "KEEPIN_STORE", "KEEPIN_SECRET", "KEEPIN_KEYS", "KEEPIN_EVENTS",
		"KEEPIN_LOG", "KEEPIN_LINKEDIN_URL", "KEEPIN_LINKEDIN_API_URL", "KEEPIN_ISSUER", "KEEPIN_SDK_EXCHANGE",
		"KEEPIN_LISTEN", "KEEPIN_DATA", "KEEPIN_BACKEND_KEY", "KEEPIN_SWEEP_EVERY",
	}
}

func order(variable string) int {
	if i := slices.Index(Variables(), variable); i >= 0 {
		return i
	}
	return len(Variables())
}
