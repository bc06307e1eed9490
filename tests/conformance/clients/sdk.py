"""The official Python SDK 2: `sdk.py URL KEY MODE TOOL ARGUMENTS`."""

import json
import sys

import anyio
import httpx2
from mcp import Client
from mcp.client import session
from mcp.client.streamable_http import streamable_http_client


async def main(url: str, key: str, mode: str, tool: str, arguments: str) -> None:
    if mode.startswith("2025"):
        session.LATEST_HANDSHAKE_VERSION = mode  # what it offers in its `initialize`
        mode = "legacy"
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False)
    async with http, Client(streamable_http_client(url, http_client=http), mode=mode) as client:
        tools = (await client.list_tools()).tools
        prompts = (await client.list_prompts()).prompts
        resources = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        offered = [one.name for one in (*prompts, *resources, *templates)]
        result = await client.call_tool(tool, json.loads(arguments))
        said = {"version": client.protocol_version, "tools": [one.name for one in tools], "offered": offered}
        print(json.dumps(said | {"failed": result.is_error, "result": result.model_dump_json()}))


anyio.run(main, *sys.argv[1:])
