package web

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxReturnTo bounds a return address: it travels in a cookie.
const maxReturnTo = 1024

// ticketParam and loginParam are what keepin adds to a return address.
const (
	ticketParam = "keepin_ticket"
	loginParam  = "login"
)

// returnTo is the whole address that a return_to stands for. It accepts
//
//	path    = "/" and not another "/", on the base URL's host
//	address = origin path, where the origin, to the letter, is configured
//
// each with a query and a fragment, in the characters of RFC 3986 alone: no
// backslash, no control, no space, nothing that a browser would repair. "" is
// the account page. What it gives always begins with a configured origin and a
// slash, so that no browser can read another host out of it.
func (s *Site) returnTo(raw string) (string, bool) {
	if raw == "" {
		return s.url("/"), true
	}
	if len(raw) > maxReturnTo {
		return "", false
	}
	origin, rest := s.origin, raw
	if raw[0] != '/' {
		found := false
		for _, o := range append([]string{s.origin}, s.origins...) {
			if after, ok := strings.CutPrefix(raw, o); ok && (after == "" || strings.IndexByte("/?#", after[0]) >= 0) {
				origin, rest, found = o, after, true
			}
		}
		if !found {
			return "", false
		}
		if rest == "" || rest[0] != '/' {
			rest = "/" + rest
		}
	}
	if strings.HasPrefix(rest, "//") || startsWithTrick(rest) || !isReference(rest) {
		return "", false
	}
	return origin + withoutOurs(rest), true
}

// isReference accepts path-absolute [ "?" query ] [ "#" fragment ] of RFC 3986.
func isReference(s string) bool {
	fragment := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("-._~!$&'()*+,;=:@/?", c) >= 0:
		case c == '#' && !fragment:
			fragment = true
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			i += 2
		default:
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// withoutOurs takes out of the query what keepin itself adds to a return
// address. A page that is asked for again by its whole address would otherwise
// bring back the outcome of the sign-in before, and a link could pass somebody
// else's ticket off as the one keepin adds. Everything else stays as it is.
func withoutOurs(rest string) string {
	page, fragment, hasFragment := strings.Cut(rest, "#")
	page, query, _ := strings.Cut(page, "?")
	parts := strings.Split(query, "&")
	kept := slices.DeleteFunc(slices.Clone(parts), isOurs)
	if len(kept) == len(parts) {
		return rest
	}
	if len(kept) > 0 {
		page += "?" + strings.Join(kept, "&")
	}
	if hasFragment {
		page += "#" + fragment
	}
	return page
}

// isOurs reports whether a part of a query is a ticket, in whatever spelling
// some parser may take for one (";" separates for a few), or an outcome.
func isOurs(part string) bool {
	for piece := range strings.SplitSeq(part, ";") {
		name, value, _ := strings.Cut(piece, "=")
		name, err := url.QueryUnescape(name)
		if err != nil || strings.EqualFold(strings.TrimSpace(name), ticketParam) ||
			name == loginParam && (value == outcomeDenied || value == outcomeSwitched) {
			return true
		}
	}
	return false
}

// startsWithTrick reports whether a path's first character is an encoded slash,
// backslash or control: nothing to a browser, but something that decodes the
// path before it redirects would make another host of it.
func startsWithTrick(rest string) bool {
	if len(rest) < 4 || rest[1] != '%' {
		return false
	}
	c, err := strconv.ParseUint(rest[2:4], 16, 8)
	return err != nil || c < ' ' || c == '/' || c == '\\' || c == 0x7f
}

// withParam adds a parameter to a return address, before its fragment.
func withParam(address, name, value string) string {
	address, fragment, hasFragment := strings.Cut(address, "#")
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	address += separator + url.Values{name: {value}}.Encode()
	if hasFragment {
		address += "#" + fragment
	}
	return address
}

// parseBase splits the base URL into its origin and its path.
func parseBase(raw string) (origin, path string, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", "", errors.New("base URL: not an address")
	}
	path = strings.TrimRight(u.EscapedPath(), "/")
	u.Path, u.RawPath = "", ""
	if origin, err = parseOrigin(u.String(), isLoopback); err != nil {
		return "", "", fmt.Errorf("base URL: %w", err)
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		if path != "" && (segment == "" || segment == "." || segment == ".." || strings.Trim(segment, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~") != "") {
			return "", "", errors.New("base URL: its path may hold letters, digits, -, ., _ and ~ only")
		}
	}
	return origin, path, nil
}

// parseOrigin reads scheme://host[:port], and gives it as a browser writes it:
// in small letters, without the scheme's own port. http is for hosts that are
// plain only.
func parseOrigin(raw string, plain func(host string) bool) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || (u.Path != "" && u.Path != "/") || strings.HasSuffix(raw, "#") {
		return "", errors.New("not scheme://host[:port]")
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && plain(host):
	default:
		return "", errors.New("neither https nor http on loopback")
	}
	if strings.HasPrefix(u.Host, "[") {
		host = "[" + host + "]"
	} else if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" {
		return "", errors.New("the host must be written in ASCII")
	}
	if port == "" || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return u.Scheme + "://" + host, nil
	}
	return u.Scheme + "://" + host + ":" + port, nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || host == "host.docker.internal" || err == nil && ip.IsLoopback()
}

// isPrivate is for pictures, which are as public as LinkedIn's: under sam local
// its simulator is at a private address, the one that a browser and the
// functions both reach.
func isPrivate(host string) bool {
	ip, err := netip.ParseAddr(host)
	return isLoopback(host) || err == nil && ip.IsPrivate()
}

// trusted reports whether an Origin header names a configured origin.
func (s *Site) trusted(origin string) bool { return slices.Contains(s.origins, origin) }
