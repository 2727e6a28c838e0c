// Package operator does what an operator asks of a store and a keyset, wherever
// they are kept: which keys there are, a new one, old ones away; what went wrong
// with LinkedIn; pause and resume.
package operator

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

// Store is what the verbs need of a store.
type Store interface {
	Control(ctx context.Context) (keeper.Control, error)
	PutControl(ctx context.Context, c keeper.Control, old string) error
	Incidents(ctx context.Context, since time.Time) ([]keeper.Incident, error)
	// Each calls f with every stored grant, also those that have ended, until f
	// returns an error; of a grant nothing need be there but its member and its
	// sealed tokens. It meets each value that was there when it began and stays.
	Each(ctx context.Context, f func(keeper.Grant) error) error
}

// Keyset is where the sealing keys are kept.
type Keyset interface {
	// Read reads the keyset, and when it was last changed.
	Read(ctx context.Context) (set secret.String, changed time.Time, err error)
	// Replace stores what edit makes of the keyset that stands. Where another
	// stores one meanwhile, edit is called again with that one: no change is
	// lost. An error of edit's is returned, and nothing changed.
	Replace(ctx context.Context, edit func(secret.String) (secret.String, error)) error
}

// Config says what the verbs work on.
type Config struct {
	Store Store
	Keys  Keyset
	Where string // the keyset in sentences, such as "file:PATH"
	// Backup is what rotate says of copies of the keyset.
	Backup string
	// PruneAfter is how long after a change of the keyset no key is dropped. It
	// outlasts what any process may hold of an older keyset, and what a browser
	// then holds of a sign-in under way (10 minutes).
	PruneAfter time.Duration
	// SealsWith is the key that the process at work seals with; nil where there
	// is none that can be asked.
	SealsWith func(context.Context) (uint32, error)
	// Cost is what reading the whole store has cost, as a sentence; nil: nothing.
	Cost func() string
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger     // nil: none
}

// Operator does what an operator asks, one thing at a time.
type Operator struct {
	Config
	mu sync.Mutex
}

// New makes an Operator. It calls nobody.
func New(c Config) *Operator {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Cost == nil {
		c.Cost = func() string { return "" }
	}
	return &Operator{Config: c}
}

// Do does what words say: "keys list", "keys rotate", "keys prune", "incidents
// list", "incidents show ID", "pause", "resume". It answers with text for a
// person; its errors are sentences.
func (o *Operator) Do(ctx context.Context, words ...string) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.Log.Info("an operator asks", "words", strings.Join(words, " "))
	var text string
	var err error
	switch verb := strings.Join(words, " "); {
	case verb == "keys list":
		text, err = o.listKeys(ctx)
	case verb == "keys rotate":
		text, err = o.rotateKeys(ctx)
	case verb == "keys prune":
		text, err = o.pruneKeys(ctx)
	case verb == "incidents list":
		text, err = o.listIncidents(ctx)
	case len(words) == 3 && strings.HasPrefix(verb, "incidents show "):
		text, err = o.showIncident(ctx, words[2])
	case verb == "pause":
		text, err = o.pause(ctx)
	case verb == "resume":
		text, err = o.resume(ctx)
	default:
		err = errors.New("there is no such verb in this version of keepin")
	}
	return printable(text), err
}

func (o *Operator) pause(ctx context.Context) (string, error) {
	since, err := o.setPause(ctx, o.Now().UTC())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Paused since %s: no token is refreshed or proven. Members may sign in and out, and live tokens are served.\n"+
		"keepin resume ends it; do not wait until tokens end.\n", when(since)), nil
}

func (o *Operator) resume(ctx context.Context) (string, error) {
	if _, err := o.setPause(ctx, time.Time{}); err != nil {
		return "", err
	}
	return "Not paused: the next pass does what is due.\n", nil
}

// setPause pauses at a time, or for the zero time resumes. A pause that lasts
// already keeps its beginning, which is returned.
func (o *Operator) setPause(ctx context.Context, at time.Time) (since time.Time, err error) {
	for range 20 {
		c, err := o.Store.Control(ctx)
		if err != nil || c.PausedAt.IsZero() == at.IsZero() {
			return c.PausedAt, err
		}
		old := c.Rev
		c.PausedAt, c.Rev = at, rand.Text()
		if err = o.Store.PutControl(ctx, c, old); !errors.Is(err, keeper.ErrConflict) {
			return at, err
		}
	}
	return time.Time{}, errors.New("others keep changing the state: try again")
}

func when(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func table(fill func(row func(...any))) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fill(func(cells ...any) {
		for _, c := range cells {
			_, _ = fmt.Fprintf(w, "%v\t", c)
		}
		_, _ = fmt.Fprintln(w)
	})
	_ = w.Flush() // into memory
	return b.String()
}

// printable leaves out what a terminal would obey: an incident quotes what was
// received.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
