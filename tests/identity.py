"""An OpenID provider on loopback for fast tests: it describes itself, shows its keys, and gives ID tokens for codes, as a test wants them.

A real one is in `tests/keycloak`; this one also says what no real one would.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

from stream.console.provider import OpenId, Provider

CLIENT, SECRET = "driftline-console", "client-test-secret"


class Identity:
    """The provider, as a context manager; `changes` and `header` go into the tokens that it gives, None leaves a claim away."""

    def __init__(self) -> None:
        self.key = rsa_key("one")
        self.keys: list[Any] = [self.key]
        self.changes: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.now_s = time.time
        self._codes: dict[str, dict[str, str]] = {}
        identity = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                self._answer({name: values[0] for name, values in parse_qs(body).items()})

            def _answer(self, form: dict[str, str]) -> None:
                path = urlsplit(self.path).path
                identity.asked.append(path)
                status, body = identity.answers.get(path) or identity.answer(
                    path, form, self.headers.get("authorization", "")
                )
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}/realm"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def provider(self, tmp_path: Path, **settings: Any) -> Provider:
        """The console's side of it, a client with a secret."""
        (tmp_path / "client").write_text(SECRET, encoding="utf-8")
        given = {"issuer": self.issuer, "client_id": CLIENT, "client_secret_file": tmp_path / "client"}
        return Provider(OpenId.model_validate(given | settings), lambda: self.now_s())

    def code(self, address: str) -> dict[str, str]:
        """Whoever followed `address` signed in: what the browser is sent back with."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert address.startswith(f"{self.issuer}/auth?")
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        code = secrets.token_urlsafe(8)
        self._codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.issuer}

    def answer(self, path: str, form: dict[str, str], authorization: str) -> tuple[int, bytes]:
        """What the provider says as it should."""
        at = self.issuer
        if path == "/realm/.well-known/openid-configuration":
            told: Any = {
                "issuer": at,
                "authorization_endpoint": f"{at}/auth",
                "token_endpoint": f"{at}/token/",
                "jwks_uri": f"{at}/keys",
            }
        elif path == "/realm/keys":
            told = {
                "keys": [
                    each if isinstance(each, dict) else each.as_dict(private=False) for each in self.keys
                ]
            }
        elif path == "/realm/token/":
            asked = self._codes.pop(form.get("code", ""), None)
            wanted = "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
            if authorization not in ("", wanted):
                return 401, b'{"error": "invalid_client"}'
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            challenge = _encoded(digest)
            if asked is None or (challenge, form["redirect_uri"]) != (
                asked["code_challenge"],
                asked["redirect_uri"],
            ):
                return 400, b'{"error": "invalid_grant"}'
            told = {"id_token": self.token(asked["nonce"]), "access_token": "x", "token_type": "Bearer"}
        else:
            return 404, b"nothing"
        return 200, json.dumps(told).encode()

    def token(self, nonce: str) -> str:
        """An ID token of now, changed as `changes` and `header` say."""
        now = int(self.now_s())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "0001",
            "exp": now + 300,
            "iat": now,
            "nonce": nonce,
            "preferred_username": "ada",
        }
        claims = {name: value for name, value in (claims | self.changes).items() if value is not None}
        header = {"alg": "RS256", "kid": self.key.kid} | self.header
        signed = ".".join(_encoded(json.dumps(each).encode()) for each in (header, claims))
        seal = b""
        if header["alg"] == "RS256":
            seal = JWSRegistry.algorithms["RS256"].sign(signed.encode(), self.key)
        elif header["alg"] == "HS256":  # the public key as a shared secret: the classic
            seal = hmac.digest(self.key.as_pem(private=False), signed.encode(), "sha256")
        return f"{signed}.{_encoded(seal)}"


@functools.cache
def rsa_key(kid: str, **more: str) -> Any:
    """A key of that name, always the same one: to make one takes long."""
    return RSAKey.generate_key(2048, {"kid": kid, **more})


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
