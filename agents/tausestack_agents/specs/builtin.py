"""The agents that every tenant has: those of this release, and those that the operator's own code registered."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from tausestack.agents import AgentSpec, parse_spec
from tausestack.agents.own import registered
from tausestack.agents.reading import read


@cache
def released() -> dict[str, AgentSpec]:
    """Return the agents of this release, by name."""
    folder = files("tausestack_agents").joinpath("builtin")
    found = [parse_spec(read(file.read_text("utf-8"), file.name)) for file in folder.iterdir()]
    return {spec.name: spec for spec in sorted(found, key=lambda spec: spec.name)}


def builtin() -> dict[str, AgentSpec]:
    """Return the agents that every tenant has, by name."""
    return {**released(), **{name: one.spec for name, one in registered().items()}}
