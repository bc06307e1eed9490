"""What a run has when it is ended before its answer: the texts and the results that its journal holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tausestack.database import Row
from tausestack.raw import object_at, objects_in
from tausestack_agents.planner.answer import Called, say_calls
from tausestack_agents.planner.choice import Candidate
from tausestack_agents.planner.text import Language
from tausestack_agents.spending import WHOLE_RUN


def so_far(lines: Sequence[Row], spoken: Language) -> str | None:
    """Return what came of each step, in order, under a label that says that it is not all; None where nothing did."""
    tasks = [task for task in dict.fromkeys(line.task for line in lines) if task.rpartition(".")[2] not in WHOLE_RUN]
    texts = [text for task in tasks if (text := _of_step([line for line in lines if line.task == task], spoken))]
    if not texts:
        return None
    label = "No terminé. Esto es lo que alcancé:" if spoken == "es" else "I did not finish. This is as far as I came:"
    return "\n".join([label, *(f"- {text}" for text in texts)]).replace("\0", "")


def _of_step(lines: Sequence[Row], spoken: Language) -> str:
    responses = [line for line in lines if line.kind == "model" and line.status == "done"]
    parts = objects_in(object_at(responses[-1].result).get("parts")) if responses else []
    calls = any(part.get("part_kind") == "tool-call" for part in parts)
    text = "".join(str(part.get("content", "")) for part in parts if part.get("part_kind") == "text")
    if text and not calls:
        return text
    called = [_called(line) for line in lines if line.kind == "tool" and line.status in {"done", "failed"}]
    return say_calls("", called, spoken).removeprefix(" — ") if called else ""


def _called(line: Row) -> Called:
    address = f"{line.server}/{line.tool}"
    failed = line.status == "failed"
    result: Any = object_at(line.error).get("message", "") if failed else object_at(line.result)
    if not failed:
        content = objects_in(result.get("content"))
        text = "\n".join(str(block.get("text", "")) for block in content if block.get("type") == "text")
        result = result["structuredContent"] if result.get("structuredContent") is not None else text
    return Called(Candidate(address, address, {}), line.arguments or {}, result, failed=failed)
