package web_test

import (
	"errors"
	"flag"
	"html"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/web"
	"github.com/keepin/keepin/test/bounds"
)

var update = flag.Bool("update", false, "rewrite the golden pages")

// TestPages holds every page, and every part of one, against testdata, which
// html/template wrote.
func TestPages(t *testing.T) {
	const day = 24 * time.Hour
	grant := func(f func(*keeper.Grant)) func(*browser) {
		return func(b *browser) {
			b.signIn("")
			b.fatal(b.keeper.change(b.Context(), keeper.NewMemberID(clientID, "ada-sub"), f))
		}
	}
	for name, tt := range map[string]struct {
		prepare func(*browser)
		path    string
		status  int
	}{
		"account-signed-out": {nil, "/auth/", 200},
		"account-new":        {func(b *browser) { b.signIn("") }, "/auth/", 200},
		"account-verified": {grant(func(g *keeper.Grant) {
			g.Profile, g.VerifiedAt = keeper.Profile{Name: `Åsa "Oz" O'Neill & Söner`}, start.Add(time.Hour)
			g.Scopes = []string{"email", "openid", "profile", "r_new<thing>", "w_member_social"}
		}), "/auth/", 200},
		"account-odd-addresses": {grant(func(g *keeper.Grant) {
			g.Profile = keeper.Profile{Name: "{{email}}–", Email: `"><script>@example.com`, Picture: `https://media.licdn.com/a b"c'<d>\{{name}}?e="f g"&h=ü`}
		}), "/auth/", 200},
		"account-broken-picture": {grant(func(g *keeper.Grant) { g.Profile = keeper.Profile{Picture: "https://media.licdn.com/%zz"} }), "/auth/", 200},
		"account-pending":        {grant(func(g *keeper.Grant) { g.Access.ExpiresAt = start }), "/auth/", 200},
		"account-reconnect": {grant(func(g *keeper.Grant) {
			g.Status, g.Scopes = keeper.Reconnect, nil
			g.Profile = keeper.Profile{}
		}), "/auth/", 200},
		"problem-state":     {nil, "/auth/callback?code=x", 400},
		"problem-not-found": {nil, "/auth/nothing", 404},
		"problem-return-to": {nil, "/auth/login?return_to=https://evil.example", 400},
		"problem-pending": {func(b *browser) {
			b.linkedin.err = &keeper.CallError{Class: keeper.ClassOutage}
			b.jar["__Host-keepin"] = ""
		}, "/auth/callback?CALLBACK", 503},
		"problem-upstream": {func(b *browser) { b.linkedin.urlErr = errors.New("no address") }, "/auth/login", 503},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t).browser()
			if tt.prepare != nil {
				tt.prepare(b)
			}
			b.now = b.now.Add(2 * day)
			if tt.path == "/auth/callback?CALLBACK" {
				tt.path = callback(b.begin("?return_to=/x?a=1%26b=2"))
			}
			res := b.get(tt.path)
			style, err := os.ReadFile("pages/style.css")
			b.fatal(err)
			got := strings.Replace(body(res), string(style), "style.css", 1)
			if res.StatusCode != tt.status || res.Header.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("got %d %s", res.StatusCode, res.Header)
			}
			golden := filepath.Join("testdata", name+".html")
			if *update {
				b.fatal(os.WriteFile(golden, []byte(got), 0o600))
			}
			want, err := os.ReadFile(golden)
			b.fatal(err)
			if got != string(want) {
				t.Errorf("%s differs:\n%s", golden, got)
			}
		})
	}
}

// TestHolesAreWhereTheirKindBelongs: an address in href, src and action alone,
// text between tags or in another quoted attribute, and nothing in a script, a
// style or a handler.
func TestHolesAreWhereTheirKindBelongs(t *testing.T) {
	files, err := filepath.Glob("pages/*.html")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	address := regexp.MustCompile(`(^| )(href|src|action)="$`)
	attribute := regexp.MustCompile(` ([a-z-]+)="$`)
	holes := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		page := strings.NewReplacer("<style>{{style}}</style>", "", "{{main}}", "").Replace(string(text))
		for _, at := range regexp.MustCompile(`{{[^#/}][^}]*}}`).FindAllStringIndex(page, -1) {
			before, hole, after := page[:at[0]], page[at[0]:at[1]], page[at[1]:]
			holes++
			open := before[strings.LastIndexByte(before, '<')+1:]
			_, isText := strings.CutPrefix(hole, "{{url ")
			isText = !isText
			name := attribute.FindStringSubmatch(open)
			switch inTag := !strings.Contains(open, ">"); {
			case !inTag && isText && !strings.HasPrefix(open, "script") && !strings.HasPrefix(open, "style"):
			case inTag && after[0] == '"' && !isText && address.MatchString(open):
			case inTag && after[0] == '"' && isText && !address.MatchString(open) && name != nil && name[1] != "style" && !strings.HasPrefix(name[1], "on"):
			default:
				t.Errorf("%s: %s after %q", file, hole, open)
			}
		}
	}
	if holes < 15 {
		t.Errorf("%d holes", holes)
	}
}

// FuzzPage: no text of a member's closes or opens anything in a page, and none
// is lost.
func FuzzPage(f *testing.F) {
	for _, seed := range []string{"", `<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onload='x`, "&lt;", "&#60;script&#62;", "{{name}}", "{{#email}}", "}}", "\x00<", "\xff\xfe\x3c", "\xc0\xbc", "javascript:alert(1)", "`${1}`", "\u2028</title>"} {
		f.Add(seed)
	}
	show := func(t *testing.T, s string) string {
		b := newBench(t).browser()
		b.signIn("")
		b.fatal(b.keeper.change(t.Context(), keeper.NewMemberID(clientID, "ada-sub"), func(g *keeper.Grant) {
			g.Profile.Name, g.Profile.Email, g.Profile.Picture, g.Scopes = "n"+s, "e"+s, "https://media.licdn.com/p"+s, []string{"s" + s}
		}))
		var res *http.Response
		bounds.Check(t, func() { res = b.get("/auth/") })
		if res.StatusCode != 200 {
			t.Fatalf("%q: %d", s, res.StatusCode)
		}
		return body(res)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, plain := show(t, s), show(t, "")
		if !strings.Contains(got, "<img ") { // its address does not parse
			plain = regexp.MustCompile(`<img [^>]*>`).ReplaceAllString(plain, "")
		}
		for _, c := range `<>"'` {
			if a, b := strings.Count(got, string(c)), strings.Count(plain, string(c)); a != b {
				t.Errorf("%q: %d of %c, want %d: %q", s, a, c, b, got)
			}
		}
		if bare := regexp.MustCompile(`&(amp|lt|gt|#34|#39);`).ReplaceAllString(got, ""); strings.Contains(bare, "&") {
			t.Errorf("%q: a bare &: %q", s, got)
		}
		text := strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
		if !strings.Contains(html.UnescapeString(got), "<h1>n"+text+"</h1>") {
			t.Errorf("%q is lost: %q", s, got)
		}
	})
}

func TestHolesTakeOnlyWhatTheyAreFor(t *testing.T) {
	for address, want := range map[string]string{
		"https://a.example/b?c=d&e=%3C": "https://a.example/b?c=d&amp;e=%3C", "http://localhost/": "http://localhost/", "/a/b": "/a/b",
		`https://a.example/"><b>`: "https://a.example/%22%3E%3Cb%3E", `/\evil.example`: "/%5Cevil.example",
		"javascript:alert(1)": "", "JavaScript:alert(1)": "", " javascript:alert(1)": "", "java\nscript:x": "", "javascript://a.example/%0aalert(1)": "", "data:text/html,x": "", "//evil.example": "", "": "", "x": "", "https:x": "", "https:/x": "", "file:///x": "", "vbscript:x": "",
	} {
		got, err := web.Fill(`{{url x}}`, "x", address)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", address, got, err)
		}
	}
	for _, page := range []string{"{{y}}", "{{#p}}", "{{", "{{x", "{{url y}}", "{{ x}}", "{{&x}}"} {
		if got, err := web.Fill(page, "x", "value"); err == nil {
			t.Errorf("%q: got %q", page, got)
		}
	}
}
