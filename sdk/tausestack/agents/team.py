"""A team as data: agents, and the tasks that they do for each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tausestack.agents.spec import AgentName, AgentSpec, ApprovalRule, Budget, Line, Text, invalid

TEAM = "team:"
"""What the name of a run's agent begins with where it is a team."""
MAX_TASKS = 12
TeamType = Literal["research", "content_creation", "customer_support", "ecommerce_optimization", "custom"]


class TeamTask(BaseModel):
    """What one agent of a team does, and whose results it needs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
    agent: AgentName
    task: Text = Field(default="{input}", description="what it is told; {input} stands for what the team was asked")
    depends_on: tuple[str, ...] = Field(default=(), max_length=MAX_TASKS)


class TeamSpec(BaseModel):
    """A team; without tasks its agents work one after the other, each on the same request and the results so far."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: AgentName
    title: Line = ""
    description: Line = ""
    team_type: TeamType = "custom"
    agents: tuple[AgentName, ...] = Field(default=(), max_length=MAX_TASKS)
    tasks: tuple[TeamTask, ...] = Field(default=(), max_length=MAX_TASKS)
    approvals: tuple[ApprovalRule, ...] = Field(default=(), max_length=50, description="beside those of its agents")
    budget: Budget = Budget()

    @model_validator(mode="after")
    def _is_a_plan(self) -> Self:
        if not self.agents and not self.tasks:
            raise ValueError("agents: at least one agent is required")
        seen: set[str] = set()
        for task in self.tasks:
            if task.id in seen:
                raise ValueError(f"tasks: '{task.id}' stands twice")
            if self.agents and task.agent not in self.agents:
                raise ValueError(f"tasks: '{task.id}' is for '{task.agent}', who is not of the team")
            seen.add(task.id)
        for task in self.tasks:
            for needed in task.depends_on:
                if needed not in seen:
                    raise ValueError(f"tasks: '{task.id}' depends on '{needed}', which is no task")
        self.ordered()
        return self

    def ordered(self) -> tuple[TeamTask, ...]:
        """Return the tasks so that each comes after those that it depends on; raises `ValueError` where none can."""
        left = list(self.tasks or self._one_by_one())
        done: list[TeamTask] = []
        while left:
            there = {task.id for task in done}
            ready = [task for task in left if there.issuperset(task.depends_on)]
            if not ready:
                raise ValueError(f"tasks: {', '.join(task.id for task in left)} wait for each other")
            done += ready
            left = [task for task in left if task not in ready]
        return tuple(done)

    def _one_by_one(self) -> list[TeamTask]:
        found: list[TeamTask] = []
        for number, agent in enumerate(self.agents, 1):
            before = (found[-1].id,) if found else ()
            found.append(TeamTask(id=f"step-{number}", agent=agent, depends_on=before))
        return found

    def as_agent(self) -> AgentSpec:
        """Return the agent that stands for the team in a run: it starts runs of others, and does nothing else."""
        return AgentSpec(
            name=self.name,
            title=self.title,
            description=self.description,
            instructions="A team.",
            scopes=("tools:call", "tools:read", "runs:write"),
            escalates=False,
            approvals=self.approvals,
            budget=self.budget,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the team as plain JSON, without what it leaves as it is by itself."""
        return self.model_dump(mode="json", exclude_defaults=True)


def parse_team(raw: Mapping[str, Any]) -> TeamSpec:
    """Return the team that plain JSON describes, or raise `InvalidArguments` naming what is wrong."""
    try:
        return TeamSpec.model_validate(raw)
    except ValidationError as error:
        raise invalid("team", error) from error
