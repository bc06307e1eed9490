"""The models that steps think with: a language model through litellm with its fallbacks, or the offline planner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tausestack.errors import InvalidArguments

OFFLINE = "offline"
Wanted = Literal["offline", "recorded", "live"]
RECORDED_TRAFFIC = "TAUSESTACK_RECORDED_TRAFFIC"
"""The variable that names a file of recorded answers."""
_BY_KEY = (("OPENAI_API_KEY", "openai/gpt-5-mini"), ("ANTHROPIC_API_KEY", "anthropic/claude-sonnet-4-5"))
"""Which model a key alone stands for; the first that is present."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The models that a run asks, in turn; none is the offline planner. `recorded` is a file of recorded answers."""

    names: tuple[str, ...] = ()
    recorded: str | None = None

    @property
    def offline(self) -> bool:
        """Whether no language model is asked."""
        return not self.names


def model_name(environment: Mapping[str, str]) -> str:
    """Return the model to use: `TAUSESTACK_MODEL` (a litellm name), else by which key is there, else `offline`."""
    if named := environment.get("TAUSESTACK_MODEL", "").strip():
        return named
    return next((name for key, name in _BY_KEY if environment.get(key)), OFFLINE)


def choose(own: str | None, fallbacks: Sequence[str], wanted: str | None, environment: Mapping[str, str]) -> Chosen:
    """Return the models of a run: the agent's own and its fallbacks, else the deployment's.

    `wanted` is what the run itself asked for. Raises `InvalidArguments` where that can't be had.
    """
    first = own or model_name(environment)
    after = fallbacks or tuple(
        name.strip() for name in environment.get("TAUSESTACK_MODEL_FALLBACKS", "").split(",") if name.strip()
    )
    if wanted == "recorded":
        file = environment.get(RECORDED_TRAFFIC, "").strip()
        if not file:
            raise InvalidArguments(f"There are no recorded answers: start the stack with {RECORDED_TRAFFIC}=FILE")
        return Chosen(("openai/gpt-5-mini" if first == OFFLINE else first,), file)
    if wanted == "live" and first == OFFLINE:
        raise InvalidArguments("There is no language model: start the stack with TAUSESTACK_MODEL, or a vendor's key")
    if wanted == OFFLINE or first == OFFLINE:
        return Chosen()
    return Chosen((first, *(name for name in after if name not in {first, OFFLINE})))
