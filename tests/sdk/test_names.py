"""Names of tenants, servers and tools, and nothing that only looks like one."""

from __future__ import annotations

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
