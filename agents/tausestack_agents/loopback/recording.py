"""Recording: requests go on to the vendor, and what it replies is written down on its way back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx2

from tausestack_agents.loopback import anthropic, openai, traffic
from tausestack_agents.loopback.answers import Asked
from tausestack_agents.loopback.server import Reply

SECONDS = 600.0
_OURS = {"host", "content-length", "accept-encoding", "connection", "transfer-encoding"}


class Recorder:
    """Passes requests on to a vendor's address, and adds each reply to a file; no credential is written."""

    def __init__(self, upstream: str, file: Path) -> None:
        """`upstream`: the address without the `/v1`."""
        self._upstream = upstream.rstrip("/").removesuffix("/v1")
        self._file = anyio.Path(file)
        self._client = httpx2.AsyncClient(timeout=SECONDS)

    async def respond(self, asked: Asked) -> Reply:
        """Pass a request on."""
        path = openai.PATH if asked.wire == "openai" else anthropic.PATH
        headers = {name: value for name, value in asked.headers.items() if name not in _OURS}
        request = self._client.build_request("POST", self._upstream + path, json=asked.body, headers=headers)
        response = await self._client.send(request, stream=True)
        kept = {name: value for name, value in response.headers.items() if name in {"content-type", "retry-after"}}
        return Reply(response.status_code, kept, self._kept(asked, response))

    async def _kept(self, asked: Asked, response: httpx2.Response) -> AsyncIterator[bytes]:
        body = bytearray()
        try:
            async for piece in response.aiter_bytes():
                body += piece
                yield piece
        finally:
            await response.aclose()
        line = traffic.line(asked, response.status_code, dict(response.headers), body.decode("utf-8", "replace"))
        async with await self._file.open("a", encoding="utf-8") as file:
            await file.write(json.dumps(line, ensure_ascii=False) + "\n")
