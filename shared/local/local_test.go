package local_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keepin/keepin/shared/local"
	"github.com/keepin/keepin/shared/secret"
)

func config(dir string) local.Config {
	path := func(name string) string { return filepath.Join(dir, name) }
	return local.Config{BaseURL: "http://localhost:8080", Scopes: []string{"openid"}, LinkedInURL: "http://localhost:8081",
		APIURL: "http://localhost:8081", Issuer: "http://localhost:8081/oauth",
		Store: path("keepin.db"), Credentials: path("linkedin.json"), Keys: path("keys.json"), BackendKey: path("backend-key")}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLostKeysAreNotReplacedBesideAStore(t *testing.T) {
	c := config(t.TempDir())
	write(t, c.Credentials, `{"client_id":"77app","client_secret":"the-secret-of-the-app"}`)
	m, err := local.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(c.Keys); err != nil {
		t.Fatal(err)
	}
	_, err = local.Open(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), c.Keys) || !strings.Contains(err.Error(), "put the file back") {
		t.Errorf("without the keys: %v", err)
	}
	if _, err := os.Stat(c.Keys); err == nil {
		t.Error("other keys were made")
	}
}

func TestAllThatIsMissingIsSaidAtOnce(t *testing.T) {
	c := config(t.TempDir())
	write(t, c.Keys, "nonsense")
	write(t, c.BackendKey, "short")
	_, err := local.Open(t.Context(), c)
	if err == nil {
		t.Fatal("opened")
	}
	for _, want := range []string{c.Keys, c.BackendKey, c.Credentials} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "nonsense") || strings.Contains(err.Error(), "short\n") {
		t.Errorf("the error quotes a secret: %v", err)
	}
	if _, err := os.Stat(c.Store); err == nil {
		t.Error("a store was made")
	}
}

func TestSecretsAreToldToTheLog(t *testing.T) {
	c := config(t.TempDir())
	write(t, c.Credentials, `{"client_id":"77app","client_secret":"the-secret-of-the-app"}`)
	hidden := 0
	c.Hide = func(s secret.String) {
		if !s.IsZero() {
			hidden++
		}
	}
	m, err := local.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	if hidden == 0 {
		t.Error("the back-end key was not told")
	}
}

// TestHealthzIsBesideTheRoutes: all but a look at it goes to the routes, whose
// answer to an unclean path is no redirect.
func TestHealthzIsBesideTheRoutes(t *testing.T) {
	c := config(t.TempDir())
	write(t, c.Credentials, `{"client_id":"77app","client_secret":"the-secret-of-the-app"}`)
	m, err := local.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/healthz", 200}, {"HEAD", "/healthz", 200}, {"POST", "/healthz", 404}, {"GET", "/healthz/", 404},
		{"GET", "//healthz", 404}, {"GET", "//validate", 404}, {"GET", "/a/../healthz", 404}, {"GET", "/validate", 401},
	} {
		w := httptest.NewRecorder()
		m.ServeHTTP(w, httptest.NewRequest(r.method, "http://localhost:8080"+r.path, nil))
		if w.Code != r.status || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: got %d, %v, want %d", r.method, r.path, w.Code, w.Header(), r.status)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if m.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil)); w.Code != 503 {
		t.Errorf("with the store closed: got %d, want 503", w.Code)
	}
}
