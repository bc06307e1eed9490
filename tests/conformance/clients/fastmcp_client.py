"""FastMCP's client: `fastmcp_client.py URL KEY MODE TOOL ARGUMENTS`."""

import json
import sys

import anyio
from fastmcp import Client


async def main(url: str, key: str, mode: str, tool: str, arguments: str) -> None:
    async with Client(url, auth=key, mode="legacy" if mode.startswith("2025") else mode) as client:
        tools = await client.list_tools()
        lists = (await client.list_prompts(), await client.list_resources(), await client.list_resource_templates())
        offered = [one.name for each in lists for one in each]
        result = await client.call_tool_mcp(tool, json.loads(arguments))
        said = {"version": client.session.protocol_version, "tools": [one.name for one in tools], "offered": offered}
        print(json.dumps(said | {"failed": result.is_error, "result": result.model_dump_json()}))


anyio.run(main, *sys.argv[1:])
