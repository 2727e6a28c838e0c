package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"unicode"
)

// Logger writes one line for each record: JSON, or with human a form for a
// person at a terminal. Whatever is logged goes through hide first, wherever in
// a record it stands; hide may be nil. No record can break a line or move a
// terminal's cursor.
func Logger(w io.Writer, level slog.Leveler, human bool, hide *Hide) *slog.Logger {
	if hide == nil {
		hide = new(Hide)
	}
	if human {
		return slog.New(hiding{slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: shortTime}), hide})
	}
	return slog.New(hiding{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}), hide})
}

func shortTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		return slog.String(a.Key, a.Value.Time().Format("15:04:05"))
	}
	return a
}

// hiding is the last line of defence, not the first: secrets are secret.String,
// and errors do not quote them.
type hiding struct {
	next slog.Handler
	hide *Hide
}

func (h hiding) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

func (h hiding) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, h.text(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(h.attr(a))
		return true
	})
	return h.next.Handle(ctx, out)
}

func (h hiding) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = h.attr(a)
	}
	return hiding{h.next.WithAttrs(out), h.hide}
}

func (h hiding) WithGroup(name string) slog.Handler {
	return hiding{h.next.WithGroup(h.text(name)), h.hide}
}

func (h hiding) attr(a slog.Attr) slog.Attr {
	return slog.Attr{Key: h.text(a.Key), Value: h.value(a.Value.Resolve())}
}

func (h hiding) value(v slog.Value) slog.Value {
	switch v.Kind() {
	case slog.KindString:
		return slog.StringValue(h.text(v.String()))
	case slog.KindGroup:
		var out []slog.Attr
		for _, a := range v.Group() {
			out = append(out, h.attr(a))
		}
		return slog.GroupValue(out...)
	case slog.KindAny:
		return h.any(v.Any())
	}
	return v
}

// any is a value of any other type, as its JSON: that holds all that either
// form of a line could show of it.
func (h hiding) any(v any) slog.Value {
	switch v := v.(type) {
	case nil:
		return slog.AnyValue(nil)
	case error:
		return slog.StringValue(h.text(textOf(v.Error)))
	case []byte:
		return slog.StringValue(fmt.Sprintf("[%d bytes]", len(v)))
	case url.URL:
		return slog.StringValue(h.text(v.String()))
	case fmt.Stringer: // a *url.URL, an address
		return slog.StringValue(h.text(textOf(v.String)))
	}
	var out any
	text, err := json.Marshal(v)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		err = d.Decode(&out)
	}
	if err != nil {
		return slog.StringValue(fmt.Sprintf("[%T that cannot be shown]", v))
	}
	switch out := h.tree(out).(type) {
	case string:
		return slog.StringValue(out)
	default:
		return slog.AnyValue(shown{out})
	}
}

// textOf calls a method that a nil pointer may not survive.
func textOf(method func() string) (s string) {
	defer func() {
		if recover() != nil {
			s = "[nil]"
		}
	}()
	return method()
}

// tree hides in what encoding/json decoded.
func (h hiding) tree(v any) any {
	switch v := v.(type) {
	case string:
		return h.text(v)
	case []any:
		for i := range v {
			v[i] = h.tree(v[i])
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, value := range v {
			out[h.text(name)] = h.tree(value)
		}
		return out
	}
	return v
}

// shown is JSON in both forms of a line.
type shown struct{ tree any }

// MarshalJSON is the tree's.
func (s shown) MarshalJSON() ([]byte, error) { return json.Marshal(s.tree) }

// MarshalText is what slog's text form shows.
func (s shown) MarshalText() ([]byte, error) { return json.Marshal(s.tree) }

// text hides secrets, and spells out what JSON leaves as it is although a
// terminal obeys it: DEL, C1 controls and invisible marks. The other controls
// are encoded by both forms.
func (h hiding) text(s string) string {
	s = h.hide.In(s)
	if strings.IndexFunc(s, obeyed) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if obeyed(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func obeyed(r rune) bool { return r >= 0x7f && r <= 0x9f || unicode.Is(unicode.Cf, r) }
