"""What agents there are: each a TOML file that says what it is for, which tools it may use, and within which bounds."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from tausestack.errors import NotFound
from tausestack_agents.budget import Budget


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """An agent."""

    name: str
    title: str
    description: str
    instructions: str
    languages: tuple[str, ...]
    tools: tuple[str, ...]
    """Patterns of addresses it may use; one that starts with `!` takes away."""
    bounds: frozenset[str]
    """Scopes it is held to, whoever starts it."""
    seconds: float
    """How long a run may take, waiting for people left out."""
    tools_per_step: int
    """How many tools a step is shown, best first."""
    model: str | None = None
    """A litellm name; the deployment's own where there is none."""
    fallbacks: tuple[str, ...] = ()
    """Models to try in turn where that one fails."""
    budget: Budget = field(default_factory=Budget)
    """What a run may use at most."""

    def takes(self, address: str) -> bool:
        """Return whether the agent may use a tool."""
        allowed = any(fnmatchcase(address, each) for each in self.tools if not each.startswith("!"))
        return allowed and not any(fnmatchcase(address, each[1:]) for each in self.tools if each.startswith("!"))

    def as_json(self) -> dict[str, Any]:
        """Return what is shown of it."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "languages": list(self.languages),
            "tools": list(self.tools),
            "scopes": sorted(self.bounds),
        }


def parse(raw: dict[str, Any]) -> AgentSpec:
    """Return the agent of a parsed file; a missing or unknown field raises `KeyError` or `TypeError`."""
    limits: dict[str, Any] = raw.get("limits", {})
    known = {"name", "title", "description", "instructions", "languages", "tools", "scopes", "limits"}
    if unknown := set(raw) - known:
        raise TypeError(f"unknown fields in the agent {raw.get('name')!r}: {sorted(unknown)}")
    return AgentSpec(
        name=raw["name"],
        title=raw["title"],
        description=raw["description"],
        instructions=raw["instructions"],
        languages=tuple(raw["languages"]),
        tools=tuple(raw["tools"]),
        bounds=frozenset(raw["scopes"]),
        seconds=float(limits.get("seconds", 300)),
        tools_per_step=int(limits.get("tools_per_step", 12)),
    )


@cache
def builtin() -> dict[str, AgentSpec]:
    """Return the agents that every tenant has, by name."""
    folder = files("tausestack_agents").joinpath("builtin")
    found = [parse(tomllib.loads(file.read_text("utf-8"))) for file in folder.iterdir() if file.name.endswith(".toml")]
    return {spec.name: spec for spec in sorted(found, key=lambda spec: spec.name)}


def agent(name: str) -> AgentSpec:
    """Return an agent, or raise `NotFound` naming those that there are."""
    spec = builtin().get(name)
    if spec is None:
        raise NotFound(f"There is no agent '{name[:60]}'; there are: {', '.join(builtin())}")
    return spec
