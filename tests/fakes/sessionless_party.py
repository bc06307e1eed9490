"""A server of the official SDK's that keeps no sessions in any version: `python -m sessionless_party`.

It prints its endpoint. Its tools ask for what they need: a person's word or signature, or a thought of a model.
"""

from __future__ import annotations

import json
import socket
from typing import Annotated

import mcp_types as types
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve, Sample
from pydantic import BaseModel

server = MCPServer("sessionless")


class Answer(BaseModel):
    """What a person fills in."""

    name: str


def who() -> Elicit[Answer]:
    """Ask a person."""
    return Elicit("Who are you?", Answer)


def thought() -> Sample:
    """Ask the client's model."""
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text="Think."))
    return Sample([message], max_tokens=20)


@server.tool()
async def greet(answer: Annotated[Answer, Resolve(who)]) -> str:
    """Greet whoever answers."""
    return f"Hello, {answer.name}"


@server.tool()
async def think(said: Annotated[types.CreateMessageResult, Resolve(thought)]) -> str:
    """Say what the client's model thinks."""
    return said.content.text if isinstance(said.content, types.TextContent) else "nothing"


@server.tool()
async def sign(ctx: Context) -> str | types.InputRequiredResult:
    """Send a person to a page."""
    if ctx.input_responses:
        return json.dumps({key: answer.model_dump()["action"] for key, answer in ctx.input_responses.items()})
    page = types.ElicitRequestURLParams(message="Sign here", url="https://sign.example/1")
    return types.InputRequiredResult(input_requests={"signature": types.ElicitRequest(params=page)})


@server.tool()
async def count(ctx: Context) -> str:
    """Tell of three steps."""
    for step in (1, 2, 3):
        await ctx.report_progress(step, 3)
    return "done"


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    app = server.streamable_http_app(stateless_http=True)
    running = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    running.run(sockets=[listener])
