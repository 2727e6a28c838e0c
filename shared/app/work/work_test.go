package work_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/app/work"
	"github.com/keepin/keepin/shared/secret"
)

func holds(text string, err error) func(context.Context) (secret.String, error) {
	return func(context.Context) (secret.String, error) { return secret.New(text), err }
}

func app(id, key, previous string) string {
	text := `{"client_id":"` + id + `","client_secret":"` + key + `"`
	if previous != "" {
		text += `,"previous_client_secret":"` + previous + `"`
	}
	return text + "}"
}

func TestThePreviousSecretIsReadOnlyAfterARefusal(t *testing.T) {
	for name, tt := range map[string]struct {
		current, previous string
		err               error
		want              string // the previous secret after a reread
	}{
		"a roll":              {app("c", "new", ""), app("c", "old", ""), nil, "old"},
		"written by hand":     {app("c", "new", "mine"), app("c", "old", ""), nil, "mine"},
		"another app":         {app("c", "new", ""), app("d", "old", ""), nil, ""},
		"no change":           {app("c", "new", ""), app("c", "new", ""), nil, ""},
		"the placeholder":     {app("c", "new", ""), app("PUT-YOURS-HERE", "PUT-YOURS-HERE", ""), nil, ""},
		"none yet":            {app("c", "new", ""), "", nil, ""},
		"it cannot be read":   {app("c", "new", ""), "", errors.New("denied"), ""},
		"it is no credential": {app("c", "new", ""), "nonsense", nil, ""},
	} {
		reads := 0
		get := work.Credentials(holds(tt.current, nil), func(context.Context) (secret.String, error) {
			reads++
			return secret.New(tt.previous), tt.err
		}, func(err error) { t.Errorf("%s: logged %v", name, err) }, time.Now)
		c, err := get(t.Context(), false)
		if err != nil || c.ClientID != "c" || c.Secret.Reveal() != "new" || reads != 0 {
			t.Errorf("%s: got %v, %v after %d readings of the previous", name, c, err, reads)
		}
		c, err = get(t.Context(), true)
		if err != nil || c.Secret.Reveal() != "new" || c.Previous.Reveal() != tt.want {
			t.Errorf("%s: got %q, %v; want %q", name, c.Previous.Reveal(), err, tt.want)
		}
	}
}

// TestWhatIsWrongWithCredentialsIsSaidOnce: a thousand members due are one line.
func TestWhatIsWrongWithCredentialsIsSaidOnce(t *testing.T) {
	now := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	text, said := app("PUT-YOURS-HERE", "PUT-YOURS-HERE", ""), []string{}
	get := work.Credentials(func(context.Context) (secret.String, error) { return secret.New(text), nil }, nil,
		func(err error) { said = append(said, err.Error()) }, func() time.Time { return now })
	ask := func(want int) {
		t.Helper()
		for range 100 {
			if _, err := get(t.Context(), false); err == nil {
				t.Fatal("no error")
			}
		}
		if len(said) != want {
			t.Errorf("said %d times, want %d: %v", len(said), want, said)
		}
	}
	ask(1)
	if !strings.Contains(said[0], "placeholder") || !strings.Contains(said[0], "secretsmanager:app") {
		t.Errorf("said %q", said[0])
	}
	now = now.Add(9 * time.Minute)
	ask(1)
	now = now.Add(time.Minute)
	ask(2)
	text, now = `{"client_id":"c"}`, now.Add(6*time.Minute) // and the cache has ended
	ask(3)
}
