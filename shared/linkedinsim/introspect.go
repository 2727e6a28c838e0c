package linkedinsim

import "strings"

// introspect answers POST /oauth/v2/introspectToken.
func (s *Sim) introspect(c *call) answer {
	c.ClientID = c.params.Get("client_id")
	for _, name := range []string{"client_id", "client_secret", "token"} {
		if c.params.Get(name) == "" {
			return missing(name)
		}
	}
	value := c.params.Get("token")
	c.Presented = fingerprint(value)
	app := s.app(c.ClientID)
	if app == nil {
		return oauthError(400, "invalid_request", `The passed in client_id is invalid "`+c.ClientID+`"`)
	}
	if _, struck := c.strike(WrongSecret); struck || !app.knows(c.params.Get("client_secret")) {
		return oauthError(401, "invalid_client", "Client authentication failed")
	}
	t := s.state.tokens[value]
	if t == nil || t.kind == sdk || t.kind == refresh && !c.sw.IntrospectRefresh {
		return oauthError(400, "invalid_request", "Invalid token")
	}
	if t.key.client != app.ClientID {
		return jsonAnswer(200, map[string]bool{"active": false})
	}
	c.Member = t.key.member
	body := map[string]any{
		"active":        t.state(c.now) == "active",
		"status":        t.state(c.now),
		"client_id":     app.ClientID,
		"created_at":    t.issuedAt.Unix(),
		"expires_at":    t.expiresAt.Unix(),
		"authorized_at": t.authorizedAt.Unix(),
		"auth_type":     "2L",
	}
	if t.kind != twoLegged {
		body["auth_type"] = "3L"
		body["scope"] = strings.Join(t.scopes, ",")
	}
	return jsonAnswer(200, body)
}
