"""Which gateway a command talks to, and as whom."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import typer

from tausestack_runtime.settings import StartError, read_settings

URL_VARIABLE = "TAUSESTACK_URL"
KEY_VARIABLE = "TAUSESTACK_API_KEY"
OPERATOR_PREFIX = "tsk_operator_"
PATIENCE_SECONDS = 1.0
"""A person waits in front of the command: a gateway that is away is told of soon."""

T = TypeVar("T")

TenantOption = Annotated[str, typer.Option("--tenant", envvar="TAUSESTACK_TENANT", help="the tenant's id")]


class Refusal(Exception):
    """Why a command does nothing: one sentence that says what to do."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end."""
    return asyncio.run(work)


def gateway_url() -> str:
    """Return the gateway's URL: the one that is said, else this machine's, at the port that `up` takes."""
    return os.environ.get(URL_VARIABLE) or f"http://127.0.0.1:{read_settings().port}"


@asynccontextmanager
async def operator() -> AsyncGenerator[Any]:
    """Open the operator's client, with the operator's key of the data folder or of the environment."""
    from tausestack.client import Operator  # imports an HTTP client, which --help can do without

    given = os.environ.get(KEY_VARIABLE, "")
    key = given if given.startswith(OPERATOR_PREFIX) else _key_file(given)
    async with Operator(key, gateway_url(), patience=PATIENCE_SECONDS) as opened:
        yield opened


@asynccontextmanager
async def keyring() -> AsyncGenerator[Any]:
    """Open a client that makes and revokes keys: with a tenant's own admin key, else with the operator's."""
    from tausestack.client import Operator  # imports an HTTP client, which --help can do without

    given = os.environ.get(KEY_VARIABLE) or _key_file("")
    async with Operator(given, gateway_url(), patience=PATIENCE_SECONDS) as opened:
        yield opened


@asynccontextmanager
async def tenant_client(tenant: str) -> AsyncGenerator[Any]:
    """Open a tenant's client, with its key; with only the operator's there, in a short, audited session."""
    from tausestack.client import Client  # imports an HTTP client, which --help can do without

    key = os.environ.get(KEY_VARIABLE, "")
    if not key or key.startswith(OPERATOR_PREFIX):
        async with operator() as opened:
            key = (await opened.session(tenant))["token"]
    async with Client(tenant, key, gateway_url(), patience=PATIENCE_SECONDS) as client:
        yield client


def _key_file(other: str) -> str:
    """Return the operator's key from the data folder, else another key, which the gateway will judge."""
    from tausestack_runtime.keys import operator_key  # imports cryptography, which --help can do without

    data = read_settings().data
    try:
        return operator_key(data, make=False)
    except StartError as error:
        if other:
            return other
        raise Refusal(
            f"no credential: set {KEY_VARIABLE}, or TAUSESTACK_DATA to the stack's data folder ({error})"
        ) from error
