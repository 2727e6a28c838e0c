package linkedin_test

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/keepin/keepin/shared/linkedin"
)

// TestNoOldTLSIsOffered asks what the client offers in its first message: who is
// in between could choose the worst of it.
func TestNoOldTLSIsOffered(t *testing.T) {
	var mu sync.Mutex
	var offered []uint16
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{
		MinVersion: tls.VersionTLS10, //nolint:gosec // the server would take it
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			mu.Lock()
			defer mu.Unlock()
			offered = append(offered, hello.SupportedVersions...)
			return nil, nil
		},
	}
	s.StartTLS()
	defer s.Close()
	c := newUpstream(t).client(t, func(cfg *linkedin.Config) { cfg.LinkedInURL = s.URL })
	_ = operations["refresh"].call(t.Context(), c)
	mu.Lock()
	defer mu.Unlock()
	if len(offered) == 0 || slices.Min(offered) < tls.VersionTLS12 {
		t.Errorf("offered %x, want 303 (1.2) and above", offered)
	}
}
