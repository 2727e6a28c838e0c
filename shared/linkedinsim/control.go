package linkedinsim

import (
	"fmt"
	"hash/fnv"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// funcs are what the pages call.
var funcs = template.FuncMap{}

// portrait is the address of a member's picture. Like LinkedIn's it carries
// its own end ("e", epoch seconds): do not link to it for long.
func (s *Sim) portrait(m *Member, now time.Time) string {
	if m.Picture != "" {
		return m.Picture
	}
	return fmt.Sprintf("%s/_sim/portrait/%s.svg?e=%d&v=beta", s.url, m.Key, now.Add(90*day).Unix())
}

// control is everything under /_sim.
func (s *Sim) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sim/portrait/{file}", s.servePortrait)
	mux.HandleFunc("GET /_sim/style.css", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, files, "pages/style.css")
	})
	return mux
}

// servePortrait draws a member's initials.
func (s *Sim) servePortrait(w http.ResponseWriter, r *http.Request) {
	key := strings.TrimSuffix(r.PathValue("file"), ".svg")
	s.mu.Lock()
	var m Member
	if found := s.members[key]; found != nil {
		m = *found
	}
	s.mu.Unlock()
	if m.Key == "" {
		http.NotFound(w, r)
		return
	}
	if end, err := strconv.ParseInt(r.URL.Query().Get("e"), 10, 64); err != nil || s.clock.Now().Unix() >= end {
		http.Error(w, "URL signature expired", http.StatusForbidden)
		return
	}
	hue := fnv.New32a()
	hue.Write([]byte(m.Key))
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" width="100" height="100"><rect width="100" height="100" fill="hsl(%d 45%% 40%%)"/><text x="50" y="64" font-family="sans-serif" font-size="40" fill="#fff" text-anchor="middle">%s</text></svg>`,
		hue.Sum32()%360, template.HTMLEscapeString(initials(m)))
}

func initials(m Member) string {
	var b strings.Builder
	for _, name := range []string{m.GivenName, m.FamilyName} {
		for _, r := range name {
			b.WriteRune(r)
			break
		}
	}
	return b.String()
}
