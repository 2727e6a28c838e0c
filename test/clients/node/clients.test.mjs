// JavaScript's clients against the simulator, unchanged but for the addresses:
// they sign in, and stumble where they stumble at LinkedIn.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'

import { Auth } from '@auth/core'
import LinkedIn from '@auth/core/providers/linkedin'
import * as openid from 'openid-client'

const require = createRequire(import.meta.url)
const clientId = '77keepinsim000'
const clientSecret = 'WPL_AP1.KeepinSimulator0.c2VjcmV0+/=='
const redirectUri = 'http://localhost:8080/callback'
let sim, address

before(async () => {
  sim = spawn(process.env.SIM, { stdio: ['pipe', 'pipe', 'inherit'] })
  for await (const line of createInterface(sim.stdout)) {
    address = line
    break
  }
})
after(() => sim.stdin.end())

async function order(action, body) {
  const answer = await fetch(`${address}/_sim/api/${action}`, { method: 'POST', body: JSON.stringify(body) })
  const value = await answer.json()
  assert.equal(answer.status, 200, value.error)
  return value
}

const allow = async (url) => new URL((await order('authorize', { url: String(url), member: 'ada' })).callback)

test("LinkedIn's own client signs in, refreshes, introspects and calls the API", async () => {
  const constants = require('linkedin-api-client/dist/lib/utils/constants')
  constants.OAUTH_BASE_URL = `${address}/oauth/v2`
  constants.NON_VERSIONED_BASE_URL = `${address}/v2`
  constants.VERSIONED_BASE_URL = `${address}/rest`
  const { AuthClient, RestliClient } = require('linkedin-api-client')
  const auth = new AuthClient({ clientId, clientSecret, redirectUrl: redirectUri })
  const url = auth.generateMemberAuthorizationUrl(['openid', 'profile', 'email', 'w_member_social'], 'state') // joined by commas
  const back = await allow(url)
  assert.equal(back.searchParams.get('state'), 'state')
  const token = await auth.exchangeAuthCodeForAccessToken(back.searchParams.get('code'))
  assert.equal(token.scope, 'email,openid,profile,w_member_social')
  const next = await auth.exchangeRefreshTokenForAccessToken(token.refresh_token)
  assert.notEqual(next.access_token, token.access_token)
  assert.equal(next.refresh_token, token.refresh_token)
  const { data: seen } = await auth.introspectAccessToken(next.access_token)
  assert.equal(seen.active, true)
  assert.equal(seen.auth_type, '3L')

  const api = new RestliClient()
  const me = await api.get({ resourcePath: '/userinfo', accessToken: next.access_token })
  assert.equal(me.data.name, 'Ada Lovelace')
  const now = new Date()
  const version = `${now.getUTCFullYear()}${String(now.getUTCMonth() + 1).padStart(2, '0')}`
  const post = { resourcePath: '/posts', entity: { commentary: 'hello' }, accessToken: next.access_token }
  const created = await api.create({ ...post, versionString: version })
  assert.match(created.createdEntityId, /^urn:li:share:/)
  await assert.rejects(api.create({ ...post, versionString: '202001' }), (e) => e.response.status === 426)
})

const insecure = { execute: [openid.allowInsecureRequests] }
const discover = (authentication) => openid.discovery(new URL(`${address}/oauth`), clientId, undefined, authentication, insecure)

function authorizationURL(config, more) {
  return openid.buildAuthorizationUrl(config, { redirect_uri: redirectUri, scope: 'openid profile email', state: 'state', ...more })
}

test('openid-client signs in and refreshes', async () => {
  const config = await discover(openid.ClientSecretPost(clientSecret))
  const tokens = await openid.authorizationCodeGrant(config, await allow(authorizationURL(config)), { expectedState: 'state' })
  assert.equal(tokens.claims().name, 'Ada Lovelace')
  const me = await openid.fetchUserInfo(config, tokens.access_token, tokens.claims().sub)
  assert.equal(me.email, 'ada@example.com')
  const next = await openid.refreshTokenGrant(config, tokens.refresh_token)
  assert.equal(next.refresh_token, tokens.refresh_token)
})

test('openid-client stumbles over a nonce, PKCE, Basic and a missing token_type', async () => {
  const config = await discover(openid.ClientSecretPost(clientSecret))
  await assert.rejects(
    openid.authorizationCodeGrant(config, await allow(authorizationURL(config, { nonce: 'n' })), { expectedState: 'state', expectedNonce: 'n' }),
    (e) => /nonce/.test(e.cause?.message),
  )
  const verifier = openid.randomPKCECodeVerifier()
  const challenge = { code_challenge: await openid.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256' }
  await assert.rejects(
    openid.authorizationCodeGrant(config, await allow(authorizationURL(config, challenge)), { expectedState: 'state', pkceCodeVerifier: verifier }),
    (e) => e.error === 'invalid_client' && e.status === 401,
  )
  const basic = await discover(openid.ClientSecretBasic(clientSecret))
  await assert.rejects(
    openid.authorizationCodeGrant(basic, await allow(authorizationURL(basic)), { expectedState: 'state' }),
    (e) => e.error === 'invalid_request' && e.error_description === 'A required parameter "client_secret" is missing',
  )
  await order('switches', { token_type: 'never' })
  await assert.rejects(
    openid.authorizationCodeGrant(config, await allow(authorizationURL(config)), { expectedState: 'state' }),
    (e) => /token_type/.test(e.cause?.message),
  )
  await order('switches', { token_type: '' })
})

test('Auth.js signs in', async () => {
  const app = 'http://localhost:3000/auth'
  await order('app', {
    client_id: '77authjs000000', secret: 's', redirect_urls: [`${app}/callback/linkedin`], scopes: ['openid', 'profile', 'email'],
  })
  const jar = new Map()
  const config = {
    basePath: '/auth', trustHost: true, secret: 'x'.repeat(32),
    logger: { error: (e) => { throw e }, warn() {}, debug() {} },
    providers: [LinkedIn({ clientId: '77authjs000000', clientSecret: 's', issuer: `${address}/oauth` })],
  }
  async function visit(url, init = {}) {
    const headers = { ...init.headers, cookie: [...jar].map(([k, v]) => `${k}=${v}`).join('; ') }
    const answer = await Auth(new Request(url, { ...init, headers }), config)
    for (const c of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(c)
      jar.set(name, value)
    }
    return answer
  }
  const { csrfToken } = await (await visit(`${app}/csrf`)).json()
  const begun = await visit(`${app}/signin/linkedin`, {
    method: 'POST', body: new URLSearchParams({ csrfToken }),
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  })
  await visit(await allow(begun.headers.get('location')))
  const session = await (await visit(`${app}/session`)).json()
  assert.equal(session?.user?.name, 'Ada Lovelace')
  assert.equal(session.user.email, 'ada@example.com')
})
