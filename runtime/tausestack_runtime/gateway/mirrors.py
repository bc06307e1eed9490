"""Headers that mirror a request's body: `Mcp-Name`, and `Mcp-Param-…` for parameters marked by `x-mcp-header`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tausestack.raw import as_object, object_at

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
_BASE64, _END = "=?base64?", "?="
_FIELD = re.compile(r"[\t\x20-\x7e]*")
_NUMBER = re.compile(r"-?\d{1,16}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,3})?")
_SAFE = 2**53

PREFIX = b"mcp-param-"


@dataclass(frozen=True)
class Mirror:
    """A parameter that a header mirrors: where it stands in the arguments, and the header's lower-case name."""

    path: tuple[str, ...]
    header: bytes

    def value(self, arguments: Mapping[str, Any]) -> str | float | bool | None:
        """Return the parameter's value, or None where the header has to be left out."""
        found: Any = arguments
        for name in self.path:
            found = (as_object(found) or {}).get(name)
        return found if isinstance(found, (str, int, float)) else None


def mirrors_of(schema: Mapping[str, Any]) -> tuple[Mirror, ...]:
    """Return the mirrored parameters of an input schema; annotations that the protocol does not allow are ignored."""
    return tuple(_annotated(schema, ()))


def _annotated(schema: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[Mirror]:
    if len(path) > 16:
        return
    for name, each in object_at(schema, "properties").items():
        found = as_object(each)
        if found is None:
            continue
        label = found.get("x-mcp-header")
        if isinstance(label, str) and _TOKEN.fullmatch(label):
            yield Mirror((*path, name), PREFIX + label.lower().encode())
        yield from _annotated(found, (*path, name))


def mismatch(mirrors: tuple[Mirror, ...], arguments: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> str | None:
    """Return the first header that says something else than the arguments, or None."""
    for mirror in mirrors:
        value, header = mirror.value(arguments), headers.get(mirror.header)
        if value is None and header is None:
            continue
        if value is None or header is None or not _agrees(header.decode("latin-1"), value):
            return mirror.header.decode()
    return None


def minted(mirrors: tuple[Mirror, ...], arguments: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
    """Return the headers that mirror some arguments."""
    values = ((mirror.header, mirror.value(arguments)) for mirror in mirrors)
    return [(header, encoded(_text(value))) for header, value in values if value is not None]


def encoded(value: str) -> bytes:
    """Return a value as a header carries it: as it is, or as `=?base64?…?=` where it is not plain ASCII."""
    if _PLAIN.fullmatch(value) and not (value.startswith(_BASE64) and value.endswith(_END)):
        return value.encode()
    return f"{_BASE64}{base64.b64encode(value.encode('utf-8', 'surrogatepass')).decode()}{_END}".encode()


def decoded(header: str) -> str | None:
    """Return what a header carries, or None where it is malformed."""
    if not (header.startswith(_BASE64) and header.endswith(_END)):
        return header if _FIELD.fullmatch(header) else None
    try:
        return base64.b64decode(header[len(_BASE64) : -len(_END)], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _agrees(header: str, value: str | float | bool) -> bool:
    said = decoded(header)
    if isinstance(value, str | bool):
        return said == _text(value)
    if said is None or _NUMBER.fullmatch(said) is None:
        return False
    whole, _, rest = said.partition(".")
    # A float holds no more than the safe integers.
    return (float(said) if rest.strip("0") or "e" in said.lower() else int(whole)) == value


def _text(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _SAFE else value)
