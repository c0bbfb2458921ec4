"""An identity provider on loopback: its JWKS, and tokens that it signs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from support.tokens import token

AUDIENCE = "hub"


class IdentityProvider:
    """`names`: those of its keys. Set `status` or `body` for answers that are not its JWKS."""

    def __init__(self, port: int) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self.url = f"{self.issuer}/jwks.json"
        self.requests: list[str] = []
        self.status = 200
        self.body: bytes | None = None
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}

    def add(self, name: str) -> None:
        self._keys[name] = ec.generate_private_key(ec.SECP256R1())

    def remove(self, name: str) -> None:
        del self._keys[name]

    def token(self, name: str, **claims: Any) -> str:
        claims = {"iss": self.issuer, "aud": AUDIENCE, **claims}
        return token(self._keys[name], algorithm="ES256", head={"kid": name}, **claims)

    def jwks(self) -> bytes:
        if self.body is not None:
            return self.body
        keys = [
            {**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": name, "use": "sig", "alg": "ES256"}
            for name, key in self._keys.items()
        ]
        return json.dumps({"keys": keys}).encode()


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.requests.append(self.path)
            self.send_response(provider.status)
            self.end_headers()
            self.wfile.write(provider.jwks())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = IdentityProvider(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=[0.05], daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
