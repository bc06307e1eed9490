"""What thinks in place of an agent: a team, whose tasks are other agents' runs, and a person who is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pydantic_ai.exceptions import ToolFailed as CallFailed

from tausestack.agents import TeamSpec
from tausestack.contract import META_TOOL
from tausestack.errors import ToolFailed
from tausestack_agents.parameters import MAX_INPUT
from tausestack_agents.planner.choice import Candidate
from tausestack_agents.planner.text import Language
from tausestack_agents.state import Answer, Planned, Result, StepInput
from tausestack_agents.thinkers import Equipment
from tausestack_agents.threads import Turn
from tausestack_agents.toolset import ESCALATE

MAX_TOLD = 10_000
"""Characters of the results before it that an agent of a team is told; a longer one is cut."""
RUN = Candidate(
    "agents__run",
    "agents/run",
    {"name": "run", "_meta": {META_TOOL: {"side_effect": "write", "keyed": True}}},
)


class TeamThinker:
    """Has each task of a team done by its agent, in a run of its own."""

    def __init__(self, equipment: Equipment, team: TeamSpec) -> None:
        self._has = equipment
        self._tasks = team.ordered()

    async def route(self, request: str, turns: list[Turn], handoffs: Mapping[str, str]) -> str | None:
        """Leave the request with the team."""
        return None

    async def divide(self, task: str, request: str, turns: list[Turn], before: list[Result]) -> list[Planned]:
        """Return the tasks."""
        place = {each.id: index for index, each in enumerate(self._tasks)}
        return [Planned(each.id, tuple(place[one] for one in each.depends_on)) for each in self._tasks]

    async def stands_alone(self, text: str, tools: Sequence[str]) -> bool:
        """Go by what the tasks depend on."""
        return False

    async def serve(self, step: StepInput) -> Result:
        """Have a task done; raises `Held` until its run has ended, and `ToolFailed` where that failed."""
        task = next(each for each in self._tasks if each.id == step.part["text"])
        asked: dict[str, Any] = {"agent": task.agent, "input": task.task.replace("{input}", step.request)[:MAX_INPUT]}
        if step.results:
            asked["context"] = {
                result["part"]: result["text"][: MAX_TOLD // len(step.results)] for result in step.results
            }
        toolset = self._has.toolset(step, [RUN])
        try:
            ran = await toolset.call(RUN.name, asked, "run")
        except CallFailed as error:
            raise ToolFailed(f"The task {task.id} failed: {error}") from error
        said = ran["output"]
        text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        return Result(part=task.id, text=text, task=step.task, calls=[{"address": RUN.address, "status": "done"}])

    async def word(self, task: str, request: str, results: list[Result], spoken: Language, today: date) -> Answer:
        """Return what the tasks came to that no other depends on."""
        needed = {one for each in self._tasks for one in each.depends_on}
        last = [result for result in results if result["part"] not in needed]
        if len(last) == 1:
            return Answer(last[0]["text"])
        return Answer("\n\n".join(f"{result['part']}: {result['text']}" for result in last))


class PersonThinker:
    """Has a person answer a request, whoever it is that resumes the run."""

    def __init__(self, equipment: Equipment) -> None:
        self._has = equipment

    async def route(self, request: str, turns: list[Turn], handoffs: Mapping[str, str]) -> str | None:
        """Leave the request with the person."""
        return None

    async def divide(self, task: str, request: str, turns: list[Turn], before: list[Result]) -> list[Planned]:
        """Return the request as it is."""
        return [Planned(request, ())]

    async def stands_alone(self, text: str, tools: Sequence[str]) -> bool:
        """There is but one part."""
        return False

    async def serve(self, step: StepInput) -> Result:
        """Ask the person; raises `Held` until there is an answer, and `ToolFailed` where there will be none."""
        toolset = self._has.toolset(step, [ESCALATE])
        try:
            said = await toolset.call(ESCALATE.name, {"question": step.request}, "escalate-0")
        except CallFailed as error:
            raise ToolFailed(str(error)) from error
        calls = [{"address": ESCALATE.address, "status": "done"}]
        return Result(part=step.part["text"], text=said["answer"], task=step.task, calls=calls)

    async def word(self, task: str, request: str, results: list[Result], spoken: Language, today: date) -> Answer:
        """Return the person's words."""
        return Answer(results[0]["text"])
