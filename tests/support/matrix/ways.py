"""Every way into the stack, found by reflection: each door with each thing behind it."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

import typer.main

from matrix.lanes import Lane, Reply
from matrix.words import Picker
from tausestack.client import Operator
from tausestack.client.sync import SyncAgents, SyncApprovals, SyncClient, SyncSchedules, SyncThreads
from tausestack.contract import EARLIER_VERSIONS
from tausestack.errors import TauseError
from tausestack_registry.catalogue import bundled
from tausestack_runtime.cli.app import app
from tausestack_runtime.gateway.call import NAMED
from tausestack_runtime.gateway.mcp.lists import KINDS
from tausestack_runtime.gateway.mcp.subscriptions import LISTEN
from tausestack_runtime.gateway.oauth.door import ENDPOINTS
from tausestack_runtime.gateway.rest.endpoint import ROUTES
from tausestack_runtime.gateway.rest.resources import OPERATOR_RESOURCES, RESOURCES
from tausestack_runtime.platform.definitions import definitions

Run = Callable[[Lane, Picker], Reply]


@dataclass(frozen=True)
class Way:
    """One thing behind one door."""

    door: str
    name: str
    run: Run
    reads: bool
    weight: float = 1.0


@dataclass(frozen=True)
class Tool:
    """A tool, whichever door it is called through."""

    server: str
    name: str
    schema: Mapping[str, Any]
    reads: bool
    third: bool = False

    @property
    def address(self) -> str:
        return f"{self.server}/{self.name}"


SELDOM = {
    "platform/verify_audit": 0.02,  # reads all of a chain that grows with each call
    "platform/get_usage": 0.1,
    "auth/create_api_key": 0.05,  # each stays in the tenant's snapshot
    "auth/create_user": 0.05,  # a password's hash is made to cost
    **dict.fromkeys(("auth/login", "auth/verify", "auth/set_password", "auth/change_password"), 0.2),
    "registry/install": 0.3,
    LISTEN: 0.1,  # a stream is read until it says nothing for a while
    "runs/{run}/events": 0.1,
}
"""What costs more than it shows when it is asked for as often as the rest."""

HERE_ALONE = {
    "up": "starts a stack",
    "worker": "works for a stack with its master secret",
    "demo": "makes tenants of its own with the operator's key",
    "doctor": "looks at this machine, and asks with the operator's key",
    "token": "signs with the data folder's key, on this machine",
    "db": "opens this machine's own databases",
    "backup": "the same",
    "restore": "the same",
    "tenant export": "the same",
    "tenant import": "the same",
    "new": "writes files on this machine",
}
"""Commands that are no door of a running stack."""

OF_ITSELF = frozenset({"close", "aclose", "key", "may_repeat", "mcp", "path"})
"""Methods of the SDK that ask nothing: `mcp` gives the official client, at a door that is here already."""

FACES = {
    None: SyncClient,
    "agents": SyncAgents,
    "approvals": SyncApprovals,
    "threads": SyncThreads,
    "schedules": SyncSchedules,
}
"""The faces of the SDK's client, by the attribute that leads to them."""

OF_ALL = ("oauth-authorization-server", "jwks.json")
"""The documents that are of no tenant."""

KEYS = (("GET", "keys"), ("POST", "keys/master"), ("POST", "keys/signing"), ("POST", "keys/tenants/{tenant}"))
"""The routes of the stack's own keys."""

WITHIN = (None, "storage")
"""The merged endpoint, and one server's own."""


def ways(tools: Iterable[Tool]) -> list[Way]:
    """Return every way in."""
    each = list(tools)
    return [
        *_tool_ways(each),
        *_route_ways(),
        *_oauth_ways(),
        *_method_ways(),
        *_sdk_ways(),
        *_command_ways(),
        *_plain_ways(),
    ]


def own_tools() -> list[Tool]:
    """Return every tool of our own servers, those that no tenant is shown among them."""
    found = [(entry.name, raw) for entry in bundled().entries for raw in entry.tools]
    found += [("platform", raw) for raw in definitions()]
    return list({f"{server}/{raw['name']}": _tool(server, raw) for server, raw in found}.values())


def partys_tools() -> list[Tool]:
    """Return those tools of the third party that each tenant has under a name of its own."""
    text = {"type": "object", "properties": {"text": {"type": "string"}}}
    return [Tool("party", name, text, reads=True, third=True) for name in ("echo", "link", "nothing")]


def _tool(server: str, raw: Mapping[str, Any]) -> Tool:
    policy = raw.get("_meta", {}).get("pro.tause/tool", {})
    return Tool(server, str(raw["name"]), raw["inputSchema"], policy.get("side_effect") == "read")


def call(
    door: str, lane: Lane, tenant: str, tool: Tool, arguments: dict[str, Any], session: str | None = None
) -> Reply:
    """Call a tool through a door."""
    merged = {"name": f"{tool.server}__{tool.name}", "arguments": arguments}
    if door == "rest":
        return lane.http("POST", _below(tenant, "tools", tool.server, tool.name), arguments)
    if door == "events":
        accept = {"Accept": "text/event-stream"}
        return lane.http("POST", _below(tenant, "tools", tool.server, tool.name), arguments, accept)
    if door == "mcp":
        return lane.mcp(tenant, None, "tools/call", merged)
    if door == "server":
        return lane.mcp(tenant, tool.server, "tools/call", {**merged, "name": tool.name})
    if door == "sdk":
        lane.sent += repr((tool.address, arguments))
        return lane.sdk(tenant, lambda client: client.call(tool.address, arguments))
    if door == "cli":
        return lane.cli("call", tool.address, "--tenant", tenant, "--args", json.dumps(arguments), "--json")
    return lane.earlier(tenant, None, door, "tools/call", merged, session)


TOOL_DOORS = ("rest", "events", "mcp", "server", *EARLIER_VERSIONS, "sdk", "cli")


def _tool_ways(tools: list[Tool]) -> Iterator[Way]:
    for door, tool in itertools.product(TOOL_DOORS, tools):

        def run(lane: Lane, picker: Picker, door: str = door, tool: Tool = tool) -> Reply:
            named = replace(tool, server=picker.id("server")) if tool.third else tool
            return call(door, lane, picker.tenant, named, picker.arguments(tool.schema), picker.session)

        weight = SELDOM.get(tool.address, 1.0) * {"cli": 0.06, "sdk": 0.5}.get(door, 1.0)
        yield Way(door, tool.address, run, tool.reads, weight)


def _below(tenant: str, *parts: str) -> str:
    return "/".join(("/api/v2/tenants", *(quote(part, safe="") for part in (tenant, *parts))))


def _route_ways() -> Iterator[Way]:
    of_tenants = [(route.method, "tenants/{tenant}/" + route.path) for route in (*ROUTES, *RESOURCES)]
    of_operator = [(route.method, route.path.replace("{id}", "{tenant}")) for route in OPERATOR_RESOURCES]
    by_hand = [("GET", "doctor"), ("POST", "tenants/{tenant}/session"), *KEYS, ("GET", "tenants/{tenant}/docs")]
    for method, template in (*of_tenants, *of_operator, *by_hand):

        def run(lane: Lane, picker: Picker, method: str = method, template: str = template) -> Reply:
            path = re.sub(r"\{(\w+)\}", lambda field: quote(str(picker.parameter(field[1])), safe=""), template)
            names = ("limit", "status", "search", "cursor", "run", "name", "since")
            query = {name: picker.parameter(name) for name in names if picker.random.random() < 0.15}
            body = None if method == "GET" else _body(picker)
            sent = f"/api/v2/{path}" + (f"?{urlencode(query)}" if query else "")
            return lane.http(method, sent, body, stream=template.endswith("/events"))

        yield Way("rest", f"{method} {template}", run, method == "GET", SELDOM.get(template.partition("}/")[2], 1.0))


def _body(picker: Picker) -> dict[str, Any]:
    names = ("ref", "name", "role", "decision", "run", "input", "approve", "tenant", "id")
    return {name: picker.parameter(name) for name in names if picker.random.random() < 0.4}


def methods() -> set[str]:
    """Return every method of MCP that the gateway answers."""
    return {*NAMED, *KINDS, "tools/list", "server/discover", "completion/complete", LISTEN}


def _method_ways() -> Iterator[Way]:
    for method, server in itertools.product(sorted(methods() - {"tools/call"}), WITHIN):
        door = "mcp" if server is None else "server"

        def modern(lane: Lane, picker: Picker, method: str = method, server: str | None = server) -> Reply:
            return lane.mcp(picker.tenant, server, method, _params(method, picker), stream=method == LISTEN)

        yield Way(door, method, modern, reads=True, weight=SELDOM.get(method, 1.0))
    for method, version in itertools.product(sorted(methods() - {"tools/call", LISTEN}), EARLIER_VERSIONS):

        def earlier(lane: Lane, picker: Picker, method: str = method, version: str = version) -> Reply:
            return lane.earlier(picker.tenant, None, version, method, _params(method, picker), picker.session)

        yield Way(version, method, earlier, reads=True)


def _params(method: str, picker: Picker) -> dict[str, Any]:
    server, text = picker.id("server"), picker.text()
    about = picker.random.choice((f"{server}__greet", text))
    uri = picker.random.choice(
        (f"tausestack://{server}/note%3A%2F%2Fone", f"tausestack://{server}/{quote(text)}", text)
    )
    if method == "completion/complete":
        ref = picker.random.choice(({"type": "ref/prompt", "name": about}, {"type": "ref/resource", "uri": uri}))
        return {"ref": ref, "argument": {"name": "who", "value": text}}
    if method == LISTEN:
        return {"notifications": {"toolsListChanged": True, "resourceSubscriptions": [uri]}}
    named = {"name": about, "uri": uri, "taskId": picker.random.choice((f"{server}:{text}", text))}
    params = {NAMED[method]: named[NAMED[method]]} if method in NAMED else {}
    return {**params, "arguments": {"who": text}} if method == "prompts/get" else params


def _oauth_ways() -> Iterator[Way]:
    for endpoint, allowed in ENDPOINTS.items():
        for method in allowed:

            def run(lane: Lane, picker: Picker, method: str = method, endpoint: str = endpoint) -> Reply:
                return lane.form(method, f"/oauth/{endpoint}", _form(lane, picker))

            yield Way("oauth", f"{method} {endpoint}", run, reads=False, weight=3.0)
    own, server = "/.well-known/oauth-protected-resource/tenants/{tenant}/mcp", "/servers/{server}/mcp"
    documents = (own, own.replace("/mcp", server), *("/.well-known/" + one for one in OF_ALL))
    for template in documents:

        def show(lane: Lane, picker: Picker, template: str = template) -> Reply:
            return lane.http("GET", re.sub(r"\{(\w+)\}", lambda one: _quoted(one[1], picker), template))

        yield Way("oauth", template, show, reads=True, weight=2.0)


def _quoted(name: str, picker: Picker) -> str:
    return quote(str(picker.parameter(name)), safe="")


def _form(lane: Lane, picker: Picker) -> dict[str, str]:
    """Return the fields of a request to the authorization server, some of them."""
    tenant, text = picker.tenant, picker.text()
    fields = {
        "grant_type": picker.random.choice(("authorization_code", "refresh_token", "client_credentials", text)),
        "resource": f"{lane.url}/tenants/{tenant}/mcp",
        "client_id": text,
        "client_secret": text,
        "code": f"tsc_{text}.{tenant}",
        "refresh_token": picker.random.choice((picker.id("token"), f"tsr_{text}.{tenant}")),
        "token": picker.random.choice((picker.id("token"), text)),
        "subject_token": picker.id("token"),
        "redirect_uri": "http://127.0.0.1:7777/callback",
        "response_type": "code",
        "scope": picker.random.choice(("tools:read", "tenant:admin", text)),
        "state": text,
        "username": picker.id("user"),
        "password": text,
    }
    return {name: value for name, value in fields.items() if picker.random.random() < 0.6}


def _sdk_ways() -> Iterator[Way]:
    for part, face in FACES.items():
        for name, signature in asked_of(face):

            def run(
                lane: Lane, picker: Picker, part: str | None = part, name: str = name, signature: Any = signature
            ) -> Reply:
                positional, named = _given(signature, picker)
                lane.sent += repr((positional, named))

                def ask(client: SyncClient) -> Any:
                    found = getattr(client if part is None else getattr(client, part), name)(*positional, **named)
                    return list(itertools.islice(found, 1)) if inspect.isgenerator(found) else found

                return lane.sdk(picker.tenant, ask)

            weight = SELDOM.get(f"platform/{name}", 1.0) * (0.1 if name in {"events", "wait", "stream"} else 1.0)
            yield Way("sdk", ".".join((part or "client", name)), run, name in READING, weight)
    for name, signature in asked_of(Operator):

        def operate(lane: Lane, picker: Picker, name: str = name, signature: Any = signature) -> Reply:
            positional, named = _given(signature, picker)
            lane.sent += repr((positional, named))
            return asyncio.run(_operate(lane, name, positional, named))

        yield Way("sdk", f"operator.{name}", operate, name in READING, 0.02 if name == "create_key" else 0.3)


READING = frozenset(
    {"audit", "explain", "server", "servers", "tools", "usage", "verify_audit", "get", "list", "specs", "events",
     "wait", "keys", "tenant", "tenants", "doctor"}
)  # fmt: skip
"""The methods of the SDK that change nothing."""


async def _operate(lane: Lane, name: str, positional: list[Any], named: dict[str, Any]) -> Reply:
    async with Operator(lane.key or "none", lane.url, patience=0) as client:
        try:
            found = await getattr(client, name)(*positional, **named)
        except TauseError as error:
            return Reply(error.status, (), repr([type(error).__name__, error.message, error.data]))
        return Reply(200, (), repr(found))


def asked_of(face: type) -> list[tuple[str, inspect.Signature]]:
    """Return the methods of a face of the SDK that ask something of the stack."""
    found = inspect.getmembers(face, inspect.isfunction)
    return [(name, inspect.signature(one)) for name, one in found if not name.startswith("_") and name not in OF_ITSELF]


def _given(signature: inspect.Signature, picker: Picker) -> tuple[list[Any], dict[str, Any]]:
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in list(signature.parameters.items())[1:]:
        if parameter.default is inspect.Parameter.empty and parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            named[name] = picker.parameter(name)
        elif parameter.default is inspect.Parameter.empty:
            positional.append(picker.parameter(name))
        elif name != "on_progress" and (picker.random.random() < 0.3 or name in {"wait", "timeout"}):
            named[name] = picker.parameter(name)
    return positional, named


def commands() -> dict[tuple[str, ...], list[Any]]:
    """Return every command with its parameters, from the tree that the command line is made of."""

    def walk(group: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[Any]]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk(command, (*above, name))
            else:
                yield (*above, name), command.params

    return dict(walk(typer.main.get_command(app), ()))


def here_alone(path: tuple[str, ...]) -> bool:
    """Return whether a command is no door of a running stack."""
    return path[0] in HERE_ALONE or " ".join(path) in HERE_ALONE


def _command_ways() -> Iterator[Way]:
    for path, parameters in commands().items():
        if here_alone(path):
            continue

        def run(lane: Lane, picker: Picker, path: tuple[str, ...] = path, parameters: Any = parameters) -> Reply:
            return lane.cli(*path, *_command_line(parameters, picker))

        rare = 0.02 if path[-1] in {"create", "verify"} else 0.3
        yield Way("cli", " ".join(path), run, path[-1] in {"list", "show", "servers", "tools", "search"}, rare)


def _command_line(parameters: Iterable[Any], picker: Picker) -> Iterator[str]:
    trailing: list[str] = []
    for parameter in parameters:
        name = parameter.name
        if name == "as_json":
            yield "--json"
        elif parameter.param_type_name == "argument":
            trailing.append(_word(name, picker))
        elif name == "tenant" or parameter.required or picker.random.random() < 0.2 or name == "wait":
            if parameter.is_flag:
                if picker.parameter(name):
                    yield parameter.opts[0]
            else:
                yield f"{parameter.opts[0]}={_word(name, picker)}"
    yield from ("--", *trailing)


def _word(name: str, picker: Picker) -> str:
    value = picker.parameter(name)
    return (value if isinstance(value, str) else json.dumps(value)).replace("\0", "")


def _plain_ways() -> Iterator[Way]:
    for path in ("/health", "/health/ready", "/metrics", "/nothing", "/api/v2", "/console/", "/docs"):

        def run(lane: Lane, _: Picker, path: str = path) -> Reply:
            return lane.http("GET", path)

        yield Way("operations", path, run, reads=False, weight=0.2)
    for retired in ("sse", "messages"):

        def gone(lane: Lane, picker: Picker, retired: str = retired) -> Reply:
            return lane.http("GET", f"/tenants/{quote(picker.tenant, safe='')}/{retired}")

        yield Way("2024-11-05", retired, gone, reads=True)
