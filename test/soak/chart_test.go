package soak_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/linkedinsim"
)

// The page is 1200 wide; the plots have one axis of days.
const (
	left, right = 78.0, 996.0
	statesTop   = 118.0
	statesEnd   = 388.0
	callsTop    = 448.0
	callsEnd    = 688.0
	bandsTop    = 748.0
	bandHeight  = 26.0
	height      = 890
)

// series are the colours of what is drawn, by CSS class.
var series = []struct{ key, label, class string }{
	{"active", "signed in", "a"},
	{"due", "told to renew soon", "b"},
	{"pending", "keepin at work", "c"},
	{"reconnect", "must sign in again", "d"},
	{"signed_out", "signed out", "e"},
}

const style = `
svg { --page: #ffffff; --ink: #1c2430; --soft: #5b6675; --grid: #dfe4ea; --ill: #e9edf2;
      --a: #2f7f8f; --b: #e0a526; --c: #7a5bc0; --d: #c2413b; --e: #9aa5b1; --f: #1f5fbf; --g: #b8690f; --h: #4c8a2e; }
@media (prefers-color-scheme: dark) { svg { --page: #12171e; --ink: #e8edf3; --soft: #9aa7b6; --grid: #2a333e; --ill: #222b36;
      --a: #4fb3c4; --b: #f0c04f; --c: #a78bfa; --d: #f0716a; --e: #6b7785; --f: #78aaf5; --g: #f0a860; --h: #8fcf6a; } }
text { font: 14px system-ui, sans-serif; fill: var(--ink); } .soft { fill: var(--soft); font-size: 13px; }
h1, .title { font-size: 22px; font-weight: 600; } .head { font-size: 15px; font-weight: 600; }
.grid { stroke: var(--grid); } .axis { stroke: var(--soft); } .ill { fill: var(--ill); } .page { fill: var(--page); }
.a { fill: var(--a); } .b { fill: var(--b); } .c { fill: var(--c); } .d { fill: var(--d); } .e { fill: var(--e); }
.f { fill: var(--f); } .g { fill: var(--g); } .h { fill: var(--h); }
path.f, path.g, path.h { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
path.f { stroke: var(--f); } path.g { stroke: var(--g); } path.h { stroke: var(--h); }`

type canvas struct{ strings.Builder }

func (c *canvas) add(format string, args ...any) { fmt.Fprintf(&c.Builder, format+"\n", args...) }

func (c *canvas) text(x, y float64, class, anchor, text string) {
	c.add(`<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>`, x, y, class, anchor, text)
}

func x(day float64) float64 { return left + (right-left)*day/days }

func onDay(t time.Time) float64 { return t.Sub(start).Hours() / 24 }

// draw writes the chart of the run: year.svg, and a page around it.
func draw(t *testing.T, w *world, dir string) {
	t.Helper()
	svg := w.chart()
	page := `<!doctype html><html lang="en"><meta charset="utf-8"><title>keepin: 400 days</title><meta name="color-scheme" content="light dark">` +
		`<style>body{margin:0;background:#fff}@media(prefers-color-scheme:dark){body{background:#12171e}}svg{display:block;width:100%;max-width:1200px;height:auto;margin:auto}</style>` + svg + `</html>`
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"year.svg": svg, "year.html": page} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) chart() string {
	a, c := &w.tally, &canvas{}
	c.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1200 %d" role="img" aria-labelledby="t d"><title id="t">%d days of %s members</title>`, height, days, thousands(len(w.members)))
	c.add(`<desc id="d">Grants by state, calls to LinkedIn each day, and incidents, over %d simulated days.</desc><style>%s</style><rect class="page" width="1200" height="%d"/>`, days, style, height)
	c.text(24, 38, "title", "start", fmt.Sprintf("%d days of %s members, half of them without refresh tokens", days, thousands(len(w.members))))
	c.text(24, 64, "soft", "start", fmt.Sprintf("%s crashes in %s passes, %s sign-ins, %s refreshes. Asked needlessly: %d. Grants lost: %d. Latest notice: %.0f minutes.",
		thousands(a.crashes), thousands(a.passes), thousands(a.signIns), thousands(a.refreshed), a.needless, a.lost, a.late[len(a.late)-1].Minutes()))

	// LinkedIn's troubles lie behind all of it.
	for _, t := range troubles {
		if t.cause == "" {
			continue
		}
		from := x(onDay(t.from))
		for _, y := range [][2]float64{{statesTop, statesEnd}, {callsTop, callsEnd}, {bandsTop, bandsTop + 3*bandHeight}} {
			c.add(`<rect class="ill" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, from, y[0], max(1, x(onDay(t.to))-from), y[1]-y[0])
		}
	}
	w.drawStates(c)
	w.drawCalls(c)
	w.drawIncidents(c)
	for d := 0; d <= days; d += 50 {
		for _, y := range []float64{statesEnd, callsEnd, bandsTop + 3*bandHeight} {
			c.add(`<line class="axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, x(float64(d)), y, x(float64(d)), y+5)
		}
		c.text(x(float64(d)), bandsTop+3*bandHeight+20, "soft", "middle", fmt.Sprint(d))
	}
	c.text((left+right)/2, bandsTop+3*bandHeight+42, "soft", "middle", "day; the grey stripes are the times when LinkedIn or the client secret was ill")
	c.add(`</svg>`)
	return c.String()
}

func (w *world) drawStates(c *canvas) {
	c.text(24, statesTop-14, "head", "start", "Grants by state")
	top := math.Ceil(float64(len(w.members))/4) * 4
	y := func(n float64) float64 { return statesEnd - (statesEnd-statesTop)*n/top }
	for i := range 5 {
		c.grid(y(top*float64(i)/4), thousands(int(top*float64(i)/4)))
	}
	below := make([]float64, len(w.days))
	for i, s := range series {
		var up, down strings.Builder
		for d, stat := range w.days {
			fmt.Fprintf(&down, "%.1f,%.1f ", x(float64(d+1)), y(below[d]))
			below[d] += float64(stat.states[s.key])
			fmt.Fprintf(&up, "%.1f,%.1f ", x(float64(d+1)), y(below[d]))
		}
		points := strings.Fields(down.String())
		slices.Reverse(points)
		c.add(`<polygon class="%s" points="%s%s"/>`, s.class, up.String(), strings.Join(points, " "))
		c.legend(statesTop+10+float64(i)*26, s.class, s.label)
	}
}

func (w *world) drawCalls(c *canvas) {
	c.text(24, callsTop-14, "head", "start", "Calls to LinkedIn a day (logarithmic)")
	most := 10.0
	for _, d := range w.days {
		for _, e := range endpoints {
			most = max(most, float64(d.calls[e]))
		}
	}
	decades := math.Ceil(math.Log10(most))
	y := func(n float64) float64 { return callsEnd - (callsEnd-callsTop)*math.Log10(max(n, 1))/decades }
	for d := range int(decades) + 1 {
		c.grid(y(math.Pow10(d)), thousands(int(math.Pow10(d))))
	}
	for i, e := range []struct {
		linkedinsim.Endpoint
		class, label string
	}{{linkedinsim.IntrospectEndpoint, "f", "introspection"}, {linkedinsim.TokenEndpoint, "g", "token"}, {linkedinsim.UserinfoEndpoint, "h", "userinfo"}} {
		var line strings.Builder
		for d, stat := range w.days {
			fmt.Fprintf(&line, "%c%.1f,%.1f", "ML"[min(d, 1)], x(float64(d)+0.5), y(float64(stat.calls[e.Endpoint])))
		}
		c.add(`<path class="%s" d="%s"/>`, e.class, line.String())
		c.legend(callsTop+10+float64(i)*26, e.class, e.label)
	}
}

func (w *world) drawIncidents(c *canvas) {
	c.text(24, bandsTop-14, "head", "start", fmt.Sprintf("Incidents: %d", len(w.tally.incidents)))
	for i, row := range []struct{ cause, class, label string }{{"outage", "f", "LinkedIn down"}, {"brake", "d", "refreshes refused"}, {"application", "b", "client secret wrong"}} {
		top := bandsTop + float64(i)*bandHeight
		c.add(`<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, left, top+bandHeight, right, top+bandHeight)
		n := 0
		for _, one := range w.tally.incidents {
			if one.cause == row.cause {
				n++
				from := x(onDay(one.opened))
				c.add(`<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="1"/>`, row.class, from, top+5, max(2, x(onDay(one.over))-from), bandHeight-10)
			}
		}
		c.legend(top+bandHeight/2, row.class, fmt.Sprintf("%s: %d", row.label, n))
	}
}

func (c *canvas) grid(y float64, label string) {
	c.add(`<line class="grid" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, left, y, right, y)
	c.text(left-8, y+4.5, "soft", "end", label)
}

func (c *canvas) legend(y float64, class, label string) {
	c.add(`<rect class="%s" x="%.1f" y="%.1f" width="12" height="12" rx="2"/>`, class, right+16, y-6)
	c.text(right+34, y+4.5, "", "start", label)
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
