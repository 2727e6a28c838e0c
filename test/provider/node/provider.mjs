// An OpenID provider that is not keepin's, on a free port of loopback: the certified
// oidc-provider, as strict as it goes. It writes its issuer to standard output and
// lives until standard input ends. REDIRECT_URI is the client's; the account is who
// the request header "account" names.
import http from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider from 'oidc-provider';

const key = (kid) => ({
  ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }),
  kid, use: 'sig', alg: 'RS256',
});

let accessLife = 3600;
let kid = 0;

function make(issuer) {
  const provider = new Provider(issuer, {
    clients: [{
      client_id: 'keepin', client_secret: 'a/client,secret=of+keepin', redirect_uris: [process.env.REDIRECT_URI],
      token_endpoint_auth_method: 'client_secret_post', grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
    }],
    jwks: { keys: [key(`key-${++kid}`)] },
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false }, introspection: { enabled: true }, revocation: { enabled: true } },
    claims: { openid: ['sub'], profile: ['name', 'picture'], email: ['email', 'email_verified'] },
    conformIdTokenClaims: false,
    ttl: { AccessToken: () => accessLife, IdToken: 600, RefreshToken: 86400, Session: 86400, Interaction: 600, Grant: 86400, AuthorizationCode: 60 },
    issueRefreshToken: async () => true,
    rotateRefreshToken: true,
    cookies: { keys: ['of no importance'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: `${id} of Elsewhere`, picture: 'https://pictures.example/p.png', email: `${id}@elsewhere.example`, email_verified: true }),
    }),
    // Whoever has logged in has consented.
    async loadExistingGrant(ctx) {
      const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid profile email');
      await grant.save();
      return grant;
    },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  });
  provider.use(async (ctx, next) => {
    if (!ctx.path.startsWith('/interaction/')) return next();
    const account = ctx.get('account');
    await provider.interactionFinished(ctx.req, ctx.res, account ? { login: { accountId: account } } : { error: 'access_denied' });
    ctx.respond = false;
  });
  return provider.callback();
}

let answer;
const server = http.createServer((req, res) => {
  const { pathname, searchParams } = new URL(req.url, 'http://provider');
  switch (pathname) {
    case '/control/rotate': // every grant stays: only the keys are new
      answer = make(issuer);
      break;
    case '/control/access-life':
      accessLife = Number(searchParams.get('seconds'));
      break;
    default:
      answer(req, res);
      return;
  }
  res.end();
});
let issuer;
server.listen(0, '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  answer = make(issuer);
  console.log(issuer);
});
process.stdin.resume().on('end', () => process.exit());
