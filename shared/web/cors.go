package web

import "net/http"

// cors lets pages of the configured origins, exactly, call with the browser's
// cookies, and answers their preflights (Fetch standard, section 3.2).
func (s *Site) cors(next http.Handler, methods string) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin, trusted := r.Header.Get("Origin"), false
		if len(r.Header["Origin"]) == 1 && s.trusted(origin) {
			trusted = true
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Allow-Credentials", "true")
		}
		if r.Method != http.MethodOptions {
			next.ServeHTTP(w, r)
			return nil
		}
		if !trusted || r.Header.Get("Access-Control-Request-Method") == "" {
			return errCrossSite
		}
		h.Set("Access-Control-Allow-Methods", methods)
		h.Set("Access-Control-Allow-Headers", "Accept, Content-Type")
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}
