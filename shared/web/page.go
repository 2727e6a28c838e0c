package web

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// The pages are HTML with holes:
//
//	{{name}}              text
//	{{url name}}          an address: for href, src and action
//	{{#part}}…{{/part}}   shown for each view that the part has: never, once, or often
//
// Whatever is put into a hole is escaped: there is no way not to. html/template
// can do more, but by calling methods by their names: with it in a function the
// linker may drop no method of any type, which is half of all there is.
var (
	//go:embed pages/layout.html
	layoutHTML string
	//go:embed pages/style.css
	styleCSS string
	//go:embed pages/account.html
	accountHTML string
	//go:embed pages/problem.html
	problemHTML string
)

// view is what a page, or a part of one, shows in its holes.
type view struct {
	text  map[string]string
	url   map[string]string
	parts map[string][]view // a part that is not here is not shown
}

// page writes layout.html around main whole, or nothing.
func (s *Site) page(w http.ResponseWriter, status int, main string, v view) error {
	var b strings.Builder
	if err := fill(&b, strings.NewReplacer("{{style}}", styleCSS, "{{main}}", main).Replace(layoutHTML), v); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", s.policy)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, b.String())
	return nil
}

// pagePolicy is the Content-Security-Policy of a page: its style, portraits
// from pictures, and its form.
func pagePolicy(pictures []string) string {
	style := sha256.Sum256([]byte(styleCSS))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) + "'; img-src data: " + strings.Join(pictures, " ") +
		"; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
}

// fill writes page with its holes filled. A line break after the tag of a part
// belongs to the tag. What it writes it never reads again: a "{{" in v is text.
func fill(b *strings.Builder, page string, v view) error {
	for {
		before, rest, found := strings.Cut(page, "{{")
		b.WriteString(before)
		if !found {
			return nil
		}
		tag, rest, closed := strings.Cut(rest, "}}")
		if !closed {
			return errors.New("page: {{ without }}")
		}
		if name, ok := strings.CutPrefix(tag, "#"); ok {
			part, after, ok := strings.Cut(rest, "{{/"+name+"}}")
			if !ok {
				return fmt.Errorf("page: the part %s has no end", name)
			}
			for _, inner := range v.parts[name] {
				if err := fill(b, strings.TrimPrefix(part, "\n"), inner); err != nil {
					return err
				}
			}
			page = strings.TrimPrefix(after, "\n")
			continue
		}
		value, err := v.hole(tag)
		if err != nil {
			return err
		}
		b.WriteString(value)
		page = rest
	}
}

// hole is what stands in a hole, escaped.
func (v view) hole(tag string) (string, error) {
	if name, ok := strings.CutPrefix(tag, "url "); ok {
		u, err := url.Parse(v.url[name])
		if err != nil || !followable(u) {
			return "", fmt.Errorf("page: %s is no address to follow", name)
		}
		return escape(u.String()), nil
	}
	text, ok := v.text[tag]
	if !ok {
		return "", fmt.Errorf("page: nothing to put into %s", tag)
	}
	return escape(text), nil
}

// followable reports whether u is a web address or a path of this host: never
// javascript: or its like.
func followable(u *url.URL) bool {
	if u.Host == "" {
		return u.Scheme == "" && strings.HasPrefix(u.Path, "/") && !strings.HasPrefix(u.Path, "//")
	}
	return u.Scheme == "https" || u.Scheme == "http"
}

// escape makes s mere text, between tags and in a quoted attribute.
func escape(s string) string {
	return html.EscapeString(strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD"))
}
