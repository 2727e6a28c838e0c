// Package clients signs in to the simulator with other people's clients,
// unchanged but for the addresses.
package clients_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/keepin/keepin/shared/linkedinsim"
	"github.com/markbates/goth"
	"github.com/markbates/goth/providers/linkedin"
)

// redirected sends what is meant for LinkedIn to the simulator.
type redirected struct{ sim *linkedinsim.Sim }

func (t redirected) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if r.URL.Opaque != "" { // goth's way to keep parentheses
		u, err := url.Parse("https:" + r.URL.Opaque)
		if err != nil {
			return nil, err
		}
		r.URL = u
	}
	return t.sim.RoundTrip(r)
}

func TestGoth(t *testing.T) {
	sim, err := linkedinsim.New(linkedinsim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	app := linkedinsim.DefaultApp()
	provider := linkedin.New(app.ClientID, app.Secret, app.RedirectURLs[0], "openid", "profile", "email")
	provider.HTTPClient = &http.Client{Transport: redirected{sim}}
	session, err := provider.BeginAuth("state")
	if err != nil {
		t.Fatal(err)
	}
	to, _ := session.GetAuthURL()
	back, err := sim.Authorize(to, "ada")
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(back)
	token, err := session.Authorize(provider, goth.Params(u.Query()))
	if err != nil || !strings.HasPrefix(token, "AQ") {
		t.Fatalf("authorize: %v", err)
	}
	// goth asks the profile API of before OpenID Connect, which LinkedIn has
	// closed to new apps.
	if _, err := provider.FetchUser(session); err == nil || !strings.Contains(err.Error(), "responded with a 403") {
		t.Errorf("the user: %v", err)
	}
	if _, err := session.Authorize(provider, goth.Params(u.Query())); err == nil || !strings.Contains(err.Error(), "external member binding exists") {
		t.Errorf("the same code again: %v", err)
	}
}
