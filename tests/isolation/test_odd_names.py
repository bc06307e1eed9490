"""Quotes, wildcards and confusables in every name, header, key and filter: no neighbour, and no other query."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from matrix import ways
from matrix.lanes import Lane, Reply, endpoint
from matrix.subjects import CANARY
from matrix.words import HOSTILE
from stack import Stack, Tenant
from walls import OnPostgres, as_superuser

NEIGHBOURS = ("a1", "a1b", "a1_", "a1.b")
ODD = (
    *HOSTILE, "a1%", "a1_", "a1.", "a1.b", "a1b", "a1 ", " a1", "a1/", "a1/../a1b", "../a1b", "a1%2f..%2fa1b", "a1'--",
    'a1"', "a1\\", "a1;", "a1\u0000", "a1\r\nX: 1", "A1", "а1b", "ａ１ｂ", "a1\u200bb", "a1b\u0301", "a1*", "a1?",
    "a1#b", "[a1b]", "a1|a1b", "a1,a1b", "a1\tb", "a" * 63, "a" * 64, "x" * 3000,
)  # fmt: skip
HEADERS = ("Idempotency-Key", "Last-Event-ID", "traceparent", "tausestack-approval", "Mcp-Name", "Mcp-Session-Id")
"""The headers of a request that say something that a query may be made with."""
_MANY = re.compile(r" IN \((\$\d+(::\w+)?(, \$\d+(::\w+)?)*\)|NULL\) AND \(1 != 1\))")
_PLACE = re.compile(r"\$\d+")
_OF_ITSELF = (
    "UPDATE api_keys SET last_used_at=",
    "UPDATE dispatch SET lease_until=",
    "SELECT min(timers.due) ",
    "SELECT timers.for_tenant, ",
)
"""What the stack asks whatever it is called with: each key's minute, each lease, which timer of anybody's is due."""
PLAIN = ("plain", "inv_0123456789abcdef", "2026-01-01/plain")
"""A word, an id and a cursor: what is none is refused, some of it before anything is asked."""


@pytest.fixture(scope="module")
def neighbours(stack: Stack) -> dict[str, Tenant]:
    """Four tenants whose names are each other's prefixes, patterns and parts, each with a document and a canary."""
    made = {name: stack.tenant(name) for name in NEIGHBOURS}
    for number, tenant in enumerate(made.values()):
        for key in ("k", "k_", "k.b", f"own{number}"):
            tenant.must("storage/put_json", {"key": key, "value": _canary(tenant.name)})
    return made


def _canary(name: str) -> str:
    return f"canary{name.encode().hex():0>20}"


@pytest.fixture(scope="module")
def lane(stack: Stack, neighbours: dict[str, Tenant]) -> Iterator[Lane]:
    """The tenant `a1`, at every door."""
    made = Lane(stack.url, neighbours["a1"].key, None, str(stack.data / "nowhere"))
    yield made
    made.close()


def told(lane: Lane, name: str) -> list[Reply]:
    """Ask for a document of a tenant of some name at every door."""
    own = quote(name, safe="")
    call = {"name": "storage__get_json", "arguments": {"key": "k"}}
    return [
        lane.http("POST", f"/api/v2/tenants/{own}/tools/storage/get_json", {"key": "k"}),
        lane.http("GET", f"/api/v2/tenants/{own}/tools"),
        lane.mcp(name, None, "tools/call", call),
        lane.mcp(name, "storage", "tools/call", {**call, "name": "get_json"}),
        lane.http("POST", endpoint(name, None), {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}),
        lane.sdk(name, lambda client: client.call("storage/get_json", {"key": "k"})),
    ]


@pytest.mark.covers("isolation:odd-names")
def test_a_name_like_ones_own_is_that_of_nobody(lane: Lane) -> None:
    own = told(lane, "a1")
    assert all(_canary("a1") in one.body for one in (own[0], own[2], own[3], own[5]))
    nobody = told(lane, "nobody")
    assert [one.status for one in nobody] == [404] * 6
    for name in ODD:
        if name == "a1":
            continue
        found = told(lane, name)
        for one, none in zip(found[:-1], nobody[:-1], strict=True):
            # An empty or a many-part path is another path; what is well-formed is not there, and looks it.
            assert one.status in {404, 400}, (name, one)
            assert not CANARY.search(one.text), name
            if one.status == 404 and "/" not in name:
                assert one == none, name
        assert found[-1].status in {400, 404}, name
    for name in [odd for odd in ODD if "\0" not in odd][::6]:
        said = lane.cli("call", "storage/get_json", "--tenant", name, "--args", '{"key": "k"}', "--json")
        assert said.status != 0, name
        assert not CANARY.search(said.body), name


@pytest.mark.covers("isolation:odd-names")
def test_keys_and_filters_are_no_patterns(neighbours: dict[str, Tenant]) -> None:
    for tenant in neighbours.values():
        for odd in ("%", "_", "k%", "k_", "k.b", "k'--", "*", "K", "к", "", "own_"):
            listed = tenant.call("storage/list_keys", {"prefix": odd})
            keys = listed.json()["keys"] if listed.status_code == 200 else []
            assert all(key.startswith(odd) for key in keys), odd
            got = tenant.call("storage/get_json", {"key": odd})
            assert not set(CANARY.findall(got.text + listed.text)) - {_canary(tenant.name)}
            assert got.status_code == 422 or odd in {"k_", "k.b"}, odd
            for path in ("/servers", "/runs", "/approvals", "/usage", "/audit", "/tools", "/keys"):
                for name in ("limit", "status", odd or "search"):
                    reply = tenant.client.get(path, params={name: odd})
                    assert reply.status_code < 500, (path, name, odd, reply.text)
                    assert not set(CANARY.findall(reply.text)) - {_canary(tenant.name)}


@pytest.mark.covers("isolation:odd-names")
def test_no_header_leads_to_a_neighbour_or_breaks(lane: Lane) -> None:
    path = "/api/v2/tenants/a1/tools/storage/get_json"
    for name in HEADERS:
        for odd in ODD[::3]:
            if not re.fullmatch(r"[\x20-\x7e]*", odd):
                continue  # no client can send it as it is: the parser's own tests are elsewhere
            reply = lane.http("POST", path, {"key": "k"}, {name: odd})
            assert reply.status in {200, 400, 409, 422}, (name, odd, reply)
            assert set(CANARY.findall(reply.text)) <= {_canary("a1")}
            asked = lane.http("GET", "/api/v2/tenants/a1/runs/run_x/events", None, {name: odd})
            assert asked.status in {400, 404}, (name, odd, asked)
    for odd in ODD:
        if re.fullmatch(r"[\x21-\x7e]+", odd):
            refused = lane.http("GET", "/api/v2/tenants/a1/tools", None, {"Authorization": f"Bearer {odd}"})
            assert refused.status == 401, odd


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.covers("isolation:queries-keep-their-shape")
def test_no_query_changes_its_shape(unfiltered: OnPostgres) -> None:
    queries(unfiltered, HOSTILE)


@pytest.mark.timeout(300)
@pytest.mark.covers("isolation:queries-keep-their-shape")
def test_no_query_changes_its_shape_for_quotes_and_wildcards(unfiltered: OnPostgres) -> None:
    queries(unfiltered, ("a'%\" OR '1'='1--",), every=3)


def queries(on: OnPostgres, odd: tuple[str, ...], *, every: int = 1) -> None:
    """Record what the database is asked for plain values and for odd ones: the same texts, whatever the values.

    What the stack asks of itself may fall into either round; a changed query would be there each time.
    """
    subject = on.world.subjects[0]
    lane = Lane(on.world.stack.url, subject.tenant.key, subject, str(on.world.stack.data / "nowhere"))
    plain = set[str]()
    with as_superuser(on.url) as superuser:
        name = Identifier(superuser.info.dbname)
        superuser.execute(SQL("ALTER DATABASE {} SET log_statement = 'all'").format(name))
        _renew(superuser)
        for _ in range(3):
            plain |= _asked(lane, on, PLAIN, every)
            found = _asked(lane, on, odd, every) - plain
            if not found:
                break
        superuser.execute(SQL("ALTER DATABASE {} RESET log_statement").format(name))
        _renew(superuser)
    lane.close()
    assert len(plain) > 20
    assert found == set()


def _renew(superuser: psycopg.Connection[Any]) -> None:
    """Have every connection be made anew, with the database's settings of now."""
    superuser.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def _asked(lane: Lane, on: OnPostgres, values: tuple[str, ...], every: int) -> set[str]:
    """Call tools with each value for each of their texts, and return the distinct statements that were logged."""
    assert lane.who is not None
    before = on.log.stat().st_size
    for tool, value, full in itertools.product(ways.own_tools()[::every], values, (False, True)):
        arguments = _arguments(tool.schema, tool.schema, value, full=full)
        reply = ways.call("rest", lane, lane.who.name, tool, arguments)
        assert reply.status < 500, (tool.address, arguments, reply)
    with on.log.open(encoding="utf-8", errors="replace") as log:
        log.seek(before)
        text = log.read()
    said = re.findall(r"LOG:  (?:statement|execute [^:]*): (.*?)(?=\n\d{4}-|\Z)", text, re.DOTALL)
    # How many rows of the tenant's a list names is not told by the values that were asked with.
    alike = (_PLACE.sub("$", _MANY.sub(" IN (…)", one)) for one in said)
    verbs = ("SELECT", "INSERT", "UPDATE", "DELETE")
    return {one for one in alike if one.startswith(verbs) and not one.startswith(_OF_ITSELF)}


def _arguments(schema: Mapping[str, Any], root: Mapping[str, Any], value: str, *, full: bool) -> dict[str, Any]:
    """Return arguments with a value wherever a text fits; the optional ones only where all are wanted."""
    wanted = schema.get("properties", {}) if full else schema.get("required", ())
    return {name: _argument(schema["properties"][name], root, value, full=full) for name in wanted}


def _argument(schema: Mapping[str, Any], root: Mapping[str, Any], value: str, *, full: bool) -> Any:
    if "$ref" in schema:
        return _argument(root["$defs"][schema["$ref"].rpartition("/")[2]], root, value, full=full)
    if "anyOf" in schema:
        return _argument(schema["anyOf"][0], root, value, full=full)
    if "enum" in schema:
        return schema["enum"][0]
    if "format" in schema:
        return "2026-01-01" if schema["format"] == "date" else "2026-01-01T00:00:00Z"
    kind = schema.get("type")
    if kind == "array":
        return [_argument(schema.get("items", {}), root, value, full=full)]
    if kind == "object":
        return _arguments(schema, root, value, full=full) if "properties" in schema else {value: value}
    if kind in {"integer", "number"}:
        return max(1, schema.get("minimum", 1))
    return False if kind == "boolean" else value
