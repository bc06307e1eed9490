"""What a process writes to its stderr, without the secrets that it was given."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

REDACTED = b"[secret]"
SHORTEST = 4
"""Characters of a value that is looked for: a shorter one would take letters out of everything, and is no secret."""
SHORTEST_LINE = 8
"""Likewise of one line among several, as of a key in PEM."""


class Redaction:
    """Replaces secrets as they are, and in the forms in which programs commonly print a value."""

    def __init__(self, secrets: Iterable[str]) -> None:
        values = {part for secret in secrets for part in (secret, *_lines(secret)) if len(part) >= SHORTEST}
        forms = sorted({form for value in values for form in _forms(value)}, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, forms))) if forms else None
        self.longest = len(forms[0]) if forms else 0
        """Bytes of the longest that is looked for: what is cut off within that of an end may be the half of one."""

    def __call__(self, raw: bytes) -> bytes:
        """Return bytes with every secret replaced."""
        return raw if self._pattern is None else self._pattern.sub(REDACTED, raw)


def _lines(secret: str) -> list[str]:
    return [line for line in map(str.strip, secret.splitlines()) if len(line) >= SHORTEST_LINE]


def _forms(value: str) -> set[bytes]:
    texts = {value, repr(value)[1:-1], quote(value, safe=""), quote_plus(value), quote(value)}
    texts |= {json.dumps(value, ensure_ascii=ascii_alone)[1:-1] for ascii_alone in (True, False)}
    raw = {text.encode(errors="surrogatepass") for text in texts}
    whole = value.encode(errors="surrogatepass")
    return raw | {base64.b64encode(whole), base64.urlsafe_b64encode(whole).rstrip(b"="), whole.hex().encode()}
