"""Secrets among the arguments of calls that are kept: sealed in their places, and what arguments are compared by."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tausestack.confidential import SEALED, SHOWN, each_text, is_sealed, replaced
from tausestack.errors import InvalidArguments
from tausestack_runtime.gateway.call import Call, digest
from tausestack_runtime.gateway.sealing import Sealer

MAX_SECRET = 96 * 1024
"""Characters of what stands for a secret: one of 64 KiB fits."""

Arguments = dict[str, Any]


class Confidential:
    """Seals and opens secrets among arguments, each bound to what it was given for."""

    def __init__(self, keys: Callable[[], Sequence[bytes]] | None = None) -> None:
        """`keys` returns those of now, the one that seals first; without it there is one, as long as this process."""
        own = os.urandom(32)
        self._keys: Callable[[], Sequence[bytes]] = keys or (lambda: (own,))
        self._sealer = Sealer(self._keys, most=MAX_SECRET)

    def sealed(self, schema: Mapping[str, Any], arguments: Arguments, *bound: str) -> Arguments:
        """Return arguments in which each secret is sealed; what is sealed already, or only shown, stays as it is."""

        def seal(value: Any) -> Any:
            if is_sealed(value) or value == SHOWN:
                return value
            try:
                return SEALED + self._sealer.seal({"value": value}, *bound)
            except ValueError as error:
                raise InvalidArguments("A secret among the arguments is too long to be kept") from error

        return replaced(schema, arguments, seal)

    def opened(self, arguments: Arguments, *bound: str) -> Arguments:
        """Return arguments with their secrets; raises `InvalidArguments` for one that can't be opened here."""

        def open_(text: str) -> Any:
            if text == SHOWN:
                raise InvalidArguments(f"'{SHOWN}' stands for a secret that was not given along: give it anew")
            if not is_sealed(text):
                return text
            found = self._sealer.open(text.removeprefix(SEALED), *bound)
            if found is None:
                raise InvalidArguments("A secret is sealed for another call, or by a key that is gone: give it anew")
            return found["value"]

        return each_text(arguments, open_)

    def digests(self, tenant: str, arguments: Arguments) -> list[str]:
        """Return what arguments may be known by: first under the key of now, then as they were before that."""
        plain = digest(arguments)
        said = f"{tenant}\0{plain}".encode()
        return [*(hmac.digest(key, said, "sha256").hex() for key in self._keys()), plain]


def in_run(tenant: str, incarnation: str, server: str, tool: str, run: str) -> tuple[str, ...]:
    """Return what the secrets are bound to that an agent's run gives to a tool."""
    return ("argument", tenant, incarnation, server, tool, run)


def of_call(call: Call) -> tuple[str, ...]:
    """Return what secrets have to be bound to that come sealed with a call."""
    who = call.principal
    return in_run(who.tenant, who.incarnation, call.server, call.tool, who.run or "")
