package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/keepin/keepin/shared/bolt"
	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/seal"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/secrets"
)

// pruneAfter is how long after a change of the keyset no key is dropped: a
// process reads it anew within 10 minutes, and what a browser then holds of a
// sign-in under way lasts 10 more.
const pruneAfter = 20 * time.Minute

// operator does what an operator asks of the store and the keyset.
type operator struct {
	db   *bolt.DB
	keys string // the keyset's file
	now  func() time.Time
	log  *slog.Logger
	// sealsWith is the key that this process seals with; nil where nothing is sealed.
	sealsWith func(context.Context) (uint32, error)

	mu sync.Mutex // one at a time
}

// do does what words say, and answers a person. Its errors are sentences.
func (o *operator) do(ctx context.Context, words []string) (string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log.Info("an operator asks", "words", strings.Join(words, " "))
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

func (o *operator) listKeys(ctx context.Context) (string, error) {
	_, ids, err := o.keyset(ctx)
	if err != nil {
		return "", err
	}
	used, err := o.usedKeys(ctx)
	if err != nil {
		return "", err
	}
	return table(func(row func(...any)) {
		row("KEY", "STORED VALUES", "")
		for _, id := range ids {
			note := ""
			switch {
			case id == ids[len(ids)-1]:
				note = "seals what is new"
			case used[id] == 0:
				note = "keepin keys prune drops it"
			}
			row(id, used[id], note)
		}
	}), nil
}

// keyset reads the keyset, and the ids of its keys in their order.
func (o *operator) keyset(ctx context.Context) (secret.String, []uint32, error) {
	set, err := secrets.File(o.keys)(ctx)
	if err != nil {
		return secret.String{}, nil, err
	}
	ids, err := seal.Keys(set)
	if err != nil {
		return secret.String{}, nil, fmt.Errorf("file:%s: %w", o.keys, err)
	}
	return set, ids, nil
}

func (o *operator) rotateKeys(ctx context.Context) (string, error) {
	set, err := secrets.File(o.keys)(ctx)
	if err == nil {
		set, err = seal.AddKey(set)
	}
	if err == nil {
		err = secrets.Replace(o.keys, set)
	}
	if err != nil {
		return "", fmt.Errorf("file:%s: %w", o.keys, err)
	}
	ids, err := seal.Keys(set)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Key %d was added. It seals all that is new, in a keepin that runs within 10 minutes.\n"+
		"Refreshes re-seal what is old; keepin keys prune drops the keys that nothing names any more.\n"+
		"Back up %s now: without it nothing in the store opens.\n", ids[len(ids)-1], o.keys), nil
}

func (o *operator) pruneKeys(ctx context.Context) (string, error) {
	info, err := os.Stat(o.keys)
	if err != nil {
		return "", err
	}
	if until := info.ModTime().Add(pruneAfter); until.After(o.now()) {
		return "", fmt.Errorf("%s was changed a moment ago, and sign-ins under way may still need its older keys: prune after %s", o.keys, when(until))
	}
	set, ids, err := o.keyset(ctx)
	if err != nil {
		return "", err
	}
	if o.sealsWith != nil { // before the store is searched: from now on no value names an older key
		if id, err := o.sealsWith(ctx); err != nil {
			return "", err
		} else if id != ids[len(ids)-1] {
			return "", fmt.Errorf("the keepin that runs still seals with key %d, and the newest is %d: try again in 10 minutes", id, ids[len(ids)-1])
		}
	}
	used, err := o.usedKeys(ctx)
	if err != nil {
		return "", err
	}
	set, dropped, err := seal.Prune(set, func(id uint32) bool { return used[id] > 0 })
	if err != nil {
		return "", err
	}
	if len(dropped) == 0 {
		return "Every key is in use: none was dropped.\n", nil
	}
	if err := secrets.Replace(o.keys, set); err != nil {
		return "", err
	}
	return fmt.Sprintf("Dropped, as nothing stored names them: %v.\n", dropped), nil
}

// usedKeys counts the stored values that name each key. It is an error where
// one names none: no key may be dropped then.
func (o *operator) usedKeys(ctx context.Context) (map[uint32]int, error) {
	used := map[uint32]int{}
	err := o.db.Each(ctx, func(g keeper.Grant) error {
		for _, t := range []keeper.Token{g.Access, g.Fresh, g.Refresh} {
			if len(t.Sealed) == 0 {
				continue
			}
			id, err := seal.KeyID(t.Sealed)
			if err != nil {
				return fmt.Errorf("a token of member %s is not sealed as it should be: %w", g.Member, err)
			}
			used[id]++
		}
		return nil
	})
	return used, err
}

func (o *operator) pause(ctx context.Context) (string, error) {
	since, err := o.setPause(ctx, o.now().UTC())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Paused since %s: no token is refreshed or proven. Members may sign in and out, and live tokens are served.\n"+
		"keepin resume ends it; do not wait until tokens end.\n", when(since)), nil
}

func (o *operator) resume(ctx context.Context) (string, error) {
	if _, err := o.setPause(ctx, time.Time{}); err != nil {
		return "", err
	}
	return "Not paused: the next pass does what is due.\n", nil
}

// setPause pauses at a time, or for the zero time resumes. A pause that lasts
// already keeps its beginning, which is returned.
func (o *operator) setPause(ctx context.Context, at time.Time) (since time.Time, err error) {
	for range 20 {
		c, err := o.db.Control(ctx)
		if err != nil || c.PausedAt.IsZero() == at.IsZero() {
			return c.PausedAt, err
		}
		old := c.Rev
		c.PausedAt, c.Rev = at, rand.Text()
		if err = o.db.PutControl(ctx, c, old); !errors.Is(err, keeper.ErrConflict) {
			return at, err
		}
	}
	return time.Time{}, errors.New("others keep changing the state: try again")
}

func (o *operator) listIncidents(ctx context.Context) (string, error) {
	c, err := o.db.Control(ctx)
	if err != nil {
		return "", err
	}
	incidents, err := o.db.Incidents(ctx, time.Time{})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if !c.PausedAt.IsZero() {
		fmt.Fprintf(&b, "Refreshes are paused by an operator since %s: keepin resume ends it.\n", when(c.PausedAt))
	}
	if c.Breaker.Class == keeper.ClassApplication || c.Breaker.Until.After(o.now()) {
		fmt.Fprintf(&b, "LinkedIn is called no more than it must be (%s) since %s; next call %s.\n", c.Breaker.Class, when(c.Breaker.Since), when(c.Breaker.Until))
	}
	if c.Braked(o.now()) {
		fmt.Fprintf(&b, "So many members were refused that it may be LinkedIn that is ill: no grant is ended. Last refusal %s.\n", when(c.Brake.At))
	}
	if len(incidents) == 0 {
		return b.String() + "No incident in the last 90 days.\n", nil
	}
	return b.String() + table(func(row func(...any)) {
		row("INCIDENT", "CAUSE", "OPENED", "CLOSED", "RECORDS")
		for _, i := range incidents {
			row(i.ID, i.Cause, when(i.OpenedAt), closed(i), len(i.Records))
		}
	}), nil
}

func (o *operator) showIncident(ctx context.Context, id string) (string, error) {
	incidents, err := o.db.Incidents(ctx, time.Time{})
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(incidents, func(i keeper.Incident) bool { return i.ID == id })
	if at < 0 {
		return "", errors.New("there is no incident of that id in the last 90 days: see keepin incidents")
	}
	return supportText(incidents[at]), nil
}

// supportText is what LinkedIn's support asks for ("Best Practices for
// Application Development", Errors), of each call that the incident keeps.
func supportText(i keeper.Incident) string {
	var b strings.Builder
	fmt.Fprintf(&b, "incident: %s (%s), opened %s, closed %s\n", i.ID, i.Cause, when(i.OpenedAt), closed(i))
	if len(i.Records) == 0 {
		b.WriteString("No call was recorded.\n")
	}
	for n, r := range i.Records {
		fmt.Fprintf(&b, "\n== call %d of %d: %s ==\nclient_id: %s\ntime: %s, took %s\n", n+1, len(i.Records), r.Operation, r.ClientID, when(r.At), r.Took.Round(time.Millisecond))
		fmt.Fprintf(&b, "\nrequest: %s %s\n", r.Method, r.URL)
		writeMessage(&b, r.RequestHeaders, r.RequestBody)
		if r.Status == 0 {
			fmt.Fprintf(&b, "\nresponse: none (%s)\n", r.Problem)
			continue
		}
		fmt.Fprintf(&b, "\nresponse: %d\n", r.Status)
		writeMessage(&b, r.ResponseHeaders, r.ResponseBody)
		if r.Problem != "" {
			fmt.Fprintf(&b, "\nproblem: %s\n", r.Problem)
		}
	}
	b.WriteString("\nTokens, codes and secrets stand above as the first digits of their SHA-256.\n")
	return b.String()
}

func writeMessage(b *strings.Builder, headers map[string]string, body string) {
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(b, "%s: %s\n", name, headers[name])
	}
	if body != "" {
		fmt.Fprintf(b, "\n%s\n", body)
	}
}

func closed(i keeper.Incident) string {
	if i.ClosedAt.IsZero() {
		return "not yet"
	}
	return when(i.ClosedAt)
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
