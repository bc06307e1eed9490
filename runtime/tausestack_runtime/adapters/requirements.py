"""What a package asks of the libraries that servers are written with, and what that meant when it was published."""

from __future__ import annotations

import re
import zipfile
from email.parser import HeaderParser
from pathlib import Path

_LIBRARIES = ("mcp", "fastmcp")
"""Each has releases that break what was written for the one before."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*\(?([^;()]*)\)?\s*(;.*)?")
_LEAST = re.compile(r">=?\s*(\d+)(?:\.[0-9A-Za-z.*+!-]*)?")
_UNEQUAL = re.compile(r"!=.*")


def bounds_of(wheel: Path) -> list[str]:
    """Return what a wheel's open requirements of these libraries come to: `mcp>=1.6` was written for `mcp<2`.

    Nobody who published that knew a second release, which serves no server of the first.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        said = archive.read(names[0]).decode(errors="replace") if names else ""
    required = HeaderParser().parsestr(said).get_all("Requires-Dist") or []
    return [bound for each in required if (bound := _bound(each)) is not None]


def _bound(requirement: str) -> str | None:
    found = _REQUIREMENT.fullmatch(requirement.strip())
    if found is None or found[1].lower() not in _LIBRARIES or found[3]:
        return None
    parts = [part.strip() for part in found[2].split(",") if part.strip() and not _UNEQUAL.fullmatch(part.strip())]
    least = [_LEAST.fullmatch(part) for part in parts]
    if len(least) != 1 or least[0] is None:
        return None
    return f"{found[1].lower()}<{int(least[0][1]) + 1}"
