"""What a schema marks as a secret is found wherever it stands, and can be replaced, shown and put back."""

from __future__ import annotations

from typing import Any

import pytest

from tausestack.confidential import SEALED, SHOWN, has_secrets, open_secrets, replaced, restored, shown

MARKED: dict[str, Any] = {"type": "string", "writeOnly": True}
CASES: list[tuple[dict[str, Any], Any, Any]] = [
    ({"properties": {"a": MARKED}}, {"a": "s", "b": "t"}, {"a": "*", "b": "t"}),
    ({"properties": {"a": {"format": "password"}}}, {"a": "s"}, {"a": "*"}),
    ({"properties": {"a": {"type": "object", "writeOnly": True}}}, {"a": {"x": "s", "y": [1, None, True]}},
     {"a": {"x": "*", "y": ["*", None, True]}}),
    ({"properties": {"a": {"anyOf": [{"type": "null"}, MARKED]}}}, {"a": "s"}, {"a": "*"}),
    ({"properties": {"a": {"items": MARKED}}}, {"a": ["s", "t"]}, {"a": ["*", "*"]}),
    ({"properties": {"a": {"prefixItems": [{}, MARKED], "items": {}}}}, {"a": ["s", "t", "u"]}, {"a": ["s", "*", "u"]}),
    ({"properties": {"a": {"additionalProperties": MARKED}}}, {"a": {"x": "s"}}, {"a": {"x": "*"}}),
    ({"patternProperties": {"^a": MARKED}}, {"ab": "s"}, {"ab": "*"}),
    ({"$defs": {"s": MARKED}, "properties": {"a": {"$ref": "#/$defs/s"}}}, {"a": "s"}, {"a": "*"}),
    ({"$defs": {"n": {"properties": {"next": {"$ref": "#/$defs/n"}, "a": MARKED}}}, "$ref": "#/$defs/n"},
     {"next": {"next": {"a": "s"}, "a": "t"}}, {"next": {"next": {"a": "*"}, "a": "*"}}),
    ({"allOf": [{"if": {}, "then": {"properties": {"a": MARKED}}}]}, {"a": "s"}, {"a": "*"}),
    ({"properties": {"a": {"writeOnly": False, "description": "writeOnly"}}}, {"a": "s"}, {"a": "s"}),
]  # fmt: skip


@pytest.mark.covers("approvals:confidential")
@pytest.mark.parametrize(("schema", "given", "changed"), CASES)
def test_a_secret_is_found_where_the_schema_marks_it(schema: dict[str, Any], given: Any, changed: Any) -> None:
    assert replaced(schema, given, lambda _: "*") == changed
    assert has_secrets(schema) is open_secrets(schema, given) is (given != changed)


@pytest.mark.covers("approvals:confidential")
def test_what_is_shown_goes_back_to_what_it_was() -> None:
    schema = {"properties": {"secrets": {"type": "object", "writeOnly": True}}}
    given: dict[str, Any] = {"ref": "x", "secrets": {"A": "s", "B": "t"}, "list": ["u"]}
    kept = replaced(schema, given, lambda value: f"{SEALED}{value}")
    seen = shown(kept)
    assert seen == {"ref": "x", "secrets": {"A": SHOWN, "B": SHOWN}, "list": ["u"]}
    assert not open_secrets(schema, kept)
    assert not open_secrets(schema, seen)
    assert restored({**seen, "ref": "y", "secrets": {"A": SHOWN, "C": "new"}}, given) == {
        "ref": "y", "secrets": {"A": "s", "C": "new"}, "list": ["u"],
    }  # fmt: skip
    # Where there was none before, nothing stands for it.
    assert restored({"secrets": {"D": SHOWN}, "list": [SHOWN, SHOWN]}, given) == {
        "secrets": {"D": SHOWN}, "list": ["u", SHOWN],
    }  # fmt: skip
