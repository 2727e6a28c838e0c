package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// loader reads variables and gathers what is wrong with them.
type loader struct {
	getenv   func(string) string
	samLocal bool
	mistakes Mistakes
}

func (l *loader) wrong(variable, seen, want, example string) {
	l.mistakes = append(l.mistakes, Mistake{variable, seen, want, example})
}

// characters is all that may be told of a value.
func characters(v string) string {
	if v == "" {
		return "nothing"
	}
	return strconv.Itoa(len(v)) + " characters"
}

const (
	wantURL = "an https address without user name, query, fragment and final slash (http for this machine only)"
	maxURL  = 1024
)

func (l *loader) baseURL(needed bool) string {
	const name = "KEEPIN_BASE_URL"
	v := l.getenv(name)
	if v == "" && !needed {
		return ""
	}
	seen := badURL(v, func(host string) bool { return host == "localhost" || host == "127.0.0.1" })
	if v == "" {
		seen = "nothing"
	}
	if seen != "" {
		l.wrong(name, seen, "keepin's public address: "+wantURL+", maybe with a path", "https://app.example.com/auth")
	}
	return v
}

// url is an address that need not be set.
func (l *loader) url(name, unset string) string {
	v := l.getenv(name)
	if v == "" {
		return unset
	}
	if seen := badURL(v, l.near); seen != "" {
		l.wrong(name, seen, wantURL, unset)
	}
	return v
}

// issuer may end with a slash: it is a name that others chose.
func (l *loader) issuer(unset string) string {
	const name = "KEEPIN_ISSUER"
	v := l.getenv(name)
	if v == "" {
		return unset
	}
	if seen := badURL(strings.TrimSuffix(v, "/"), l.near); seen != "" {
		l.wrong(name, seen, "the issuer exactly as ID tokens name it: an https address (http for this machine only)", "https://www.linkedin.com/oauth")
	}
	return v
}

func (l *loader) origins() []string {
	const name = "KEEPIN_RETURN_ORIGINS"
	v := l.getenv(name)
	origins := strings.Fields(v)
	seen := ""
	switch {
	case len(v) > 8192:
		seen = characters(v)
	case len(origins) > 100:
		seen = fmt.Sprintf("%d origins", len(origins))
	case repeats(origins):
		seen = "the same origin twice"
	}
	for i, o := range origins {
		if seen != "" {
			break
		}
		if seen = badURL(o, l.near); seen == "" && strings.Count(o, "/") > 2 {
			seen = "a URL with a path"
		}
		if seen != "" {
			seen += fmt.Sprintf(" (origin %d)", i+1)
		}
	}
	if seen != "" {
		l.wrong(name, seen, "at most 100 origins separated by spaces: https://host or https://host:port, nothing more (http for this machine only)", "https://www.example.com https://app.example.com:8443")
	}
	return origins
}

func (l *loader) scopes(needed bool) []string {
	const name = "KEEPIN_SCOPES"
	v := l.getenv(name)
	if v == "" && !needed {
		return nil
	}
	scopes := strings.Fields(v)
	seen := ""
	switch {
	case len(scopes) == 0:
		seen = "nothing"
	case len(v) > 1024:
		seen = characters(v)
	case strings.Contains(v, ","):
		seen = "a comma"
	case repeats(scopes):
		seen = "the same scope twice"
	// RFC 6749, section 3.3
	case strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r > '~' }):
		seen = "a character that no scope has"
	case !slices.Contains(scopes, "openid"):
		seen = "no openid"
	}
	if seen != "" {
		l.wrong(name, seen, "the LinkedIn permissions that the application may ever ask for, separated by spaces, openid among them", "openid profile email")
	}
	return scopes
}

func repeats(list []string) bool {
	sorted := slices.Sorted(slices.Values(list))
	return len(slices.Compact(sorted)) < len(list)
}

func (l *loader) level() slog.Level {
	const name = "KEEPIN_LOG"
	v := l.getenv(name)
	level, ok := map[string]slog.Level{"": slog.LevelInfo, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}[v]
	if !ok {
		l.wrong(name, characters(v), "debug, info, warn or error", "info")
	}
	return level
}

func (l *loader) listen() string {
	const name = "KEEPIN_LISTEN"
	v := l.getenv(name)
	if v == "" {
		return "127.0.0.1:8080"
	}
	host, port, err := net.SplitHostPort(v)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || host != "" && !isHost(host) {
		l.wrong(name, characters(v), "an address to listen at, host:port", "127.0.0.1:8080")
	}
	return v
}

func (l *loader) data() string {
	const name = "KEEPIN_DATA"
	v := l.getenv(name)
	if v == "" {
		return ".keepin"
	}
	if !isPath(v) {
		l.wrong(name, characters(v), "a folder", "/var/lib/keepin")
	}
	return v
}

func (l *loader) sweepEvery() time.Duration {
	const name = "KEEPIN_SWEEP_EVERY"
	v := l.getenv(name)
	if v == "" {
		return time.Minute
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < time.Second || d > time.Hour {
		l.wrong(name, characters(v), "a time from 1s to 1h", "1m")
	}
	return d
}

// kind is one kind of place: its name, what names it has (nil: none), and an example.
type kind struct {
	name    string
	ok      func(string) bool
	example string
}

func (l *loader) place(variable string, needed bool, unset Place, kinds []kind) Place {
	v := l.getenv(variable)
	if v == "" && (!needed || unset.Kind != "") {
		return unset
	}
	prefix, name, named := strings.Cut(v, ":")
	seen := characters(v)
	var want []string
	for _, k := range kinds {
		want = append(want, k.example)
		if prefix != k.name {
			continue
		}
		if named == (k.ok != nil) && (k.ok == nil || k.ok(name)) {
			return Place{prefix, name}
		}
		seen = fmt.Sprintf("%q with %s that do not fit", k.name, characters(name))
		if name == "" {
			seen = fmt.Sprintf("%q with nothing after it", k.name)
		}
	}
	l.wrong(variable, seen, "of the form "+strings.Join(want, " or "), "")
	return Place{}
}

// isTable: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
func isTable(v string) bool {
	return len(v) >= 3 && len(v) <= 255 && only(v, "._-")
}

// isBus takes names and ARNs.
func isBus(v string) bool { return v != "" && len(v) <= 512 && only(v, "._-/:") }

// isSecretID takes names and ARNs.
func isSecretID(v string) bool { return v != "" && len(v) <= 2048 && only(v, "/_+=.@-:!") }

func only(v, others string) bool {
	return !strings.ContainsFunc(v, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(others, r)
	})
}

func isPath(v string) bool {
	return v != "" && len(v) <= 1024 && strings.TrimSpace(v) == v && !strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// isWebhook takes a query: many senders of webhooks name their channel in it.
func (l *loader) isWebhook(v string) bool {
	address, query, _ := strings.Cut(v, "?")
	return len(v) <= maxURL && only(query, "-._~%=&+:/@") && badURL(strings.TrimSuffix(address, "/"), l.near) == ""
}

// awsEndpoints checks the addresses that the AWS SDK reads by itself.
func (l *loader) awsEndpoints() {
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL_EVENTBRIDGE"} {
		if v := l.getenv(name); v != "" {
			if seen := badURL(strings.TrimSuffix(v, "/"), l.near); seen != "" {
				l.wrong(name, seen, wantURL, "")
			}
		}
	}
}

// near reports whether http is good enough for a host: it is this machine, or
// under sam local the machine around the container, which a browser and the
// functions can only both reach by its address.
func (l *loader) near(host string) bool {
	if l.samLocal && host == "host.docker.internal" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (ip.IsLoopback() || l.samLocal && ip.IsPrivate())
}

// badURL says what is wrong with an address, without quoting it; "" for nothing.
// Only what means the same to every browser, proxy and library is right.
func badURL(v string, plain func(host string) bool) string {
	if len(v) > maxURL {
		return characters(v)
	}
	u, err := url.Parse(v)
	if err != nil || u.Opaque != "" || u.Scheme == "" {
		return characters(v) + " that are no URL"
	}
	host, port := u.Hostname(), u.Port()
	_, badPort := strconv.ParseUint(port, 10, 16)
	switch {
	case u.User != nil:
		return "a URL with a user name"
	case u.RawQuery != "" || u.ForceQuery:
		return "a URL with a query"
	case strings.Contains(v, "#"):
		return "a URL with a fragment"
	case !strings.HasPrefix(v, "https://") && !strings.HasPrefix(v, "http://"):
		return "a URL of another scheme than https"
	case host == "":
		return "a URL without a host"
	case !isHost(host):
		return "a URL with a host that is not in lower-case ASCII"
	case strings.HasSuffix(u.Host, ":") || port != "" && (badPort != nil || strings.HasPrefix(port, "0")):
		return "a URL with a bad port"
	case u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80":
		return "a URL with the port that it has anyway"
	case u.Scheme == "http" && !plain(host):
		return "an http URL of another machine"
	case strings.HasSuffix(v, "/"):
		return "a URL with a final slash"
	case !only(u.EscapedPath(), "/._~-"):
		return "a URL with a path that must be encoded"
	case u.Path != "" && slices.ContainsFunc(strings.Split(u.Path[1:], "/"), func(s string) bool { return s == "" || s == "." || s == ".." }):
		return "a URL with an empty or dotted path segment"
	}
	return ""
}

// isHost takes an IP address, or a name in lower-case ASCII.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return !strings.Contains(host, "%")
	}
	for _, label := range strings.Split(host, ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") || label != strings.ToLower(label) || !only(label, "-_") {
			return false
		}
	}
	return len(host) <= 253
}

// unknown finds variables that look like keepin's and are none.
func (l *loader) unknown(environ []string) {
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "KEEPIN_") || strings.HasPrefix(name, "KEEPIN_TEST_") || slices.Contains(Variables(), name) {
			continue
		}
		nearest := slices.MinFunc(Variables(), func(a, b string) int { return distance(name, a) - distance(name, b) })
		if len(name) > 40 || !only(name, "_") {
			name = "a KEEPIN_ variable of " + characters(name)
		}
		l.wrong(name, "a variable that keepin does not know", "a name that it knows", nearest)
	}
}

// distance is how many letters must change to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			corner, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, corner+cost)
		}
	}
	return row[len(b)]
}
