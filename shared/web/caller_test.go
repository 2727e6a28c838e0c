package web_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keepin/keepin/shared/web"
)

func TestOnlyAKnownCallerPasses(t *testing.T) {
	for _, known := range []bool{true, false} {
		passed := false
		h := web.CallerAuth(func(context.Context) (string, bool) { return "arn", known })(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true }))
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/members/x", nil)
		r.Header.Set("Authorization", "Bearer arn")
		h.ServeHTTP(w, r)
		if passed != known {
			t.Errorf("known %v: passed %v", known, passed)
		}
		if !known && (w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" || !strings.Contains(w.Body.String(), `"code":"unauthorized"`)) {
			t.Errorf("got %d %v %s", w.Code, w.Header(), w.Body)
		}
	}
}
