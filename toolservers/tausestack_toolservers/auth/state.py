"""What the auth service's process keeps: keys, people, grants, and what signs for them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import anyio.to_thread

from tausestack.changes import ChangeFeed
from tausestack.mcp import Context, Service
from tausestack_toolservers.auth.keyring import Keyring
from tausestack_toolservers.auth.oauth.clients import Clients
from tausestack_toolservers.auth.oauth.grants import Grants
from tausestack_toolservers.auth.oauth.registrations import Registrations
from tausestack_toolservers.auth.oauth.requests import Waiting
from tausestack_toolservers.auth.oauth.signed import Signed
from tausestack_toolservers.auth.oauth.tokens import Tokens
from tausestack_toolservers.auth.users import Users


class State:
    """Every part of the service, over one feed of what changed."""

    def __init__(self, service: Service) -> None:
        databases, alone = service.tenant_databases(), {"alone": secrets.token_bytes(32)}
        # A service that is tried alone has no keys of a stack's: what it signs is good to itself, until it ends.
        self._masters = service.env.masters or (lambda: alone)
        self._requests = Signed("oauth-request")
        self.clock: Callable[[], float] = time.time
        """Seconds since the epoch."""
        self.feed = ChangeFeed()
        self.keyring = Keyring(databases, self.feed)
        self.users = Users(databases, self.feed)
        self.grants = Grants(databases, self.feed, self._now)
        self.tokens = Tokens(keyring=self.keyring, users=self.users, grants=self.grants, clock=self._now)
        self._registrations = Registrations(databases)
        self.clients = Clients(self._registrations)
        self.waiting = Waiting(self._requests, self._now)

    async def take_keys(self) -> None:
        """Sign by the keys of now: a rotation may have begun, or ended, since the last request."""
        keys = list((await anyio.to_thread.run_sync(self._masters)).values())
        self.tokens.take(keys)
        self._requests.take(keys)
        await self._registrations.take(keys)

    def _now(self) -> float:
        return self.clock()


async def signing(ctx: Context) -> State:
    """Return a call's state, ready to sign and to verify."""
    state: State = ctx.state
    await state.take_keys()
    return state
