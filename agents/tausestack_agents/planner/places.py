"""From the name of a place to its IANA time zone."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import available_timezones

from tausestack_agents.planner.text import fold

_ZONE = re.compile(r"\b(?:[A-Z][A-Za-z_]+/[A-Z][A-Za-z_+\-0-9]+(?:/[A-Z][A-Za-z_]+)?|UTC|GMT)\b")
_LEGACY = ("Etc/", "SystemV/", "US/", "Canada/", "Brazil/", "Mexico/", "Chile/", "posix/", "right/")


class Place(NamedTuple):
    """A place in a text, and its zone."""

    zone: str
    start: int
    end: int


@cache
def _names() -> dict[str, str]:
    """Folded names of places and their zones: the zones' own cities, and the names of places.toml."""
    zones = available_timezones()
    found: dict[str, str] = {}
    for zone in sorted(zones):
        if "/" in zone and not zone.startswith(_LEGACY):
            found.setdefault(fold(zone.rsplit("/", 1)[1].replace("_", " ")), zone)
    raw = tomllib.loads(files("tausestack_agents.planner").joinpath("places.toml").read_text("utf-8"))
    for zone, names in raw.items():
        if zone in zones:
            for name in names:
                found[name] = zone
    return found


@cache
def _pattern() -> re.Pattern[str]:
    longest_first = sorted(_names(), key=lambda name: (-len(name), name))
    return re.compile(r"\b(?:" + "|".join(re.escape(name) for name in longest_first) + r")\b")


def places(text: str) -> list[Place]:
    """Return the places of a text that have a time zone, in order; a zone's own name counts as it is."""
    return list(_found(text))


def _found(text: str) -> Iterator[Place]:
    zones = available_timezones()
    taken: list[tuple[int, int]] = []
    for match in _ZONE.finditer(text):
        if match.group() in zones:
            taken.append(match.span())
            yield Place(match.group(), *match.span())
    for match in _pattern().finditer(fold(text)):
        start, end = match.span()
        # A place is a name: in a request it is written with a capital, unless nothing is.
        named = text[start].isupper() or text[1:] == text[1:].lower()
        if named and not any(start < other_end and other_start < end for other_start, other_end in taken):
            yield Place(_names()[match.group()], start, end)
