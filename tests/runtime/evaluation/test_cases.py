"""Files of cases, and how runs are judged by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tausestack.client.runs import Run
from tausestack.errors import InvalidArguments
from tausestack_runtime.evaluation.cases import Case, parse, read
from tausestack_runtime.evaluation.judging import fits, judge, totals

EFFECTS = {"colombia/validate_nit": "read", "billing/pay_invoice": "write", "billing/list_invoices": "read"}

YAML = """
cases:
  - id: nit
    input: ¿Es válido el NIT 900.123.456-8?
    calls:
      - {tool: colombia/validate_nit, arguments: {nit: 900.123.456-8}}
    checks: {status: success, output_contains: [válido]}
"""


def _run(*steps: tuple[str, dict[str, Any]], status: str = "success", output: str = "") -> Run:
    called = [
        {"server": address.split("/")[0], "tool": address.split("/")[1], "arguments": arguments, "status": "done"}
        for address, arguments in steps
    ]
    return Run.model_validate({"id": "r", "agent": "a", "status": status, "output": output, "steps": called})


def _case(**fields: Any) -> Case:
    return Case.model_validate({"id": "one", "input": "x", **fields})


@pytest.mark.covers("evaluation:files")
def test_cases_are_read_from_yaml_json_and_lines_of_json(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(YAML, "utf-8")
    (case,) = read(tmp_path / "a.yaml").cases
    assert case.calls is not None
    assert case.calls[0].arguments == {"nit": "900.123.456-8"}
    lines = '{"id": "a", "input": "x"}\n\n{"id": "b", "input": "y", "calls": []}\n'
    assert [each.id for each in parse(lines, "cases.jsonl").cases] == ["a", "b"]
    assert parse('[{"id": "a", "input": "x"}]', "cases.json").cases[0].calls is None


@pytest.mark.covers("evaluation:files")
@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.txt", "", "ends in .yaml, .json or .jsonl"),
        ("a.yaml", "cases: [", "is no YAML"),
        ("a.yaml", "", "a.yaml: "),
        ("a.yaml", "cases: []", "cases: "),
        ("a.json", "{", "is no JSON"),
        ("a.jsonl", '{"id": "a", "input": "x"}\n{"id": ', "a.jsonl, line 2 is no JSON"),
        ("a.jsonl", '{"id": "a"}', "case 1 ('a'): input: it is missing"),
        ("a.jsonl", '{"id": "a", "input": "x", "call": []}', "case 1 ('a'): call: there is no such field"),
        ("a.jsonl", '{"id": "a", "input": "x", "calls": [{"tool": "list"}]}', "calls.0.tool"),
        ("a.jsonl", '{"id": "a", "input": "x", "calls": [{"tool": "a/b", "args": {}}]}', "calls.0.args"),
        ("a.jsonl", '{"id": "a", "input": 3}', "case 1 ('a'): input"),
        ("a.jsonl", '{"id": "a", "input": ""}', "case 1 ('a'): input"),
        ("a.jsonl", '{"id": "a", "input": "x"}\n{"id": "a", "input": "y"}', "the id 'a' stands twice"),
        ("a.jsonl", "[]", "case 1"),
        ("a.yaml", "", "a.yaml: a list of cases, or an object with 'cases', is expected"),
        ("a.yaml", "cases: []", "a.yaml: cases: at least one case is expected"),
        (
            "a.yaml",
            "- {id: 1, input: x}",
            "case 1 ('1'): id: a text is expected (in quotes where it looks like a number",
        ),
        ("a.yaml", "- {id: a, input: x, call: []}", "call: there is no such field: there are id, input, calls, also"),
        ("a.yaml", "- {id: a, input: x, calls: {}}", "case 1 ('a'): calls: a list is expected, not {}"),
        ("a.yaml", "- {id: a, input: x, calls: [list]}", 'calls.0: an object is expected, not "list"'),
        (
            "a.yaml",
            "- {id: a, input: x, calls: [{tool: list}]}",
            "calls.0.tool: a tool's address is expected, server/to",
        ),
        ("a.yaml", "- {id: a, input: x, calls: [{tool: a/b, args: {}}]}", "there are tool, arguments"),
        (
            "a.yaml",
            "- {id: a, input: x, checks: {status: succes}}",
            "checks.status: one of pending, running, interrupted",
        ),
        ("a.yaml", "- {id: a, input: x, checks: {status: [ok]}}", 'error, timeout, cancelled is expected, not ["ok"]'),
        (
            "a.yaml",
            "- {id: a, input: x, checks: {contains: [a]}}",
            "checks.contains: there is no such field: there are st",
        ),
        (
            "a.yaml",
            "- {id: a, input: x, checks: {most_calls: two}}",
            'most_calls: a whole number is expected, not "two"',
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(name: str, text: str, reason: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        parse(text, name)
    assert reason in refused.value.message
    assert "\n" not in refused.value.message or name == "a.json"
    assert refused.value.message.startswith(name)
    assert "Input should" not in refused.value.message


@pytest.mark.covers("evaluation:files")
def test_a_file_that_is_not_there_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(InvalidArguments, match=r"no\.yaml can't be read"):
        read(tmp_path / "no.yaml")


@pytest.mark.covers("evaluation:files")
def test_a_folder_is_said_to_be_one_with_the_files_of_cases_in_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidArguments, match=r"is a folder; name a file of cases .*there is none in it"):
        read(tmp_path)
    for name in ("b.yaml", "a.jsonl", "notes.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(InvalidArguments, match=r"is a folder; .*: a\.jsonl, b\.yaml$"):
        read(tmp_path)


@pytest.mark.covers("evaluation:judging")
def test_a_case_passes_by_its_tools_their_arguments_and_its_checks() -> None:
    case = parse(YAML, "a.yaml").cases[0]
    good = _run(("colombia/validate_nit", {"nit": "900.123.456-8", "more": 1}), output="Es VALIDO.")
    assert judge(case, good, EFFECTS).passed
    other = judge(case, _run(("colombia/validate_nit", {"nit": "1"}), output="válido"), EFFECTS)
    assert (other.passed, other.tools, other.arguments) == (False, True, False)
    none = judge(case, _run(status="error"), EFFECTS)
    assert (none.tools, len(none.wrong)) == (False, 3)
    twice = judge(case, _run(*[("colombia/validate_nit", {"nit": "900.123.456-8"})] * 2, output="válido"), EFFECTS)
    assert not twice.passed


@pytest.mark.covers("evaluation:judging")
def test_what_changes_something_unasked_never_passes() -> None:
    paid = _run(("billing/pay_invoice", {"invoice_id": "inv_1"}))
    for case in (_case(), _case(calls=[]), _case(calls=[{"tool": "billing/list_invoices"}])):
        verdict = judge(case, paid, EFFECTS)
        assert (verdict.passed, verdict.unasked_writes) == (False, ["billing/pay_invoice"])
    unknown = judge(_case(), _run(("other/thing", {})), EFFECTS)
    assert unknown.unasked_writes == ["other/thing"]
    expected = _case(calls=[{"tool": "billing/pay_invoice"}])
    assert judge(expected, paid, EFFECTS).passed
    twice = _run(*[("billing/pay_invoice", {"invoice_id": "inv_1"})] * 2)
    assert judge(expected, twice, EFFECTS).unasked_writes == ["billing/pay_invoice"], "one was asked for"
    assert judge(_case(calls=[], also=["*/list_*"]), _run(("billing/list_invoices", {})), EFFECTS).passed
    sums = totals([judge(_case(set="a"), paid, EFFECTS), judge(_case(set="b"), _run(), EFFECTS)])
    assert (sums["cases"], sums["passed"], sums["accuracy"], sums["unasked_writes"]) == (2, 1, 0.5, 1)
    assert sums["sets"]["b"]["passed"] == 1


@pytest.mark.covers("evaluation:judging")
@pytest.mark.parametrize(
    ("expected", "given", "same"),
    [
        ("Medellín", "medellin ", True),
        (5, 5.0, True),
        (5, "5", True),
        (5, 6, False),
        (True, 1, False),
        (None, "", False),
        ("*", 0, True),
        ("*", None, False),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"b": 2}, False),
        ({"a": 1}, "a", False),
        ([{"a": 1}], [{"a": 1, "b": 2}], True),
        ([1, 2], [1], False),
        ([1], "1", False),
    ],
)
def test_values_are_compared_by_what_they_mean(expected: Any, given: Any, same: bool) -> None:
    assert fits(expected, given) is same
