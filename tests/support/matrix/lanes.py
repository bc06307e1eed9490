"""Somebody at the doors: connections, sessions and clients that are kept, one request after another."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from matrix.subjects import Subject
from tausestack.client.sync import SyncClient
from tausestack.contract import PROTOCOL_VERSION
from tausestack.errors import TauseError
from tausestack_runtime.cli.app import main

STREAM_SECONDS = 0.3
"""How long a stream may say nothing before it is left."""
_process_wide = threading.Lock()


@dataclass(frozen=True)
class Reply:
    """What came back: a status (of HTTP, of an SDK's error, or an exit code), headers, and all of the text."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str

    @property
    def text(self) -> str:
        return "\n".join((*(f"{name}: {value}" for name, value in self.headers), self.body))

    def json(self) -> Any:
        """Return the body, or the last message of its event stream."""
        data = [line[6:] for line in self.body.splitlines() if line.startswith("data: ")]
        return json.loads(data[-1] if data else self.body)


class Lane:
    """One caller: a tenant's admin, or somebody with a bad credential (`key`), or with none (`key` None)."""

    def __init__(self, url: str, key: str | None, who: Subject | None, nowhere: str) -> None:
        """`nowhere` is a data folder that is not there, so that no command finds an operator's key."""
        self.url, self.key, self.who, self._nowhere = url, key, who, nowhere
        self.sessions: dict[tuple[str, str | None], str] = {}
        """Sessions of earlier versions on the own endpoints, by version and server."""
        self.sent = ""
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._clients: dict[str, SyncClient] = {}

    def http(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, *, stream: bool = False
    ) -> Reply:
        """Send a request over the lane's own connection; a stream is read for as long as it has something to say."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self.key}"} if self.key else {})}
        sent |= headers or {}
        self.sent += json.dumps([path, body, headers], ensure_ascii=False, default=str)
        if stream:
            return self._streamed(method, path, raw, sent)
        try:
            reply = self._asked(self._connection, method, path, raw, sent)
        except (http.client.RemoteDisconnected, ConnectionError):
            self._connection.close()
            reply = self._asked(self._connection, method, path, raw, sent)
        return Reply(reply.status, _shown(reply), reply.read().decode())

    def form(self, method: str, path: str, fields: dict[str, str]) -> Reply:
        """Send fields as a browser or an OAuth client does."""
        said = urlencode(fields, errors="replace")
        if method == "GET":
            return self.http("GET", f"{path}?{said}")
        return self.http("POST", path, said.encode(), {"Content-Type": "application/x-www-form-urlencoded"})

    def mcp(
        self, tenant: str, server: str | None, method: str, params: dict[str, Any], *, stream: bool = False
    ) -> Reply:
        """Send a request of 2026-07-28."""
        message, headers = modern(method, params, stream=stream)
        return self.http("POST", endpoint(tenant, server), message, headers, stream=stream)

    def earlier(
        self,
        tenant: str,
        server: str | None,
        version: str,
        method: str,
        params: dict[str, Any],
        session: str | None = None,
    ) -> Reply:
        """Send a request of an earlier version, within the lane's own session or in another's."""
        own = session or self._session(version, server)
        headers = {"Accept": "application/json, text/event-stream", "Mcp-Session-Id": own}
        if version >= "2025-06-18":
            headers["MCP-Protocol-Version"] = version
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self.http("POST", endpoint(tenant, server), message, headers)

    def sdk(self, tenant: str, ask: Callable[[SyncClient], Any]) -> Reply:
        """Ask a client of the SDK, which is kept by tenant."""
        try:
            client = self._clients.get(tenant)
            if client is None:
                client = SyncClient(tenant, self.key or "none", self.url, patience=0)
                self._clients[tenant] = client
            return Reply(200, (), _plain(ask(client)))
        except TauseError as error:
            return Reply(error.status, (), json.dumps([type(error).__name__, error.message, error.data]))

    def cli(self, *arguments: str) -> Reply:
        """Run a command in this process."""
        self.sent += json.dumps(arguments, ensure_ascii=False)
        environment = {"TAUSESTACK_URL": self.url, "TAUSESTACK_DATA": self._nowhere}
        with _process_wide, _environment(environment | ({"TAUSESTACK_API_KEY": self.key} if self.key else {})):
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = main(arguments)
        return Reply(code, (), out.getvalue())

    def close(self) -> None:
        """Close all that is kept."""
        self._connection.close()
        for client in self._clients.values():
            client.close()

    def _session(self, version: str, server: str | None) -> str:
        """Return the lane's own session, begun on first use; a made-up one where it can have none."""
        if self.who is None:
            return "s" * 40
        found = self.sessions.get((version, server))
        if found is None:
            said = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "m", "version": "1"}}
            message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": said}
            accept = {"Accept": "application/json, text/event-stream"}
            reply = self.http("POST", endpoint(self.who.name, server), message, accept)
            assert reply.status == 200, reply
            found = self.sessions[version, server] = dict(reply.headers)["mcp-session-id"]
            headers = {**accept, "Mcp-Session-Id": found}
            if version >= "2025-06-18":
                headers["MCP-Protocol-Version"] = version
            ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            assert self.http("POST", endpoint(self.who.name, server), ready, headers).status == 202
        return found

    def _asked(
        self, connection: http.client.HTTPConnection, method: str, path: str, raw: bytes | None, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        connection.request(method, path, raw, headers)
        return connection.getresponse()

    def _streamed(self, method: str, path: str, raw: bytes | None, headers: dict[str, str]) -> Reply:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        try:
            reply = self._asked(connection, method, path, raw, headers)
            if not (reply.getheader("content-type") or "").startswith("text/event-stream"):
                return Reply(reply.status, _shown(reply), reply.read().decode())
            assert connection.sock is not None
            connection.sock.settimeout(STREAM_SECONDS)
            read = b""
            with contextlib.suppress(TimeoutError):
                while line := reply.readline():
                    read += line
            return Reply(reply.status, _shown(reply), read.decode())
        finally:
            connection.close()


class Listener(threading.Thread):
    """A stream of notifications of a lane's tenant, held open and read from its begin to its end."""

    def __init__(self, lane: Lane, tenant: str) -> None:
        super().__init__(daemon=True)
        self.lane, self.heard = lane, ""
        self._connection = http.client.HTTPConnection(urlsplit(lane.url).netloc, timeout=60)
        wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
        message, headers = modern("subscriptions/listen", {"notifications": wanted}, stream=True)
        raw, sent = json.dumps(message).encode(), {"Content-Type": "application/json", **headers}
        self._connection.request("POST", endpoint(tenant, None), raw, {**sent, "Authorization": f"Bearer {lane.key}"})
        self._reply = self._connection.getresponse()
        assert self._reply.status == 200, self._reply.read()
        self._socket = self._connection.sock
        self.start()

    def run(self) -> None:
        """Read until it is closed."""
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            while line := self._reply.readline():
                self.heard += line.decode()

    def close(self) -> None:
        """Leave the stream."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self.join(10)
        self._reply.close()
        self._connection.close()


def endpoint(tenant: str, server: str | None) -> str:
    """Return the path of a tenant's merged endpoint, or of a server's own."""
    own = quote(tenant, safe="")
    return f"/tenants/{own}/mcp" if server is None else f"/tenants/{own}/servers/{quote(server, safe='')}/mcp"


def modern(method: str, params: dict[str, Any], *, stream: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a request of 2026-07-28 and the headers that mirror it."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": PROTOCOL_VERSION,
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
    }
    headers = {
        "Accept": "application/json, text/event-stream" if stream else "application/json",
        "MCP-Protocol-Version": PROTOCOL_VERSION,
        "Mcp-Method": method,
    }
    about = params.get("name", params.get("uri", params.get("taskId")))
    if about is not None:
        headers["Mcp-Name"] = encoded(str(about))
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}, headers


def encoded(value: str) -> str:
    """Return a value as a mirrored header carries it."""
    from tausestack_runtime.gateway.mirrors import encoded as as_header

    return as_header(value).decode()


def _shown(reply: http.client.HTTPResponse) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name.lower(), value) for name, value in reply.getheaders()))


def _plain(value: Any) -> str:
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    if isinstance(value, list):
        value = [one.model_dump(mode="json") if hasattr(one, "model_dump") else one for one in value]
    return json.dumps(value, ensure_ascii=False, default=str)


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("TAUSESTACK_")]:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
