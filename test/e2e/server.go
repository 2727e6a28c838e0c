package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// Listen opens a port on loopback: a server's address is known before the server
// is made.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	return l
}

// Serve serves h on l until the test ends, and returns its address.
func Serve(t testing.TB, l net.Listener, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	must(t, s.Listener.Close())
	s.Listener = l
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}
