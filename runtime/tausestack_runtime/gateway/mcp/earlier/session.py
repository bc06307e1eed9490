"""Sessions: what a client said of itself at its `initialize`, sealed into the token that it shows from then on."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from tausestack.contract import EARLIER_VERSIONS, Principal
from tausestack.errors import INVALID_PARAMS, NotFound
from tausestack.raw import as_object, object_at
from tausestack_runtime.gateway.mcp.envelope import Refused
from tausestack_runtime.gateway.sealing import Sealer

SESSION_SECONDS = 24 * 3600
"""How long a session holds; its client is then told to begin another, as the protocol has it."""

_CLIENT_FIELDS = ("name", "title", "version")


class NoSession(NotFound):
    """The session is unknown, over, somebody else's or another endpoint's: nobody can tell which."""

    rpc = -32001


@dataclass(frozen=True, slots=True)
class Session:
    """A session of one principal at one endpoint; `server` is None on the merged one, `expires` is in Unix time."""

    id: str
    tenant: str
    server: str | None
    principal: str
    version: str
    capabilities: dict[str, Any]
    client: dict[str, Any]
    expires: float

    def at_least(self, version: str) -> bool:
        """Whether it speaks a version, or a later one."""
        return self.version >= version


class Tokens:
    """Gives out sessions, and knows them again; nothing of that is kept."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def begin(self, principal: Principal, server: str | None, params: dict[str, Any]) -> tuple[Session, str]:
        """Return a new session for the parameters of an `initialize`, and its token."""
        asked, capabilities = params.get("protocolVersion"), as_object(params.get("capabilities"))
        if not isinstance(asked, str) or capabilities is None:
            raise Refused(INVALID_PARAMS, "initialize needs protocolVersion and capabilities")
        said = object_at(params, "clientInfo")
        session = Session(
            id=secrets.token_hex(12),
            tenant=principal.tenant,
            server=server,
            principal=_acting(principal),
            version=asked if asked in EARLIER_VERSIONS else EARLIER_VERSIONS[0],
            capabilities=capabilities,
            client={name: said[name] for name in _CLIENT_FIELDS if isinstance(said.get(name), str)},
            expires=time.time() + SESSION_SECONDS,
        )
        content = {
            "id": session.id,
            "version": session.version,
            "capabilities": capabilities,
            "client": session.client,
            "expires": session.expires,
        }
        try:
            return session, self._sealer.seal(content, *_bound(principal, server))
        except ValueError as error:
            raise Refused(INVALID_PARAMS, "The client says too much of itself") from error

    def open(self, token: str, principal: Principal, server: str | None) -> Session:
        """Return the session of a token, or raise `NoSession`."""
        content = self._sealer.open(token, *_bound(principal, server))
        if content is None or content["expires"] <= time.time():
            raise NoSession("There is no such session: begin one with initialize")
        return Session(
            id=content["id"],
            tenant=principal.tenant,
            server=server,
            principal=_acting(principal),
            version=content["version"],
            capabilities=content["capabilities"],
            client=content["client"],
            expires=content["expires"],
        )


def _bound(principal: Principal, server: str | None) -> tuple[str, ...]:
    """Return what a session's token opens for, and for nothing else: a tenant of the same id later on is another."""
    return (principal.tenant, principal.incarnation, server or "", _acting(principal))


def _acting(principal: Principal) -> str:
    return "|".join((principal.id, principal.agent or "", principal.run or ""))
