"""What a process writes to its stderr, without the secrets that it was given."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

REDACTED = b"[secret]"
SHORTEST = 4
"""Characters of a value that is looked for: a shorter one would take letters out of everything, and is no secret."""
SHORTEST_LINE = 8
"""Likewise of one line among several, as of a key in PEM."""

_UNICODE = ("\\u%04x", "\\u%04X")
_UNESCAPED = ("", "/", "!*'()", ";,/?:@&=+$!*'()#")
"""What is left as it is in a URL: by Python's two, and by JavaScript's two."""
_FOR_URLS = bytes.maketrans(b"+/", b"-_")


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
    """Return how a value may stand in what a program prints; under three hundred forms, most of which are the same."""
    whole = value.encode(errors="surrogatepass")
    once = _in_json({value})
    texts = {value, repr(value)[1:-1]} | once | _in_json(once) | _percent(value) | _in_html(value)
    raw = {text.encode(errors="surrogatepass") for text in texts}
    return raw | _base64(whole) | {whole.hex().encode(), whole.hex().upper().encode()}


def _in_json(texts: set[str]) -> set[str]:
    """Return texts as they stand in a string of JSON, by any of those who escape more than they have to."""
    plain = {json.dumps(text, ensure_ascii=ascii_alone)[1:-1] for text in texts for ascii_alone in (True, False)}
    for_pages = {text.translate({ord(one): form % ord(one) for one in "<>&"}) for text in plain for form in _UNICODE}
    return {form for text in plain | for_pages for form in (text, text.replace("/", "\\/"))}


def _percent(value: str) -> set[str]:
    """Return a value as it stands in a URL or a form: what has to be escaped is taken more and less widely."""
    upper = {quote(value, safe=safe) for safe in _UNESCAPED} | {quote_plus(value)}
    upper |= {text.replace("~", "%7E") for text in upper}
    upper |= {text.replace("%20", "+") for text in upper}
    return upper | {re.sub("%..", lambda found: found[0].lower(), text) for text in upper}


def _in_html(value: str) -> set[str]:
    quotes = html.escape(value)
    by_number = quotes.replace("&#x27;", "&#39;")
    return {html.escape(value, quote=False), quotes, by_number, by_number.replace("&quot;", "&#34;")}


def _base64(whole: bytes) -> set[bytes]:
    """Return bytes in base64, alone and within others, as in `user:secret`: what a neighbour has no part in."""
    alone = base64.b64encode(whole)
    forms = {alone, alone.rstrip(b"=")}
    for before in range(3):
        first, end = (before * 8 + 5) // 6, (before + len(whole)) * 8 // 6
        forms.add(base64.b64encode(bytes(before) + whole)[first:end])
    forms |= {form.replace(b"/", b"\\/") for form in forms}
    return forms | {form.translate(_FOR_URLS) for form in forms if b"\\" not in form}
