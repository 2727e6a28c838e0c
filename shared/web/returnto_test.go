package web_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/keepin/keepin/shared/web"
	"github.com/keepin/keepin/test/bounds"
)

var origins = []string{"https://app.example", "https://shop.example", "https://www.app.example:8443"}

func site(t testing.TB) *web.Site {
	t.Helper()
	s, err := web.NewSite(web.Config{
		BaseURL: "https://app.example/auth", ReturnOrigins: []string{"https://Shop.example:443", "https://www.app.example:8443/"},
		Scopes: []string{"openid"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReturnAddressIsOneOfOurs(t *testing.T) {
	s := site(t)
	for raw, want := range map[string]string{
		"":                              "https://app.example/auth/",
		"/":                             "https://app.example/",
		"/a/b.html?c=d&e=%2F#f":         "https://app.example/a/b.html?c=d&e=%2F#f",
		"/a:b@c;d=1,2/(x)!*'~$":         "https://app.example/a:b@c;d=1,2/(x)!*'~$",
		"/a//b":                         "https://app.example/a//b",
		"/?next=https://evil.example/":  "https://app.example/?next=https://evil.example/",
		"/@evil.example":                "https://app.example/@evil.example",
		"/a%2F%5Cb":                     "https://app.example/a%2F%5Cb",
		"/%C3%A4":                       "https://app.example/%C3%A4",
		"https://app.example/x":         "https://app.example/x",
		"https://shop.example":          "https://shop.example/",
		"https://shop.example?x=1":      "https://shop.example/?x=1",
		"https://shop.example#x":        "https://shop.example/#x",
		"https://www.app.example:8443/": "https://www.app.example:8443/",
		"/" + strings.Repeat("a", 1023): "https://app.example/" + strings.Repeat("a", 1023),
		"/x?keepin_ticke=1":             "https://app.example/x?keepin_ticke=1",
		"/x#?keepin_ticket=1":           "https://app.example/x#?keepin_ticket=1",
		// What keepin itself had added goes; the rest stays to the letter.
		"/x?keepin_ticket=1":                      "https://app.example/x",
		"/x?a=b&keepin_ticket#f":                  "https://app.example/x?a=b#f",
		"/x?keepin%5Fticket=1&a=%2f+":             "https://app.example/x?a=%2f+",
		"/x?%6beepin_ticket=1":                    "https://app.example/x",
		"/x?a;keepin_ticket=1":                    "https://app.example/x",
		"/x?KEEPIN_TICKET=1":                      "https://app.example/x",
		"/x?+keepin_ticket=1":                     "https://app.example/x",
		"https://shop.example?keepin_ticket=x":    "https://shop.example/",
		"/x?login=denied&login=switched&login=me": "https://app.example/x?login=me",
	} {
		if got, ok := s.ReturnTo(raw); got != want || !ok {
			t.Errorf("%q: got %q, %v, want %q", raw, got, ok, want)
		}
	}
	for _, raw := range []string{
		"//evil.example", "///evil.example", `/\evil.example`, `\/evil.example`, `\\evil.example`, `/\/evil.example`, "/\t/evil.example", "/\n/evil.example",
		"\t//evil.example", " //evil.example", "/a b", "/a\x00", "/\x7f", "/ä", "/%", "/%2", "/%zz", "/a#b#c", "/a<b", `/a"b`, "/a{b}", "/a|b", "/a^b", "/a`b", "/[x]",
		"evil.example", "x", ".", "..", "./x", "?x", "#x", "javascript:alert(1)", "data:text/html,x", "https:", "https:/app.example/", "https:app.example", "https:///app.example/",
		"https://evil.example", "http://app.example/", "http://shop.example/", "HTTPS://app.example/", "https://APP.example/", "https://app.example:443/", "https://app.example:8443/",
		"https://app.example.evil.example/", "https://app.example@evil.example/", "https://evil.example/@app.example", `https://app.example\@evil.example/`, "https://app.example%2eevil.example/", "https://app.example:x@evil.example/",
		"https://shop.example.", "https://shop.example:", "https://shop.example;x", "https://shop.example//evil.example", "https://www.app.example/", "https://www.app.example:84430/", "https://www.app.example:8443.evil.example/",
		"/" + strings.Repeat("a", 1024),
		"/%2f", "/%2Fevil.example", "/%5Cevil.example", "/%5c/evil.example", "/%09/evil.example", "/%00", "/%0d%0aX: y", "/%7f", "https://shop.example/%2Fevil.example",
	} {
		if got, ok := s.ReturnTo(raw); ok {
			t.Errorf("%q: got %q", raw, got)
		}
	}
}

func FuzzReturnAddress(f *testing.F) {
	for _, seed := range []string{
		"", "/", "//e", `/\e`, "///", "/a?b#c", "https://shop.example", "https://shop.example@e/", "https://shop.example:8443", "/%2f%2fe", "/\t/e", "/..//e", "/.//e", "https://shop.example/..//e",
		"https://shop.example\\@e", "https://www.app.example:8443/x?y#z", "/x?keepin%5fticket=1", "javascript:1", "/;@e", "/?//e", "/#//e", "https:shop.example",
	} {
		f.Add(seed)
	}
	s := site(f)
	f.Fuzz(func(t *testing.T, raw string) {
		var got string
		var ok bool
		bounds.Check(t, func() { got, ok = s.ReturnTo(raw) })
		if !ok {
			if got != "" {
				t.Errorf("%q: refused, and yet %q", raw, got)
			}
			return
		}
		ours := false
		for _, o := range origins {
			ours = ours || strings.HasPrefix(got, o+"/")
		}
		if !ours || strings.ContainsAny(got, " \t\r\n\\\x00\"<>") {
			t.Fatalf("%q: got %q", raw, got)
		}
		// A browser goes where we think it goes, from the answer and from what was asked.
		want := got[:strings.Index(got[len("https://"):], "/")+len("https://")]
		if o := browserOrigin(got, "https://app.example"); o != want {
			t.Errorf("%q: %q is of %s in a browser, not %s", raw, got, o, want)
		}
		if raw != "" {
			if o := browserOrigin(raw, "https://app.example"); o != want {
				t.Errorf("%q itself is of %s in a browser, not %s", raw, o, want)
			}
		}
		// Go agrees, and a ticket is where it should be, once.
		u, err := url.Parse(got)
		if err != nil || u.Scheme+"://"+u.Host != want || u.User != nil {
			t.Errorf("%q: Go reads %v, %v", got, u, err)
		}
		if again, ok := s.ReturnTo(got); len(got) <= 1024 && (!ok || again != got) {
			t.Errorf("%q: %q is not itself: %q, %v", raw, got, again, ok)
		}
		added, err := url.Parse(web.WithParam(got, "keepin_ticket", "a b"))
		if err != nil || len(added.Query()["keepin_ticket"]) != 1 || added.Query().Get("keepin_ticket") != "a b" || added.Fragment != u.Fragment || added.Path != u.Path {
			t.Errorf("%q with a ticket: %v, %v", got, added, err)
		}
	})
}

// browserOrigin is the origin that a browser navigates to for a reference on a
// page of base, by the WHATWG URL Standard's basic parser as far as hosts go:
// it strips controls and spaces at the ends, drops tabs and newlines, reads a
// backslash as a slash, takes any number of slashes before a host, and a host
// behind the last @.
func browserOrigin(ref, base string) string {
	ref = strings.TrimFunc(ref, func(r rune) bool { return r <= ' ' })
	ref = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(ref)
	scheme, rest, ok := strings.Cut(ref, ":")
	isScheme := ok && scheme != ""
	for i, c := range []byte(strings.ToLower(scheme)) {
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && strings.IndexByte("+-.", c) < 0) {
			isScheme = false
		}
	}
	scheme = strings.ToLower(scheme)
	baseScheme, _, _ := strings.Cut(base, ":")
	slash := func(c byte) bool { return c == '/' || c == '\\' }
	switch {
	case !isScheme:
		scheme, rest = baseScheme, ref
		if len(rest) < 2 || !slash(rest[0]) || !slash(rest[1]) {
			return base
		}
	case scheme != "https" && scheme != "http":
		return "opaque"
	case scheme == baseScheme && (len(rest) < 2 || !slash(rest[0]) || !slash(rest[1])):
		return base // "https:x" is relative
	}
	for rest != "" && slash(rest[0]) {
		rest = rest[1:]
	}
	if end := strings.IndexAny(rest, "/\\?#"); end >= 0 {
		rest = rest[:end]
	}
	host := strings.ToLower(rest[strings.LastIndexByte(rest, '@')+1:])
	if decoded, err := url.PathUnescape(host); err == nil {
		host = decoded
	}
	host = strings.TrimSuffix(host, ":")
	if scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	}
	return scheme + "://" + host
}

func TestNewSiteNamesAllThatIsWrong(t *testing.T) {
	for _, c := range []web.Config{
		{BaseURL: "http://app.example"}, {BaseURL: "app.example"}, {BaseURL: "https://app.example/?x"}, {BaseURL: "https://u@app.example"}, {BaseURL: "https://app.example/a//b"},
		{BaseURL: "https://app.example/../x"}, {BaseURL: "https://äpp.example"}, {BaseURL: "https://app.example/#x"}, {BaseURL: "ftp://app.example"}, {},
		{BaseURL: "https://app.example", ReturnOrigins: []string{"https://x.example/path"}},
		{BaseURL: "https://app.example", ReturnOrigins: []string{"*"}},
		{BaseURL: "https://app.example", ReturnOrigins: []string{"http://x.example"}},
		{BaseURL: "https://app.example", ReturnOrigins: []string{"https://*.x.example"}},
		{BaseURL: "https://app.example", PictureOrigins: []string{"https://x.example; script-src *"}},
		{BaseURL: "https://app.example", PictureOrigins: []string{"http://198.51.100.1"}},
		{BaseURL: "https://app.example", ReturnOrigins: []string{"http://172.18.0.1"}},
		{BaseURL: "http://172.18.0.1"},
	} {
		c.Scopes = []string{"openid"}
		if _, err := web.NewSite(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	if _, err := web.NewSite(web.Config{BaseURL: "https://app.example", PictureOrigins: []string{"http://172.18.0.1:8081"}, Scopes: []string{"openid"}}); err != nil {
		t.Errorf("a simulator's pictures: %v", err)
	}
	_, err := web.NewSite(web.Config{BaseURL: "x", ReturnOrigins: []string{"y"}, PictureOrigins: []string{"z"}, Scopes: []string{"email"}})
	for _, want := range []string{"base URL", "return origin", "picture origin", "openid"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name the %s", err, want)
		}
	}
	for base, redirect := range map[string]string{
		"https://app.example": "https://app.example/callback", "https://App.example:443/auth/": "https://app.example/auth/callback",
		"http://localhost:8080": "http://localhost:8080/callback", "http://127.0.0.1": "http://127.0.0.1/callback", "http://[::1]:80/x": "http://[::1]/x/callback",
	} {
		s, err := web.NewSite(web.Config{BaseURL: base, Scopes: []string{"openid"}})
		if err != nil || s.RedirectURL() != redirect {
			t.Errorf("%s: %v, %v", base, s, err)
		}
	}
}
