"""Reading a file of cases: what an agent is asked, and what it should do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tausestack.errors import InvalidArguments
from tausestack.raw import as_array, as_object

MAX_BYTES = 4_000_000
"""Of a file of cases."""
_KINDS = (".json", ".jsonl", ".yaml", ".yml")

Pattern = Annotated[str, Field(min_length=1, max_length=200)]
Text = Annotated[str, Field(min_length=1, max_length=20_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Status = Literal["pending", "running", "interrupted", "success", "error", "timeout", "cancelled"]
"""How a run may stand."""


class Call(_Part):
    """A call that is expected; of its arguments those that are given here."""

    tool: Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$")]
    arguments: dict[str, Any] = Field(default_factory=dict)


class Checks(_Part):
    """What has to be true of the run beside its calls."""

    status: Status | list[Status] | None = None
    output_contains: list[Text] = Field(default_factory=list[Text])
    output_excludes: list[Text] = Field(default_factory=list[Text])
    most_calls: int | None = Field(default=None, ge=0)


class Case(_Part):
    """One request; without `calls` its calls are not judged, and with none it should call nothing."""

    id: Annotated[str, Field(min_length=1, max_length=100)]
    input: Text
    calls: list[Call] | None = None
    also: list[Pattern] = Field(default_factory=list[Pattern])
    """Patterns of addresses that may be called beside."""
    checks: Checks = Checks()
    set: Annotated[str, Field(max_length=40)] = ""
    """The part of the file that it belongs to, as `tuning` or `checking`."""


class Suite(_Part):
    """A file of cases."""

    cases: list[Case] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Suite:
        seen: set[str] = set()
        for case in self.cases:
            if case.id in seen:
                raise ValueError(f"the id '{case.id}' stands twice")
            seen.add(case.id)
        return self


def read(path: Path) -> Suite:
    """Return the cases of a `.yaml`, `.json` or `.jsonl` file; raises `InvalidArguments` that says what is wrong."""
    try:
        if path.is_dir():
            there = sorted(each.name for each in path.iterdir() if each.suffix in _KINDS and each.is_file())
            named = f": {', '.join(there[:5])}" if there else ", of which there is none in it"
            raise InvalidArguments(f"{path} is a folder; name a file of cases ({', '.join(_KINDS)}){named}")
        if path.stat().st_size > MAX_BYTES:
            raise InvalidArguments(f"{path.name} is too large: {MAX_BYTES // 1_000_000} MB are the most")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArguments(f"{path.name} can't be read: {error}") from error
    return parse(text, path.name)


def parse(text: str, name: str) -> Suite:
    """Return the cases in a text, read by what the file's name ends in."""
    kind = name.rpartition(".")[2].lower()
    if kind == "jsonl":
        found: Any = [_json(line, f"{name}, line {at}") for at, line in enumerate(text.splitlines(), 1) if line.strip()]
    elif kind == "json":
        found = _json(text, name)
    elif kind in {"yaml", "yml"}:
        found = _yaml(text, name)
    else:
        raise InvalidArguments(f"{name}: cases are in a file that ends in .yaml, .json or .jsonl")
    whole: Any = {"cases": found} if as_array(found) is not None else found
    try:
        return Suite.model_validate(whole)
    except ValidationError as error:
        raise InvalidArguments(f"{name}: {_told(error, whole)}") from error


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InvalidArguments(f"{where} is no JSON: {error}") from error


def _yaml(text: str, name: str) -> Any:
    import yaml  # read only where there is YAML: the command line can do without

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidArguments(f"{name} is no YAML: {' '.join(str(error).split())[:400]}") from error


def _told(error: ValidationError, whole: Any) -> str:
    """What is wrong first, and in which case."""
    first = error.errors()[0]
    steps = list(first["loc"])
    reason = _reason(first, steps)
    where = ""
    if len(steps) >= 2 and steps[0] == "cases" and isinstance(steps[1], int):
        listed = as_array((as_object(whole) or {}).get("cases")) or []
        identifier = (as_object(listed[steps[1]]) or {}).get("id", "") if steps[1] < len(listed) else ""
        where = f"case {steps[1] + 1}" + (f" ('{identifier}')" if identifier else "") + ": "
        steps = steps[2:]
    # pydantic names the branches of a union as well, which are no fields.
    field = ".".join(str(step) for step in steps if not str(step).startswith(("list[", "literal[")))
    return f"{where}{field}: {reason}" if field else f"{where}{reason}"


_EXPECTED = {
    "string_type": "a text is expected (in quotes where it looks like a number or a date)",
    "string_too_short": "a text of at least one character is expected",
    "list_type": "a list is expected",
    "dict_type": "an object is expected",
    "model_type": "an object is expected",
    "int_type": "a whole number is expected",
    "greater_than_equal": "a whole number from 0 is expected",
}
"""What is expected, by pydantic's word for what is wrong."""
_ADDRESS = "a tool's address is expected, server/tool, such as colombia/validate_nit"


def _reason(error: Any, steps: Sequence[int | str]) -> str:
    """Say what is expected, and what is there instead."""
    kind, there = str(error["type"]), json.dumps(error.get("input"), ensure_ascii=False, default=str)
    if kind == "missing":
        return "it is missing"
    if kind == "too_short" and list(steps) == ["cases"]:
        return "at least one case is expected"
    if kind == "extra_forbidden":
        inner = {"calls": Call, "checks": Checks}.get(str(steps[2]) if len(steps) > 3 else "", Case)
        fields = (inner if len(steps) > 2 else Suite).model_fields
        return f"there is no such field: there are {', '.join(fields)}"
    if not steps and kind == "model_type":
        return f"a list of cases, or an object with 'cases', is expected, not {there[:60]}"
    expected = _EXPECTED.get(kind, str(error["msg"]).removeprefix("Value error, "))
    if kind == "value_error":
        return expected
    if kind == "string_pattern_mismatch":
        expected = _ADDRESS
    elif kind == "literal_error":
        expected = f"one of {', '.join(get_args(Status))} is expected"
    return f"{expected}, not {there if len(there) <= 60 else there[:59] + '…'}"
