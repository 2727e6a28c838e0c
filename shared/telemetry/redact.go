package telemetry

import (
	"context"
	"encoding/json"
	"log/slog"
	"regexp"
)

// Redact is the last wall before a log: a handler that blanks what looks like a
// token, in messages, attributes, errors and whatever is logged as a struct.
// Secrets do not come this far by design; this is for the mistake. What is
// short, such as a session's id, only its type (secret.String) protects.
func Redact(h slog.Handler) slog.Handler { return redacting{h} }

// What looks like a token: a long run of its characters (LinkedIn's have 350,
// codes 100; ids, hashes and names have dots or fewer), and the value beside a
// telling name. A code or state is told only in a query: an error's "code" is
// what the log is read for.
//
//nolint:gochecknoglobals // compiled once
var (
	opaque = regexp.MustCompile(`[A-Za-z0-9_\-+=%]{65,}`)
	named  = regexp.MustCompile(`(?i)\b((?:access_token|refresh_token|id_token|client_secret|authorization|cookie)` +
		`\\?"?\s*[=:]\s*\[?\\?"?(?:bearer\s+)?|(?:code|state|ticket)=)[^\s"\\&,}\]]{8,}`)
)

const blank = "[redacted]"

func scrub(s string) string {
	return opaque.ReplaceAllString(named.ReplaceAllString(s, "${1}"+blank), blank)
}

type redacting struct{ slog.Handler }

func (h redacting) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, scrub(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(redact(a))
		return true
	})
	return h.Handler.Handle(ctx, clean) //nolint:wrapcheck // a handler's own
}

func (h redacting) WithAttrs(as []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(as))
	for i, a := range as {
		clean[i] = redact(a)
	}
	return redacting{h.Handler.WithAttrs(clean)}
}

func (h redacting) WithGroup(name string) slog.Handler { return redacting{h.Handler.WithGroup(name)} }

func redact(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.String(a.Key, scrub(v.String()))
	case slog.KindGroup:
		clean := make([]slog.Attr, len(v.Group()))
		for i, b := range v.Group() {
			clean[i] = redact(b)
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(clean...)}
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			return slog.String(a.Key, scrub(err.Error()))
		}
		out, err := json.Marshal(v.Any())
		if err != nil { // a secret, for one: its encoding is an error
			return slog.String(a.Key, blank)
		}
		if clean := scrub(string(out)); json.Valid([]byte(clean)) {
			return slog.Any(a.Key, json.RawMessage(clean))
		}
		return slog.String(a.Key, blank)
	default: // numbers, times, durations
		return slog.Attr{Key: a.Key, Value: v}
	}
}
