package mutation_test

// mutants are weakenings that somebody might make in good faith.
func mutants() []mutant {
	const (
		cookie      = "shared/session/cookie.go"
		sessions    = "shared/session/session.go"
		transaction = "shared/session/transaction.go"
		ticket      = "shared/session/ticket.go"
		answer      = "shared/web/answer.go"
		callback    = "shared/web/callback.go"
		cors        = "shared/web/cors.go"
		login       = "shared/web/login.go"
		logout      = "shared/web/logout.go"
		members     = "shared/web/members.go"
		mux         = "shared/web/mux.go"
		returnTo    = "shared/web/returnto.go"
		validate    = "shared/web/validate.go"
		answers     = "shared/linkedin/answers.go"
		call        = "shared/linkedin/call.go"
		client      = "shared/linkedin/client.go"
		exchange    = "shared/linkedin/exchange.go"
		idToken     = "shared/linkedin/idtoken.go"
		once        = "shared/session/once.go"
		sdk         = "shared/linkedin/sdk.go"
		sdkExchange = "shared/web/exchange.go"

		routes = "TestEveryRouteAnswersAsTheContractHasIt"
		proven = "TestOnlyAProvenIDTokenSignsIn"
	)
	return []mutant{
		// The cookies.
		{"cookie-none", cookie, []string{"http.SameSiteLaxMode", "http.SameSiteNoneMode"}, "", "TestSessionCookieIsLocked"},
		{"cookie-script", cookie, []string{"HttpOnly: true", "HttpOnly: false"}, "", "TestSessionCookieIsLocked"},
		{"cookie-plain", cookie, []string{"Secure: m.Secure", "Secure: false"}, "", "TestSessionCookieIsLocked"},
		{"cookie-path", cookie, []string{`Path: "/"`, `Path: ""`}, "", "TestSessionCookieIsLocked"},
		{"cookie-prefix", sessions, []string{`m.prefix = "__Host-"`, `m.prefix = "__Secure-"`}, "", "TestSessionCookieIsLocked"},
		{"cookie-any-case", cookie, []string{"if c.name == name {", "if strings.EqualFold(c.name, name) {"}, "", "TestOnlyTheExactCookieIsASession"},
		{"cookie-twice", cookie, []string{"m.prefix+sessionName)\n\tif len(got) != 1 {", "m.prefix+sessionName)\n\tif len(got) == 0 {"}, "", "TestOnlyTheExactCookieIsASession"},
		{"cookie-second-spelling", sessions, []string{"base64.RawURLEncoding.Strict()", "base64.RawURLEncoding"}, "", "TestOnlyABrokenCookieIsCleared"},
		{"cookie-not-cleared", cookie, []string{"seen[c.name] = true\n\t\t\tm.expire(w, c.name)", "seen[c.name] = true"}, "", "TestClearTakesAllOurCookiesAndNoOther"},

		// The session.
		{"session-expiry", sessions, []string{" || !s.ExpiresAt.After(m.Now())", ""}, "", "TestStoreIsNotTrustedWithTheEnd"},
		{"session-generation", sessions, []string{" || s.Generation != g.Generation", ""}, "", "TestSessionHoldsWhileItsGenerationDoes"},
		{"session-signed-out", sessions, []string{"g.Status == keeper.SignedOut || ", ""}, "", "TestSessionHoldsWhileItsGenerationDoes"},
		{"session-old-stays", sessions, []string{"\tif ok {\n\t\tif err := end(member, old)", "\tif ok && previous != \"\" {\n\t\tif err := end(member, old)"}, "", "TestSignInReplacesTheSessionOfThisBrowserOnly"},
		{"session-old-may-stay", sessions, []string{"return \"\", fmt.Errorf(\"end the session before: %w\", err)", "return previous, nil"}, "", "TestSignInEndsTheOldSessionOrIsNone"},
		{"session-no-cap", sessions, []string{"excess(have, s, now)", "excess(nil, s, now)"}, "", "TestOldestSessionBeyondTheCapGoes"},
		{"session-own-place-not-counted", sessions, []string{"return o.Hash == old", "return false"}, "", "TestSignInInAFullHouseTakesTheBrowsersOwnPlace"},
		{"session-one-too-many-may-stay", sessions, []string{"return \"\", fmt.Errorf(\"end the oldest session: %w\", err)", "break"}, "", "TestSignInMakesRoomOrIsNone"},
		{"session-newest-goes", "shared/session/excess.go", []string{"gone = append(gone, live[0].Hash)\n\t\tlive = live[1:]", "gone = append(gone, live[len(live)-1].Hash)\n\t\tlive = live[1:]"}, "", "TestOldestSessionBeyondTheCapGoes"},
		{"session-ended-stays", "shared/session/excess.go", []string{"gone = append(gone, o.Hash)", ""}, "", "TestEndedSessionsMakeRoom"},
		{"session-fixed", sessions, []string{"\tkey := hash(id)\n", "\tkey := hash(id)\n\tif _, have, ok := m.presented(r); ok {\n\t\tkey = have\n\t}\n"}, "", "TestFixedSessionIsNeverAdopted"},
		{"session-is-the-state", transaction, []string{"t.State, t.Session, t.IssuedAt = newID(), newID(), m.Now()", "t.State = newID()\n\tt.Session, t.IssuedAt = t.State, m.Now()"}, "", "TestTransactionsNeverShareASecret"},
		{"session-in-the-clear", sessions, []string{"return sha256.Sum256([]byte(s.Reveal())) }", "var h Hash; copy(h[:], s.Reveal()); _ = sha256.New; return h }"}, "", "TestStoresNeverSeeAnID"},
		{"session-failure-signs-out", sessions, []string{"return keeper.Grant{}, Session{}, fmt.Errorf(\"look for a session: %w\", err)", "return keeper.Grant{}, Session{}, ErrNone"}, "", "TestStoreFailureIsNotASignOut"},

		// The transaction.
		{"state-not-compared", transaction, []string{"!t.State.Equal(secret.New(state))", "t.State.IsZero()"}, "", "TestStateInsideDecides"},
		{"state-unbound", transaction, []string{
			"secret.New(clear.String()), keeper.PurposeTransaction, name)", "secret.New(clear.String()), keeper.PurposeTransaction, \"\")",
			"sealed, keeper.PurposeTransaction, name)", "sealed, keeper.PurposeTransaction, \"\")",
		}, "", "TestTransactionIsBoundToItsCookieName"},
		{"state-cookie-twice", transaction, []string{"if len(got) != 1 {", "if len(got) == 0 {"}, "", "TestTransactionIsBoundToItsBrowserStateAndTime"},
		{"state-for-ever", transaction, []string{"if !m.Now().Before(t.IssuedAt.Add(transactionLife)) {", "if t.IssuedAt.IsZero() {"}, "", "TestTransactionIsBoundToItsBrowserStateAndTime"},
		{"state-not-burnt", transaction, []string{"\thave, err := m.Burns.Burn(ctx, c.key, c.burn)\n", "\tvar have Burn\n\tvar err error\n"}, "", "TestOnlyTheFirstCallbackMayGoOn"},
		{"state-unburnt-by-failure", transaction, []string{"return Claim{}, fmt.Errorf(\"burn a state: %w\", err)", "return c, nil"}, "", "TestFailedBurnIsNoClaim"},
		{"state-another-code", transaction, []string{"have.Use != c.burn.Use, ", ""}, "", "TestOnlyTheFirstCallbackMayGoOn"},
		{"state-late-duplicate", transaction, []string{", m.Now().Sub(have.At) >= duplicateWithin", ""}, "", "TestOnlyTheFirstCallbackMayGoOn"},
		{"state-many-cookies", transaction, []string{"len(live) >= maxTransactions || ", ""}, "", "TestFiveTabsSignInAtOnceAndTheSixthTakesTheOldest"},
		{"nonce-constant", transaction, []string{"t.Nonce = newID()", "t.Nonce = t.State"}, "", "TestTransactionsNeverShareASecret"},
		{"verifier-constant", transaction, []string{"t.Verifier = newID()", "t.Verifier = t.State"}, "", "TestTransactionsNeverShareASecret"},

		// The ticket.
		{"ticket-reusable", ticket, []string{"\tcase used:\n\t\treturn ErrTicket\n", "\tcase used:\n"}, "", "TestTicketIsRedeemedOnce"},
		{"ticket-burnt-by-nobody", ticket, []string{"used, err = have.Use != b.Use, nil", "used, err = have.Use == b.Use, nil"}, "", "TestALostAnswerDoesNotUseATicketUp"},
		{"ticket-for-ever", ticket, []string{"if !now.Before(time.UnixMilli(t.IssuedAt).Add(ticketLife)) {", "if now.IsZero() {"}, "", "TestTicketEndsWithItsMinuteAndItsGeneration"},
		{"ticket-survives-logout", ticket, []string{"case g.Generation != t.Generation || g.Status == keeper.SignedOut:", "case g.Member == \"\":"}, "", "TestTicketEndsWithItsMinuteAndItsGeneration"},
		{"ticket-of-each-answer", ticket, []string{"if session.IsZero() {", "if true {"}, "", "TestTicketsOfOneSignInAreOne"},

		// The callback.
		{"callback-issuer-prefix", callback, []string{`q.Get("iss") != t.Issuer`, `!strings.HasPrefix(q.Get("iss"), t.Issuer)`}, "", routes},
		{"callback-issuer-missing", callback, []string{" || c.cfg.ResponseIssuer", ""}, "", "TestIssuerMayBeMissingOnlyWhereTheProviderAnnouncesNone"},
		{"callback-issuer-of-then", callback, []string{"case t.Issuer != c.cfg.Issuer:", "case t.Issuer == \"\":"}, "", "TestSignInThatBeganWithAnotherIssuerIsOver"},
		{"callback-code-and-error", callback, []string{`q.Has("code") == q.Has("error")`, `!q.Has("code") && !q.Has("error")`}, "", routes},
		{"callback-any-code", callback, []string{`q.Has("code") && !isCode(q.Get("code"))`, `q.Has("code") && q.Get("code") == "" && !isCode("")`}, "", routes},
		{"callback-exchange-before-burn", callback, []string{
			"\tclaim, err := c.sessions.Claim(", "\tvar early keeper.Grant\n\tvar earlyOutcome string\n\tvar earlyErr error\n\tif q.Has(\"code\") {\n\t\tearly, earlyOutcome, earlyErr = c.signIn(r, t, secret.New(q.Get(\"code\")))\n\t}\n\tclaim, err := c.sessions.Claim(",
			"g, outcome, err = c.signIn(r, t, secret.New(q.Get(\"code\")))\n\t\tmember", "g, outcome, err = early, earlyOutcome, earlyErr\n\t\tmember",
		}, "", "TestDuplicateCallbackGetsTheSameSession"},
		{"callback-duplicate-goes-on", callback, []string{"if claim.Duplicate {", "if claim.Duplicate && claim.Outcome == \"\" {"}, "", "TestDuplicateCallbackGetsTheSameSession"},
		{"callback-duplicate-after-logout", callback, []string{"err = session.ErrState // signed out since", "err = nil"}, "", "TestDuplicateAfterALogoutIsRefused"},
		{"callback-prefetch", callback, []string{"if isPrefetch(r) {", "if isPrefetch(r) && r.Method == \"HEAD\" {"}, "", "TestPrefetchConsumesNothing"},
		{"callback-leaves-with-its-browser", callback, []string{"context.WithTimeout(context.WithoutCancel(ctx), signInTime)", "context.WithTimeout(ctx, signInTime)"}, "", "TestSignInGoesOnWhenTheBrowserLeaves"},
		{"callback-description-reflected", callback, []string{"\treturn c.answer(w, r, t, g, outcome, err)\n}\n\n// admissible", "\tw.Header().Set(\"X-Error\", q.Get(\"error_description\"))\n\treturn c.answer(w, r, t, g, outcome, err)\n}\n\n// admissible"}, "", routes},
		{"callback-unknown-error-is-a-refusal", callback, []string{"case \"user_cancelled_login\", ", "case \"unauthorized_scope_error\":\n\t\treturn outcomeDenied, nil\n\tcase \"user_cancelled_login\", ", "case \"unauthorized_scope_error\", ", "case "}, "", routes},

		// What is asked for.
		{"query-twice", login, []string{"if len(q[name]) > 1 {", "if len(q[name]) > 99 {"}, "", "TestBadCallbacksStoreNothingAndAskNobody"},
		{"login-any-scope", login, []string{"if !slices.Contains(s.cfg.Scopes, scope) {", "if scope == \"\" && !slices.Contains(s.cfg.Scopes, scope) {"}, "", routes},
		{"login-foreign-return", login, []string{"if !ok {", "if !ok && returnTo != \"\" {"}, "", routes},
		{"login-head", mux, []string{`"GET": h.Login}`, `"GET": h.Login, "HEAD": h.Login}`}, "", routes},
		{"logout-get", mux, []string{`"POST": logout, "OPTIONS": logout}`, `"POST": logout, "GET": logout, "OPTIONS": logout}`}, "", routes},
		{"query-unbounded", mux, []string{"len(r.URL.RawQuery) > maxQuery || ", ""}, "", routes},
		{"cookies-unbounded", mux, []string{"cookies > maxCookieBytes || ", ""}, "", routes},
		{"cookies-uncounted", mux, []string{" || count > maxCookieCount", ""}, "", routes},
		{"body-unbounded", mux, []string{"case len(body) > limit:", "case len(body) > 1<<20:"}, "", "TestBodiesAreBounded"},
		{"path-uncleaned", mux, []string{"path.Clean(p) != p", "path.Clean(p) == \"\""}, "", routes},

		// Where a browser is sent.
		{"return-origin-prefix", returnTo, []string{` && (after == "" || strings.IndexByte("/?#", after[0]) >= 0)`, ""}, "", "TestReturnAddressIsOneOfOurs"},
		{"return-scheme-relative", returnTo, []string{`strings.HasPrefix(rest, "//") || `, ""}, "", "TestReturnAddressIsOneOfOurs"},
		{"return-encoded-slash", returnTo, []string{"startsWithTrick(rest) || ", ""}, "", "TestReturnAddressIsOneOfOurs"},
		{"return-backslash", returnTo, []string{`"-._~!$&'()*+,;=:@/?"`, `"-._~!$&'()*+,;=:@/?\\"`}, "", "TestReturnAddressIsOneOfOurs"},
		{"return-control", returnTo, []string{"\t\tdefault:\n\t\t\treturn false\n", "\t\tcase c < ' ':\n\t\tdefault:\n\t\t\treturn false\n"}, "", "TestReturnAddressIsOneOfOurs"},
		{"return-smuggled-ticket", returnTo, []string{"return origin + withoutOurs(rest), true", "return origin + rest, true"}, "", "TestReturnAddressIsOneOfOurs"},
		{"return-any-length", returnTo, []string{"if len(raw) > maxReturnTo {", "if len(raw) > 1<<20 {"}, "", "TestReturnAddressIsOneOfOurs"},
		{"origin-http", returnTo, []string{`case u.Scheme == "https":`, `case u.Scheme == "https", u.Scheme == "http":`}, "", "TestNewSiteNamesAllThatIsWrong"},
		{"host-header", answer, []string{"\t\tlogin = s.url(\"/login\")\n\t}\n\tif t, ok", "\t\tlogin = \"https://\" + r.Host + s.path + \"/login\"\n\t}\n\tif t, ok"}, "", "TestAddressesComeFromTheConfigurationAlone"},
		{"redirect-307", answer, []string{"w.WriteHeader(http.StatusSeeOther)", "w.WriteHeader(http.StatusTemporaryRedirect)"}, "", routes},

		// Other sites.
		{"csrf-none", logout, []string{"if protection.Check(r) != nil || !s.mayWrite(r) {", "if protection.Check(r) != nil && !s.mayWrite(r) && r.Method == \"GET\" {"}, "", "TestOnlyAnOriginThatIsConfiguredMaySignOut"},
		{"csrf-origin-alone", logout, []string{"protection.Check(r) != nil || ", ""}, "", "TestOnlyAnOriginThatIsConfiguredMaySignOut"},
		{"csrf-site-alone", logout, []string{" || !s.mayWrite(r)", ""}, "", "TestOnlyAnOriginThatIsConfiguredMaySignOut"},
		{"csrf-null-origin", logout, []string{` && r.Header.Get("Sec-Fetch-Site") == "same-origin"`, ""}, "", "TestOnlyAnOriginThatIsConfiguredMaySignOut"},
		{"cors-star", cors, []string{`h.Set("Access-Control-Allow-Origin", origin)`, `h.Set("Access-Control-Allow-Origin", "*")`}, "", "TestCORSIsForTheConfiguredOriginsToTheLetter"},
		{"cors-reflects", cors, []string{" && s.trusted(origin)", ""}, "", "TestCORSIsForTheConfiguredOriginsToTheLetter"},
		{"cors-two-origins", cors, []string{`len(r.Header["Origin"]) == 1 && `, ""}, "", "TestCORSIsForTheConfiguredOriginsToTheLetter"},
		{"cors-vary", cors, []string{`h.Add("Vary", "Origin")`, ""}, "", "TestCORSIsForTheConfiguredOriginsToTheLetter"},
		{"cors-foreign-preflight", cors, []string{"if !trusted || ", "if trusted && false || "}, "", routes},
		{"origin-prefix", returnTo, []string{"return slices.Contains(s.origins, origin) }", "return slices.ContainsFunc(s.origins, func(o string) bool { return strings.HasPrefix(origin, o) }) }"}, "", "TestCORSIsForTheConfiguredOriginsToTheLetter"},

		// The answers' headers.
		{"header-no-store", mux, []string{`"Cache-Control", "no-store"`, `"Cache-Control", "no-cache"`}, "", routes},
		{"header-nosniff", mux, []string{"\th.Set(\"X-Content-Type-Options\", \"nosniff\")\n", ""}, "", routes},
		{"header-referrer", mux, []string{`"Referrer-Policy", "no-referrer"`, `"Referrer-Policy", "origin"`}, "", routes},
		{"header-csp", mux, []string{"default-src 'none'; frame-ancestors 'none'", "default-src 'none'; frame-ancestors 'self'"}, "", routes},
		{"header-hsts", mux, []string{"max-age=31536000", "max-age=3600"}, "", routes},

		// Who may ask what.
		{"backend-any-key", members, []string{"subtle.ConstantTimeCompare(got[:], want[:]) != 1 ||", "subtle.ConstantTimeCompare(got[:], want[:]) > 1 ||"}, "", routes},
		{"backend-no-key", members, []string{" || key.IsZero()", ""}, "", "TestNoKeyLetsNobodyThrough"},
		{"backend-two-keys", members, []string{` || len(r.Header["Authorization"]) != 1`, ""}, "", "TestTwoBackEndKeysAreNone"},
		{"backend-ticket-any-name", members, []string{"tokens[1] != name", `tokens[1] == ""`}, "", "TestRedeemTakesOneShapeOfBody"},
		{"validate-reconnect", validate, []string{"if g.State(s.now()) == keeper.StateReconnect {", "if g.State(s.now()) == \"\" {"}, "", routes},
		{"caller-any", "shared/web/caller.go", []string{"!ok {", "!ok && r.Method == \"\" {"}, "", "TestOnlyAKnownCallerPasses"},
		{"caller-header", "shared/lambdahttp/request.go", []string{"\tr := newRequest(ctx, e.RequestContext.HTTP.Method, path)", "\tif arn := e.Headers[\"x-amzn-iam-userarn\"]; arn != \"\" {\n\t\tctx = context.WithValue(ctx, callerKey{}, arn)\n\t}\n\tr := newRequest(ctx, e.RequestContext.HTTP.Method, path)"}, "", "TestNoHeaderBecomesTheCaller"},
		{"authorizer-fails-open", "shared/lambdahttp/lambdahttp.go", []string{" || answer.Member.ID == \"\"", ""}, "", "TestTheAuthorizerDeniesOnlyWhatIsKnown"},

		// LinkedIn's client.
		{"code-sent-twice", exchange, []string{"\tif err := call.failure(); err != nil {\n", "\tif call.failure() != nil {\n\t\tcall.sent = false\n\t\t_, _ = c.oauth(creds).Exchange(call.context(post), code.Reveal(), options...)\n\t}\n\tif err := call.failure(); err != nil {\n"}, "", "TestACodeIsSentOnceAndTheSecretReadAgainForTheNext"},
		{"code-without-verifier", exchange, []string{"options = append(options, oauth2.VerifierOption(a.Verifier.Reveal()))", "_ = oauth2.VerifierOption"}, "", "TestAVerifierIsSentOnlyWithPKCE"},
		{"consent-without-challenge", exchange, []string{"options = append(options, oauth2.S256ChallengeOption(a.Verifier.Reveal()))", "_ = oauth2.S256ChallengeOption"}, "test/provider", "TestASignInAtAnotherProvider"},
		{"consent-without-state", exchange, []string{"a.State.IsZero() || ", ""}, "", "TestTheConsentPageIsAskedExactly"},
		{"nonce-not-looked-at", exchange, []string{"want.nonce = a.Nonce", "_ = a.Nonce"}, "test/provider", "TestAForeignNonceIsRefused"},
		{"nonce-may-be-missing", idToken, []string{"!want.nonce.IsZero() && !nonce.Equal(want.nonce)", "!want.nonce.IsZero() && !nonce.IsZero() && !nonce.Equal(want.nonce)"}, "", "TestANonceIsComparedOnlyWhenSent"},
		{"id-token-optional", exchange, []string{"\tclaims, err := c.verify(ctx, answer.id, want)\n", "\tif answer.id.IsZero() {\n\t\treturn keeper.Identity{ClientID: creds.ClientID}, tokens, nil\n\t}\n\tclaims, err := c.verify(ctx, answer.id, want)\n"}, "", "TestForgedIDTokensAreRefused"},
		{"id-token-unsigned", idToken, []string{"SkipIssuerCheck:      true,", "InsecureSkipSignatureCheck: true, SkipIssuerCheck: true,"}, "", "TestForgedIDTokensAreRefused"},
		{"id-token-alg", idToken, []string{"if text(header, \"alg\") != oidc.RS256 {", "if text(header, \"alg\") == \"\" {", "SupportedSigningAlgs: []string{oidc.RS256},", "SupportedSigningAlgs: []string{oidc.RS256, oidc.RS512, \"HS256\", \"none\"},"}, "", proven},
		{"id-token-issuer-prefix", idToken, []string{"text(members, \"iss\") != c.cfg.Issuer", "!strings.HasPrefix(text(members, \"iss\"), c.cfg.Issuer)"}, "", proven},
		{"id-token-audience", idToken, []string{"!slices.Contains(token.Audience, want.clientID)", "len(token.Audience) == 0", "func(a string) bool { return a != want.clientID }", "func(a string) bool { return a == \"\" }"}, "", proven},
		{"id-token-audience-too", idToken, []string{"func(a string) bool { return a != want.clientID }", "func(a string) bool { return a == \"\" }"}, "", proven},
		{"id-token-azp", idToken, []string{"present(members, \"azp\") && text(members, \"azp\") != want.clientID", "present(members, \"azp\") && text(members, \"azp\") == \"\""}, "", proven},
		{"id-token-exp", idToken, []string{"!hasExpires || !expires.After(now.Add(-leeway))", "!hasExpires || expires.IsZero()"}, "", proven},
		{"id-token-nbf", idToken, []string{"!hasBegins || begins.After(now.Add(leeway))", "!hasBegins || begins.IsZero()"}, "", proven},
		{"id-token-ahead", idToken, []string{"issued.After(now.Add(leeway))", "issued.After(now.Add(leeway * 60))"}, "", proven},
		{"id-token-of-before", idToken, []string{"issued.Before(want.notBefore.Add(-leeway))", "issued.Before(want.notBefore.Add(-leeway * 60))"}, "", proven},
		{"id-token-sub", idToken, []string{"case !isSubject(subject):", "case len(subject) > 255:"}, "", proven},
		{"id-token-logout-token", idToken, []string{"case present(members, \"events\"): // a logout token", "case present(members, \"no such\"):"}, "", proven},
		{"id-token-access-token", idToken, []string{"if present(header, \"typ\") && !strings.EqualFold(text(header, \"typ\"), \"JWT\") {", "if text(header, \"typ\") == \"?\" {"}, "", proven},
		{"id-token-at-hash", idToken, []string{"present(members, \"at_hash\") && token.VerifyAccessToken(want.access.Reveal()) != nil", "present(members, \"no such\") && token.VerifyAccessToken(want.access.Reveal()) != nil"}, "", proven},
		{"id-token-crit", idToken, []string{`[]string{"crit", "zip", "enc", "b64"}`, `[]string{"zip", "enc", "b64"}`}, "", proven},
		{"id-token-of-a-refresh", client, []string{"\t\tif err != nil {\n\t\t\treturn keeper.Tokens{}, call.fail(err)\n\t\t}\n\t\ttokens.Subject = claims.subject", "\t\t_ = err\n\t\ttokens.Subject = claims.subject"}, "", "TestAnIDTokenOfARefreshMustVerify"},
		{"keys-refetched-at-will", idToken, []string{"(len(found) > 0 || (now.Sub(k.asked) < keysSpacing && !now.Before(k.asked)))", "len(found) > 0"}, "", "TestKeysAreFetchedOnceAndForAnUnknownKeyAtMostEvery30Seconds"},
		{"keys-waited-for", idToken, []string{"context.WithTimeout(ctx, k.wait)", "context.WithCancel(ctx)"}, "", "TestKeysThatStallAreGivenUp"},
		{"keys-for-ever", idToken, []string{"now.Sub(k.fetched) >= keysLifetime || ", ""}, "", "TestKeysAreFetchedOnceAndForAnUnknownKeyAtMostEvery30Seconds"},
		{"keys-short", idToken, []string{"public.N.BitLen() >= 2048", "public.N.BitLen() >= 512"}, "", "TestWithoutKeysItIsAnOutage"},
		{"keys-too-many", idToken, []string{" || len(raw) > maxKeys", ""}, "", "TestWithoutKeysItIsAnOutage"},
		{"redirects-followed", call, []string{"func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }", "nil", "if c.sent || !slices.Contains", "if !slices.Contains"}, "", "TestNoRedirectIsFollowed"},
		{"any-host", call, []string{"func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }", "nil", "if c.sent || !slices.Contains(c.client.origins, origin(req.URL)) {", "if !slices.Contains(c.client.origins, origin(req.URL)) && req.URL.Host == \"\" {"}, "", "TestOnlyTheConfiguredHostsAreDialled"},
		{"answer-unbounded", call, []string{"io.LimitReader(resp.Body, maxBody+1)", "io.LimitReader(resp.Body, 64<<20)", "len(c.body) > maxBody", "len(c.body) > 64<<20"}, "", "TestBrokenConnectionsAreOutages"},
		{"secret-in-the-header", client, []string{"AuthStyle: oauth2.AuthStyleInParams,", "AuthStyle: oauth2.AuthStyleInHeader,"}, "", "TestRequestsAreExactlyWhatLinkedInDocuments"},
		{"token-type-any", answers, []string{"!strings.EqualFold(t, \"Bearer\") && (t != \"\" || present(members, \"token_type\"))", "t == \"\" && present(members, \"token_type\")"}, "", "TestRefusedTokenAnswers"},
		{"answer-name-twice", answers, []string{"; twice {", "; twice && name == \"\" {"}, "", "TestForgedIDTokensAreRefused"},
		{"inspected-of-another", answers, []string{`id != "" && id != clientID`, `id == "?"`}, "", "TestEveryRefusalHasItsClass"},
		{"email-unverified", answers, []string{" && (verified || !told)", " && (verified || !told || !verified)"}, "", "TestUserinfoIsReadTolerantly"},
		{"end-made-up", client, []string{"return keeper.Tokens{}, call.fail(errNoExpiry)", "inspection.ExpiresAt = tokens.IssuedAt.Add(60 * 24 * time.Hour)"}, "", "TestAnEndThatWasNotToldIsFoundByIntrospectionOrRefused"},
		{"error-quotes-the-body", call, []string{"return c.failed(t.class, t.problem)", "return c.failed(t.class, t.problem+string(c.body))"}, "", "TestNoErrorAndNoRecordHoldsASecret"},
		{"userinfo-of-another", "shared/keeper/work.go", []string{"if err == nil && who.Subject != g.Subject {", "if err == nil && who.Subject == \"\" {"}, "", "TestTokenOfAnotherMemberNeverServes"},
		{"proof-is-always-of-an-exchange", "shared/keeper/work.go", []string{"err == nil && !g.ExchangedAt.IsZero()", "err == nil"}, "", "TestOnlyTheProofOfAnExchangedTokenEndsTheTroubleOfExchanges"},
		{"proof-ends-nothing", "shared/keeper/work.go", []string{"err == nil && !g.ExchangedAt.IsZero()", "false"}, "", "TestSignInPassesAnOpenBreakerAndItsProofClosesIt"},
		{"exchange-before-the-trouble-ends-it", "shared/keeper/work.go", []string{"\"exchange\", g.ExchangedAt)", "\"exchange\", k.now())"}, "", "TestSignInPassesAnOpenBreakerAndItsProofClosesIt"},
		{"sdk-is-an-exchange", "shared/keeper/transitions.go", []string{"if in.ByCode {", "if true {"}, "", "TestOnlyTheProofOfAnExchangedTokenEndsTheTroubleOfExchanges"},
		{"refresh-is-an-exchange", "shared/keeper/transitions.go", []string{"g.Fresh, g.ExchangedAt = in.Access, time.Time{}", "g.Fresh = in.Access"}, "", "TestOnlyTheProofOfAnExchangedTokenEndsTheTroubleOfExchanges"},
		{"old-exchange-ends-an-outage", "shared/keeper/control.go", []string{"issued && at.IsZero() || c.Outage", "issued || c.Outage"}, "", "TestAProofEndsNothingThatIsYounger"},
		{"old-exchange-closes-the-breaker", "shared/keeper/control.go", []string{"!newer(c.Breaker.Until.Add(-probeEvery))", "!newer(c.Breaker.Since)"}, "", "TestAProofEndsNothingThatIsYounger"},
		{"refresh-of-another", "shared/keeper/work.go", []string{"tokens.Subject != \"\" && tokens.Subject != g.Subject", "tokens.Subject != \"\" && g.Subject == \"\""}, "", "TestRefreshWithAnotherMembersIDTokenIsNotKept"},

		// The JavaScript SDK's members.
		{"sdk-order", sdk, []string{`!slices.Equal(order, []string{"access_token", "member_id"})`, "len(order) == 0"}, "", "TestOnlyWhatLinkedInSignedIsAnSDKCookie"},
		{"sdk-method", sdk, []string{` || text(members, "signature_method") != "HMAC-SHA1"`, ""}, "", "TestOnlyWhatLinkedInSignedIsAnSDKCookie"},
		{"sdk-more-names", sdk, []string{" || len(members) != sdkNames", ""}, "", "TestOnlyWhatLinkedInSignedIsAnSDKCookie"},
		{"sdk-member-of-any-length", sdk, []string{"len(s) == sdkMemberLen && ", ""}, "", "TestOnlyWhatLinkedInSignedIsAnSDKCookie"},
		{"sdk-unsigned", sdk, []string{"return is(creds.Secret) || is(creds.Previous)", "return is(creds.Secret) || len(s.signature) == sha1.Size"}, "", "TestNoBitOfAnSDKSignatureMayDiffer"},
		{"sdk-signed-with-nothing", sdk, []string{"!key.IsZero() && hmac.Equal", "hmac.Equal"}, "", "TestOnlyWhatLinkedInSignedIsAnSDKCookie"},
		{"sdk-token-of-another-client", sdk, []string{`!inspection.Active || text(members, "client_id") != exchanged.clientID`, `members == nil || !inspection.Active`}, "", "TestTheExchangedTokenIsProvenOursAndTheMembers"},
		{"sdk-token-of-another-member", sdk, []string{"if who.Subject != member {", `if who.Subject == "" || member == "" {`}, "", "TestTheExchangedTokenIsProvenOursAndTheMembers"},
		{"sdk-id-token-of-before", sdk, []string{"notBefore: exchanged.start, ", ""}, "", "TestTheExchangedTokenIsProvenOursAndTheMembers"},
		{"sdk-token-of-oauth1", sdk, []string{`if name == "oauth_token" || name == "oauth_token_secret" {`, `if name == "" {`}, "", "TestAnSDKTokenIsExchangedForOAuth2Only"},
		{"sdk-cross-site", sdkExchange, []string{"s.handle(s.sameSite(e.serve))", "s.handle(e.serve)"}, "", "TestOnlyAConfiguredOriginMayExchange"},
		{"sdk-form", sdkExchange, []string{"if !isJSON(r) {", `if !isJSON(r) && r.Method == "" {`}, "", "TestTheBodyOfAnExchangeIsOneObjectWithOneName"},
		{"sdk-repeat-for-anybody", sdkExchange, []string{"g.Member == member && ", ""}, "", "TestAUsedSDKCookieSignsNobodyIn"},
		{"sdk-not-spent", sdkExchange, []string{"err = unavailable(e.sessions.Spend(ctx, once, g.Member))", "err = nil"}, "", "TestAUsedSDKCookieSignsNobodyIn"},
		{"sdk-taken-by-many", once, []string{"errors.Is(err, ErrUsed) && have.Use == o.burn.Use", "errors.Is(err, ErrUsed) && !have.Settled"}, "", "TestOneOfManyTakesASignature"},
		{"sdk-spent-for-a-minute", once, []string{"\to.burn.ExpiresAt = o.burn.At.Add(onceLife)\n", ""}, "", "TestASpentSignatureIsUsedForAnHour"},

		// What all of it stands on.
		{"secret-equals-all", "shared/secret/secret.go", []string{"[]byte(t.Reveal())) == 1", "[]byte(t.Reveal())) >= 0"}, "", "TestSecretIsItself"},
		{"seal-for-any-purpose", "shared/seal/seal.go", []string{"\tout = append(out, purpose...)\n", ""}, "", "TestAValueOpensForItsOwnerAndPurposeOnly"},
		{"seal-for-any-owner", "shared/seal/seal.go", []string{"return append(out, owner...)", "return out"}, "", "TestAValueOpensForItsOwnerAndPurposeOnly"},
	}
}
