"""What the matrix asks of is found by reflection; what is new and what it can't ask of fails here."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

import tausestack
import tausestack as ts
import tausestack_agents
import tausestack_registry
import tausestack_runtime
import tausestack_toolservers
from matrix import ways
from matrix.words import PARAMETERS
from remotes import party
from stack import Stack, Tenant
from tausestack.client import Client
from tausestack_registry.catalogue import bundled
from tausestack_runtime.gateway import app
from tausestack_runtime.gateway.rest import endpoint
from tausestack_runtime.gateway.rest.endpoint import ROUTES
from tausestack_runtime.gateway.rest.resources import OPERATOR_RESOURCES, RESOURCES

PLACES = {
    "tenants", "servers", "mcp", "/api/v2/", "/health", "/health/ready", "/metrics", "docs", "doctor", "session",
    "keys", "/oauth/", "/.well-known/",
    "/siblings/",  # on the internal socket alone
    "http", "lifespan", "notifications/progress", "structuredContent",  # of messages, not of paths
}  # fmt: skip
"""What the gateway's doors are told apart by, beside the tables of routes."""

FAMILIES = {
    "tausestack_calls": {"gateway", "service", "outcome"},
    "tausestack_call_seconds": {"gateway", "service", "le"},
    "tausestack_start_time_seconds": {"gateway"},
    "tausestack_connections": {"gateway"},
    "tausestack_handed_over": {"gateway"},
    "tausestack_gateway_up": {"gateway"},
}
OWN_SERVICES = {entry.name for entry in bundled().entries if entry.own} | {
    "platform",
    "adapter",
    "gateway",
    "remote",
    "unknown",
    "",
}
LOGGED = {
    "again_in", "agent", "added", "attempt", "bytes", "call", "calls", "changed", "code", "crashes", "data",
    "deaths", "error", "exc_info", "gateway", "installation", "items", "kind", "left_out", "method", "module", "number",
    "path", "pid", "reason", "run", "runs", "seconds", "server", "service", "session", "state", "task", "tenant",
    "tenants", "tool", "url", "why",
    "step",  # a node or a function of the operator's own code
    "text",  # what a third party's process says on its standard error, under its tenant's name
}  # fmt: skip
"""The fields of log lines; none of them holds what a tenant stored or said."""
BY_STRUCTLOG = {"event", "process", "level", "timestamp", "exception", "logger"}
PACKAGES = (tausestack, tausestack_runtime, tausestack_registry, tausestack_agents, tausestack_toolservers)


@pytest.mark.covers("isolation:reflection")
def test_every_tool_that_is_listed_is_one_that_the_matrix_calls(stack: Stack, tenant: Tenant) -> None:
    for entry in bundled().entries:
        if entry.own and entry.name not in {one["name"] for one in tenant.client.get("/servers").json()["servers"]}:
            tenant.install(entry.name)
    known = {tool.address for tool in ways.own_tools()}
    listed = {tool["address"] for tool in tenant.client.get("/tools").json()["tools"]}
    assert listed <= known
    merged = {tool["name"] for tool in tenant.rpc("tools/list", {}).json()["result"]["tools"]}
    assert merged == {address.replace("/", "__") for address in listed}
    hidden = {tool.address for tool in ways.own_tools()} - listed
    for address in sorted(hidden):
        assert tenant.call(address, {}).status_code in {403, 404}, address


@pytest.mark.covers("isolation:reflection")
def test_every_parameter_of_a_route_a_method_and_a_command_is_one_that_the_matrix_knows() -> None:
    fields = {
        field for route in (*ROUTES, *RESOURCES, *OPERATOR_RESOURCES) for field in re.findall(r"\{(\w+)\}", route.path)
    }
    assert fields - PARAMETERS.keys() == set()
    for face in (*ways.FACES.values(), ways.Operator):
        for name, signature in ways.asked_of(face):
            assert {*signature.parameters} - PARAMETERS.keys() <= {"self", "on_progress"}, name
    commands = ways.commands()
    assert ways.HERE_ALONE.keys() & {path[0] for path in commands} >= {"up", "demo", "doctor", "token"}
    for path, parameters in commands.items():
        if not ways.here_alone(path):
            assert {one.name for one in parameters} - PARAMETERS.keys() <= {"as_json"}, path


@pytest.mark.covers("isolation:reflection")
def test_every_face_of_the_sdk_is_one_that_the_matrix_asks() -> None:
    with ts.connect_sync(tenant="acme", api_key="none") as client:
        faces = {name for name, value in vars(client).items() if not name.startswith("_") and _ours(value)}
    assert faces == {name for name in ways.FACES if name is not None}
    asynchronous = {name for name, _ in ways.asked_of(Client)}
    assert asynchronous == {name for name, _ in ways.asked_of(ways.SyncClient)}


def _ours(value: Any) -> bool:
    return type(value).__module__.startswith("tausestack.client")


@pytest.mark.covers("isolation:reflection")
def test_every_door_is_one_that_the_matrix_stands_at() -> None:
    told_apart: set[str] = set()
    for module in (app, endpoint):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            compared: list[ast.expr] = []
            if isinstance(node, ast.Compare):
                compared = [node.left, *node.comparators]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".startswith", ".endswith")):
                compared = [each for one in node.args for each in getattr(one, "elts", [one])]
            said = (one.value for one in compared if isinstance(one, ast.Constant))
            told_apart |= {one for one in said if isinstance(one, str) and not one.isupper()}
    assert told_apart - PLACES == set(), "tell the matrix of it: tests/support/matrix/ways.py"
    assert told_apart >= {"mcp", "/api/v2/", "/metrics"}


@pytest.mark.covers("isolation:reflection")
def test_every_capability_of_an_endpoint_is_one_that_the_matrix_uses(stack: Stack, tenant: Tenant) -> None:
    with party(stack.remote_ports[0], "reflected") as served:
        tenant.install(served.url, name="party")
        said = tenant.rpc("server/discover", {}).json()["result"]["capabilities"]
    asked = {method.partition("/")[0] for method in ways.methods()}
    assert said.keys() - {"extensions", "experimental", "logging"} <= {*asked, "completions"}
    # The other is the party's own, for which the matrix has no request.
    assert set(said.get("extensions", {})) <= {"io.modelcontextprotocol/tasks", "com.example/maps"}


@pytest.mark.covers("isolation:metrics-and-logs")
def test_no_metric_has_a_label_that_could_name_a_tenant(stack: Stack, tenant: Tenant) -> None:
    tenant.must("storage/list_keys", {})
    assert tenant.call("nothing/here", {}).status_code == 404
    text = httpx2.get(f"{stack.url}/metrics", trust_env=False).text
    for family in text_string_to_metric_families(text):
        if family.name not in FAMILIES:
            assert family.name.startswith("tausestack_"), family.name
        for sample in family.samples:
            assert set(sample.labels) <= FAMILIES[family.name], f"tell the matrix of it: {family.name}"
            assert sample.labels.get("service", "") in OWN_SERVICES
    assert tenant.name not in text


@pytest.mark.covers("isolation:metrics-and-logs")
def test_no_log_line_has_a_field_for_what_a_tenant_says(stack: Stack, tenant: Tenant) -> None:
    places = [path for package in PACKAGES for path in Path(package.__path__[0]).rglob("*.py")]
    said = [(path.name, call) for path in places for call in _log_calls(ast.parse(path.read_text(encoding="utf-8")))]
    assert len(said) > 40
    for name, call in said:
        assert {one.arg for one in call.keywords} - {None} <= LOGGED, f"{name}: {ast.unparse(call)}"
    tenant.must("storage/list_keys", {})
    lines = [json.loads(line) for line in stack.log.read_text().splitlines() if line.startswith("{")]
    assert lines
    assert {field for line in lines for field in line} <= LOGGED | BY_STRUCTLOG


def _log_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            levels = {"debug", "info", "warning", "error", "exception", "critical", "bind"}
            if node.func.attr in levels and re.search(r"(^|[._])log(ger)?$", ast.unparse(node.func.value)):
                yield node
