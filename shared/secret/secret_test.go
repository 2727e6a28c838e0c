package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/keepin/keepin/shared/secret"
)

const canary = "canary-9f1c7e"

type holder struct {
	Public  secret.String
	private secret.String
	list    []secret.String
	byName  map[string]secret.String
	behind  *secret.String
}

func hold() holder {
	s := secret.New(canary)
	return holder{s, s, []secret.String{s}, map[string]secret.String{"k": s}, &s}
}

func TestNoVerbPrintsASecret(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%08.3f", "%t"} {
		for _, v := range []any{secret.New(canary), hold(), &holder{private: secret.New(canary)}, []any{secret.New(canary)}} {
			out := fmt.Sprintf(verb, v)
			if strings.Contains(out, canary) || strings.Contains(out, fmt.Sprintf("%x", canary)) || strings.Contains(out, fmt.Sprintf("%X", canary)) {
				t.Errorf("%s of %T shows the secret: %s", verb, v, out)
			}
		}
	}
}

func TestNoLogHandlerPrintsASecret(t *testing.T) {
	var b bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("m", "direct", secret.New(canary), "struct", hold(), "pointer", &holder{private: secret.New(canary)},
			"slice", []secret.String{secret.New(canary)}, slog.Group("g", "s", secret.New(canary)))
	}
	if strings.Contains(b.String(), canary) {
		t.Errorf("a log line shows the secret:\n%s", b.String())
	}
	if !strings.Contains(b.String(), "[redacted]") {
		t.Errorf("nothing was logged:\n%s", b.String())
	}
}

func TestEncodingASecretFails(t *testing.T) {
	s := secret.New(canary)
	if b, err := json.Marshal(s); err == nil {
		t.Errorf("json = %s, want an error", b)
	}
	if b, err := json.Marshal(map[string]any{"deep": []any{struct{ S secret.String }{s}}}); err == nil {
		t.Errorf("nested json = %s, want an error", b)
	}
	if b, err := xml.Marshal(s); err == nil {
		t.Errorf("xml = %s, want an error", b)
	}
	if err := gob.NewEncoder(&bytes.Buffer{}).Encode(s); err == nil {
		t.Error("gob encoded a secret")
	}
}

func TestSecretIsItself(t *testing.T) {
	a, b := secret.New("x"), secret.New("x")
	if !a.Equal(b) || a.Equal(secret.New("y")) || a.Equal(secret.String{}) || !(secret.String{}).Equal(secret.New("")) {
		t.Error("Equal is wrong")
	}
	if a.Reveal() != "x" || (secret.String{}).Reveal() != "" {
		t.Error("Reveal is wrong")
	}
	if a.IsZero() || !secret.New("").IsZero() {
		t.Error("IsZero is wrong")
	}
	if got, want := secret.New("abc").Fingerprint(), "sha256:ba7816bf"; got != want {
		t.Errorf("Fingerprint = %s, want %s", got, want)
	}
	if got := (secret.String{}).Fingerprint(); got != "none" {
		t.Errorf("Fingerprint of nothing = %s", got)
	}
}
