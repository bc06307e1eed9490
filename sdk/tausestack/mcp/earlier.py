"""The earlier way of writing a tool: a function of `tenant_id` and `params`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.to_thread

from tausestack.mcp.context import Context
from tausestack.names import parse_address

EarlierFunction = Callable[[str, dict[str, Any]], Any]

ADDRESS = "__tausestack_address__"


def tool(address: str) -> Callable[[EarlierFunction], EarlierFunction]:
    """Mark a function `(tenant_id, params) -> dict` as the tool of an address, for `Server.include`.

    `tenant_id` is bound from the credential; the tool's schema is one open object.
    """
    parse_address(address)

    def mark(function: EarlierFunction) -> EarlierFunction:
        if list(inspect.signature(function).parameters) != ["tenant_id", "params"]:
            raise ValueError(f"{address}: the earlier form is a function of (tenant_id, params)")
        setattr(function, ADDRESS, address)
        return function

    return mark


def adapted(function: EarlierFunction) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Return a function of the present form that calls one of the earlier form."""

    async def call(params: dict[str, Any], ctx: Context) -> dict[str, Any]:
        if inspect.iscoroutinefunction(function):
            return await function(ctx.tenant, params)
        return await anyio.to_thread.run_sync(function, ctx.tenant, params)

    call.__doc__ = inspect.getdoc(function)
    return call
