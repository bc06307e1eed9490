"""Who may what."""

from __future__ import annotations

import pytest

from tausestack.scopes import ANY, ROLES, covers, missing, needed


@pytest.mark.covers("scopes:covers")
@pytest.mark.parametrize(
    ("grant", "need", "covered"),
    [
        ("tools:call", "tools:call:billing/pay", True),
        ("tools:call:billing/*", "tools:call:billing/pay", True),
        ("tools:call:*", "tools:call:billing/pay", True),
        ("tools:call:billing/pay", "tools:call:billing/pay", True),
        ("tools:call:billing/pay", "tools:call:billing/pay_all", False),
        ("tools:call:bill", "tools:call:billing/pay", False),
        ("tools:call:billing/*", "tools:call:billing2/pay", False),
        ("tools:read", "tools:call:billing/pay", False),
        ("tenant:admin", "servers:manage", False),
        ("tools:call", "tools:callx", False),
    ],
)
def test_a_grant_covers_its_own_branch_and_no_neighbour(grant: str, need: str, covered: bool) -> None:
    assert covers([grant], need) is covered


@pytest.mark.covers("scopes:needed")
def test_a_tool_needs_its_own_call_scope_unless_it_declares_others() -> None:
    assert needed("billing", "pay", []) == ("tools:call:billing/pay",)
    assert needed("billing", "pay", ["tools:call:billing/*"]) == ("tools:call:billing/pay",)
    assert needed("registry", "install", ["servers:manage"]) == ("servers:manage",)
    assert needed("auth", "whoami", [ANY]) == ()


@pytest.mark.covers("scopes:bounds")
def test_every_bound_has_to_cover_every_need() -> None:
    person, agent = {"tools:call"}, {"tools:call:billing/*"}
    assert missing([person], ["tools:call:storage/put"]) is None
    assert missing([person, agent], ["tools:call:storage/put"]) == "tools:call:storage/put"
    assert missing([person, agent], ["tools:call:billing/pay"]) is None
    assert missing([agent, set()], ["tools:call:billing/pay"]) == "tools:call:billing/pay"


@pytest.mark.covers("scopes:roles")
def test_roles_are_nested_as_promised() -> None:
    assert ROLES["admin"] > ROLES["developer"] > ROLES["agent"]
    assert ROLES["viewer"] == {"tools:read"}
    assert not ROLES["agent"] & {"tools:read", "servers:manage", "tenant:admin"}
