package linkedinsim

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"slices"
	"strings"
	"time"
)

// keys is LinkedIn's signing key, made when it is first needed.
type keys struct {
	id  string
	key crypto.Signer
}

// keysOf has its id from the key; nil is none yet.
func keysOf(key crypto.Signer) keys {
	if key == nil {
		return keys{}
	}
	sum := sha256.Sum256(key.Public().(*rsa.PublicKey).N.Bytes())
	return keys{hex.EncodeToString(sum[:8]), key}
}

func (k *keys) rotate() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	*k = keysOf(key)
	return nil
}

func (k *keys) ready() error {
	if k.key != nil {
		return nil
	}
	return k.rotate()
}

// discovery answers the OpenID configuration, with what LinkedIn's has and no more.
func (s *Sim) discovery(c *call) answer {
	return jsonAnswer(200, map[string]any{
		"issuer":                                s.issuerFor(c),
		"authorization_endpoint":                s.url + "/oauth/v2/authorization",
		"token_endpoint":                        s.url + "/oauth/v2/accessToken",
		"userinfo_endpoint":                     s.url + "/v2/userinfo",
		"jwks_uri":                              s.url + "/oauth/openid/jwks",
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported":                      []string{"openid", "profile", "email"},
		"claims_supported": []string{"iss", "aud", "iat", "exp", "sub", "name", "given_name", "family_name",
			"picture", "email", "email_verified", "locale"},
	})
}

func (s *Sim) issuerFor(c *call) string {
	if c.sw.OldIssuer {
		return strings.TrimSuffix(s.issuer, "/oauth")
	}
	return s.issuer
}

// jwks answers the public key; LinkedIn's has no "use".
func (s *Sim) jwks(*call) answer {
	if err := s.keys.ready(); err != nil {
		return apiError(500, 0, "", err.Error())
	}
	pub := s.keys.key.Public().(*rsa.PublicKey)
	return jsonAnswer(200, map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "kid": s.keys.id,
		"n": base64.RawURLEncoding.EncodeToString(pub.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(pub.E)).Bytes()),
	}}})
}

// idToken is the signed ID token that goes with an access token: without nonce
// and at_hash, as LinkedIn's. False: there is none.
func (s *Sim) idToken(c *call, a *token) (string, bool) {
	if _, struck := c.strike(NoIDToken); struck {
		return "", false
	}
	if _, struck := c.strike(RotateKeys); struck {
		s.keys.key = nil
	}
	if s.keys.ready() != nil {
		return "", false
	}
	claims := s.claims(c, a)
	claims["iss"], claims["aud"] = s.issuerFor(c), a.key.client
	claims["iat"], claims["exp"] = c.now.Unix(), c.now.Add(c.sw.idTokenLifetime()).Unix()
	if v, ok := claims["email_verified"]; ok && !c.sw.EmailVerifiedBool {
		claims["email_verified"] = map[bool]string{true: "true", false: "false"}[v.(bool)]
	}
	if _, ok := claims["locale"]; ok {
		claims["locale"] = localeText(c.sw)
	}
	head := map[string]string{"alg": "RS256", "typ": "JWT", "kid": s.keys.id}
	signed := true
	for kind, spoil := range map[Kind]func(){
		IDTokenIssuer:   func() { claims["iss"] = "https://issuer.example" },
		IDTokenAudience: func() { claims["aud"] = "77anotherapp00" },
		IDTokenExpired: func() {
			claims["iat"], claims["exp"] = c.now.Add(-2*time.Hour).Unix(), c.now.Add(-time.Hour).Unix()
		},
		IDTokenUnsigned: func() { signed = false; head = map[string]string{"alg": "none", "typ": "JWT"} },
		IDTokenKeyID:    func() { head["kid"] = "not-published" },
		IDTokenSubject:  func() { claims["sub"] = otherSub },
	} {
		if _, struck := c.strike(kind); struck {
			spoil()
		}
	}
	body := segment(head) + "." + segment(claims)
	if !signed {
		return body + ".", true
	}
	sum := sha256.Sum256([]byte(body))
	if _, struck := c.strike(IDTokenSignature); struck {
		sum[0] ^= 1
	}
	sig, err := s.keys.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return "", false
	}
	return body + "." + base64.RawURLEncoding.EncodeToString(sig), true
}

func segment(v any) string {
	b, _ := json.Marshal(v) // of strings and numbers only
	return base64.RawURLEncoding.EncodeToString(b)
}

// otherSub is somebody else's sub.
const otherSub = "s0meb0dy_E"

// claims are those of userinfo, as far as the token's scopes go.
func (s *Sim) claims(c *call, t *token) map[string]any {
	claims := map[string]any{"sub": Subject(t.key.client, t.key.member)}
	m := s.members[t.key.member]
	if slices.Contains(t.scopes, "profile") {
		claims["name"], claims["given_name"], claims["family_name"] = m.Name, m.GivenName, m.FamilyName
		claims["picture"] = s.portrait(m, c.now)
		claims["locale"] = map[string]string{"country": "US", "language": "en"}
		if c.sw.LocaleString {
			claims["locale"] = localeText(c.sw)
		}
	}
	if slices.Contains(t.scopes, "email") && m.Email != "" {
		claims["email"], claims["email_verified"] = m.Email, true
	}
	return claims
}

func localeText(sw Switches) string {
	if sw.LocaleHyphen {
		return "en-US"
	}
	return "en_US"
}
