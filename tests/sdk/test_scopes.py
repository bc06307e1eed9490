"""Who may what."""

from __future__ import annotations

import pytest

from tausestack.scopes import (
    ANY,
    OPERATOR,
    OWN,
    ROLES,
    SYSTEM,
    call_scope,
    covers,
    is_grantable,
    missing,
    needed,
    reaches,
    within,
)


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


@pytest.mark.covers("scopes:needed", "scopes:bounds")
def test_a_need_of_several_scopes_is_covered_by_any_of_them_in_every_bound() -> None:
    need = "tools:read|runs:write|tools:call:agents/"
    assert needed("agents", "get_run", [need]) == (need,)
    good = ("tools:read", "runs:write", "tools:call", "tools:call:*", "tools:call:agents/*", "tools:call:agents/run",
            "tools:call:agents/ru*")  # fmt: skip
    assert [grant for grant in good if not covers([grant], need)] == []
    bad = ("tools:rea", "tools:call:agents2/run", "tools:call:agent/*", "tenant:admin", "tools:read|x", "agents/", "")
    assert [grant for grant in bad if covers([grant], need)] == []
    assert missing([{"tools:read"}, {"tools:call:agents/run"}], [need]) is None
    assert missing([{"tools:read"}, {"tools:call:billing/pay"}], [need]) == need
    assert reaches([{"tools:call:agents/run"}, {"tools:call"}], "agents")
    assert not reaches([{"tools:call:agents/run"}, {"tools:read"}], "agents")


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


@pytest.mark.covers("scopes:needed")
def test_declared_scopes_are_all_needed_in_one_order() -> None:
    assert call_scope("billing", "pay") == "tools:call:billing/pay"
    assert needed("billing", "pay", ["tools:call", "servers:manage", "runs:write"]) == (
        "runs:write",
        "servers:manage",
        "tools:call:billing/pay",
    )
    assert needed("billing", "pay", ["servers:manage", ANY]) == ()


@pytest.mark.covers("scopes:grantable")
def test_what_may_be_granted_is_a_roles_own_or_a_pattern_of_tools() -> None:
    good = [*ROLES["admin"], "tools:call:*", "tools:call:a/*", "tools:call:a/pay", "tools:call:a/pay*"]
    assert [scope for scope in good if not is_grantable(scope)] == []
    bad = ["", "*", "operator", "system", "any", "tools:*", "tools:call:", "tools:call:a", "tools:call:A/pay",
           "tools:call:a/p*y", "tools:call:a/**", "tools:call:*/pay", "tools:call:a/pay ", "xtools:call:*"]  # fmt: skip
    assert [scope for scope in bad if is_grantable(scope)] == []


@pytest.mark.covers("scopes:within")
def test_what_is_left_is_what_every_limit_covers() -> None:
    assert within([]) == frozenset()
    assert within([{"tools:call", "tools:read"}]) == {"tools:call", "tools:read"}
    assert within([{"tools:call"}, {"tools:call:a/*", "tools:read"}]) == {"tools:call:a/*"}
    assert within([{"tools:call:a/*"}, {"tools:call:a/pay"}, {"tools:call"}]) == {"tools:call:a/pay"}
    assert within([{"tools:call"}, set()]) == frozenset()


@pytest.mark.covers("scopes:own")
def test_a_star_never_reaches_the_stacks_own_scopes() -> None:
    assert {OPERATOR, SYSTEM} == OWN
    for own in OWN:
        assert not covers(["*"], own)
        assert not covers([own[:3] + "*"], own)
        assert covers([own], own)
    assert covers(["*"], "tools:read")
    assert covers(["tools:call:a/*"], "tools:call:a/")
    assert not covers([], "tools:read")


@pytest.mark.covers("scopes:reaches")
def test_a_server_is_reached_where_every_bound_has_something_of_it() -> None:
    assert reaches([{"tools:call"}], "billing")
    assert reaches([{"tools:call:*"}, {"tools:read", "tools:call:billing/pay"}], "billing")
    assert reaches([{"tools:call:billing/*"}], "billing")
    assert not reaches([{"tools:call:billing/pay"}], "bill")
    assert not reaches([{"tools:call:bill/pay"}], "billing")
    assert not reaches([{"tools:call"}, {"tools:read"}], "billing")
    assert not reaches([{"tools:call"}, set()], "billing")
    assert reaches([], "billing")


@pytest.mark.covers("scopes:bounds")
def test_the_first_need_that_is_missing_is_named() -> None:
    assert missing([{"tools:read"}], ["tools:read", "runs:write", "tools:call"]) == "runs:write"
    assert missing([iter(["tools:read"])], ["tools:read", "tools:read"]) is None
    assert missing([{"tools:read"}], []) is None
