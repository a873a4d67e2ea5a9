"""A small issuer of tokens, as OAuth's client credentials grant has it: who knows the secret gets a token."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

ISSUER, AUDIENCE = "https://issuer.example", "kafka"
_KEY_ID = "key-of-the-tests"


class TokenIssuer:
    """
    Answers on 127.0.0.1 while it is open as a context: `token_url` with tokens, `keys_url` with the key to check them.

    ``lifetime`` is that of new tokens, in seconds; ``asked`` has the clients that came with the right secret.
    """

    def __init__(self) -> None:
        self.secret = "the client's secret"
        self.lifetime = 300.0
        self.asked: list[str] = []
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, issuer._keys())

            def do_POST(self) -> None:
                said = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                kind, _, encoded = self.headers.get("authorization", "").partition(" ")
                client, _, secret = base64.b64decode(encoded).decode().partition(":")
                granted = parse_qs(said).get("grant_type") == ["client_credentials"]
                if kind != "Basic" or secret != issuer.secret or not granted:
                    self._answer(401, {"error": "invalid_client", "error_description": "wrong secret"})
                    return
                issuer.asked.append(client)
                self._answer(200, {"access_token": issuer.token(client), "token_type": "Bearer"})

            def _answer(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing is logged."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> TokenIssuer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def token_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/token"

    @property
    def keys_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/keys"

    def token(self, user: str) -> str:
        """A token of that user."""
        now = time.time()
        claims = {"sub": user, "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + self.lifetime, "scope": "read"}
        return jwt.encode(claims, self._key, "RS256", {"kid": _KEY_ID})

    def _keys(self) -> dict[str, Any]:
        key = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": _KEY_ID, "use": "sig", "alg": "RS256"}]}
