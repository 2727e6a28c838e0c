// Package secrets reads keepin's secrets from where they are kept, and makes
// those that may be made. What it reads is a secret.String at once.
package secrets

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/keepin/keepin/shared/secret"
)

// Cache keeps what Read brought for 5 minutes. It is safe for concurrent use;
// while one caller reads, the others wait.
type Cache struct {
	Read func(ctx context.Context) (secret.String, error)
	Now  func() time.Time // nil: time.Now

	mu     sync.Mutex
	held   secret.String // zero: none was ever read
	readAt time.Time
	tryAt  time.Time // the last reading that failed or was a reread
	tryErr error     // what came of it
}

const (
	cacheFor = 5 * time.Minute
	rest     = 10 * time.Second // between two rereads, and after a failure
)

// Get returns what is held while it is younger than 5 minutes, and also when it
// is older and cannot be read: a secret that was good is better than none.
//
// With reread it reads now. Rereads are 10 s apart: before that, Get returns
// what the last one came to, be it an error.
func (c *Cache) Get(ctx context.Context, reread bool) (secret.String, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	have, resting := !c.held.IsZero(), since(now(), c.tryAt) < rest
	switch {
	case have && reread && resting:
		return c.held, c.tryErr
	case have && !reread && (resting || since(now(), c.readAt) < cacheFor):
		return c.held, nil
	}
	got, err := c.Read(ctx)
	if err == nil && got.IsZero() {
		err = errors.New("read secret: it is empty")
	}
	if reread || err != nil && ctx.Err() == nil { // a caller who left has proved nothing
		c.tryAt, c.tryErr = now(), err
	}
	if err == nil {
		c.held, c.readAt = got, now()
	}
	if err != nil && have && !reread {
		return c.held, nil
	}
	return got, err
}

// since is how long ago t was; long, when t is in the future: a clock that was
// set back must not make anything last.
func since(now, t time.Time) time.Duration {
	if t.After(now) {
		return cacheFor
	}
	return now.Sub(t)
}

// Credentials are the LinkedIn app's own. Previous is the secret before the
// last roll; zero when there is none.
type Credentials struct {
	ClientID         string
	Secret, Previous secret.String
}

const shape = `{"client_id":"...","client_secret":"..."} and optionally "previous_client_secret", as the app's Auth tab at developer.linkedin.com shows them`

// ParseCredentials reads the LinkedIn app's credentials. where names the place
// for its errors, such as "file:PATH"; they say what to write there, and quote
// nothing that stands there.
func ParseCredentials(where string, text secret.String) (Credentials, error) {
	fail := func(what string) (Credentials, error) {
		return Credentials{}, fmt.Errorf("read the LinkedIn app's credentials: %s %s: it must hold %s", where, what, shape)
	}
	fields, err := object(text)
	if err != nil {
		return fail(err.Error())
	}
	for _, name := range []string{"client_id", "client_secret", "previous_client_secret"} {
		value, ok := fields[name]
		switch {
		case !ok && name == "previous_client_secret":
		case !ok || value == "":
			return fail("has no " + name)
		case isPlaceholder(value):
			return fail("still has a placeholder for " + name)
		case len(value) > 512 || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }):
			return fail("has a " + name + " with a space or another character that LinkedIn never uses")
		}
	}
	return Credentials{
		ClientID: fields["client_id"],
		Secret:   secret.New(fields["client_secret"]),
		Previous: secret.New(fields["previous_client_secret"]),
	}, nil
}

// object reads a flat JSON object of texts. Unlike encoding/json it takes no
// field twice, and none in another case. Its errors are the rest of a sentence.
func object(text secret.String) (map[string]string, error) {
	errShape := errors.New("is not a JSON object of texts")
	dec := json.NewDecoder(strings.NewReader(text.Reveal()))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errShape
	}
	fields := map[string]string{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, errShape
		}
		value, err := dec.Token()
		v, ok := value.(string)
		if err != nil || !ok {
			return nil, errShape
		}
		switch n, _ := name.(string); n {
		case "client_id", "client_secret", "previous_client_secret":
			if _, twice := fields[n]; twice {
				return nil, fmt.Errorf("has %s twice", n)
			}
			fields[n] = v
		default:
			return nil, errors.New("has a field of another name")
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, errShape
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errShape
	}
	return fields, nil
}

// isPlaceholder knows what templates and documents put where a value belongs,
// template.yaml's own first.
func isPlaceholder(s string) bool {
	s = strings.ToLower(s)
	for _, part := range []string{"put-yours-here", "changeme", "change-me", "your-client", "your_client", "...", "<", ">"} {
		if strings.Contains(s, part) {
			return true
		}
	}
	return strings.Trim(s, "x") == ""
}

// NewBackendKey makes a key for the application's back end: 52 random characters.
func NewBackendKey() secret.String { return secret.New(rand.Text() + rand.Text()) }

// ParseBackendKey reads a back-end key: one line of 32 to 512 printable ASCII
// characters without a space. where is as in ParseCredentials.
func ParseBackendKey(where string, text secret.String) (secret.String, error) {
	line := strings.TrimSuffix(strings.TrimSuffix(text.Reveal(), "\n"), "\r")
	if len(line) < 32 || len(line) > 512 || strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return secret.String{}, fmt.Errorf("read the back-end key: %s must hold one line of 32 to 512 printable characters without a space; without the file, a good one is made", where)
	}
	return secret.New(line), nil
}
