"""One gateway's REST door: sends a request, sends it again where that is safe, and turns problems into errors."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NoReturn, Self
from urllib.parse import quote, urlsplit

import anyio
import httpx2

from tausestack.contract import VERSION
from tausestack.errors import (
    DeadlineExceeded,
    InDoubt,
    InternalError,
    InvalidRequest,
    PayloadTooLarge,
    TauseError,
    Unauthenticated,
    Unavailable,
    from_data,
)
from tausestack.raw import given, object_at

DEFAULT_SECONDS = 125.0
"""How long an answer is waited for: a little more than the gateway itself gives a call."""
CONNECT_SECONDS = 5.0
PATIENCE_SECONDS = 5.0
"""For how long a gateway that can't be reached, or that breaks off, is tried again."""
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0

Repeatable = Callable[[], Awaitable[bool]]
"""Says whether a request that broke in mid-call may be sent again; asked only when one did."""

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


async def always() -> bool:
    """Say that a request only reads, so that it may be sent again."""
    return True


async def never() -> bool:
    """Say that a request that broke in mid-call is in doubt."""
    return False


def path_of(*parts: str) -> str:
    """Return a path of the REST door with every part quoted."""
    return "/api/v2/" + "/".join(quote(part, safe="") for part in parts)


class Wire:
    """A pool of connections to one gateway under one credential; opened on first use."""

    def __init__(self, url: str, credential: str, *, patience: float = PATIENCE_SECONDS) -> None:
        """Take the gateway's URL, a credential, and the seconds for which broken connections are tried again."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidRequest(f"'{url[:200]}' is no gateway's URL: it is like http://127.0.0.1:8000")
        if not credential or not (credential.isascii() and credential.isprintable() and " " not in credential):
            raise Unauthenticated("This is no API key: it is like tsk_…, without spaces")
        self.url = url.rstrip("/")
        self._credential = credential
        self._patience = patience
        self._through_proxy = parts.hostname not in _LOOPBACK
        self._http: httpx2.AsyncClient | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What every request says: the credential, and who asks."""
        return {"authorization": f"Bearer {self._credential}", "user-agent": f"tausestack-python/{VERSION}"}

    async def aclose(self) -> None:
        """Close the connections; the next request opens new ones."""
        opened, self._http = self._http, None
        if opened is not None:
            await opened.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        repeatable: Repeatable = always,
    ) -> Any:
        """Return the answer's JSON, or raise the `TauseError` that it stands for."""

        async def once(http: httpx2.AsyncClient) -> Any:
            reply = await http.request(method, path, timeout=_timeout(timeout), **_asked(body, query, headers))
            return _read(reply)

        return await self.persist(once, repeatable)

    async def persist(self, once: Callable[[httpx2.AsyncClient], Awaitable[Any]], repeatable: Repeatable) -> Any:
        """Run one exchange, and again after a break: one that was not sent always, one in mid-call if it may be."""
        give_up = time.monotonic() + self._patience
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await once(self.http())
            except httpx2.TimeoutException as error:
                if not isinstance(error, _NOT_SENT):
                    await _late(repeatable, error)
                broken: httpx2.TransportError = error
            except httpx2.TransportError as error:
                broken = error
            if not isinstance(broken, _NOT_SENT) and not await _may_repeat(repeatable):
                raise InDoubt(
                    "The connection broke before the answer came: it may have happened, so it was not sent again"
                ) from broken
            if time.monotonic() + pause > give_up:
                raise Unavailable(
                    f"Nothing answers at {self.url}: start it with 'tausestack up', or set TAUSESTACK_URL"
                ) from broken
            await anyio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    @asynccontextmanager
    async def events(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[AsyncIterator[httpx2.ServerSentEvent]]:
        """Open a stream of server-sent events, or raise the `TauseError` that the answer stands for."""
        async with self.http().sse(
            path, method=method, timeout=_timeout(timeout), **_asked(body, None, headers)
        ) as source:
            if source.response.status_code != 200:
                await source.response.aread()
                _read(source.response)
            yield aiter(source)

    def http(self) -> httpx2.AsyncClient:
        """Return the pool, which is opened if it was not."""
        if self._http is None:
            self._http = httpx2.AsyncClient(
                base_url=self.url,
                headers=self.headers,
                trust_env=self._through_proxy,
            )
        return self._http


class WireClient:
    """A client of one gateway, closed by `async with` or `aclose`."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client's connections."""
        await self.wire.aclose()


def raise_problem(problem: Any, status: int) -> NoReturn:
    """Raise the error of an RFC 9457 problem, or of a status that came without one."""
    found = object_at(problem)
    if "code" in found:
        raise from_data(str(found.get("detail") or found.get("title") or ""), found)
    if status in {502, 503, 504}:
        raise Unavailable(f"The gateway is not there: something before it answered {status}")
    if status == 413:
        raise PayloadTooLarge("The request is larger than the gateway takes")
    raise InternalError(f"The answer is not a gateway's: status {status} without a problem; is the URL right?")


def _read(reply: httpx2.Response) -> Any:
    try:
        content: Any = json.loads(reply.content) if reply.content else None
    except ValueError:
        raise_problem(None, reply.status_code)
    if not 200 <= reply.status_code < 300:
        raise_problem(content, reply.status_code)
    return content


def _asked(
    body: Mapping[str, Any] | None, query: Mapping[str, Any] | None, headers: Mapping[str, str] | None
) -> dict[str, Any]:
    asked: dict[str, Any] = {"headers": dict(headers or {})}
    for name, value in asked["headers"].items():
        if not (value.isascii() and value.isprintable()):
            raise InvalidRequest(
                f"{name} travels as a header, which holds printable ASCII characters alone: {value!r}"[:300]
            )
    if query:
        asked["params"] = given(query)
    if body is not None:
        try:
            asked["content"] = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"The arguments are not JSON: {error}") from error
        asked["headers"]["content-type"] = "application/json"
    return asked


def _timeout(seconds: float | None) -> httpx2.Timeout:
    return httpx2.Timeout(DEFAULT_SECONDS if seconds is None else seconds, connect=CONNECT_SECONDS)


async def _late(repeatable: Repeatable, error: httpx2.TimeoutException) -> None:
    """Raise for an answer that did not come in time; asking again would only wait longer."""
    if await _may_repeat(repeatable):
        raise DeadlineExceeded("No answer in time: give it more with timeout=") from error
    raise InDoubt("No answer in time: it may have happened, so it was not sent again") from error


async def _may_repeat(repeatable: Repeatable) -> bool:
    """A question that can't be answered is answered by no."""
    try:
        return await repeatable()
    except TauseError:
        return False
