"""The link to a server at a URL: a POST a message, and a stream for what belongs to none."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from tausestack.errors import Forbidden, Unavailable
from tausestack_runtime.adapters.bounds import Pace
from tausestack_runtime.adapters.launches import Remote
from tausestack_runtime.adapters.remote.exchange import Exchange, Refused
from tausestack_runtime.adapters.remote.requests import Address
from tausestack_runtime.adapters.session.peer import MAX_IN_FLIGHT, MAX_WAITING, Broken, Expired, Receiver
from tausestack_runtime.egress import Egress
from tausestack_runtime.gateway.upstreams import wire

NOTICE_SECONDS = 10.0
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 60.0
GONE = "the server has ended the session"


class RemoteLink:
    """A session over streamable HTTP; a modern request goes the same way, and needs none."""

    def __init__(self, remote: Remote, egress: Egress) -> None:
        """Raises `InvalidRequest` for a URL or a header that can't be used."""
        self._address = Address(remote)
        self._pool = wire.Pool(self._address.origin, max_connections=MAX_IN_FLIGHT + MAX_WAITING + 8, egress=egress)
        self._receiver: Receiver | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._hearing: asyncio.Task[None] | None = None
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._pace = Pace()

    @property
    def pid(self) -> int | None:
        """None: it is no process of this machine's."""
        return None

    @property
    def url(self) -> str | None:
        """Where the server is, as far as it has said."""
        return self._address.url

    @property
    def keeps_session(self) -> bool:
        """Whether the server has begun a session, as the earlier versions let it."""
        return self._address.session is not None

    @property
    def last_words(self) -> str:
        """Nothing: what it writes to its stderr is known where it runs."""
        return ""

    def attach(self, receiver: Receiver) -> None:
        """Say who takes what the server says."""
        self._receiver = receiver

    async def run(self) -> str:
        """Wait until the server has ended the session."""
        return await asyncio.shield(self._ended)

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message: a request in a task of its own, anything else until the server has taken it."""
        number = message.get("id")
        if "method" in message and type(number) is int:
            self._tasks[number] = asyncio.create_task(self._request(number, message))
            return
        try:
            await self._exchange(None).post(message, NOTICE_SECONDS)
        except Expired as error:
            self._end(GONE)
            raise Broken(GONE) from error
        except Refused as error:
            if "method" not in message:
                raise Broken(str(error)) from error  # a notification that a server can't take is lost to it alone
        except (wire.WireError, Forbidden) as error:
            raise Broken(str(error)) from error
        if message.get("method") == "notifications/initialized":
            self._hearing = asyncio.create_task(self._hear())

    def done(self, number: int) -> None:
        """Close the stream of a request that nobody waits for any more."""
        task = self._tasks.pop(number, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def stop(self) -> str:
        """Give the session up, and close every connection."""
        tasks = [*self._tasks.values(), *([] if self._hearing is None else [self._hearing])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._address.session is not None and not self._ended.done():
            with suppress(wire.WireError, Forbidden, Refused, Expired):  # the server forgets it in its own time
                await self._exchange(None).delete()
        await self._pool.aclose()
        return "the session is given up"

    async def _request(self, number: int, message: dict[str, Any]) -> None:
        assert self._receiver is not None
        failure: Exception = Broken(f"the server at {self._address.origin} has not answered")
        try:
            await self._exchange(number).ask(message)
        except Expired as error:
            self._end(GONE)
            failure = error
        except (wire.NotSent, Forbidden) as error:
            failure = Unavailable(f"the server at {self._address.origin} can't be reached: {error}")
        except Refused as error:
            failure = error.answered
        except wire.WireError as error:
            failure = Broken(f"the server at {self._address.origin} broke off: {error}")
        finally:
            self._receiver.lost(number, failure)  # which changes nothing where there is an answer

    async def _hear(self) -> None:
        """Keep a stream open for what belongs to no request, as long as the server gives one."""
        pause, exchange = FIRST_PAUSE_SECONDS, self._exchange(None)
        while True:
            try:
                if not await exchange.hear():
                    return
                pause = exchange.pause or FIRST_PAUSE_SECONDS
            except Expired:
                self._end(GONE)
                return
            except Refused:
                return
            except (wire.WireError, Forbidden):
                pause = min(pause * 2, LAST_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    def _exchange(self, number: int | None) -> Exchange:
        return Exchange(self._pool, self._address, number, self._taken)

    async def _taken(self, message: dict[str, Any], number: int | None) -> None:
        assert self._receiver is not None
        if "method" in message:
            await self._pace.spend()
        await self._receiver.received(message, number)

    @property
    def killed(self) -> bool:
        """False: what becomes of a server elsewhere is not known."""
        return False

    def _end(self, why: str) -> None:
        if not self._ended.done():
            self._ended.set_result(why)
