"""An MCP client of the earlier versions, as far as tests need one: raw messages in, raw messages out."""

from __future__ import annotations

import contextlib
import copy
import json
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import httpx2

Message = dict[str, Any]
Told = Callable[[Message], None]
ALL: Message = {"elicitation": {}, "sampling": {}, "roots": {}}


def _ignore(_: Message) -> None:
    return


class Earlier:
    """A session at an endpoint; `events` are the ids that its streams' events bore, oldest first."""

    def __init__(
        self,
        url: str,
        key: str,
        version: str = "2025-11-25",
        capabilities: Message = ALL,
        *,
        client: httpx2.Client | None = None,
    ) -> None:
        self.url = url
        self.client = client or httpx2.Client(trust_env=False, verify=False, timeout=60)
        weakref.finalize(self, self.client.close)
        self.client.headers.update({"Authorization": f"Bearer {key}", "Accept": "application/json, text/event-stream"})
        self.events: list[str] = []
        self.retries: list[int] = []
        self._last = 0
        said = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "t", "version": "1"}}
        reply = self.post({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": said})
        assert reply.status_code == 200, reply.text
        self.initialized: Message = reply.json()["result"]
        self.client.headers["Mcp-Session-Id"] = reply.headers["mcp-session-id"]
        self.version = str(self.initialized["protocolVersion"])
        if self.version >= "2025-06-18":
            self.client.headers["MCP-Protocol-Version"] = self.version
        assert self.notify("notifications/initialized") == 202

    @property
    def session(self) -> str:
        return self.client.headers["Mcp-Session-Id"]

    def through(self, client: httpx2.Client) -> Earlier:
        """Return the same session, spoken in through another client."""
        other = copy.copy(self)
        client.headers.update({**client.headers, **self.client.headers})
        weakref.finalize(other, client.close)
        other.client, other.events = client, []
        return other

    def post(self, message: Any, **headers: str) -> httpx2.Response:
        """Send anything."""
        return self.client.post(self.url, json=message, headers=headers)

    def notify(self, method: str, params: Message | None = None) -> int:
        """Send a notification and return the status."""
        message = {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})}
        return self.post(message).status_code

    def respond(self, question: Message, result: Message) -> int:
        """Answer a question and return the status."""
        return self.post({"jsonrpc": "2.0", "id": question["id"], "result": result}).status_code

    def request(self, method: str, params: Message | None = None) -> Message:
        """Return the request that a method and parameters make, with an id of its own."""
        self._last += 1
        return {"jsonrpc": "2.0", "id": self._last, "method": method, "params": params or {}}

    def ask(self, method: str, params: Message | None = None, told: Told = _ignore) -> Message:
        """Send a request and return the response; whatever comes before it is told."""
        asked = self.request(method, params)
        with self.sent(asked) as messages:
            for message in messages:
                if "method" not in message:
                    assert message["id"] == asked["id"], message
                    return message
                told(message)
        raise AssertionError("there was no response")

    def result(self, method: str, params: Message | None = None, told: Told = _ignore) -> Any:
        """Send a request and return its result."""
        response = self.ask(method, params, told)
        assert "result" in response, response
        return response["result"]

    def call(self, name: str, arguments: Message | None = None, told: Told = _ignore) -> Any:
        """Call a tool and return its result."""
        return self.result("tools/call", {"name": name, "arguments": arguments or {}}, told)

    @contextlib.contextmanager
    def sent(self, message: Any) -> Iterator[Iterator[Message]]:
        """Send a message and give those that come back, as they come."""
        with self.client.stream("POST", self.url, json=message) as reply:
            yield self._messages(reply)

    @contextlib.contextmanager
    def listening(self, after: str | None = None) -> Iterator[Iterator[Message]]:
        """Open a stream with GET, or resume one, and give the messages as they come."""
        headers = {"Accept": "text/event-stream", **({} if after is None else {"Last-Event-ID": after})}
        with self.client.stream("GET", self.url, headers=headers) as reply:
            assert reply.status_code == 200, reply.read()
            try:
                yield self._messages(reply)
            finally:
                hang_up(reply)

    def end(self) -> int:
        """End the session and return the status."""
        return self.client.delete(self.url).status_code

    def _messages(self, reply: httpx2.Response) -> Iterator[Message]:
        if not reply.headers.get("content-type", "").startswith("text/event-stream"):
            body = json.loads(reply.read() or b"[]")
            yield from body if isinstance(body, list) else [body]
            return
        for line in reply.iter_lines():
            field, _, value = line.partition(": ")
            if field == "id":
                self.events.append(value)
            elif field == "retry":
                self.retries.append(int(value))
            elif field == "data" and value:
                yield json.loads(value)


def hang_up(reply: httpx2.Response) -> None:
    """End a stream at once, also for whoever reads it just now."""
    with contextlib.suppress(OSError):  # it has ended by itself
        reply.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def heard(client: Earlier, http: httpx2.Client | None = None) -> Iterator[list[str]]:
    """Open a stream of a session through another client, and give the methods of what is told on it, as they come."""
    methods: list[str] = []

    def read(messages: Iterator[Message]) -> None:
        with contextlib.suppress(httpx2.TransportError, httpx2.StreamError):  # it is read until it is closed
            methods.extend(message["method"] for message in messages)

    through = client.through(http or httpx2.Client(trust_env=False, verify=False, timeout=60))
    with contextlib.ExitStack() as last, through.listening() as messages:
        reader = threading.Thread(target=read, args=(messages,))
        reader.start()
        last.callback(reader.join, 60)
        yield methods


def endpoint(tenant: Any, server: str | None = None) -> str:
    """Return the URL of a tenant's merged endpoint, or of a server's own."""
    return f"{tenant.url}/tenants/{tenant.name}/" + ("mcp" if server is None else f"servers/{server}/mcp")
