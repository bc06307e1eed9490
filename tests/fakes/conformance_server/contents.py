"""Tools that return every kind of content, report, log, fail, and change the lists."""

from __future__ import annotations

from typing import Any

import anyio
from mcp.server.subscriptions import PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError

from conformance_server.calls import Call, ToolBox, content, text
from tausestack.errors import MISSING_CLIENT_CAPABILITY

RED_DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
"""A PNG of one red pixel."""
SILENCE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
"""A WAV of no samples."""

PAUSE_SECONDS = 0.05
RECONNECT_SECONDS = 0.2

CONTACT: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
REGION: dict[str, Any] = {
    "type": "object",
    "properties": {"region": {"type": "string", "description": "Where to", "x-mcp-header": "Region"}},
}
NAMED: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

box = ToolBox()


@box.tool("test_simple_text")
async def simple_text(_call: Call) -> dict[str, Any]:
    """Returns one text."""
    return text("This is a simple text response for testing.")


@box.tool("test_image_content")
async def image_content(_call: Call) -> dict[str, Any]:
    """Returns an image."""
    return content({"type": "image", "data": RED_DOT, "mimeType": "image/png"})


@box.tool("test_audio_content")
async def audio_content(_call: Call) -> dict[str, Any]:
    """Returns a sound."""
    return content({"type": "audio", "data": SILENCE, "mimeType": "audio/wav"})


@box.tool("test_embedded_resource")
async def embedded_resource(_call: Call) -> dict[str, Any]:
    """Returns a resource, embedded."""
    said = "This is an embedded resource content."
    resource = {"uri": "test://embedded-resource", "mimeType": "text/plain", "text": said}
    return content({"type": "resource", "resource": resource})


@box.tool("test_multiple_content_types")
async def multiple_content_types(_call: Call) -> dict[str, Any]:
    """Returns a text, an image and a resource."""
    said = '{"test":"data","value":123}'
    resource = {"uri": "test://mixed-content-resource", "mimeType": "application/json", "text": said}
    return content(
        {"type": "text", "text": "Multiple content types test:"},
        {"type": "image", "data": RED_DOT, "mimeType": "image/png"},
        {"type": "resource", "resource": resource},
    )


@box.tool("test_tool_with_logging")
async def tool_with_logging(call: Call) -> dict[str, Any]:
    """Logs three messages as it goes."""
    await call.log("Tool execution started")
    await anyio.sleep(PAUSE_SECONDS)
    await call.log("Tool processing data")
    await anyio.sleep(PAUSE_SECONDS)
    await call.log("Tool execution completed")
    return text("Tool with logging executed successfully")


@box.tool("test_logging_tool")
async def logging_tool(call: Call) -> dict[str, Any]:
    """Logs one message, to those who want it."""
    await call.log("Something worth a line")
    return text("Logged, where logs are wanted")


@box.tool("test_tool_with_progress")
async def tool_with_progress(call: Call) -> dict[str, Any]:
    """Reports its progress three times."""
    for done in (0, 50, 100):
        await call.request.session.report_progress(done, 100, f"Completed step {done} of 100")
        await anyio.sleep(PAUSE_SECONDS if done < 100 else 0)
    return text("Tool with progress executed successfully")


@box.tool("test_error_handling")
async def error_handling(_call: Call) -> dict[str, Any]:
    """Fails, always."""
    return text("This tool intentionally returns an error for testing", error=True)


@box.tool("test_missing_capability")
async def missing_capability(call: Call) -> dict[str, Any]:
    """Needs a client that declares sampling."""
    if "sampling" not in call.capabilities:
        needed = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(MISSING_CLIENT_CAPABILITY, "This tool needs a client that declares sampling", needed)
    return text("The client declares sampling.")


@box.tool("test_x_mcp_header", REGION)
async def x_mcp_header(call: Call) -> dict[str, Any]:
    """Takes a region that a header repeats."""
    return text(f"region={call.arguments.get('region', 'none')}")


@box.tool("json_schema_2020_12_tool", CONTACT)
async def json_schema_2020_12_tool(_call: Call) -> dict[str, Any]:
    """Has an input schema of JSON Schema 2020-12's broad vocabulary."""
    return text("The schema is the point.")


@box.tool("greet", NAMED)
async def greet(call: Call) -> dict[str, Any]:
    """Greets by name, at once."""
    return text(f"Hello, {call.arguments.get('name', 'stranger')}!")


@box.tool("test_reconnection")
async def reconnection(call: Call) -> dict[str, Any]:
    """Closes its stream midway and goes on, for a client that comes back for the rest."""
    await call.log("Before the stream is closed")
    if call.request.close_sse_stream is not None:
        await call.request.close_sse_stream()
    await anyio.sleep(RECONNECT_SECONDS)
    await call.log("After the stream was closed")
    return text("Reconnection test completed")


@box.tool("test_trigger_tool_change")
async def trigger_tool_change(call: Call) -> dict[str, Any]:
    """Tells those who listen that the tools changed."""
    await (
        call.around.bus.publish(ToolsListChanged()) if call.modern else call.request.session.send_tool_list_changed()
    )
    return text("The list of tools changed.")


@box.tool("test_trigger_prompt_change")
async def trigger_prompt_change(call: Call) -> dict[str, Any]:
    """Tells those who listen that the prompts changed."""
    session = call.request.session
    await (call.around.bus.publish(PromptsListChanged()) if call.modern else session.send_prompt_list_changed())
    return text("The list of prompts changed.")
