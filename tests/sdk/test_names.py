"""Names of tenants, servers and tools, and nothing that only looks like one."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tausestack import names
from tausestack.errors import InvalidRequest

TOOL_NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,128}", fullmatch=True)
SERVER_NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,39}", fullmatch=True)


@pytest.mark.covers("names:tenants")
@pytest.mark.parametrize("name", ["acme", "tause.pro", "cliente_premium", "a1", "0-0", "a" * 63])
def test_good_tenants(name: str) -> None:
    assert names.check_tenant(name) == name


@pytest.mark.covers("names:tenants")
@pytest.mark.parametrize(
    "name", ["", "a", "_system", "A1", "a..b", "../a", "a/b", "a b", "a\n", "a:b", "ñandu", "а1", "a" * 64, "-a", "a%"]
)
def test_bad_tenants(name: str) -> None:
    with pytest.raises(InvalidRequest, match="can't be a tenant"):
        names.check_tenant(name)


@pytest.mark.covers("names:addresses")
def test_addresses_are_server_and_tool() -> None:
    assert names.parse_address("billing/create_invoice") == ("billing", "create_invoice")
    assert str(names.parse_address("billing/create_invoice")) == "billing/create_invoice"
    for wrong in ("billing", "billing/", "/x", "Billing/x", "a/b/c", "a/b c", "a__b/c"):
        with pytest.raises(InvalidRequest):
            names.parse_address(wrong)


@pytest.mark.covers("names:wire")
@given(SERVER_NAMES, TOOL_NAMES, SERVER_NAMES, TOOL_NAMES)
def test_wire_names_fit_every_vendor_and_never_collide(server: str, tool: str, other: str, another: str) -> None:
    wire = names.wire_name(server, tool)
    assert 0 < len(wire) <= 64
    assert wire.isascii()
    assert not set(wire) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    if (server, tool) != (other, another):
        assert wire != names.wire_name(other, another)


@pytest.mark.covers("names:resources")
@given(SERVER_NAMES, st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_resource_uris_come_back_as_they_were(server: str, uri: str) -> None:
    assert names.parse_resource_uri(names.resource_uri(server, uri)) == (server, uri)


@pytest.mark.covers("names:tenants")
@pytest.mark.parametrize("name", ["b!" * 100, "A" * 79, "A" * 80, "A" * 81])
def test_a_bad_name_is_told_with_what_a_good_one_looks_like(name: str) -> None:
    with pytest.raises(InvalidRequest) as tenant:
        names.check_tenant(name)
    looks = "2 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
    assert tenant.value.message == f"'{name[:80]}' can't be a tenant: {looks}"
    with pytest.raises(InvalidRequest) as server:
        names.check_server(name)
    looks = "1 to 40 of a-z, 0-9 and '-', starting with a letter or digit"
    assert server.value.message == f"'{name[:80]}' can't be a server's name: {looks}"
    with pytest.raises(InvalidRequest) as address:
        names.parse_address(name)
    told = f"'{name[:120]}' is no tool's address: it is server/tool, such as billing/create_invoice"
    assert address.value.message == told


@pytest.mark.covers("names:addresses")
def test_servers_and_tools_are_named_as_promised() -> None:
    for good in ("a", "billing", "0-a", "a" * 40):
        assert names.is_server(good)
        assert names.check_server(good) == good
    for bad in ("", "-a", "a_b", "A", "a.b", "a" * 41, "a\n", "ñ"):
        assert not names.is_server(bad)
        with pytest.raises(InvalidRequest):
            names.check_server(bad)
    assert all(map(names.is_tool, ("a", "A.b_c-9", "a" * 128)))
    assert not any(map(names.is_tool, ("", "a b", "a/b", "a" * 129, "a\n", "ñ")))


@pytest.mark.covers("names:wire")
def test_a_wire_name_is_the_plain_one_where_vendors_take_it() -> None:
    assert names.wire_name("billing", "create_invoice") == "billing__create_invoice"
    assert names.wire_name("b", "x" * 61) == "b__" + "x" * 61
    for server, tool in (("b", "x" * 62), ("b", "a.b"), ("b", "A.b_C-9"), ("b", "a" * 120)):
        digest = hashlib.sha256(f"{server}__{tool}".encode()).hexdigest()[:10]
        safe = f"{server}__{tool}".replace(".", "_")[:53]
        assert names.wire_name(server, tool) == f"{safe}_{digest}"


@pytest.mark.covers("names:resources")
def test_resources_and_tasks_bear_their_server() -> None:
    assert names.resource_uri("notes", "file:///a b/ñ") == "tausestack://notes/file%3A%2F%2F%2Fa%20b%2F%C3%B1"
    assert names.resource_template("notes", "n://{a}/{b}-x") == "tausestack://notes/:n://{a}/{b}-x"
    assert names.task_id("notes", "t1") == "notes:t1"
    uri = "http://notes/" + "x" * 200
    for bad in (uri, "tausestack://notes", "tausestack://N/x", "tausestack:/notes/x", "x://tausestack://notes/x"):
        with pytest.raises(InvalidRequest) as refused:
            names.parse_resource_uri(bad)
        assert refused.value.message == f"'{bad[:120]}' is no resource of this endpoint"
    assert names.parse_resource_uri("tausestack://notes/a://b/c") == ("notes", "a://b/c")
    assert names.parse_resource_uri("tausestack://notes/n%3A%2F%2Fa%2Fb-x") == ("notes", "n://a/b-x")
    assert names.parse_resource_uri("tausestack://notes/:n://a%2Fb") == ("notes", "n://a%2Fb")
    assert names.parse_resource_uri("tausestack://notes/%3An") == ("notes", ":n")


@pytest.mark.covers("names:users")
def test_a_person_of_another_issuer_is_named_by_both() -> None:
    expected = "oidc-" + hashlib.sha256(b"https://login.example\nana").hexdigest()[:24]
    assert names.external_user("https://login.example", "ana") == expected
    assert names.external_user("https://login.example\na", "na") != expected
