package canary_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/keepin/keepin/test/canary"
)

// token has what each encoding changes.
const token = `AQX/"+>` + "\n" + `~üCANARY-of-a-token_9f8e7d6c5b4a`

func TestEveryDisguiseIsSeenThrough(t *testing.T) {
	quoted, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		t.Fatal(err)
	}
	reversed := []byte(token)
	slices.Reverse(reversed)
	planted := map[string]string{
		"as it is":        token,
		"JSON":            string(quoted),
		"Go":              fmt.Sprintf("%q", token),
		"Go, ASCII":       fmt.Sprintf("%+v", struct{ s any }{fmt.Sprintf("%q", token)}),
		"query":           "https://a.example/?" + url.Values{"token": {token}}.Encode(),
		"path":            "https://a.example/" + url.PathEscape(token),
		"lower query":     strings.NewReplacer("%2F", "%2f", "%2B", "%2b", "%3E", "%3e", "%0A", "%0a", "%7E", "%7e", "%C3", "%c3", "%BC", "%bc").Replace(url.QueryEscape(token)),
		"hex":             hex.EncodeToString([]byte(token)),
		"upper hex":       strings.ToUpper(hex.EncodeToString([]byte(token))),
		"dump of bytes":   fmt.Sprintf("%x", []byte(token)),
		"reversed":        string(reversed),
		"first 16 bytes":  token[:16],
		"last 16 bytes":   token[len(token)-16:],
		"all but a byte":  token[1:],
		"all but the end": token[:len(token)-1],
	}
	for before := range 6 {
		for after := range 4 {
			b := []byte(strings.Repeat("<", before) + token + strings.Repeat(">", after))
			planted[fmt.Sprintf("base64 %d+%d", before, after)] = base64.StdEncoding.EncodeToString(b)
			planted[fmt.Sprintf("base64url %d+%d", before, after)] = base64.RawURLEncoding.EncodeToString(b)
		}
	}
	for name, text := range planted {
		got := canary.Find([]byte("before "+text+" after"), canary.Canary{"another", "another-secret"}, canary.Canary{"the token", token})
		if len(got) != 1 || !strings.HasPrefix(got[0], "the token: ") {
			t.Errorf("%s: got %q", name, got)
		}
		for _, line := range got {
			if strings.Contains(line, "CANARY") {
				t.Errorf("%s: the report quotes the secret", name)
			}
		}
	}
}

func TestNothingIsFoundWhereNothingIs(t *testing.T) {
	for _, text := range []string{"", "AQX", token[:15], token[len(token)-15:], token[10:25], strings.Repeat("CANARY-of-a-tokem", 9), base64.StdEncoding.EncodeToString([]byte(token[1:15]))} {
		if got := canary.Find([]byte(text), canary.Canary{"the token", token}); len(got) != 0 {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

func TestASecretInALogIsFound(t *testing.T) {
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("signed in", "token", token)
	if got := canary.Find(out.Bytes(), canary.Canary{"the token", token}); len(got) != 1 {
		t.Errorf("got %q in %s", got, out.Bytes())
	}
}

func TestAShortSecretIsRefused(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a secret that would be found by chance")
		}
	}()
	canary.Find(nil, canary.Canary{"short", "1234567"})
}
