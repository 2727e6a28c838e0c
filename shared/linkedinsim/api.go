package linkedinsim

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bearer finds the token of an API call, with the scopes the API thinks it
// has; or the refusal.
func (s *Sim) bearer(c *call) (t *token, scopes []string, refusal answer) {
	value := c.r.URL.Query().Get("oauth2_access_token") // LinkedIn's own Java sample still sends it so
	if header := strings.TrimSpace(c.r.Header.Get("Authorization")); header != "" {
		scheme, rest, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return nil, nil, apiError(401, 0, "", "Unknown authentication schema")
		}
		value = strings.TrimSpace(rest)
	}
	if value == "" {
		return nil, nil, apiError(401, 65604, "EMPTY_ACCESS_TOKEN", "Empty oauth2 access token")
	}
	c.Presented = fingerprint(value)
	t = s.state.tokens[value]
	if t == nil || t.kind == refresh || t.kind == sdk {
		return nil, nil, apiError(401, 65600, "INVALID_ACCESS_TOKEN", "Invalid access token")
	}
	c.ClientID, c.Member = t.key.client, t.key.member
	switch state := t.state(c.now); {
	case state == "revoked", state == "active" && s.pending(t, c.now):
		return nil, nil, apiError(401, 65601, "REVOKED_ACCESS_TOKEN", "The token used in the request has been revoked by the user")
	case state == "expired":
		return nil, nil, apiError(401, 65602, "EXPIRED_ACCESS_TOKEN", "The token used in the request has expired")
	}
	scopes = t.scopes
	if g := s.state.grants[t.key]; g != nil {
		if g.seenScopes != nil && !slices.Equal(g.seenScopes, t.scopes) && c.now.Before(g.seenAt.Add(c.sw.StaleScopeCache)) {
			scopes = g.seenScopes
		} else {
			g.seenScopes, g.seenAt = t.scopes, c.now
		}
	}
	return t, scopes, answer{}
}

func denied(method, resource string) answer {
	return apiError(403, 100, "ACCESS_DENIED", "Not enough permissions to access: "+method+" "+resource)
}

// userinfo answers GET /v2/userinfo.
func (s *Sim) userinfo(c *call) answer {
	t, scopes, refusal := s.bearer(c)
	if t == nil {
		return refusal
	}
	if !slices.Contains(scopes, "openid") {
		return denied("GET", "/userinfo")
	}
	seen := *t
	seen.scopes = scopes
	claims := s.claims(c, &seen)
	if _, struck := c.strike(OtherSubject); struck {
		claims["sub"] = otherSub
	}
	return jsonAnswer(200, claims)
}

// elsewhere answers the rest of the API: nobody may call it.
func (s *Sim) elsewhere(c *call) answer {
	if t, _, refusal := s.bearer(c); t == nil {
		return refusal
	}
	_, resource, _ := strings.Cut(strings.TrimPrefix(c.r.URL.Path, "/"), "/")
	return denied(c.r.Method, "/"+resource)
}

// versionGrammar is YYYYMM, or YYYYMM.RR.
var versionGrammar = regexp.MustCompile(`^(\d{4})(\d{2})(\.\d{2})?$`)

// posts answers POST /rest/posts, as an example of the versioned API: it needs
// w_member_social and a LinkedIn-Version of the last twelve months. Nothing is
// posted.
func (s *Sim) posts(c *call) answer {
	t, scopes, refusal := s.bearer(c)
	if t == nil {
		return refusal
	}
	version := c.r.Header.Get("LinkedIn-Version")
	if version == "" {
		return apiError(400, 0, "VERSION_MISSING", "A version must be present. Please specify a version by adding the Linkedin-Version header.")
	}
	if !activeVersion(version, c.now) {
		expanded := version
		if len(version) == 6 && versionGrammar.MatchString(version) {
			expanded += "01"
		}
		return apiError(426, 0, "NONEXISTENT_VERSION", "Requested version "+expanded+" is not active")
	}
	if !slices.Contains(scopes, "w_member_social") {
		return denied("POST", "/posts")
	}
	return answer{status: 201, header: http.Header{"X-Restli-Id": {"urn:li:share:" + strconv.FormatInt(c.now.UnixMicro(), 10)}}}
}

// activeVersion: LinkedIn supports a monthly version for a year.
func activeVersion(v string, now time.Time) bool {
	m := versionGrammar.FindStringSubmatch(v)
	if m == nil {
		return false
	}
	year, _ := strconv.Atoi(m[1])
	month, _ := strconv.Atoi(m[2])
	age := (now.Year()-year)*12 + int(now.Month()) - month
	return month >= 1 && month <= 12 && age >= 0 && age <= 12
}
