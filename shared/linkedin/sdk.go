package linkedin

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // LinkedIn signs with HMAC-SHA1, and OAuth 1.0a here knows nothing else
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/oauth2"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

// LinkedIn's JavaScript SDK (in.js) signed members in until LinkedIn retired it
// on 2019-03-01. On the application's own host it left a cookie that the
// application's secret signs, with a bearer token that its own script calls
// understand and the REST API does not. LinkedIn's "Best Practices for
// Application Development" still asks to exchange that token for one of OAuth
// 2.0 rather than to send the member through the REST flow; how that exchange
// looks on the wire, LinkedIn no longer says. The cookie, and a request signed
// by OAuth 1.0a, are as its old page "Exchange JSAPI Tokens for REST API OAuth
// Tokens" and code of its day have them; the answer must be of OAuth 2.0.

const (
	maxSDKCookie = 8 << 10
	maxSDKToken  = 4 << 10
	sdkNames     = 6  // of the cookie's object
	sdkMemberLen = 10 // of a member's id: characters of base64url
)

var (
	errSDKMalformed = trouble{keeper.ClassMember, "the SDK's cookie is malformed"}
	errSDKMethod    = trouble{keeper.ClassMember, "the SDK's cookie is signed in another way"}
	errSDKSignature = trouble{keeper.ClassMember, "the SDK's cookie is not signed by LinkedIn"}
	errNoSDK        = trouble{keeper.ClassUnknown, "no address to exchange the SDK's tokens at"}
	errOAuth1       = trouble{keeper.ClassUnknown, "LinkedIn exchanged the SDK's token for one of OAuth 1.0a, which keepin cannot use"}
	errNotIssued    = trouble{keeper.ClassOutage, "the answer is neither JSON nor a form"}
	errNotOurs      = trouble{keeper.ClassUnknown, "the token that LinkedIn gave for the SDK's is not ours"}
	errNotTheirs    = trouble{keeper.ClassUnknown, "the token that LinkedIn gave for the SDK's is another member's"}
	errNotYet       = trouble{keeper.ClassOutage, "LinkedIn does not honour the new token yet"}
)

// SDKCookie is the name of the cookie that LinkedIn's SDK sets.
func (c *Client) SDKCookie(ctx context.Context) (string, error) {
	creds, err := c.credentials(ctx, opSDK)
	if err != nil {
		return "", err
	}
	return "linkedin_oauth_" + creds.ClientID, nil
}

// SDKSignature proves that LinkedIn signed the value of such a cookie, and
// returns the signature in its one spelling. It calls nobody but Credentials.
// LinkedIn signs no time: how old the cookie is only LinkedIn can tell, when its
// token is exchanged, and whether it was used before only who remembers the
// signature. ClassMember: the value is malformed, or LinkedIn did not sign it.
func (c *Client) SDKSignature(ctx context.Context, value secret.String) (secret.String, error) {
	signed, err := c.verifySDK(ctx, value)
	return secret.New(base64.StdEncoding.EncodeToString(signed.signature)), err
}

// ExchangeSDK exchanges the token in the value of such a cookie for tokens of
// OAuth 2.0. LinkedIn's answer does not say whose they are, so two calls must
// prove it: introspection, that they are this application's, and an API call
// (or an ID token that came along), that they are of the very member whom the
// cookie names. ClassMember means that LinkedIn refuses this cookie's token.
func (c *Client) ExchangeSDK(ctx context.Context, value secret.String) (keeper.Identity, keeper.Tokens, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	signed, err := c.verifySDK(ctx, value)
	if err != nil {
		return keeper.Identity{}, keeper.Tokens{}, err
	}
	call, err := c.eachSecret(ctx, opSDK, signed.token, func(call *call, conf *oauth2.Config) {
		call.postSigned(ctx, c.cfg.SDKExchange, conf, url.Values{"xoauth_oauth2_access_token": {signed.token.Reveal()}})
	})
	if err != nil {
		return keeper.Identity{}, keeper.Tokens{}, err
	}
	answer, err := readSDKTokens(call.body)
	if err != nil {
		return keeper.Identity{}, keeper.Tokens{}, call.fail(err)
	}
	tokens := answer.tokens(call.start)
	if err := c.proveClient(ctx, call, &tokens); err != nil {
		return keeper.Identity{}, keeper.Tokens{}, err
	}
	who, err := c.proveMember(ctx, call, answer, signed.member)
	if err != nil {
		return keeper.Identity{}, keeper.Tokens{}, err
	}
	tokens.Subject = who.Subject
	return who, tokens, nil
}

// sdkCookie is what the SDK's cookie says.
type sdkCookie struct {
	token     secret.String
	member    string
	signature []byte
}

// verifySDK accepts a cookie that was signed with the client secret as it is,
// as it was before the last roll, or, read again, as it has become.
func (c *Client) verifySDK(ctx context.Context, value secret.String) (sdkCookie, error) {
	creds, err := c.credentials(ctx, opSDK)
	if err != nil {
		return sdkCookie{}, err
	}
	call := c.newCall(opSDK, creds, value)
	signed, err := readSDKCookie(value.Reveal())
	switch {
	case c.cfg.SDKExchange == "":
		return sdkCookie{}, call.fail(errNoSDK)
	case err != nil:
		return sdkCookie{}, call.fail(err)
	case signed.by(creds):
		return signed, nil
	}
	if creds, err = c.cfg.Credentials(ctx, true); err != nil || !signed.by(creds) {
		return sdkCookie{}, call.fail(errSDKSignature)
	}
	return signed, nil
}

// readSDKCookie reads a cookie's value: a JSON object, URL-encoded. What is
// signed is what signature_order names, without separators; it comes from the
// browser like all the rest, so any but the whole order would leave the member
// unsigned, and a member's id of any length would let the two be cut elsewhere.
func readSDKCookie(value string) (sdkCookie, error) {
	if len(value) > maxSDKCookie {
		return sdkCookie{}, errSDKMalformed
	}
	body, err := url.PathUnescape(value)
	if err != nil {
		return sdkCookie{}, errSDKMalformed
	}
	members, err := object([]byte(body))
	if err != nil || len(members) != sdkNames { // all six are needed below: one in other letters is one too many
		return sdkCookie{}, errSDKMalformed
	}
	var order []string
	if json.Unmarshal(members["signature_order"], &order) != nil || !slices.Equal(order, []string{"access_token", "member_id"}) ||
		text(members, "signature_version") != "1" || text(members, "signature_method") != "HMAC-SHA1" {
		return sdkCookie{}, errSDKMethod
	}
	token, member, signature := text(members, "access_token"), text(members, "member_id"), text(members, "signature")
	mac, err := base64.StdEncoding.Strict().DecodeString(signature)
	if err != nil || len(mac) != sha1.Size || strings.ContainsAny(signature, "\r\n") ||
		!isToken(token) || len(token) > maxSDKToken || !isSDKMember(member) {
		return sdkCookie{}, errSDKMalformed
	}
	return sdkCookie{secret.New(token), member, mac}, nil
}

func isSDKMember(s string) bool {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}
	return len(s) == sdkMemberLen && strings.IndexFunc(s, odd) < 0
}

// by reports whether one of the secrets signed the cookie.
func (s sdkCookie) by(creds Credentials) bool {
	is := func(key secret.String) bool {
		return !key.IsZero() && hmac.Equal(s.signature, hmacSHA1(key.Reveal(), s.token.Reveal()+s.member))
	}
	return is(creds.Secret) || is(creds.Previous)
}

func hmacSHA1(key, text string) []byte {
	mac := hmac.New(sha1.New, []byte(key))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// postSigned sends a form as a consumer without a token does (RFC 5849, section
// 3): the form is signed too, and the parameters of the signature are in the
// Authorization header.
func (c *call) postSigned(ctx context.Context, address string, conf *oauth2.Config, form url.Values) {
	params := [][2]string{
		{"oauth_consumer_key", conf.ClientID},
		{"oauth_nonce", rand.Text()},
		{"oauth_signature_method", "HMAC-SHA1"},
		{"oauth_timestamp", strconv.FormatInt(c.start.Unix(), 10)},
		{"oauth_version", "1.0"},
	}
	signature := oauth1Signature(conf.ClientSecret, signatureBase(address, params, form))
	c.known = append(c.known, secret.New(signature))
	header := "OAuth "
	for _, p := range append(params, [2]string{"oauth_signature", signature}) {
		header += p[0] + `="` + percent(p[1]) + `", `
	}
	c.do(ctx, http.MethodPost, address, strings.NewReader(form.Encode()), http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"},
		"Authorization": {strings.TrimSuffix(header, ", ")},
	})
}

// oauth1Signature signs a base with a client secret and no token secret (RFC
// 5849, section 3.4.2).
func oauth1Signature(clientSecret, base string) string {
	return base64.StdEncoding.EncodeToString(hmacSHA1(percent(clientSecret)+"&", base))
}

// signatureBase is the text that is signed (RFC 5849, section 3.4.1), of a POST
// to an address without query.
func signatureBase(address string, params [][2]string, form url.Values) string {
	var pairs []string
	for _, p := range params {
		pairs = append(pairs, percent(p[0])+"="+percent(p[1]))
	}
	for name, values := range form {
		for _, value := range values {
			pairs = append(pairs, percent(name)+"="+percent(value))
		}
	}
	slices.Sort(pairs) // no name is the beginning of another
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Host)
	if port := u.Port(); u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return http.MethodPost + "&" + percent(u.Scheme+"://"+host+u.EscapedPath()) + "&" + percent(strings.Join(pairs, "&"))
}

// percent encodes all but RFC 3986's unreserved characters (RFC 5849, section
// 3.6); url.QueryEscape differs from that in the space alone.
func percent(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// readSDKTokens reads what the SDK's token was exchanged for: an answer of OAuth
// 2.0, in JSON or as a form. What was seen while the SDK lived was a form of
// OAuth 1.0a: tokens without an end that the REST API does not take.
func readSDKTokens(body []byte) (tokenAnswer, error) {
	members, err := object(body)
	if err != nil {
		if members, err = formObject(body); err != nil {
			return tokenAnswer{}, errNotIssued
		}
	}
	for name := range members {
		if name == "oauth_token" || name == "oauth_token_secret" {
			return tokenAnswer{}, errOAuth1
		}
	}
	return readTokenMembers(members)
}

// formObject reads a form as if it were a JSON object of strings. A page or half
// a JSON object would pass for one, but for its names.
func formObject(body []byte) (map[string]json.RawMessage, error) {
	form, err := url.ParseQuery(strings.TrimSpace(string(body)))
	if err != nil || len(form) == 0 {
		return nil, errNotIssued
	}
	members := map[string]json.RawMessage{}
	for name, values := range form {
		if len(values) != 1 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
			return nil, errNotIssued
		}
		if members[name], err = json.Marshal(values[0]); err != nil {
			return nil, errNotIssued
		}
	}
	return members, nil
}

// proveClient insists that introspection knows a live token of this client, and
// takes from it what the answer left out.
func (c *Client) proveClient(ctx context.Context, exchanged *call, tokens *keeper.Tokens) error {
	call, inspection, err := c.introspect(ctx, tokens.Access)
	if err != nil {
		return err
	}
	members, _ := object(call.body)
	if !inspection.Active || text(members, "client_id") != exchanged.clientID {
		return exchanged.fail(errNotOurs) // of another client's token LinkedIn says that it is not active, and nothing more
	}
	if tokens.Scopes == nil {
		tokens.Scopes = inspection.Scopes
	}
	if tokens.ExpiresAt.IsZero() {
		tokens.ExpiresAt = inspection.ExpiresAt
	}
	if !tokens.ExpiresAt.After(tokens.IssuedAt) {
		return exchanged.fail(errNoExpiry)
	}
	return nil
}

// proveMember insists that the token is of the member whom the cookie names.
func (c *Client) proveMember(ctx context.Context, exchanged *call, answer tokenAnswer, member string) (keeper.Identity, error) {
	who := keeper.Identity{ClientID: exchanged.clientID}
	if !answer.id.IsZero() {
		claims, err := c.verify(ctx, answer.id, expected{clientID: exchanged.clientID, notBefore: exchanged.start, access: answer.access})
		if err != nil {
			return keeper.Identity{}, exchanged.fail(err)
		}
		who.Subject, who.Profile = claims.subject, claims.profile
	} else {
		identity, err := c.Identify(ctx, answer.access)
		if keeper.ClassOf(err) == keeper.ClassMember {
			return keeper.Identity{}, exchanged.fail(errNotYet) // introspection has just called it active
		}
		if err != nil {
			return keeper.Identity{}, err
		}
		who.Subject, who.Profile = identity.Subject, identity.Profile
	}
	if who.Subject != member {
		return keeper.Identity{}, exchanged.fail(errNotTheirs)
	}
	return who, nil
}
