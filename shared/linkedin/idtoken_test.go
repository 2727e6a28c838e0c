package linkedin_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/linkedin"
	"github.com/keepin/keepin/shared/secret"
)

// signIn exchanges a code while LinkedIn answers with this ID token.
func signIn(t *testing.T, u *upstream, c *linkedin.Client, id string, a keeper.Authorization) (keeper.Identity, keeper.Tokens, error) {
	t.Helper()
	u.answer(tokenPath, 200, mustJSON(tokenAnswer().with(object{"id_token": id})))
	return c.Exchange(t.Context(), secret.New(authCode), a)
}

func TestASignInYieldsTheMemberAndTheTokens(t *testing.T) {
	u := newUpstream(t)
	who, tokens, err := signIn(t, u, u.client(t), u.idToken(), authorization())
	if err != nil {
		t.Fatal(err, callError(t, err).Record.Problem)
	}
	want := keeper.Identity{ClientID: clientID, Subject: "782bbtaQ", Profile: keeper.Profile{
		Name: "Ada Canary", Picture: "https://media.example/a.jpg", Email: "ada@canary.example",
	}}
	if who != want {
		t.Errorf("got %+v, want %+v", who, want)
	}
	if tokens.Subject != "782bbtaQ" || tokens.Access.Reveal() != accessToken || tokens.Refresh.Reveal() != refreshToken ||
		!tokens.ExpiresAt.Equal(now.Add(5183999*time.Second)) {
		t.Errorf("got other tokens: %+v", tokens)
	}
}

func TestOnlyAProvenIDTokenSignsIn(t *testing.T) {
	atHash := func(access string) string {
		sum := sha256.Sum256([]byte(access))
		return b64(sum[:16])
	}
	for name, row := range map[string]struct {
		header, claims object
		want           string // the problem; "" when it is taken
	}{
		"as observed":                 {nil, nil, ""},
		"no typ":                      {object{"typ": nil}, nil, ""},
		"jku, x5u and jwk of another": {object{"jku": "https://evil.example/", "x5u": "https://evil.example/", "jwk": signerTwo().jwk()}, nil, ""},
		"nonce that was not sent":     {nil, object{"nonce": "any"}, ""},
		"string locale":               {nil, object{"locale": "en_US"}, ""},
		"boolean email_verified":      {nil, object{"email_verified": true}, ""},
		"audience in a list":          {nil, object{"aud": []string{clientID}}, ""},
		"azp":                         {nil, object{"azp": clientID}, ""},
		"at_hash":                     {nil, object{"at_hash": atHash(accessToken)}, ""},
		"expired within the leeway":   {nil, object{"exp": now.Add(-59 * time.Second).Unix()}, ""},
		"issued ahead in the leeway":  {nil, object{"iat": now.Add(60 * time.Second).Unix()}, ""},
		"issued as the trip began":    {nil, object{"iat": now.Add(-3 * time.Minute).Unix()}, ""},
		"fractional times":            {nil, object{"iat": float64(now.Unix()) + 0.5}, ""},
		"nbf within the leeway":       {nil, object{"nbf": now.Add(60 * time.Second).Unix()}, ""},
		"the longest subject":         {nil, object{"sub": strings.Repeat("s", 255)}, ""},

		"issuer of before 2024":    {nil, object{"iss": "https://www.linkedin.com"}, "the ID token's issuer is wrong"},
		"issuer with a slash":      {nil, object{"iss": "+/"}, "the ID token's issuer is wrong"},
		"no issuer":                {nil, object{"iss": nil}, "the ID token's issuer is wrong"},
		"issuer in capitals":       {nil, object{"iss": "CAPS"}, "the ID token's issuer is wrong"},
		"another audience":         {nil, object{"aud": "another"}, "the ID token is for another client"},
		"audience with a suffix":   {nil, object{"aud": clientID + "x"}, "the ID token is for another client"},
		"no audience":              {nil, object{"aud": nil}, "the ID token is for another client"},
		"empty audience":           {nil, object{"aud": []string{}}, "the ID token is for another client"},
		"two audiences":            {nil, object{"aud": []string{clientID, "x"}}, "the ID token is for other clients, too"},
		"two audiences and azp":    {nil, object{"aud": []string{"x", clientID}, "azp": clientID}, "the ID token is for other clients, too"},
		"another azp":              {nil, object{"azp": "another"}, "the ID token was issued to another client"},
		"azp no string":            {nil, object{"azp": 7}, "the ID token was issued to another client"},
		"expired":                  {nil, object{"exp": now.Add(-60 * time.Second).Unix()}, "the ID token has expired"},
		"no expiry":                {nil, object{"exp": nil}, "the ID token has expired"},
		"expiry in a string":       {nil, object{"exp": "1893456000"}, "the ID token has expired"},
		"expiry beyond reason":     {nil, object{"exp": 1e300}, "the ID token has expired"},
		"no iat":                   {nil, object{"iat": nil}, "the ID token does not say when it was issued"},
		"issued in the future":     {nil, object{"iat": now.Add(61 * time.Second).Unix()}, "the ID token was issued in the future"},
		"older than the trip":      {nil, object{"iat": now.Add(-3*time.Minute - time.Second).Unix()}, "the ID token is older than the authorization"},
		"not yet valid":            {nil, object{"nbf": now.Add(61 * time.Second).Unix()}, "the ID token is not valid yet"},
		"no subject":               {nil, object{"sub": nil}, "the ID token names no subject"},
		"empty subject":            {nil, object{"sub": ""}, "the ID token names no subject"},
		"too long a subject":       {nil, object{"sub": strings.Repeat("s", 256)}, "the ID token names no subject"},
		"subject beyond ASCII":     {nil, object{"sub": "Zoë"}, "the ID token names no subject"},
		"subject with a newline":   {nil, object{"sub": "a\nb"}, "the ID token names no subject"},
		"subject in another case":  {nil, object{"sub": nil, "Sub": "782bbtaQ"}, "the ID token names no subject"},
		"at_hash of another token": {nil, object{"at_hash": atHash("another")}, "the ID token is not for this access token"},
		"empty at_hash":            {nil, object{"at_hash": ""}, "the ID token is not for this access token"},
		"a logout token":           {nil, object{"events": object{}}, "the token is no ID token"},
		"an access token":          {object{"typ": "at+jwt"}, nil, "the token is no ID token"},
		"typed as a logout token":  {object{"typ": "logout+jwt"}, nil, "the token is no ID token"},
		"crit":                     {object{"crit": []string{"exp"}}, nil, "the ID token asks for an extension"},
		"empty crit":               {object{"crit": []string{}}, nil, "the ID token asks for an extension"},
		"zip":                      {object{"zip": "DEF"}, nil, "the ID token asks for an extension"},
		"unencoded payload":        {object{"b64": false}, nil, "the ID token asks for an extension"},
		"alg none":                 {object{"alg": "none"}, nil, "the ID token is not signed with RS256"},
		"alg None":                 {object{"alg": "None"}, nil, "the ID token is not signed with RS256"},
		"alg HS256":                {object{"alg": "HS256"}, nil, "the ID token is not signed with RS256"},
		"alg RS512":                {object{"alg": "RS512"}, nil, "the ID token is not signed with RS256"},
		"alg in lower case":        {object{"alg": "rs256"}, nil, "the ID token is not signed with RS256"},
		"no alg":                   {object{"alg": nil}, nil, "the ID token is not signed with RS256"},
		"an unknown key":           {object{"kid": "key-9"}, nil, "the ID token does not verify"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t)
			claims := idClaims(u.URL + "/oauth").with(row.claims)
			switch claims["iss"] {
			case "+/":
				claims["iss"] = u.URL + "/oauth/"
			case "CAPS":
				claims["iss"] = strings.ToUpper(u.URL) + "/oauth"
			}
			id := signerOne().sign(mustJSON(jwtHeader().with(row.header)), mustJSON(claims))
			_, tokens, err := signIn(t, u, u.client(t), id, authorization())
			checkSignIn(t, tokens, err, row.want)
			if n := len(u.seen(tokenPath)); n != 1 {
				t.Errorf("the code was sent %d times", n)
			}
		})
	}
}

func checkSignIn(t *testing.T, tokens keeper.Tokens, err error, problem string) {
	t.Helper()
	if problem == "" {
		if err != nil {
			t.Fatalf("got %v (%s), want a sign-in", err, callError(t, err).Record.Problem)
		}
		return
	}
	failed := callError(t, err)
	if failed.Class != keeper.ClassUnknown || failed.Record.Problem != problem {
		t.Errorf("got %s, %q, want unknown, %q", failed.Class, failed.Record.Problem, problem)
	}
	if !tokens.Access.IsZero() {
		t.Error("tokens came with an error")
	}
}

func TestForgedIDTokensAreRefused(t *testing.T) {
	u := newUpstream(t)
	header, claims := mustJSON(jwtHeader()), mustJSON(idClaims(u.URL+"/oauth"))
	good := signerOne().sign(header, claims)
	parts := strings.Split(good, ".")
	withKey := mustJSON(jwtHeader().with(object{"jwk": signerTwo().jwk(), "kid": nil}))
	hs := b64([]byte(mustJSON(object{"alg": "HS256", "kid": "key-1"}))) + "." + parts[1]
	mac := hmac.New(sha256.New, signerOne().key.N.Bytes())
	mac.Write([]byte(hs))
	for name, row := range map[string]struct{ id, want string }{
		"missing":                   {"", "the ID token is missing"},
		"another's signature":       {signerTwo().sign(header, claims), "the ID token does not verify"},
		"its own key in the header": {signerTwo().sign(withKey, claims), "the ID token does not verify"},
		"changed claims":            {parts[0] + "." + b64([]byte(strings.Replace(claims, "782bbtaQ", "782bbtaX", 1))) + "." + parts[2], "the ID token does not verify"},
		"no signature":              {parts[0] + "." + parts[1] + ".", "the ID token does not verify"},
		"public key as HMAC key":    {hs + "." + b64(mac.Sum(nil)), "the ID token is not signed with RS256"},
		"two parts":                 {parts[0] + "." + parts[1], "the ID token is malformed"},
		"four parts":                {good + ".x", "the ID token is malformed"},
		"five parts, as encrypted":  {good + ".x.y", "the ID token is malformed"},
		"padded":                    {parts[0] + "=." + parts[1] + "." + parts[2], "the ID token is malformed"},
		"header no object":          {b64([]byte(`[]`)) + "." + parts[1] + "." + parts[2], "the ID token is malformed"},
		"header names alg twice":    {b64([]byte(`{"alg":"none","alg":"RS256"}`)) + "." + parts[1] + "." + parts[2], "the ID token is malformed"},
		"JSON serialization":        {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, "the ID token is malformed"},
		"too large":                 {signerOne().sign(header, mustJSON(idClaims(u.URL+"/oauth").with(object{"x": strings.Repeat("x", 12<<10)}))), "a token in the answer is malformed"},
		"the subject twice":         {signerOne().sign(header, strings.Replace(claims, `"sub":`, `"sub":"other","sub":`, 1)), "the ID token's claims are malformed"},
		"claims are no object":      {signerOne().sign(header, `"text"`), "the ID token does not verify"},
	} {
		_, tokens, err := signIn(t, u, u.client(t), row.id, authorization())
		t.Run(name, func(t *testing.T) { checkSignIn(t, tokens, err, row.want) })
	}
}

func TestANonceIsComparedOnlyWhenSent(t *testing.T) {
	on := func(c *linkedin.Config) { c.Nonce = true }
	for name, row := range map[string]struct {
		claim any
		want  string
	}{
		"echoed":  {"canary-nonce", ""},
		"missing": {nil, "the ID token's nonce is wrong"},
		"other":   {"canary-nonc", "the ID token's nonce is wrong"},
		"empty":   {"", "the ID token's nonce is wrong"},
	} {
		u := newUpstream(t)
		id := signerOne().sign(mustJSON(jwtHeader()), mustJSON(idClaims(u.URL+"/oauth").with(object{"nonce": row.claim})))
		a := authorization()
		a.Nonce = secret.New("canary-nonce")
		_, tokens, err := signIn(t, u, u.client(t, on), id, a)
		t.Run(name, func(t *testing.T) { checkSignIn(t, tokens, err, row.want) })
		if _, _, err := signIn(t, u, u.client(t), id, a); err != nil {
			t.Errorf("%s: a nonce that was not sent was compared: %v", name, err)
		}
	}
}

func TestTheConsentPageIsAskedExactly(t *testing.T) {
	u := newUpstream(t)
	a := keeper.Authorization{
		State: secret.New("state/+ =&"), Nonce: secret.New("canary-nonce"),
		Verifier: secret.New("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), // RFC 7636 appendix B
	}
	parse := func(c *linkedin.Client) url.Values {
		t.Helper()
		address, err := c.AuthCodeURL(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		page, query, _ := strings.Cut(address, "?")
		if page != u.URL+"/oauth/v2/authorization" || strings.Contains(query, "+") || !strings.Contains(query, "openid%20profile%20email") {
			t.Errorf("got %s", address)
		}
		got, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := url.Values{
		"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {redirectURL},
		"scope": {"openid profile email"}, "state": {"state/+ =&"},
	}
	if got := parse(u.client(t)); got.Encode() != want.Encode() {
		t.Errorf("got %v, want %v", got, want)
	}
	want.Set("nonce", "canary-nonce")
	want.Set("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
	want.Set("code_challenge_method", "S256")
	both := func(c *linkedin.Config) { c.Nonce, c.PKCE = true, true }
	if got := parse(u.client(t, both)); got.Encode() != want.Encode() {
		t.Errorf("with nonce and PKCE: got %v, want %v", got, want)
	}
	for _, weak := range []keeper.Authorization{{Nonce: a.Nonce, Verifier: a.Verifier}, {State: a.State, Nonce: a.Nonce}, {State: a.State, Verifier: a.Verifier}} {
		if _, err := u.client(t, both).AuthCodeURL(t.Context(), weak); keeper.ClassOf(err) != keeper.ClassUnknown {
			t.Errorf("an unguarded authorization: got %v", err)
		}
	}
	if _, err := u.client(t).AuthCodeURL(t.Context(), keeper.Authorization{}); err == nil {
		t.Error("an authorization without state was let through")
	}
	if len(u.requests) != 0 {
		t.Error("LinkedIn was called")
	}
}

func TestAVerifierIsSentOnlyWithPKCE(t *testing.T) {
	u := newUpstream(t)
	a := authorization()
	a.Verifier = secret.New("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
	for _, on := range []bool{false, true} {
		u.requests = nil
		if _, _, err := signIn(t, u, u.client(t, func(c *linkedin.Config) { c.PKCE = on }), u.idToken(), a); err != nil {
			t.Fatal(err)
		}
		if got := u.seen(tokenPath)[0].form.Has("code_verifier"); got != on {
			t.Errorf("PKCE %v: code_verifier sent: %v", on, got)
		}
	}
}

func TestAnIDTokenOfARefreshMustVerify(t *testing.T) {
	u := newUpstream(t)
	c := u.client(t)
	for name, row := range map[string]struct {
		claims object
		want   string
	}{
		"as at sign-in":      {object{"sub": "other"}, ""},
		"of before":          {object{"iat": now.Add(-61 * time.Second).Unix()}, "the ID token is older than the authorization"},
		"of another issuer":  {object{"iss": "https://evil.example"}, "the ID token's issuer is wrong"},
		"for another client": {object{"aud": "x"}, "the ID token is for another client"},
	} {
		id := signerOne().sign(mustJSON(jwtHeader()), mustJSON(idClaims(u.URL+"/oauth").with(row.claims)))
		u.answer(tokenPath, 200, mustJSON(tokenAnswer().with(object{"id_token": id})))
		tokens, err := c.Refresh(t.Context(), secret.New(refreshToken))
		t.Run(name, func(t *testing.T) { checkSignIn(t, tokens, err, row.want) })
		if row.want == "" && tokens.Subject != "other" {
			t.Errorf("%s: got subject %q", name, tokens.Subject)
		}
	}
}

func TestKeysAreFetchedOnceAndForAnUnknownKeyAtMostEvery30Seconds(t *testing.T) {
	u := newUpstream(t)
	clock := now
	c := u.client(t, func(cfg *linkedin.Config) { cfg.Now = func() time.Time { return clock } })
	sign := func(s signer) string {
		claims := idClaims(u.URL + "/oauth").with(object{"iat": clock.Unix(), "exp": clock.Add(time.Hour).Unix()})
		return s.sign(mustJSON(jwtHeader().with(object{"kid": s.id})), mustJSON(claims))
	}
	step := func(name string, id string, wantErr bool, fetches int) {
		t.Helper()
		_, _, err := signIn(t, u, c, id, keeper.Authorization{State: secret.New("s"), IssuedAt: clock})
		if (err != nil) != wantErr {
			t.Errorf("%s: got %v", name, err)
		}
		if got := len(u.seen(keysPath)); got != fetches {
			t.Errorf("%s: got %d fetches of the keys, want %d", name, got, fetches)
		}
	}
	step("the first", sign(signerOne()), false, 1)
	step("the second", sign(signerOne()), false, 1)
	for range 5 {
		step("unknown, at once", sign(signerTwo()), true, 1)
	}
	clock = clock.Add(29 * time.Second)
	step("unknown after 29 s", sign(signerTwo()), true, 1)
	clock = clock.Add(time.Second)
	step("unknown after 30 s", sign(signerTwo()), true, 2)
	step("unknown again", sign(signerTwo()), true, 2)
	u.answer(keysPath, 200, keySetOf(signerOne(), signerTwo()))
	step("LinkedIn rolled, too soon", sign(signerTwo()), true, 2)
	clock = clock.Add(30 * time.Second)
	step("LinkedIn rolled", sign(signerTwo()), false, 3)
	step("the old key meanwhile", sign(signerOne()), false, 3)

	u.answer(keysPath, 200, keySetOf(signerTwo()))
	clock = clock.Add(23 * time.Hour)
	step("the old key within a day", sign(signerOne()), false, 3)
	clock = clock.Add(2 * time.Hour)
	step("a withdrawn key after a day", sign(signerOne()), true, 4)

	u.answer(keysPath, 503, "")
	clock = clock.Add(time.Minute)
	for range 3 {
		step("an unknown key while the keys are down", sign(signerOne()), true, 5)
	}
	step("a known key while the keys are down", sign(signerTwo()), false, 5)
}

func TestWithoutKeysItIsAnOutage(t *testing.T) {
	many := make([]signer, 101)
	for i := range many {
		many[i] = signerOne()
	}
	weak := newSigner("key-1", 1024)
	enc := signerOne().jwk()
	enc["use"] = "enc"
	other := signerOne().jwk()
	other["alg"] = "RS512"
	for name, row := range map[string]struct {
		status int
		body   string
	}{
		"down":           {503, ""},
		"gone":           {404, "<html>"},
		"busy":           {429, ""},
		"no content":     {204, ""},
		"HTML":           {200, "<html>"},
		"empty":          {200, ""},
		"no keys":        {200, `{"keys":[]}`},
		"keys no list":   {200, `{"keys":{}}`},
		"only a secret":  {200, `{"keys":[{"kty":"oct","k":"AAAA","kid":"key-1"}]}`},
		"broken key":     {200, `{"keys":[{"kty":"RSA","kid":"key-1","n":"!","e":"AQAB"},7]}`},
		"weak key":       {200, keySetOf(weak)},
		"for encryption": {200, mustJSON(object{"keys": []any{enc}})},
		"for RS512":      {200, mustJSON(object{"keys": []any{other}})},
		"too many":       {200, keySetOf(many...)},
		"too large":      {200, `{"x":"` + strings.Repeat("x", 1<<20) + `",` + keySetOf(signerOne())[1:]},
	} {
		u := newUpstream(t)
		u.answer(keysPath, row.status, row.body)
		c := u.client(t)
		_, tokens, err := signIn(t, u, c, u.idToken(), authorization())
		failed := callError(t, err)
		if failed.Class != keeper.ClassOutage || failed.Record.Operation != "keys" || failed.Record.ClientID != clientID || !tokens.Access.IsZero() {
			t.Errorf("%s: got %s of %s", name, failed.Class, failed.Record.Operation)
		}
		u.answer(keysPath, 200, keySetOf(signerOne()))
		if _, _, err := signIn(t, u, c, u.idToken(), authorization()); err != nil {
			t.Errorf("%s: the keys are back, and the next sign-in still fails: %v", name, err)
		}
	}
}

func TestKeysBesideUnusableOnesAreUsed(t *testing.T) {
	u := newUpstream(t)
	u.answer(keysPath, 200, mustJSON(object{"keys": []any{7, object{"kty": "OKP", "crv": "Ed448", "x": "AA", "kid": "key-1"}, signerTwo().jwk(), signerOne().jwk()}}))
	if _, _, err := signIn(t, u, u.client(t), u.idToken(), authorization()); err != nil {
		t.Error(err)
	}
	noKid := signerOne().sign(mustJSON(jwtHeader().with(object{"kid": nil})), mustJSON(idClaims(u.URL+"/oauth")))
	if _, _, err := signIn(t, u, u.client(t), noKid, authorization()); err != nil {
		t.Errorf("without a key id: %v", err)
	}
}

func TestStalledKeysHoldNobodyLongerThanHeWaits(t *testing.T) {
	u := newUpstream(t)
	stop, arrived := make(chan struct{}), make(chan struct{}, 8)
	u.handle(keysPath, func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-stop })
	u.answer(tokenPath, 200, mustJSON(tokenAnswer().with(object{"id_token": u.idToken()})))
	c := u.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			_, _, err := c.Exchange(ctx, secret.New(authCode), authorization())
			if got := keeper.ClassOf(err); got != keeper.ClassOutage {
				t.Errorf("got %q, want outage", got)
			}
		})
	}
	<-arrived
	cancel() // those who wait for their turn must leave too
	all.Wait()
	if n := len(u.seen(keysPath)); n != 1 {
		t.Errorf("got %d fetches at once, want 1", n)
	}
	close(stop)
}

func TestKeysThatStallAreGivenUp(t *testing.T) {
	u := newUpstream(t)
	u.handle(keysPath, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	u.answer(tokenPath, 200, mustJSON(tokenAnswer().with(object{"id_token": u.idToken()})))
	c := u.client(t, func(cfg *linkedin.Config) { cfg.Timeout = 500 * time.Millisecond })
	ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
	defer cancel()
	if _, _, err := c.Exchange(ctx, secret.New(authCode), authorization()); keeper.ClassOf(err) != keeper.ClassOutage || ctx.Err() != nil {
		t.Errorf("got %v, and the caller's time: %v", err, ctx.Err())
	}
}

func TestSignInsAtOnceShareOneFetchOfTheKeys(t *testing.T) {
	u := newUpstream(t)
	u.answer(tokenPath, 200, mustJSON(tokenAnswer().with(object{"id_token": u.idToken()})))
	c := u.client(t)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, _, err := c.Exchange(t.Context(), secret.New(authCode), authorization()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(u.seen(keysPath)); n != 1 {
		t.Errorf("got %d fetches, want 1", n)
	}
}

func TestAnotherProvidersPathsAreUsed(t *testing.T) {
	u := newUpstream(t)
	u.handle("/op/token", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, mustJSON(tokenAnswer().with(object{"id_token": u.idToken()})))
	})
	u.answer("/op/jwks", 200, keySetOf(signerOne()))
	u.answer("/op/introspect", 200, `{"active":true,"scope":"a b","client_id":"`+clientID+`"}`)
	u.answer("/op/me", 200, `{"sub":"`+sdkMember+`"}`)
	u.answer(sdkPath, 200, mustJSON(tokenAnswer()))
	u.answer("/op/revoke", 200, "")
	u.answer(keysPath, 500, "")
	c := u.client(t, func(cfg *linkedin.Config) {
		cfg.LinkedInURL += "/"
		cfg.Endpoints = linkedin.Endpoints{
			Authorization: "/op/auth", Token: "/op/token", Introspection: "/op/introspect",
			Revocation: "/op/revoke", Keys: "/op/jwks", Userinfo: "/op/me",
		}
	})
	for name, op := range operations {
		if err := op.call(t.Context(), c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if address, err := c.AuthCodeURL(t.Context(), authorization()); err != nil || !strings.HasPrefix(address, u.URL+"/op/auth?") {
		t.Errorf("got %s, %v", address, err)
	}
}
