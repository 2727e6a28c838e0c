package linkedin_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/secret"
	"github.com/keepin/keepin/test/bounds"
)

const (
	sdkMember = "yrZCpj2Z12"
	sdkToken  = "AQVtest-js-bearer-token-000000000001"
)

// sdkFields are those of a cookie as LinkedIn's SDK set it, with changes, and
// signed with the client secret where they do not bring a signature.
func sdkFields(changes object) object {
	o := object{
		"signature_version": "1", "signature_method": "HMAC-SHA1", "signature_order": []string{"access_token", "member_id"},
		"access_token": sdkToken, "member_id": sdkMember, "signature": "",
	}.with(changes)
	if o["signature"] == "" {
		token, _ := o["access_token"].(string)
		member, _ := o["member_id"].(string)
		o["signature"] = sdkSigned(clientSecret, token+member)
	}
	return o
}

func sdkCookie(changes object) string { return sdkEncoded(mustJSON(sdkFields(changes))) }

// sdkEncoded is what encodeURIComponent makes.
func sdkEncoded(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

func sdkSigned(key, text string) string {
	mac := hmac.New(sha1.New, []byte(key))
	mac.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// TestSDKVectors: fixed vectors of both signatures.
func TestSDKVectors(t *testing.T) {
	const appSecret, appID = "li-test-secret-0123456789", "77testapikey"
	u := newUpstream(t)
	c := u.client(t, func(cfg *linkedin.Config) {
		cfg.Credentials = func(context.Context, bool) (linkedin.Credentials, error) {
			return linkedin.Credentials{ClientID: appID, Secret: secret.New(appSecret)}, nil
		}
	})
	name, err := c.SDKCookie(t.Context())
	if err != nil || name != "linkedin_oauth_77testapikey" {
		t.Errorf("got %s, %v", name, err)
	}
	const signature = "4F8GWZ0BD2ghAlwv5bWTLX3h4iQ="
	got, err := c.SDKSignature(t.Context(), secret.New(sdkCookie(object{"signature": signature})))
	if err != nil || got.Reveal() != signature {
		t.Errorf("the cookie's signature: got %s, %v", got.Reveal(), err)
	}
	base := linkedin.SignatureBase("https://api.linkedin.com/uas/oauth/accessToken", [][2]string{
		{"oauth_consumer_key", appID}, {"oauth_nonce", "abc123nonce"}, {"oauth_signature_method", "HMAC-SHA1"},
		{"oauth_timestamp", "1400000000"}, {"oauth_version", "1.0"},
	}, url.Values{"xoauth_oauth2_access_token": {sdkToken}})
	const want = "POST&https%3A%2F%2Fapi.linkedin.com%2Fuas%2Foauth%2FaccessToken&oauth_consumer_key%3D77testapikey%26oauth_nonce%3Dabc123nonce%26oauth_signature_method%3DHMAC-SHA1%26oauth_timestamp%3D1400000000%26oauth_version%3D1.0%26xoauth_oauth2_access_token%3DAQVtest-js-bearer-token-000000000001"
	if base != want {
		t.Errorf("got base %s\nwant     %s", base, want)
	}
	if got := linkedin.Signature(appSecret, base); got != "F0EVJtFLhJlHsQy4a+wXrIhGxt8=" {
		t.Errorf("got signature %s", got)
	}
	// RFC 5849, section 3.4.1: order, encoding and the address in their one form.
	base = linkedin.SignatureBase("HTTPS://API.Example:443/a%20b", [][2]string{{"b5", "=%3D"}, {"a3", "a"}, {"c@", ""}}, url.Values{"a2": {"r b"}, "c2": {"é~*"}})
	if want := "POST&https%3A%2F%2Fapi.example%2Fa%2520b&a2%3Dr%2520b%26a3%3Da%26b5%3D%253D%25253D%26c%2540%3D%26c2%3D%25C3%25A9~%252A"; base != want {
		t.Errorf("got base %s\nwant     %s", base, want)
	}
	if len(u.requests) != 0 {
		t.Errorf("LinkedIn was called: %+v", u.requests)
	}
}

// TestOnlyWhatLinkedInSignedIsAnSDKCookie has one line for each thing that may be
// wrong with a cookie; all that can be is signed with the right secret.
func TestOnlyWhatLinkedInSignedIsAnSDKCookie(t *testing.T) {
	mac, _ := base64.StdEncoding.DecodeString(sdkSigned(clientSecret, sdkToken+sdkMember))
	replaced := func(old, new string) string {
		text := mustJSON(sdkFields(nil))
		if !strings.Contains(text, old) {
			t.Fatalf("%s has no %s", text, old)
		}
		return sdkEncoded(strings.Replace(text, old, new, 1))
	}
	const malformed, method, signature = "the SDK's cookie is malformed", "the SDK's cookie is signed in another way", "the SDK's cookie is not signed by LinkedIn"
	for name, row := range map[string]struct{ value, want string }{
		"as the SDK sets it":        {sdkCookie(nil), ""},
		"not URL-encoded":           {mustJSON(sdkFields(nil)), ""},
		"every character escaped":   {"%" + strings.Join(pairs(mustJSON(sdkFields(nil))), "%"), ""},
		"white space in the JSON":   {sdkEncoded(" " + strings.ReplaceAll(mustJSON(sdkFields(nil)), `,"`, `, "`) + "\n"), ""},
		"the longest token":         {sdkCookie(object{"access_token": strings.Repeat("a", 4096)}), ""},
		"a token too long":          {sdkCookie(object{"access_token": strings.Repeat("a", 4097)}), malformed},
		"8 KiB":                     {sdkCookie(nil) + strings.Repeat("%20", (8192-len(sdkCookie(nil)))/3), ""},
		"more than 8 KiB":           {sdkCookie(nil) + strings.Repeat("%20", 8192/3), malformed},
		"nothing":                   {"", malformed},
		"a broken escape":           {sdkCookie(nil) + "%zz", malformed},
		"no object":                 {sdkEncoded("[]"), malformed},
		"an object and more":        {sdkCookie(nil) + sdkEncoded("{}"), malformed},
		"an empty token":            {sdkCookie(object{"access_token": ""}), malformed},
		"a token with a space":      {sdkCookie(object{"access_token": "a b"}), malformed},
		"a token that is no string": {sdkCookie(object{"access_token": 7}), malformed},

		// The signed fields and their order come from the browser.
		"no order":                  {sdkCookie(object{"signature_order": nil}), malformed},
		"an empty order":            {sdkCookie(object{"signature_order": []string{}}), method},
		"the token alone":           {sdkCookie(object{"signature_order": []string{"access_token"}, "signature": sdkSigned(clientSecret, sdkToken)}), method},
		"the member alone":          {sdkCookie(object{"signature_order": []string{"member_id"}, "signature": sdkSigned(clientSecret, sdkMember)}), method},
		"the other order":           {sdkCookie(object{"signature_order": []string{"member_id", "access_token"}, "signature": sdkSigned(clientSecret, sdkMember+sdkToken)}), method},
		"a field twice":             {sdkCookie(object{"signature_order": []string{"access_token", "member_id", "member_id"}, "signature": sdkSigned(clientSecret, sdkToken+sdkMember+sdkMember)}), method},
		"one field more":            {sdkCookie(object{"signature_order": []string{"access_token", "member_id", "signature_version"}, "signature": sdkSigned(clientSecret, sdkToken+sdkMember+"1")}), method},
		"an order in other letters": {sdkCookie(object{"signature_order": []string{"Access_Token", "member_id"}}), method},
		"an order as text":          {sdkCookie(object{"signature_order": "access_token,member_id"}), method},

		// One version, one method.
		"version 2":           {sdkCookie(object{"signature_version": "2"}), method},
		"version as a number": {sdkCookie(object{"signature_version": 1}), method},
		"no version":          {sdkCookie(object{"signature_version": nil}), malformed},
		"another method":      {sdkCookie(object{"signature_method": "HMAC-SHA256"}), method},
		"method in lower":     {sdkCookie(object{"signature_method": "hmac-sha1"}), method},
		"no method at all":    {sdkCookie(object{"signature_method": "none"}), method},

		// The signature: 20 bytes in one spelling.
		"no signature":             {sdkCookie(object{"signature": nil}), malformed},
		"signature in hex":         {sdkCookie(object{"signature": hex.EncodeToString(mac)}), malformed},
		"19 bytes":                 {sdkCookie(object{"signature": base64.StdEncoding.EncodeToString(mac[:19])}), malformed},
		"21 bytes":                 {sdkCookie(object{"signature": base64.StdEncoding.EncodeToString(append(slices.Clone(mac), 0))}), malformed},
		"without padding":          {sdkCookie(object{"signature": base64.RawStdEncoding.EncodeToString(mac)}), malformed},
		"with a line break":        {sdkCookie(object{"signature": base64.StdEncoding.EncodeToString(mac)[:8] + "\n" + base64.StdEncoding.EncodeToString(mac)[8:]}), malformed},
		"bits beyond the end":      {sdkCookie(object{"signature": nextSpelling(base64.StdEncoding.EncodeToString(mac))}), malformed},
		"a stranger's secret":      {sdkCookie(object{"signature": sdkSigned("another", sdkToken+sdkMember)}), signature},
		"an empty secret":          {sdkCookie(object{"signature": sdkSigned("", sdkToken+sdkMember)}), signature},
		"a secret as OAuth's key":  {sdkCookie(object{"signature": sdkSigned(clientSecret+"&", sdkToken+sdkMember)}), signature},
		"another's token":          {sdkCookie(object{"access_token": "AQVother", "signature": base64.StdEncoding.EncodeToString(mac)}), signature},
		"another member":           {sdkCookie(object{"member_id": "yrZCpj2Z13", "signature": base64.StdEncoding.EncodeToString(mac)}), signature},
		"signed with a separator":  {sdkCookie(object{"signature": sdkSigned(clientSecret, sdkToken+","+sdkMember)}), signature},
		"the same text, one left":  {sdkCookie(object{"access_token": sdkToken[:len(sdkToken)-1], "member_id": sdkToken[len(sdkToken)-1:] + sdkMember}), malformed},
		"the same text, one right": {sdkCookie(object{"access_token": sdkToken + sdkMember[:1], "member_id": sdkMember[1:]}), malformed},
		"a member with a dot":      {sdkCookie(object{"member_id": "yrZCpj2Z1."}), malformed},
		"a member beyond ASCII":    {sdkCookie(object{"member_id": "yrZCpj2Zé"}), malformed},
		"no member":                {sdkCookie(object{"member_id": ""}), malformed},

		// encoding/json takes the last of two, in any letters.
		"a name twice":             {replaced(`"member_id":`, `"member_id":"AAAAAAAAAA","member_id":`), malformed},
		"a name twice, escaped":    {replaced(`"member_id":`, `"member\u005fid":"AAAAAAAAAA","member_id":`), malformed},
		"also in other letters":    {replaced(`"member_id":`, `"Member_Id":"AAAAAAAAAA","member_id":`), malformed},
		"only in other letters":    {replaced(`"access_token":`, `"Access_Token":`), malformed},
		"with a letter that folds": {replaced(`"access_token":`, `"acce\u017fs_token":`), malformed},
		"with one more":            {sdkCookie(object{"expires": 1}), malformed},
	} {
		u := newUpstream(t)
		got, err := u.client(t).SDKSignature(t.Context(), secret.New(row.value))
		switch {
		case row.want == "" && (err != nil || got.Reveal() == ""):
			t.Errorf("%s: got %v", name, err)
		case row.want != "" && err == nil:
			t.Errorf("%s: was taken", name)
		case row.want != "":
			if failed := callError(t, err); failed.Class != keeper.ClassMember || failed.Record.Problem != row.want {
				t.Errorf("%s: got %s, %q, want %q", name, failed.Class, failed.Record.Problem, row.want)
			}
			if _, tokens, err := u.client(t).ExchangeSDK(t.Context(), secret.New(row.value)); err == nil || !tokens.Access.IsZero() {
				t.Errorf("%s: was exchanged", name)
			}
		}
		if len(u.requests) != 0 {
			t.Errorf("%s: LinkedIn was called: %+v", name, u.requests)
		}
		u.Close()
	}
}

// nextSpelling sets a bit of base64's last character that no byte has.
func nextSpelling(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	i := strings.IndexByte(alphabet, s[len(s)-2])
	return s[:len(s)-2] + alphabet[i+1:i+2] + "="
}

func TestNoBitOfAnSDKSignatureMayDiffer(t *testing.T) {
	c := newUpstream(t).client(t)
	mac, _ := base64.StdEncoding.DecodeString(sdkSigned(clientSecret, sdkToken+sdkMember))
	for i := range 8 * len(mac) {
		flipped := slices.Clone(mac)
		flipped[i/8] ^= 1 << (i % 8)
		value := sdkCookie(object{"signature": base64.StdEncoding.EncodeToString(flipped)})
		if _, err := c.SDKSignature(t.Context(), secret.New(value)); keeper.ClassOf(err) != keeper.ClassMember {
			t.Errorf("bit %d: got %v", i, err)
		}
	}
}

func TestBothSecretsSignSDKCookiesWhileOneIsRolled(t *testing.T) {
	signed := func(key string) secret.String {
		return secret.New(sdkCookie(object{"signature": sdkSigned(key, sdkToken+sdkMember)}))
	}
	for name, row := range map[string]struct {
		key     string // what signed the cookie
		held    linkedin.Credentials
		read    linkedin.Credentials
		err     error
		want    keeper.Class
		rereads int
	}{
		"as it is":                 {"now", linkedin.Credentials{Secret: secret.New("now")}, linkedin.Credentials{}, nil, "", 0},
		"as it was":                {"before", linkedin.Credentials{Secret: secret.New("now"), Previous: secret.New("before")}, linkedin.Credentials{}, nil, "", 0},
		"as it was, read again":    {"before", linkedin.Credentials{Secret: secret.New("now")}, linkedin.Credentials{Secret: secret.New("now"), Previous: secret.New("before")}, nil, "", 1},
		"as it has become":         {"new", linkedin.Credentials{Secret: secret.New("now")}, linkedin.Credentials{Secret: secret.New("new")}, nil, "", 1},
		"as it never was":          {"x", linkedin.Credentials{Secret: secret.New("now")}, linkedin.Credentials{Secret: secret.New("new"), Previous: secret.New("now")}, nil, keeper.ClassMember, 1},
		"and it cannot be read":    {"new", linkedin.Credentials{Secret: secret.New("now")}, linkedin.Credentials{}, errors.New("canary"), keeper.ClassMember, 1},
		"no secret was read again": {"", linkedin.Credentials{Secret: secret.New("now")}, linkedin.Credentials{}, nil, keeper.ClassMember, 1},
	} {
		rereads := 0
		c := newUpstream(t).client(t, func(cfg *linkedin.Config) {
			cfg.Credentials = func(_ context.Context, reread bool) (linkedin.Credentials, error) {
				if !reread {
					row.held.ClientID = clientID
					return row.held, nil
				}
				rereads++
				return row.read, row.err
			}
		})
		if _, err := c.SDKSignature(t.Context(), signed(row.key)); keeper.ClassOf(err) != row.want || rereads != row.rereads {
			t.Errorf("%s: got %v after %d rereads", name, err, rereads)
		}
	}
}

// sdkUpstream exchanges, and knows the new token as ours and as the member's.
func sdkUpstream(t *testing.T) *upstream {
	u := newUpstream(t)
	u.answer(sdkPath, 200, mustJSON(tokenAnswer()))
	u.answer(inspectPath, 200, mustJSON(ours()))
	u.answer(userPath, 200, mustJSON(object{"sub": sdkMember, "name": "Ada Canary"}))
	return u
}

func ours() object {
	return object{"active": true, "status": "active", "client_id": clientID, "scope": "email,openid", "expires_at": now.Add(30 * 24 * time.Hour).Unix()}
}

func TestAnSDKTokenIsExchangedByASignedRequest(t *testing.T) {
	u := sdkUpstream(t)
	who, tokens, err := u.client(t).ExchangeSDK(t.Context(), secret.New(sdkCookie(nil)))
	if err != nil {
		t.Fatal(err, callError(t, err).Record.Problem)
	}
	if who.ClientID != clientID || who.Subject != sdkMember || who.Profile.Name != "Ada Canary" || tokens.Subject != sdkMember ||
		tokens.Access.Reveal() != accessToken || tokens.Refresh.Reveal() != refreshToken || !tokens.IssuedAt.Equal(now) ||
		!tokens.ExpiresAt.Equal(now.Add(5183999*time.Second)) || !slices.Equal(tokens.Scopes, []string{"email", "openid", "profile"}) {
		t.Errorf("got %+v, %+v", who, tokens)
	}
	r := u.seen(sdkPath)[0]
	if r.method != "POST" || r.path != sdkPath || r.body != "xoauth_oauth2_access_token="+sdkToken || r.header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("sent %+v", r)
	}
	header, ok := strings.CutPrefix(r.header.Get("Authorization"), "OAuth ")
	params := map[string]string{}
	for part := range strings.SplitSeq(header, ", ") {
		name, value, _ := strings.Cut(part, "=")
		params[name], _ = url.PathUnescape(strings.Trim(value, `"`))
	}
	base := "POST&" + url.QueryEscape(u.URL+sdkPath) + "&" + url.QueryEscape("oauth_consumer_key="+clientID+"&oauth_nonce="+params["oauth_nonce"]+
		"&oauth_signature_method=HMAC-SHA1&oauth_timestamp=1772366400&oauth_version=1.0&xoauth_oauth2_access_token="+sdkToken)
	if want := sdkSigned(url.QueryEscape(clientSecret)+"&", base); !ok || params["oauth_signature"] != want || len(params) != 6 || len(params["oauth_nonce"]) < 20 {
		t.Errorf("signed %q, want %s of %s", params, want, base)
	}
	if _, _, err := u.client(t).ExchangeSDK(t.Context(), secret.New(sdkCookie(nil))); err != nil || strings.Contains(u.seen(sdkPath)[1].header.Get("Authorization"), params["oauth_nonce"]) {
		t.Errorf("the nonce came twice, %v", err)
	}
}

func TestAnSDKTokenIsExchangedForOAuth2Only(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	oauth2 := url.Values{"access_token": {accessToken}, "expires_in": {"5183999"}, "scope": {"email,openid"}}
	changed := func(name string, values ...string) string {
		v := url.Values{}
		for n, all := range oauth2 {
			v[n] = all
		}
		v[name] = values
		return v.Encode()
	}
	const oauth1 = "LinkedIn exchanged the SDK's token for one of OAuth 1.0a, which keepin cannot use"
	for name, row := range map[string]struct {
		body    string
		want    string // the problem
		class   keeper.Class
		expires time.Duration
	}{
		"JSON":                      {mustJSON(tokenAnswer()), "", "", 5183999 * time.Second},
		"JSON, token_type":          {mustJSON(tokenAnswer().with(object{"token_type": "bearer"})), "", "", 5183999 * time.Second},
		"JSON, end not told":        {mustJSON(tokenAnswer().with(object{"expires_in": nil})), "", "", 30 * 24 * time.Hour},
		"JSON, members unknown":     {mustJSON(tokenAnswer().with(object{"odd": object{}})), "", "", 5183999 * time.Second},
		"a form":                    {oauth2.Encode(), "", "", 5183999 * time.Second},
		"a form and a line break":   {oauth2.Encode() + "\r\n", "", "", 5183999 * time.Second},
		"a form, end not told":      {changed("expires_in"), "", "", 30 * 24 * time.Hour},
		"a form, end of nothing":    {changed("expires_in", "0"), "", "", 30 * 24 * time.Hour},
		"OAuth 1.0a":                {"oauth_token=78--a&oauth_token_secret=b&oauth_expires_in=0&oauth_authorization_expires_in=0", oauth1, keeper.ClassUnknown, 0},
		"OAuth 1.0a, token alone":   {"oauth_token=78--a", oauth1, keeper.ClassUnknown, 0},
		"OAuth 1.0a in JSON":        {`{"oauth_token":"78--a","oauth_token_secret":"b"}`, oauth1, keeper.ClassUnknown, 0},
		"both":                      {changed("oauth_token_secret", "b"), oauth1, keeper.ClassUnknown, 0},
		"another token type":        {changed("token_type", "mac"), "the token type is not Bearer", keeper.ClassUnknown, 0},
		"two tokens":                {changed("access_token", "a", "b"), "the answer is neither JSON nor a form", keeper.ClassOutage, 0},
		"two tokens in JSON":        {`{"access_token":"a","access_token":"b"}`, "the answer is neither JSON nor a form", keeper.ClassOutage, 0},
		"no token":                  {changed("access_token"), "the answer holds no usable access token", keeper.ClassUnknown, 0},
		"a token with a line break": {changed("access_token", "a\nb"), "the answer holds no usable access token", keeper.ClassUnknown, 0},
		"a page":                    {"<html>oauth_token=a</html>", "the answer is neither JSON nor a form", keeper.ClassOutage, 0},
	} {
		u := sdkUpstream(t)
		u.answer(sdkPath, 200, row.body, "Content-Type", form)
		_, tokens, err := u.client(t).ExchangeSDK(t.Context(), secret.New(sdkCookie(nil)))
		if row.want == "" {
			if err != nil || tokens.Access.Reveal() != accessToken || !tokens.ExpiresAt.Equal(now.Add(row.expires)) {
				t.Errorf("%s: got an end in %v, %v", name, tokens.ExpiresAt.Sub(now), err)
			}
			continue
		}
		failed := callError(t, err)
		if failed.Class != row.class || failed.Record.Problem != row.want || !tokens.Access.IsZero() || failed.Record.Operation != "sdk_exchange" {
			t.Errorf("%s: got %s, %q, want %s, %q", name, failed.Class, failed.Record.Problem, row.class, row.want)
		}
		if n := len(u.seen(inspectPath)) + len(u.seen(userPath)); n != 0 {
			t.Errorf("%s: %d calls with what came", name, n)
		}
		if text := everything(t, err); strings.Contains(text, row.body) || strings.Contains(text, sdkToken) {
			t.Errorf("%s: the record quotes a token: %s", name, text)
		}
	}
}

// TestTheExchangedTokenIsProvenOursAndTheMembers: the answer names nobody, so a
// token of another app or member could be slipped in.
func TestTheExchangedTokenIsProvenOursAndTheMembers(t *testing.T) {
	const notOurs, notTheirs, notYet = "the token that LinkedIn gave for the SDK's is not ours", "the token that LinkedIn gave for the SDK's is another member's", "LinkedIn does not honour the new token yet"
	id := func(changes object) func(*upstream) {
		return func(u *upstream) {
			claims := idClaims(u.URL + "/oauth").with(object{"sub": sdkMember}).with(changes)
			u.answer(sdkPath, 200, mustJSON(tokenAnswer().with(object{"id_token": signerOne().sign(mustJSON(jwtHeader()), mustJSON(claims))})))
			u.answer(userPath, 401, `{"serviceErrorCode":65601}`) // need not be asked
		}
	}
	inspection := func(status int, changes object) func(*upstream) {
		return func(u *upstream) { u.answer(inspectPath, status, mustJSON(ours().with(changes))) }
	}
	userinfo := func(status int, body string) func(*upstream) {
		return func(u *upstream) { u.answer(userPath, status, body) }
	}
	for name, row := range map[string]struct {
		change func(*upstream)
		want   string
		class  keeper.Class
	}{
		"both proven":            {func(*upstream) {}, "", ""},
		"by an ID token":         {id(nil), "", ""},
		"a token of another app": {func(u *upstream) { u.answer(inspectPath, 200, `{"active":false}`) }, notOurs, keeper.ClassUnknown},
		"a dead one of ours":     {inspection(200, object{"active": false, "status": "revoked"}), notOurs, keeper.ClassUnknown},
		"another app, by name":   {inspection(200, object{"client_id": "77another00000"}), "the introspected token is another client's", keeper.ClassUnknown},
		"nobody says whose app":  {inspection(200, object{"client_id": nil}), notOurs, keeper.ClassUnknown},
		"introspection is down":  {inspection(500, nil), "", keeper.ClassOutage},
		"introspection is odd":   {inspection(400, nil), "", keeper.ClassUnknown},
		"no end anywhere": {func(u *upstream) {
			inspection(200, object{"expires_at": nil})(u)
			u.answer(sdkPath, 200, mustJSON(tokenAnswer().with(object{"expires_in": nil})))
		}, "LinkedIn does not say when the access token ends", keeper.ClassUnknown},
		"another member":           {userinfo(200, `{"sub":"yrZCpj2Z13"}`), notTheirs, keeper.ClassUnknown},
		"the member's name longer": {userinfo(200, `{"sub":"yrZCpj2Z123"}`), notTheirs, keeper.ClassUnknown},
		"the member in capitals":   {userinfo(200, `{"sub":"YRZCPJ2Z12"}`), notTheirs, keeper.ClassUnknown},
		"nobody":                   {userinfo(200, `{}`), "the userinfo names no subject", keeper.ClassUnknown},
		"not honoured yet":         {userinfo(401, `{"serviceErrorCode":65601,"code":"REVOKED_ACCESS_TOKEN"}`), notYet, keeper.ClassOutage},
		"userinfo is down":         {userinfo(503, ""), "", keeper.ClassOutage},
		"userinfo is not allowed":  {userinfo(403, `{"serviceErrorCode":100}`), "", keeper.ClassUnknown},
		"an ID token of another":   {id(object{"sub": "yrZCpj2Z13"}), notTheirs, keeper.ClassUnknown},
		"an ID token elsewhere":    {id(object{"aud": "another"}), "the ID token is for another client", keeper.ClassUnknown},
		"an ID token of before":    {id(object{"iat": now.Add(-61 * time.Second).Unix()}), "the ID token is older than the authorization", keeper.ClassUnknown},
		"another token's ID token": {id(object{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}), "the ID token is not for this access token", keeper.ClassUnknown},
	} {
		u := sdkUpstream(t)
		row.change(u)
		who, tokens, err := u.client(t).ExchangeSDK(t.Context(), secret.New(sdkCookie(nil)))
		if row.class == "" {
			if err != nil || who.Subject != sdkMember {
				t.Errorf("%s: got %+v, %v", name, who, err)
			}
			continue
		}
		if failed := callError(t, err); failed.Class != row.class || row.want != "" && failed.Record.Problem != row.want || !tokens.Access.IsZero() || who.Subject != "" {
			t.Errorf("%s: got %s, %q, want %s, %q", name, failed.Class, failed.Record.Problem, row.class, row.want)
		}
	}
}

func TestTheRequestForAnSDKTokenTriesBothSecrets(t *testing.T) {
	u := sdkUpstream(t)
	refusing := func(w http.ResponseWriter, r *http.Request) {
		params := r.Header.Get("Authorization")
		_, nonce, _ := strings.Cut(params, `oauth_nonce="`)
		nonce, _, _ = strings.Cut(nonce, `"`)
		base := linkedin.SignatureBase(u.URL+sdkPath, [][2]string{{"oauth_consumer_key", clientID}, {"oauth_nonce", nonce},
			{"oauth_signature_method", "HMAC-SHA1"}, {"oauth_timestamp", "1772366400"}, {"oauth_version", "1.0"}}, url.Values{"xoauth_oauth2_access_token": {sdkToken}})
		if !strings.Contains(params, url.QueryEscape(linkedin.Signature(previousSecret, base))) {
			w.WriteHeader(401)
			_, _ = w.Write([]byte("oauth_problem=signature_invalid"))
			return
		}
		_, _ = w.Write([]byte(mustJSON(tokenAnswer())))
	}
	u.handle(sdkPath, refusing)
	c := u.client(t, func(cfg *linkedin.Config) { cfg.Credentials = credentials(clientSecret, previousSecret) })
	if _, _, err := c.ExchangeSDK(t.Context(), secret.New(sdkCookie(nil))); err != nil || len(u.seen(sdkPath)) != 2 {
		t.Errorf("got %v after %d calls", err, len(u.seen(sdkPath)))
	}
	_, _, err := u.client(t).ExchangeSDK(t.Context(), secret.New(sdkCookie(nil)))
	failed := callError(t, err)
	if failed.Class != keeper.ClassApplication || len(u.seen(sdkPath)) != 3 {
		t.Errorf("got %s after %d calls", failed.Class, len(u.seen(sdkPath)))
	}
	_, signature, _ := strings.Cut(u.seen(sdkPath)[2].header.Get("Authorization"), `oauth_signature="`)
	signature = strings.TrimSuffix(signature, `"`)
	clear, err := url.PathUnescape(signature)
	if text := everything(t, failed); err != nil || len(clear) != 28 || strings.Contains(text, clear) || strings.Contains(text, signature) {
		t.Errorf("the record shows the signature: %+v", failed.Record)
	}
	if !strings.HasPrefix(failed.Record.RequestHeaders["authorization"], "OAuth oauth_consumer_key=") || failed.Record.RequestBody != "xoauth_oauth2_access_token="+secret.New(sdkToken).Fingerprint() {
		t.Errorf("the record is not what support asks for: %+v", failed.Record)
	}
	_, _, err = u.client(t).ExchangeSDK(t.Context(), secret.New(sdkCookie(object{"access_token": "abc"}))) // too short to be looked for
	if got := callError(t, err).Record.RequestBody; got != "xoauth_oauth2_access_token="+secret.New("abc").Fingerprint() {
		t.Errorf("got request body %s", got)
	}
}

func TestWithoutAnAddressNoSDKTokenIsExchanged(t *testing.T) {
	u := sdkUpstream(t)
	c := u.client(t, func(cfg *linkedin.Config) { cfg.SDKExchange = "" })
	_, _, err := c.ExchangeSDK(t.Context(), secret.New(sdkCookie(nil)))
	if failed := callError(t, err); failed.Class != keeper.ClassUnknown || len(u.requests) != 0 {
		t.Errorf("got %s after %+v", failed.Class, u.requests)
	}
}

// FuzzJSAPICookie: nothing but an object of these six names, whose token and
// member the client secret signs, is a cookie of LinkedIn's SDK; and to find
// that out calls nobody. SIGN stands for the signature of TOKEN and MEMBER.
func FuzzJSAPICookie(f *testing.F) {
	good := mustJSON(sdkFields(object{"access_token": "TOKEN", "member_id": "MEMBER", "signature": "SIGN"}))
	for _, seed := range []string{
		good, sdkEncoded(good), sdkCookie(nil), "", "%", "{}", "null", good + good, strings.Replace(good, `"MEMBER"`, `"MEMBER","MEMBER_ID":"x"`, 1),
		strings.Replace(good, `"MEMBER"`, `"MEMBER","member_id":"AAAAAAAAAA"`, 1), strings.Replace(good, `["access_token","member_id"]`, `["access_token"]`, 1),
		strings.Replace(good, `"1"`, `1`, 1), strings.Replace(good, `TOKEN`, `TOKENM`, 1), strings.Replace(good, "SIGN", "SIGN\\n", 1), strings.Replace(good, "TOKEN", "\\u0000", 1),
	} {
		f.Add(seed)
	}
	cfg := config(fuzzed)
	cfg.Transport = transport(func(*http.Request) (*http.Response, error) { panic("LinkedIn was called") })
	c, err := linkedin.New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		value = strings.NewReplacer("SIGN", sdkEncoded(sdkSigned(clientSecret, sdkToken+sdkMember)), "TOKEN", sdkToken, "MEMBER", sdkMember).Replace(value)
		var signature secret.String
		var err error
		bounds.Check(t, func() { signature, err = c.SDKSignature(t.Context(), secret.New(value)) })
		if err != nil {
			if judged(t, err, value) != keeper.ClassMember {
				t.Fatalf("%q: got %v", value, err)
			}
			return
		}
		text, err := url.PathUnescape(value)
		var o struct {
			Version   string   `json:"signature_version"`
			Method    string   `json:"signature_method"`
			Order     []string `json:"signature_order"`
			Token     string   `json:"access_token"`
			Signature string   `json:"signature"`
			Member    string   `json:"member_id"`
		}
		var names map[string]any
		if err != nil || json.Unmarshal([]byte(text), &o) != nil || json.Unmarshal([]byte(text), &names) != nil || len(names) != 6 || strings.Count(text, ":") < 6 {
			t.Fatalf("%q was taken", value)
		}
		if o.Version != "1" || o.Method != "HMAC-SHA1" || strings.Join(o.Order, ",") != "access_token,member_id" || len(o.Member) != 10 || len(o.Token) > 4096 ||
			o.Signature != sdkSigned(clientSecret, o.Token+o.Member) || signature.Reveal() != o.Signature {
			t.Fatalf("%q was taken", value)
		}
	})
}
