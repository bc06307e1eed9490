"""Client ID metadata documents: a client whose id is a URL says there who it is."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from typing import Any
from urllib.parse import urlsplit

from tausestack.errors import Unavailable
from tausestack_runtime.gateway.oauth.fetching import Fetching

MAX_BYTES = 5 * 1024
"""What the draft recommends as the most that is taken."""
MAX_KEPT = 1024
FAILED_SECONDS = 30
_DOTS = re.compile(r"/\.\.?(/|$)")


class ClientDocuments:
    """Fetches clients' documents, and keeps them as long as their origins say, an hour at most.

    They are public, the same for every tenant, and so is what is kept of them.
    """

    def __init__(self, fetching: Fetching) -> None:
        self._fetching = fetching
        self._kept: OrderedDict[str, tuple[dict[str, Any] | None, float]] = OrderedDict()

    async def of(self, client: str) -> dict[str, Any] | None:
        """Return what the URL that a client's id is says, or None where it is none, or nothing can be had there."""
        if not _is_client_url(client):
            return None
        known = self._kept.get(client)
        if known is not None and known[1] > time.monotonic():
            return known[0]
        try:
            found = await self._fetching.get(client, MAX_BYTES)
            kept, seconds = found.value, min(found.max_age, 3600)
        except Unavailable:
            kept, seconds = None, FAILED_SECONDS
        self._kept[client] = (kept, time.monotonic() + seconds)
        self._kept.move_to_end(client)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return kept


def _is_client_url(client: str) -> bool:
    """Whether an id is a URL as the draft has it: https, a path, no user, no fragment, no dots to climb by."""
    if not client.startswith("https://") or "#" in client or "\\" in client:
        return False
    try:
        parts = urlsplit(client)
    except ValueError:
        return False
    return parts.path not in {"", "/"} and "@" not in parts.netloc and _DOTS.search(parts.path) is None
