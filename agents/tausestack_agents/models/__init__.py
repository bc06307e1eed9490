"""The models that steps think with: a language model through litellm, or the offline planner."""

from __future__ import annotations

from collections.abc import Mapping

OFFLINE = "offline"
_BY_KEY = (("OPENAI_API_KEY", "openai/gpt-5-mini"), ("ANTHROPIC_API_KEY", "anthropic/claude-sonnet-4-5"))
"""Which model a key alone stands for; the first that is present."""


def model_name(environment: Mapping[str, str]) -> str:
    """Return the model to use: `TAUSESTACK_MODEL` (a litellm name), else by which key is there, else `offline`."""
    if named := environment.get("TAUSESTACK_MODEL", "").strip():
        return named
    return next((name for key, name in _BY_KEY if environment.get(key)), OFFLINE)
