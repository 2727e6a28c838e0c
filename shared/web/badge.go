package web

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"
)

//go:embed badge.js
var badgeScript []byte

// Badge is GET /badge.js: the web component <keepin-badge>. The same bytes for
// everybody: who is signed in the component asks for itself.
func Badge(s *Site) http.Handler {
	script := bytes.Replace(badgeScript, []byte("__KEEPIN__"), []byte(strconv.Quote(s.url(""))), 1)
	sum := sha256.Sum256(script)
	etag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("Cache-Control", "public, max-age=3600")
		h.Set("ETag", etag)
		h.Set("Access-Control-Allow-Origin", "*") // a module is fetched by CORS; nothing here is anybody's
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		http.ServeContent(w, r, "badge.js", time.Time{}, bytes.NewReader(script))
	})
}
