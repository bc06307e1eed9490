"""Calling other servers: through the gateway's internal socket, and no other way."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx2

from tausestack.contract import (
    MCP_CAPABILITIES_META,
    MCP_CLIENT_META,
    MCP_VERSION_META,
    META_APPROVAL,
    META_ERROR,
    META_KEY,
    META_PARENT,
    PROTOCOL_VERSION,
    VERSION,
)
from tausestack.errors import InDoubt, ToolFailed, Unavailable, UpstreamError, from_data
from tausestack.names import Address
from tausestack.raw import as_object, given, object_at, objects_in

_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class NestedCall:
    """A call to another server, made for a tenant."""

    tenant: str
    address: Address
    arguments: dict[str, Any]
    bearer: str
    parent: str | None = None
    idempotency_key: str | None = None
    approval: str | None = None
    meta: dict[str, Any] = field(default_factory=dict[str, Any])


class Gateway(Protocol):
    """Where a server's own calls go."""

    async def call(self, call: NestedCall) -> Any:
        """Return a call's structured result, or raise the failure."""
        ...

    async def aclose(self) -> None:
        """Close what is open."""
        ...


class GatewaySocket:
    """The gateway behind its internal Unix socket."""

    def __init__(self, path: str, process_credential: str | None, client: str) -> None:
        self._process = process_credential
        self._name = client
        # The gateway sets each call's deadline; a timeout of ours would only hide its answer.
        self._http = httpx2.AsyncClient(
            # A Unix socket has no TLS: loading its certificates would only make each cold start 27 ms slower.
            transport=httpx2.AsyncHTTPTransport(uds=path, verify=False),
            base_url="http://gateway",
            timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
        )

    async def call(self, call: NestedCall) -> Any:
        """Return a call's structured result, or raise the failure."""
        body = json.dumps(self._request(call), ensure_ascii=False).encode()
        target = f"/tenants/{call.tenant}/servers/{call.address.server}/mcp"
        try:
            reply = await self._http.post(target, content=body, headers=self._headers(call))
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise Unavailable("The gateway takes no connections") from error
        except httpx2.TransportError as error:
            raise InDoubt(f"The gateway broke off in the middle of {call.address}") from error
        return result_of(call.address, _message(reply))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    def _headers(self, call: NestedCall) -> dict[str, str]:
        headers = {
            "authorization": f"Bearer {call.bearer}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": PROTOCOL_VERSION,
            "mcp-method": "tools/call",
            "mcp-name": call.address.tool,
        }
        if self._process is not None:
            headers["x-tausestack-process"] = self._process
        return headers

    def _request(self, call: NestedCall) -> dict[str, Any]:
        meta = {
            **call.meta,
            MCP_VERSION_META: PROTOCOL_VERSION,
            MCP_CAPABILITIES_META: {},
            MCP_CLIENT_META: {"name": self._name, "version": VERSION},
        }
        meta |= given({META_PARENT: call.parent, META_KEY: call.idempotency_key, META_APPROVAL: call.approval})
        params = {"name": call.address.tool, "arguments": call.arguments, "_meta": meta}
        return {"jsonrpc": "2.0", "id": secrets.token_hex(8), "method": "tools/call", "params": params}


def result_of(address: Address, message: dict[str, Any]) -> Any:
    """Return the structured result in a JSON-RPC response to a tool call, or raise the failure that it tells of."""
    error = as_object(message.get("error"))
    if error is not None:
        text, data = str(error.get("message", "")), as_object(error.get("data"))
        if data is not None and "code" in data:
            raise from_data(text, data)
        raise UpstreamError(text, upstream=error)
    result = as_object(message.get("result"))
    if result is None:
        raise UpstreamError(f"{address} was answered with no result")
    parts = [part for part in objects_in(result.get("content")) if part.get("type") == "text"]
    text = "\n".join(str(part.get("text", "")) for part in parts)
    if result.get("isError") is True:
        said = as_object(object_at(result, "_meta").get(META_ERROR))
        raise from_data(text, said) if said is not None else ToolFailed(text)
    structured = result.get("structuredContent")
    return {"content": result.get("content", [])} if structured is None else structured


def _message(reply: httpx2.Response) -> dict[str, Any]:
    """Return the JSON-RPC response in a reply: its body, or the last event of its stream."""
    text = reply.text
    if reply.headers.get("content-type", "").startswith("text/event-stream"):
        payloads = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
        text = payloads[-1] if payloads else ""
    try:
        message = as_object(json.loads(text))
    except ValueError:
        message = None
    if message is None:
        raise UpstreamError(f"The gateway answered with HTTP {reply.status_code} and no JSON-RPC response")
    return message
