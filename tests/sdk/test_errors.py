"""One tree of errors: each has a code of its own, and survives the way over either wire."""

from __future__ import annotations

import pytest

from tausestack import errors
from tausestack.errors import InvalidRequest, NotFound, TauseError, from_data, to_jsonrpc, to_problem, tree

KINDS = [kind for kind in tree() if kind.__module__ == errors.__name__]


@pytest.mark.covers("errors:codes")
def test_each_error_has_a_code_of_its_own_and_stands_in_the_drawing() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)
    drawing = errors.__doc__ or ""
    assert [kind.__name__ for kind in KINDS if kind.__name__ not in drawing] == []


@pytest.mark.covers("errors:round-trip")
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_json_rpc_and_problem_json(kind: type[TauseError]) -> None:
    error = kind("what happened", call="call_1")
    over_rpc = from_data(to_jsonrpc(error)["message"], to_jsonrpc(error)["data"])
    over_rest = from_data(to_problem(error)["detail"], to_problem(error))
    for came in (over_rpc, over_rest):
        assert type(came) is kind
        assert came.message == "what happened"
        assert came.data == {"call": "call_1"}


@pytest.mark.covers("errors:data-cannot-lie")
def test_an_errors_data_cannot_replace_what_a_problem_says() -> None:
    problem = to_problem(NotFound("gone", status=200, code="fine"))
    assert problem["status"] == 404
    assert problem["code"] == "not_found"


@pytest.mark.covers("errors:own-subclasses")
def test_a_rooms_own_subclass_does_not_stand_in_for_its_parent() -> None:
    class Odd(InvalidRequest):
        def __init__(self, message: str, must: int) -> None:
            super().__init__(message)

    assert type(from_data("no", {"code": "invalid_request"})) is InvalidRequest
    assert Odd.code == "invalid_request"
