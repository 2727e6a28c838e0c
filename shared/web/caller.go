package web

import (
	"context"
	"net/http"
)

// CallerAuth lets through whom caller knows: on AWS, the IAM principal whose
// signature the gateway has verified. Which principals may sign is IAM's to say.
func CallerAuth(caller func(context.Context) (string, bool)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, ok := caller(r.Context()); !ok {
				w.Header().Set("WWW-Authenticate", "AWS4-HMAC-SHA256")
				writeProblem(w, answerFor(errUnauthorized), "")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}
