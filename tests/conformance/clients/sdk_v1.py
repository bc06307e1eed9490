"""The official Python SDK 1: `sdk_v1.py URL KEY VERSION TOOL ARGUMENTS`."""

import json
import sys

import anyio
from mcp import ClientSession, types
from mcp.client.streamable_http import streamablehttp_client


async def main(url: str, key: str, version: str, tool: str, arguments: str) -> None:
    types.LATEST_PROTOCOL_VERSION = version  # what it offers in its `initialize`
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        streamablehttp_client(url, headers=headers) as (reader, writer, _),
        ClientSession(reader, writer) as client,
    ):
        agreed = (await client.initialize()).protocolVersion
        tools = (await client.list_tools()).tools
        prompts = (await client.list_prompts()).prompts
        resources = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resourceTemplates
        offered = [one.name for one in (*prompts, *resources, *templates)]
        result = await client.call_tool(tool, json.loads(arguments))
        said = {"version": agreed, "tools": [one.name for one in tools], "offered": offered}
        print(json.dumps(said | {"failed": result.isError, "result": result.model_dump_json()}))


anyio.run(main, *sys.argv[1:])
