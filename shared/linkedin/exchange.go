package linkedin

import (
	"context"
	"strings"

	"golang.org/x/oauth2"

	"github.com/keepin/keepin/shared/keeper"
	"github.com/keepin/keepin/shared/secret"
)

// AuthCodeURL is the address of LinkedIn's consent page for one authorization.
// It calls nobody but Credentials.
func (c *Client) AuthCodeURL(ctx context.Context, a keeper.Authorization) (string, error) {
	creds, err := c.credentials(ctx, opAuthorize)
	if err != nil {
		return "", err
	}
	if a.State.IsZero() || (c.cfg.Nonce && a.Nonce.IsZero()) || (c.cfg.PKCE && a.Verifier.IsZero()) {
		return "", c.newCall(opAuthorize, creds).fail(errUnguarded)
	}
	var options []oauth2.AuthCodeOption
	if c.cfg.Nonce {
		options = append(options, oauth2.SetAuthURLParam("nonce", a.Nonce.Reveal()))
	}
	if c.cfg.PKCE {
		options = append(options, oauth2.S256ChallengeOption(a.Verifier.Reveal()))
	}
	// LinkedIn documents %20 between scopes. In a query that Go encoded a + is
	// always a space.
	page, query, _ := strings.Cut(c.oauth(creds).AuthCodeURL(a.State.Reveal(), options...), "?")
	return page + "?" + strings.ReplaceAll(query, "+", "%20"), nil
}

// Exchange turns an authorization code into tokens and the member they belong
// to, as the verified ID token names it. The code is sent once, whatever comes:
// when LinkedIn refuses the application itself, the credentials are re-read
// only for the next sign-in. ClassMember means that this code is refused.
func (c *Client) Exchange(ctx context.Context, code secret.String, a keeper.Authorization) (keeper.Identity, keeper.Tokens, error) {
	post, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	creds, err := c.credentials(post, opExchange)
	if err != nil {
		return keeper.Identity{}, keeper.Tokens{}, err
	}
	call := c.newCall(opExchange, creds, code, a.State, a.Nonce, a.Verifier)
	if code.IsZero() || (c.cfg.PKCE && a.Verifier.IsZero()) || (c.cfg.Nonce && a.Nonce.IsZero()) {
		return keeper.Identity{}, keeper.Tokens{}, call.fail(errNothingToSend)
	}
	var options []oauth2.AuthCodeOption
	if c.cfg.PKCE {
		options = append(options, oauth2.VerifierOption(a.Verifier.Reveal()))
	}
	// The answer is read from the call: see call.
	_, _ = c.oauth(creds).Exchange(call.context(post), code.Reveal(), options...)
	if err := call.failure(); err != nil {
		if keeper.ClassOf(err) == keeper.ClassApplication {
			_, _ = c.cfg.Credentials(post, true)
		}
		return keeper.Identity{}, keeper.Tokens{}, err
	}
	answer, err := readTokens(call.body)
	if err != nil {
		return keeper.Identity{}, keeper.Tokens{}, call.fail(err)
	}
	tokens := answer.tokens(call.start)

	want := expected{clientID: creds.ClientID, notBefore: a.IssuedAt, access: tokens.Access}
	if c.cfg.Nonce {
		want.nonce = a.Nonce
	}
	claims, err := c.verify(ctx, answer.id, want)
	if err != nil {
		return keeper.Identity{}, keeper.Tokens{}, call.fail(err)
	}
	tokens.Subject, tokens.ByCode = claims.subject, true

	ctx, cancel = context.WithTimeout(ctx, c.extra())
	defer cancel()
	tokens, err = c.dated(ctx, call, tokens)
	if err != nil {
		return keeper.Identity{}, keeper.Tokens{}, err
	}
	return keeper.Identity{ClientID: creds.ClientID, Subject: claims.subject, Profile: claims.profile}, tokens, nil
}
