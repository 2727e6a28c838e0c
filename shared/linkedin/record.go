package linkedin

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

// maxText is how much of a body a record keeps.
const maxText = 4 << 10

// recordedHeaders are the response headers that LinkedIn's support asks for
// ("Best Practices for Application Development", Errors), and those that tell
// an answer of LinkedIn from one of something in between.
var recordedHeaders = []string{
	"X-Li-Uuid", "X-Li-Fabric", "X-Li-Request-Id", "X-Li-Pop", "X-Li-Proto", "Retry-After", "Content-Type", "Date",
}

// secretFields are the form fields whose value is a secret whatever it is.
var secretFields = []string{"client_secret", "code", "code_verifier", "refresh_token", "token", "xoauth_oauth2_access_token"}

// record is the call as LinkedIn's support asks for it. Every secret in it is
// replaced by its fingerprint. The body of a success is never text: it holds
// tokens, or a member's profile.
func (c *call) record(problem string) keeper.Record {
	r := keeper.Record{
		Operation: c.op.String(), At: c.start, Took: c.took, ClientID: c.clientID,
		Method: c.method, URL: c.url, Status: c.status, Problem: problem,
	}
	needles := needlesOf(c.known)
	if len(c.requestHeader) > 0 {
		r.RequestHeaders = map[string]string{}
		for name, values := range c.requestHeader {
			r.RequestHeaders[strings.ToLower(name)] = scrub(strings.Join(values, ", "), needles, maxText)
		}
		if bearer, ok := strings.CutPrefix(c.requestHeader.Get("Authorization"), "Bearer "); ok {
			r.RequestHeaders["authorization"] = "Bearer " + secret.New(bearer).Fingerprint()
		}
	}
	r.RequestBody = scrubForm(c.form, needles)
	for _, name := range recordedHeaders {
		if value := c.header.Get(name); value != "" {
			if r.ResponseHeaders == nil {
				r.ResponseHeaders = map[string]string{}
			}
			clean := scrub(value, needles, 256)
			if callID.MatchString(value) { // one in 4,096 looks like a token, and LinkedIn's support needs it
				clean = replace(value, needles, 256)
			}
			r.ResponseHeaders[strings.ToLower(name)] = clean
		}
	}
	switch {
	case len(c.body) == 0:
	case c.broken != "" || c.status < 300:
		// What was cut may end in part of a secret that no value finds.
		r.ResponseBody = fmt.Sprintf("[%d bytes, %s]", len(c.body), secret.New(string(c.body)).Fingerprint())
	default:
		r.ResponseBody = scrub(string(c.body), needles, maxText)
	}
	return r
}

// scrubForm writes a request's form in the order of its fields.
func scrubForm(form url.Values, needles []needle) string {
	var fields []string
	for name, values := range form {
		for _, value := range values {
			if slices.Contains(secretFields, name) {
				value = secret.New(value).Fingerprint()
			} else {
				value = scrub(url.QueryEscape(value), needles, maxText)
			}
			fields = append(fields, url.QueryEscape(name)+"="+value)
		}
	}
	slices.Sort(fields)
	return strings.Join(fields, "&")
}

// needle is one form of a secret and the fingerprint that replaces it.
type needle struct{ form, name string }

// needlesOf lists each secret as it is, in hex, and in base64 at each of the
// three alignments it may have inside something longer. Encodings that work
// byte by byte (URL, JSON, HTML) are undone by match.
func needlesOf(known []secret.String) []needle {
	var all []needle
	for _, s := range known {
		clear := s.Reveal()
		if len(clear) < 6 { // no secret, and it would be found everywhere
			continue
		}
		name := s.Fingerprint()
		forms := []string{clear, hex.EncodeToString([]byte(clear)), strings.ToUpper(hex.EncodeToString([]byte(clear)))}
		for before := range 3 {
			encoded := base64.StdEncoding.EncodeToString(append(make([]byte, before), clear...))
			// Only the characters that depend on the secret alone.
			inner := encoded[(before*8+5)/6 : (before+len(clear))*8/6]
			forms = append(forms, inner, strings.NewReplacer("+", "-", "/", "_").Replace(inner))
		}
		for _, form := range forms {
			all = append(all, needle{form, name})
		}
	}
	slices.SortStableFunc(all, func(a, b needle) int { return len(b.form) - len(a.form) }) // never part of a longer one
	return all
}

// shaped finds what looks like a JWT, one of LinkedIn's tokens or client
// secrets, any long run of base64, or an e-mail address: the last line, for
// secrets that are not known by value.
var shaped = regexp.MustCompile(`eyJ[\w-]*\.[\w-]*(?:\.[\w-]*)?` +
	`|AQ[\w-]{20,}` +
	`|WPL_AP[\w.+/=-]+` +
	`|[\w+/-]{40,}={0,2}` +
	`|[^\s"'<>@,;:&=]{1,64}(?:@|%40)[\w-]+\.[\w.-]+`)

// callID is the form of X-Li-Uuid: 16 bytes in base64.
var callID = regexp.MustCompile(`^[\w+/-]{22}==$`)

// scrub copies at most limit bytes of text without the secrets in it.
func scrub(text string, needles []needle, limit int) string {
	// More than limit: a shape must not be cut before it is seen.
	text = replace(text, needles, limit+maxText)
	clean := shaped.ReplaceAllStringFunc(text, func(s string) string { return secret.New(s).Fingerprint() })
	return strings.ToValidUTF8(clean[:min(len(clean), limit)], "")
}

// replace copies some limit bytes of text without the needles in it.
func replace(text string, needles []needle, limit int) string {
	var out strings.Builder
	var begins [256]bool // what a needle may begin with
	for _, b := range []byte(encoders) {
		begins[b] = true
	}
	for _, needle := range needles {
		begins[needle.form[0]] = true
	}
	layers := 4
	if !strings.ContainsAny(text, encoders) {
		layers = 1 // as it is, and no other way
	}
	for i := 0; i < len(text) && out.Len() < limit; {
		name, n := "", 0
		if begins[text[i]] {
			name, n = find(text[i:], needles, layers)
		}
		if n == 0 {
			name, n = text[i:i+1], 1
		}
		out.WriteString(name)
		i += n
	}
	return out.String()
}

// encoders are what an encoded byte begins with: of URLs, JSON and HTML.
const encoders = `%+\&`

// find returns the needle that text begins with, and its length there.
func find(text string, needles []needle, layers int) (name string, n int) {
	for _, needle := range needles {
		for layers := range layers {
			if n := match(text, needle.form, layers); n > 0 {
				return needle.name, n
			}
		}
	}
	return "", 0
}

// match returns how much of text spells form, each byte as it is or encoded
// for JSON, HTML, or layers times for a URL; 0 when it does not. A secret may
// look encoded itself, so without layers what stands there goes first.
func match(text, form string, layers int) int {
	i := 0
	for j := range len(form) {
		if i >= len(text) {
			return 0
		}
		b, n := unit(text[i:], max(layers, 1))
		switch plain := text[i] == form[j]; {
		case plain && layers == 0:
			i++
		case b == form[j]:
			i += n
		case plain:
			i++
		default:
			return 0
		}
	}
	return i
}

// unit decodes the first byte of text, and says how long its encoding is. The
// encodings may be nested: what quotes a page in JSON doubles its backslashes.
func unit(text string, layers int) (b byte, n int) {
	code := func(from, digits int) bool {
		if len(text) < from+digits {
			return false
		}
		c, err := strconv.ParseUint(text[from:from+digits], 16, 8)
		if err == nil {
			b, n = byte(c), from+digits
		}
		return err == nil
	}
	b, n = text[0], 1
	if b == '+' { // in a form
		return ' ', 1
	}
	if rest := strings.TrimLeft(text, `\`); b == '\\' && rest != "" {
		n = len(text) - len(rest) + 1
		b = rest[0]
		if b == 'u' {
			code(n, 4)
		}
	}
	for ; layers > 0 && b == '%' && code(n, 2); layers-- {
		continue
	}
	if b == '&' {
		if end := strings.IndexByte(text[n:min(len(text), n+10)], ';'); end > 0 {
			if s := html.UnescapeString("&" + text[n:n+end+1]); len(s) == 1 {
				return s[0], n + end + 1
			}
		}
	}
	return b, n
}

var _ http.RoundTripper = (*call)(nil)
