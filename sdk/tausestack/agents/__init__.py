"""Agents and teams as data: `AgentSpec`, `TeamSpec`, and what they are made of."""

from __future__ import annotations

from tausestack.agents.own import call, once, register
from tausestack.agents.spec import AgentSpec, ApprovalRule, Budget, Memory, Monthly, parse_spec
from tausestack.agents.team import TeamSpec, TeamTask, parse_team

__all__ = [
    "AgentSpec",
    "ApprovalRule",
    "Budget",
    "Memory",
    "Monthly",
    "TeamSpec",
    "TeamTask",
    "call",
    "once",
    "parse_spec",
    "parse_team",
    "register",
]
