"""An OIDC issuer on a loopback port: its metadata, its keys, and tokens by them."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey


class Issuer:
    """What the issuer says, which a test may change; it counts who asks for its keys."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.metadata: dict[str, Any] = {"issuer": url, "jwks_uri": f"{url}/keys"}
        self.keys: list[RSAKey] = []
        self.asked = 0
        self.rotate()

    def rotate(self) -> RSAKey:
        """Sign by a new key from now on; the one before stays published."""
        self.keys = [*self.keys[-1:], RSAKey.generate_key(2048, {"kid": f"key-{time.monotonic_ns()}"})]
        return self.keys[-1]

    def token(self, key: RSAKey | None = None, alg: str = "RS256", **changed: Any) -> str:
        """Return a token by its newest key, or another; None leaves a claim out."""
        now = int(time.time())
        usual = {"iss": self.url, "sub": "ana@idp", "name": "Ana", "iat": now, "exp": now + 600, **changed}
        claims = {name: value for name, value in usual.items() if value is not None}
        signing = key or self.keys[-1]
        return jwt.encode({"alg": alg, "kid": signing.kid}, claims, signing, algorithms=[alg])


@contextlib.contextmanager
def issuing(port: int) -> Iterator[Issuer]:
    """Serve an issuer on a port."""
    issuer = Issuer(f"http://127.0.0.1:{port}")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/.well-known/openid-configuration":
                found: Any = issuer.metadata
            else:
                issuer.asked += 1
                found = {"keys": [key.as_dict(private=False) for key in issuer.keys]}
            body = json.dumps(found).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
