"""Errors as earlier clients get them."""

from __future__ import annotations

from typing import Any

import pytest

from tausestack_runtime.gateway.mcp.earlier.translate import earlier_error

OWN = {"code": -32050, "message": "Not today", "data": {"why": 1}}


@pytest.mark.covers("earlier:codes")
def test_a_servers_own_code_is_its_own_again() -> None:
    wrapped: dict[str, Any] = {"code": -32603, "message": "Not today", "data": {"upstream": OWN}}
    assert earlier_error("tools/call", wrapped) == OWN


@pytest.mark.covers("earlier:codes")
@pytest.mark.parametrize("upstream", [{}, {"code": "E", "message": "?"}, {"code": -32050}, "none", None])
def test_what_is_no_error_stays_within(upstream: Any) -> None:
    for data in ({"upstream": upstream}, {"upstream": OWN, "code": "upstream_error"}):
        error = {"code": -32603, "message": "Not today", "data": data}
        assert earlier_error("tools/call", error) is error
