package telemetry

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/keepin/keepin/shared/secret"
)

// Hide replaces secrets in text: those it was told of, whatever has the shape
// of a token, and the query of every URL. The zero Hide knows the shapes. It is
// safe for concurrent use.
type Hide struct {
	mu    sync.RWMutex
	known []string // the oldest first
	r     *strings.Replacer

	shapes shapes
}

const (
	hidden    = "[redacted]"
	maxKnown  = 256
	minSecret = 8 // a shorter text is no secret, and may stand anywhere
)

// Value has s replaced from now on. It remembers the last 256.
func (h *Hide) Value(s secret.String) {
	clear := s.Reveal()
	if len(clear) < minSecret {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Contains(h.known, clear) {
		return
	}
	h.known = append(h.known, clear)
	if len(h.known) > maxKnown {
		h.known = h.known[1:]
	}
	var forms []string
	for _, k := range h.known {
		quoted, _ := json.Marshal(k)
		forms = append(forms, k, url.QueryEscape(k), url.PathEscape(k), string(quoted[1:len(quoted)-1]))
	}
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) }) // a secret within a longer one must not spoil it
	var pairs []string
	for _, f := range slices.Compact(forms) {
		pairs = append(pairs, f, hidden)
	}
	h.r = strings.NewReplacer(pairs...)
}

// shapes are what is hidden wherever it stands. They are compiled for the first
// line, and not at the start of a function, which writes none (docs/performance.md).
type shapes struct {
	once               sync.Once
	token, query, user *regexp.Regexp
}

func (s *shapes) compile() {
	// A member id has 22 characters and an id of a request 36: neither is a token.
	s.token = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+(\.[\w-]*)*|[\w-]{40,}`)
	s.query = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'<>?#]*)[?#][^\s"'<>]*`)
	s.user = regexp.MustCompile(`(://)[^\s"'<>/@]*@`)
}

// In is s without secrets.
func (h *Hide) In(s string) string {
	if len(s) < minSecret {
		return s
	}
	h.shapes.once.Do(h.shapes.compile)
	h.mu.RLock()
	r := h.r
	h.mu.RUnlock()
	if r != nil {
		s = r.Replace(s)
	}
	if strings.Contains(s, "://") {
		s = h.shapes.query.ReplaceAllStringFunc(s, h.hideQuery)
		s = h.shapes.user.ReplaceAllString(s, "$1"+hidden+"@")
	}
	return h.shapes.token.ReplaceAllString(s, hidden)
}

// renewal is the one query that may be read: of the link in a notice, which is
// for a person to follow.
const renewal = "/login?renew=1"

func (h *Hide) hideQuery(address string) string {
	if strings.HasSuffix(strings.TrimRight(address, `\,.)`), renewal) {
		return address
	}
	return h.shapes.query.ReplaceAllString(address, "$1?"+hidden)
}
