package telemetry_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/shared/telemetry"
)

// token is as long and as plain as LinkedIn's.
var token = "AQV" + strings.Repeat("x8Zq-_", 58)

type record struct{ Body, URL string }

func TestNothingThatLooksLikeATokenIsLogged(t *testing.T) {
	u := &url.Error{Op: "Get", URL: "https://x/callback?code=AQT1234567890&state=st4te5678", Err: errors.New("reset")}
	for name, log := range map[string]func(*slog.Logger){
		"message":        func(l *slog.Logger) { l.Info(token) },
		"attribute":      func(l *slog.Logger) { l.Info("m", "x", token) },
		"error":          func(l *slog.Logger) { l.Info("m", "error", fmt.Errorf("exchange: %w", errors.New(token))) },
		"struct":         func(l *slog.Logger) { l.Info("m", "record", record{Body: `{"access_token":"AQVshort12"}`, URL: token}) },
		"pointer":        func(l *slog.Logger) { l.Info("m", "record", &record{Body: token}) },
		"map":            func(l *slog.Logger) { l.Info("m", "headers", map[string][]string{"Cookie": {"keepin=AQVshort12"}}) },
		"group":          func(l *slog.Logger) { l.Info("m", slog.Group("g", slog.String("x", token))) },
		"with":           func(l *slog.Logger) { l.With("x", token).Info("m") },
		"with group":     func(l *slog.Logger) { l.WithGroup("g").With("x", token).Info("m", "y", token) },
		"percent-encode": func(l *slog.Logger) { l.Info("m", "x", url.QueryEscape(token+"==")) },
		"a URL":          func(l *slog.Logger) { l.Info("m", "error", u) },
		"a form": func(l *slog.Logger) {
			l.Info("m", "body", "grant_type=x&refresh_token=AQVshort12&client_secret=AQVshort12")
		},
		"a bearer": func(l *slog.Logger) { l.Info("m", "h", "Authorization: Bearer AQVshort12") },
		"a secret": func(l *slog.Logger) {
			l.Info("m", "s", secret.New(token), "in", struct{ S secret.String }{secret.New(token)})
		},
	} {
		for kind, handler := range map[string]func(*bytes.Buffer) slog.Handler{
			"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		} {
			var out bytes.Buffer
			log(slog.New(telemetry.Redact(handler(&out))))
			for _, leak := range []string{"x8Zq-_x8Zq-_", "AQVshort12", "AQT1234567890", "st4te5678"} {
				if strings.Contains(out.String(), leak) {
					t.Errorf("%s, %s: %s", name, kind, out.String())
				}
			}
			if !strings.Contains(out.String(), "redacted") || strings.Count(out.String(), "\n") != 1 {
				t.Errorf("%s, %s: %s", name, kind, out.String())
			}
		}
	}
}

func TestWhatIsNoTokenStays(t *testing.T) {
	var out bytes.Buffer
	l := slog.New(telemetry.Redact(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})))
	const arn = "arn:aws:dynamodb:eu-central-1:111122223333:table/keepin-Table-1ABCDEF2GHIJK/index/due"
	l.With("n", 1).WithGroup("g").Info("pass", "took", time.Second, "member", "Zm9vYmFyZm9vYmFyZm9vYg", "request", "15f5390e-aae2-490c-bb50-5534fef3af5b",
		"error", errors.New("dynamo: get: AccessDeniedException: not on "+arn), "hash", "sha256:0a1b2c3d", "body", `{"code":"REVOKED_ACCESS_TOKEN","status":401}`, "at", "github.com/keepin/keepin/shared/lambdahttp.Function.Invoke")
	want := `level=INFO msg=pass n=1 g.took=1s g.member=Zm9vYmFyZm9vYmFyZm9vYg g.request=15f5390e-aae2-490c-bb50-5534fef3af5b ` +
		`g.error="dynamo: get: AccessDeniedException: not on ` + arn + `" g.hash=sha256:0a1b2c3d g.body="{\"code\":\"REVOKED_ACCESS_TOKEN\",\"status\":401}" g.at=github.com/keepin/keepin/shared/lambdahttp.Function.Invoke` + "\n"
	if out.String() != want {
		t.Errorf("got  %swant %s", out.String(), want)
	}
}
