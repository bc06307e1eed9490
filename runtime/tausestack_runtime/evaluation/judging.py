"""Judging what an agent did of a case: which tools it called, with what, and what it said."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tausestack.client.runs import Run, Step
from tausestack.raw import as_array, as_object
from tausestack_runtime.evaluation.cases import Call, Case

ANYTHING = "*"
"""As an expected argument: it has to be there."""
UNMADE = frozenset({"running"})
"""Statuses of steps that say nothing yet."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a case went."""

    id: str
    set: str
    passed: bool
    tools: bool
    """Whether the tools that were called are the expected ones."""
    arguments: bool
    """Whether, besides, each had the expected arguments."""
    unasked_writes: list[str]
    """What was called that changes something and was not expected."""
    called: list[dict[str, Any]]
    status: str
    run: str
    wrong: list[str] = field(default_factory=list[str])

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as plain JSON."""
        return asdict(self)


def judge(case: Case, run: Run, effects: Mapping[str, str]) -> Verdict:
    """Return the verdict on a run; `effects` says what each tool's calls do (`read`, `write`, `external`)."""
    steps = [step for step in run.steps if step.status not in UNMADE]
    expected = case.calls or []
    wanted = {call.tool for call in expected}
    beside = [step for step in steps if step.address not in wanted and not _allowed(step.address, case)]
    beside += _surplus(expected, steps)
    unasked = sorted({step.address for step in beside if effects.get(step.address, "write") != "read"})
    wrong: list[str] = []
    tools = arguments = True
    if case.calls is not None:
        called = sorted(step.address for step in steps if not _allowed(step.address, case))
        tools = called == sorted(call.tool for call in expected)
        if not tools:
            wrong.append(f"called {', '.join(called) or 'nothing'}; expected {_named(expected)}")
        missing = _unmatched(expected, steps)
        arguments = tools and not missing
        wrong += [f"no call of {call.tool} with {call.arguments}" for call in missing if tools]
    if unasked:
        wrong.append(f"called what changes something unasked: {', '.join(unasked)}")
    wrong += _checked(case, run, steps)
    return Verdict(
        case.id, case.set, not wrong, tools, arguments, unasked,
        [{"tool": step.address, "arguments": step.arguments, "status": step.status} for step in steps],
        run.status, run.id, wrong,
    )  # fmt: skip


def totals(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the sums over cases, and over each set of them where there are several."""
    found = _sums(verdicts)
    sets = dict.fromkeys(verdict.set for verdict in verdicts)
    if len(sets) > 1:
        found["sets"] = {name: _sums([each for each in verdicts if each.set == name]) for name in sets}
    return found


def _sums(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    count = len(verdicts)
    return {
        "cases": count,
        "passed": sum(verdict.passed for verdict in verdicts),
        "accuracy": round(sum(verdict.passed for verdict in verdicts) / count, 4) if count else 0.0,
        "tools": sum(verdict.tools for verdict in verdicts),
        "arguments": sum(verdict.arguments for verdict in verdicts),
        "unasked_writes": sum(len(verdict.unasked_writes) for verdict in verdicts),
    }


def _surplus(expected: Sequence[Call], steps: Sequence[Step]) -> list[Step]:
    """The calls of expected tools beyond so many as are expected; one that failed changed nothing."""
    left = Counter(call.tool for call in expected)
    found: list[Step] = []
    for step in steps:
        if step.address in left and step.status != "failed":
            left[step.address] -= 1
            found += [step] if left[step.address] < 0 else []
    return found


def _allowed(address: str, case: Case) -> bool:
    return any(fnmatchcase(address, pattern) for pattern in case.also)


def _named(expected: Sequence[Call]) -> str:
    return ", ".join(call.tool for call in expected) or "nothing"


def _unmatched(expected: Sequence[Call], steps: Sequence[Step]) -> list[Call]:
    """The expected calls for which no call is left."""
    left = list(steps)
    missing: list[Call] = []
    for call in expected:
        found = next(
            (step for step in left if step.address == call.tool and fits(call.arguments, step.arguments)), None
        )
        if found is None:
            missing.append(call)
        else:
            left.remove(found)
    return missing


def fits(expected: Any, given: Any) -> bool:
    """Return whether a value is the expected one: texts by their words, numbers by amount, objects by what is asked."""
    if expected == ANYTHING:
        return given is not None
    wanted, listed = as_object(expected), as_array(expected)
    if wanted is not None:
        found = as_object(given)
        return found is not None and all(name in found and fits(wanted[name], found[name]) for name in wanted)
    if listed is not None:
        others = as_array(given)
        if others is None or len(others) != len(listed):
            return False
        return all(fits(one, other) for one, other in zip(listed, others, strict=True))
    if isinstance(expected, bool) or isinstance(given, bool) or expected is None or given is None:
        return expected is given
    if isinstance(expected, int | float) and isinstance(given, int | float):
        return math.isclose(expected, given)
    return _plain(str(expected)) == _plain(str(given))


def _plain(text: str) -> str:
    bare = "".join(char for char in unicodedata.normalize("NFD", text.casefold()) if not unicodedata.combining(char))
    return " ".join(bare.split()).strip(" .\"'")


def _checked(case: Case, run: Run, steps: Sequence[Step]) -> list[str]:
    checks, output = case.checks, _plain(str(run.output or ""))
    wrong: list[str] = []
    if checks.status is not None:
        statuses = [checks.status] if isinstance(checks.status, str) else checks.status
        if run.status not in statuses:
            wrong.append(f"ended as {run.status}; expected {' or '.join(statuses)}")
    wrong += [f"the answer lacks '{text}'" for text in checks.output_contains if _plain(text) not in output]
    wrong += [f"the answer has '{text}'" for text in checks.output_excludes if _plain(text) in output]
    if checks.most_calls is not None and len(steps) > checks.most_calls:
        wrong.append(f"made {len(steps)} calls; at most {checks.most_calls} were expected")
    return wrong
