"""Python's clients against the simulator, unchanged but for the addresses:
they sign in, and stumble where they stumble at LinkedIn."""

import json
import os
import subprocess
import unittest
from urllib.parse import parse_qs, urlsplit

import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from linkedin_api.clients.auth.client import AuthClient
from linkedin_api.clients.restli.client import RestliClient

CLIENT_ID = "77keepinsim000"
CLIENT_SECRET = "WPL_AP1.KeepinSimulator0.c2VjcmV0+/=="
REDIRECT_URI = "http://localhost:8080/callback"
SCOPE = "openid profile email"


class Redirected(requests.adapters.HTTPAdapter):
    """Sends what is meant for LinkedIn to the simulator."""

    def __init__(self, address):
        super().__init__()
        self.address = address

    def send(self, request, **kwargs):
        parts = urlsplit(request.url)
        request.url = self.address + parts.path + ("?" + parts.query if parts.query else "")
        return super().send(request, **kwargs)


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sim = subprocess.Popen([os.environ["SIM"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.address = cls.sim.stdout.readline().strip()
        os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

    @classmethod
    def tearDownClass(cls):
        cls.sim.stdin.close()
        cls.sim.wait()
        cls.sim.stdout.close()

    def order(self, action, **body):
        answer = requests.post(f"{self.address}/_sim/api/{action}", data=json.dumps(body))
        self.assertEqual(answer.status_code, 200, answer.text)
        return answer.json()

    def allow(self, url):
        return self.order("authorize", url=url, member="ada")["callback"]

    def test_linkedins_own_client(self):
        auth = AuthClient(CLIENT_ID, CLIENT_SECRET, REDIRECT_URI)
        auth.session.mount("https://", Redirected(self.address))
        back = self.allow(auth.generate_member_auth_url(SCOPE.split(), "state"))
        token = auth.exchange_auth_code_for_access_token(parse_qs(urlsplit(back).query)["code"][0])
        self.assertEqual((token.status_code, token.scope), (200, "email,openid,profile"))
        again = auth.exchange_refresh_token_for_access_token(token.refresh_token)
        self.assertEqual(again.refresh_token, token.refresh_token)
        self.assertNotEqual(again.access_token, token.access_token)
        seen = auth.introspect_access_token(again.access_token)
        self.assertEqual((seen.active, seen.status, seen.auth_type), (True, "active", "3L"))

        api = RestliClient()
        api.session.mount("https://", Redirected(self.address))
        me = api.get(resource_path="/userinfo", access_token=again.access_token)
        self.assertEqual(me.entity["name"], "Ada Lovelace")

    def session(self, **more):
        return OAuth2Session(CLIENT_ID, CLIENT_SECRET, redirect_uri=REDIRECT_URI, scope=SCOPE, **more)

    def fetch(self, session, **more):
        url, state = session.create_authorization_url(f"{self.address}/oauth/v2/authorization", **more)
        return session.fetch_token(
            f"{self.address}/oauth/v2/accessToken", authorization_response=self.allow(url), state=state,
            code_verifier=more.get("code_verifier"),
        )

    def test_authlib_signs_in_and_refreshes(self):
        session = self.session(token_endpoint_auth_method="client_secret_post")
        token = self.fetch(session)
        self.assertEqual(session.get(f"{self.address}/v2/userinfo").json()["given_name"], "Ada")
        again = session.refresh_token(f"{self.address}/oauth/v2/accessToken")
        self.assertEqual(again["refresh_token"], token["refresh_token"])

    def test_authlib_stumbles_over_basic(self):
        with self.assertRaisesRegex(OAuthError, 'invalid_request: A required parameter "client_secret" is missing'):
            self.fetch(self.session())

    def test_authlib_stumbles_over_pkce(self):
        session = self.session(token_endpoint_auth_method="client_secret_post", code_challenge_method="S256")
        with self.assertRaisesRegex(OAuthError, "invalid_client: Client authentication failed"):
            self.fetch(session, code_verifier="v" * 48)

    def test_authlib_stumbles_over_a_nonce(self):
        token = self.fetch(self.session(token_endpoint_auth_method="client_secret_post"), nonce="n")
        keys = KeySet.import_key_set(requests.get(f"{self.address}/oauth/openid/jwks").json())
        decoded = jwt.decode(token["id_token"], keys, algorithms=["RS256"])

        def validate(**params):
            options = {"iss": {"values": [f"{self.address}/oauth"]}}
            claims = CodeIDToken(decoded.claims, decoded.header, options, {"client_id": CLIENT_ID, **params})
            claims.validate()
            return claims

        self.assertEqual((validate()["name"], validate()["email_verified"]), ("Ada Lovelace", "true"))
        with self.assertRaisesRegex(JoseError, "nonce"):
            validate(nonce="n")


if __name__ == "__main__":
    unittest.main()
