"""Schemas that others wrote: used where they can be, refused in a sentence where not, and never fetched."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

import pytest

from tausestack.errors import UpstreamError
from tausestack.schemas import compiled, faults, plainly


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


BOMBS = {
    "properties": {"properties": {f"p{n}": {"type": "string"} for n in range(50_000)}},
    "nested": {"properties": {f"p{n}": {"properties": {"a": {"minimum": 1}}} for n in range(25_000)}},
    "anyOf": {"anyOf": [{}] * 50_000},
    "definitions": {"$defs": {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(25_000)}},
    "deep": deep(200),
    "deeper": deep(2400),
    "alternatives": {"pattern": "|".join("a" * n for n in range(2000))},
    "repeated": {"pattern": "((a{0,100}){0,100}){0,100}"},
    "thousands": {"pattern": "(x{1000}){1000}"},
    "letters": {"pattern": r"\p{L}{1,1000}" * 100},
    "many patterns": {"properties": {f"p{n}": {"pattern": rf"\p{{L}}{{1,9}}{n}"} for n in range(1000)}},
    "many keys": {"patternProperties": {f"^{n}": {"type": "string"} for n in range(1000)}},
    "brackets": {"pattern": "(" * 100_000},
    "no schema": {"type": 3},
    "no reference": {"$ref": "#/nowhere"},
}


@pytest.mark.covers("schemas:bounded")
@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_schema_is_refused_in_a_sentence_and_fast(name: str) -> None:
    begun = time.process_time()
    with pytest.raises(UpstreamError, match="The schema") as refused:
        compiled(BOMBS[name])
    assert time.process_time() - begun < 0.5
    assert len(refused.value.message) < 300


NO_LESS = {"type": "object", "properties": {"steps": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}}}
EITHER: dict[str, Any] = {"anyOf": [{"type": "integer", "minimum": 3}, {"type": "string"}, {"type": "null"}]}


@pytest.mark.covers("schemas:says-what-is-wrong")
@pytest.mark.parametrize(
    ("schema", "value", "path", "says"),
    [
        ({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}, "x", "", 'one of "a" or "b"'),
        ({"anyOf": [NO_LESS, {"type": "null"}]}, {"steps": 0}, "steps", "less than the minimum of 1"),
        ({"oneOf": [NO_LESS, {"type": "null"}]}, 5, "", 'not of type "object"'),
        (EITHER, 1, "", "less than the minimum of 3"),
        (EITHER, [], "", "under any of the schemas"),
        ({"oneOf": [{"type": "integer"}, {"minimum": 0}]}, 1, "", "more than one"),
    ],
)
def test_what_fits_no_choice_is_told_by_the_one_that_was_meant(
    schema: dict[str, Any], value: Any, path: str, says: str
) -> None:
    (wrong,) = plainly(compiled(schema).iter_errors(value))
    assert "/".join(map(str, wrong.instance_path)) == path
    assert says in wrong.message


ROWS: dict[str, Any] = {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}
TABLE = {"type": "object", "properties": {"rows": ROWS}, "additionalProperties": False}


@pytest.mark.covers("schemas:faults")
@pytest.mark.parametrize(
    ("value", "found", "path", "says"),
    [
        ({"rows": [1, 2]}, 0, "", ""),
        ({"rows": [1] * 100_000}, 0, "", ""),
        ({"rows": ["a", 1, "b"]}, 2, "rows/0", 'not of type "integer"'),
        ({"rows": ["a"] * 100}, 10, "rows/0", 'not of type "integer"'),
        ({"rows": [*[1] * 500, "a"]}, 1, "rows/500", 'not of type "integer"'),
        ({"rows": ["a"] * 100_000}, 1, "", "something among its more than 1000 values"),
        ({f"k{number}": 0 for number in range(100_000)}, 1, "", "something among its more than 1000 values"),
        ({"more": "x" * 4_000_000}, 1, "", "Additional properties"),
    ],
)
def test_what_is_wrong_is_told_and_with_many_values_as_fast(value: Any, found: int, path: str, says: str) -> None:
    validator = compiled(TABLE)
    begun = time.process_time()
    wrong = faults(validator, value, 10)
    assert time.process_time() - begun < 0.1
    assert len(wrong) == found
    if found:
        assert "/".join(map(str, wrong[0].instance_path)) == path
        assert says in wrong[0].message


@pytest.mark.covers("schemas:bounded")
def test_what_would_backtrack_for_ever_does_not() -> None:
    validator = compiled({"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}})
    begun = time.process_time()
    assert [wrong.instance_path for wrong in validator.iter_errors({"a": "a" * 100_000 + "!"})] == [["a"]]
    assert time.process_time() - begun < 0.5


@pytest.mark.covers("schemas:bounded")
def test_a_schema_that_refers_to_itself_is_used() -> None:
    validator = compiled({"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"a": {"$ref": "#/$defs/n"}}}}})
    assert list(validator.iter_errors(json.loads('{"a":' * 200 + "{}" + "}" * 200))) == []
    assert list(compiled({"$ref": "#"}).iter_errors({})) == []
    assert (
        list(compiled({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}).iter_errors({})) == []
    )


@pytest.mark.covers("schemas:no-network")
@pytest.mark.parametrize("word", ["$ref", "$dynamicRef", "$schema", "$recursiveRef", "$id"])
def test_nothing_is_fetched(word: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        url = f"http://127.0.0.1:{canary.getsockname()[1]}/schema.json"
        for schema in (
            {word: url},
            {"properties": {"a": {word: url}}},
            {word: url, "properties": {"a": {"$ref": "b"}}},
        ):
            with contextlib.suppress(UpstreamError):
                list(compiled(schema).iter_errors({"a": 1}))
        for elsewhere in ("file:///etc/passwd", "//127.0.0.1/x"):
            with pytest.raises(UpstreamError):
                compiled({"properties": {"a": {"$ref": elsewhere}}})
        with pytest.raises(BlockingIOError):
            canary.accept()
