"""The client that the conformance suite starts for each client scenario: our SDK's way to any MCP server.

`client.py SOCKET` serves runs (see `forked`): the argument is a server's URL; the scenario, its version and what else
it needs come in the environment. A run lists the tools and calls what the scenario names, else each of them with the
least that its schema asks for.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client import streamable_http  # noqa: F401 what a run needs is loaded before it
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

import forked
import tausestack as ts

REDIRECT = "http://localhost:3000/callback"
LEAST: dict[str, Any] = {"string": "x", "integer": 5, "number": 5, "boolean": True, "object": {}, "array": []}


class Memory:
    """Keeps one server's tokens for as long as this process lives."""

    def __init__(self, client: OAuthClientInformationFull | None) -> None:
        self._client = client
        self._tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info


class Person:
    """Stands for the person at the browser: opens the page and is sent back at once."""

    def __init__(self) -> None:
        self._sent_to: dict[str, list[str]] = {}

    async def open(self, url: str) -> None:
        async with httpx2.AsyncClient(timeout=60, trust_env=False) as browser:
            reply = await browser.get(url)
        self._sent_to = parse_qs(urlsplit(reply.headers["location"]).query)

    async def come_back(self) -> AuthorizationCodeResult:
        code, state, iss = (self._sent_to.get(name, [None])[0] for name in ("code", "state", "iss"))
        assert code is not None, "the person was sent back without a code"
        return AuthorizationCodeResult(code=code, state=state, iss=iss)


def authorization(url: str, context: dict[str, Any]) -> OAuthClientProvider:
    """Return the authorization code flow, with the client that the scenario registered before if it did."""
    known = None
    if "client_id" in context:
        secret = context.get("client_secret")
        known = OAuthClientInformationFull(
            client_id=context["client_id"],
            client_secret=secret,
            redirect_uris=[AnyUrl(REDIRECT)],
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
        )
    person = Person()
    return OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="tausestack",
            redirect_uris=[AnyUrl(REDIRECT)],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        storage=Memory(known),
        redirect_handler=person.open,
        callback_handler=person.come_back,
        client_metadata_url="https://conformance-test.local/client-metadata.json",
    )


def least(schema: dict[str, Any], *, all_of_them: bool = False) -> dict[str, Any]:
    """Return the least object of a schema: its defaults, and a value for each property that it asks for."""
    properties: dict[str, dict[str, Any]] = schema.get("properties", {})
    asked = properties if all_of_them else schema.get("required", [])
    defaults = {name: one["default"] for name, one in properties.items() if "default" in one}
    return {name: LEAST.get(properties.get(name, {}).get("type", ""), "x") for name in asked} | defaults


async def answer(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
    """Accept what is asked, with the values that the form suggests."""
    form = params.requested_schema if isinstance(params, types.ElicitRequestFormParams) else {}
    return types.ElicitResult(action="accept", content=least(form, all_of_them=True))


async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
    """Answer as a model would."""
    text = types.TextContent(type="text", text="An answer.")
    return types.CreateMessageResult(role="assistant", content=text, model="none")


async def roots(context: Any) -> types.ListRootsResult:
    """Give out no root."""
    return types.ListRootsResult(roots=[])


def calls(tools: list[types.Tool], context: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the calls that a scenario wants to see."""
    if "toolCalls" in context:
        yield from ((one["name"], one["arguments"]) for one in context["toolCalls"])
        return
    named = {tool.name: tool for tool in tools}
    focal = named.get("json_schema_2020_12_tool")
    if focal is not None:
        yield "json_schema_echo", {"schema": focal.input_schema}
        return
    yield from ((tool.name, least(tool.input_schema)) for tool in tools)


async def meet(client: Client, context: dict[str, Any]) -> None:
    """List the tools and make the calls; what a server refuses is its answer."""
    tools = (await client.list_tools()).tools
    for name, arguments in calls(tools, context):
        try:
            await client.call_tool(name, arguments)
        except MCPError as error:
            print(f"{name}: {error}", file=sys.stderr)


async def main(url: str) -> None:
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    context: dict[str, Any] = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    modern = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"] >= "2026-07-28"
    async with ts.mcp.connect(
        url,
        auth=authorization(url, context) if scenario.startswith("auth/") else None,
        mode="auto" if modern else "legacy",
        elicitation_callback=answer,
        sampling_callback=sample,
        list_roots_callback=roots,
    ) as client:
        await meet(client, context)


if __name__ == "__main__":
    forked.serve(sys.argv[1], lambda url: anyio.run(main, url))
