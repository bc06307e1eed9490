"""An agent as data: what it is for, what it may use, what it has to ask a person for, and within which bounds.

A spec never gives a right: an agent does what whoever runs it may do, within the scopes that its spec says. What its
approvals say is held comes on top of what the tools' own policies hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tausestack.agents.conditions import ConditionError, parse
from tausestack.contract import SideEffect
from tausestack.errors import InvalidArguments
from tausestack.raw import as_object
from tausestack.scopes import is_grantable

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,39}$"
MAX_SPEC_BYTES = 64 * 1024
"""How large a spec may be as JSON."""
SECONDS = 300.0
"""How long a run may take whose agent's budget doesn't say: waiting for people left out."""

_GLOB = re.compile(r"!?[A-Za-z0-9_.*?\[\]!/-]{1,200}")


def _checked_glob(text: str) -> str:
    if _GLOB.fullmatch(text) is None:
        raise ValueError(f"'{text[:40]}' is no pattern of names: it has letters, digits and . _ - / * ? [ ]")
    return text


def _checked_condition(text: str) -> str:
    try:
        parse(text)
    except ConditionError as error:
        raise ValueError(f"'{text[:80]}' is no condition: {error}") from error
    return text


def _checked_text(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL can't be kept")
    return text


AgentName = Annotated[str, Field(pattern=NAME_PATTERN)]
Glob = Annotated[str, AfterValidator(_checked_glob)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2}$")]
Line = Annotated[str, Field(max_length=500), AfterValidator(_checked_text)]
Text = Annotated[str, Field(min_length=1, max_length=20_000), AfterValidator(_checked_text)]
ModelName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\w./:@+-]+$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApprovalRule(_Part):
    """Which calls wait for a person: those that everything it says is true of."""

    side_effect: SideEffect | None = Field(default=None, description="read, write or external")
    tool: Glob | None = Field(default=None, description="a pattern of addresses, such as billing/*")
    when: Annotated[str, AfterValidator(_checked_condition)] | None = Field(
        default=None, description="a condition on the arguments, such as total > 1000000"
    )
    unless: tuple[Glob, ...] = Field(
        default=(), max_length=200, description="patterns of addresses that it does not hold, whatever else is true"
    )
    reason: Line = Field(default="", description="what the person who decides is told")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.side_effect is None and self.tool is None and self.when is None:
            raise ValueError("it says nothing: give side_effect, tool or when")
        if any(pattern.startswith("!") for pattern in (self.tool or "", *self.unless)):
            raise ValueError("tool, unless: a rule goes by what its patterns match: '!' has no meaning here")
        return self

    def asks(self, address: str, side_effect: str, arguments: Mapping[str, Any]) -> bool:
        """Return whether a call waits; a condition that nobody can tell counts as met."""
        if self.side_effect is not None and self.side_effect != side_effect:
            return False
        if self.tool is not None and not fnmatchcase(address, self.tool):
            return False
        if any(fnmatchcase(address, pattern) for pattern in self.unless):
            return False
        return self.when is None or parse(self.when).holds(arguments) is not False


class Budget(_Part):
    """What a run may use at most; what is not given is bounded by the tenant's own limits alone."""

    tokens: int | None = Field(default=None, ge=1, le=1_000_000_000)
    cost: Decimal | None = Field(default=None, gt=0, le=1_000_000_000, description="an amount in `currency`")
    currency: Literal["COP", "USD"] = "USD"
    steps: int | None = Field(default=None, ge=1, le=1000, description="parts of a request, and times that it thinks")
    seconds: float | None = Field(default=None, gt=0, le=86_400, description="waiting for people left out")
    tool_calls: int | None = Field(default=None, ge=1, le=10_000)


class Monthly(_Part):
    """What all runs of an agent may use of language models in a calendar month, together."""

    tokens: int | None = Field(default=None, ge=1, le=100_000_000_000)
    cost: Decimal | None = Field(default=None, gt=0, le=1_000_000_000_000, description="an amount in `currency`")
    currency: Literal["COP", "USD"] = "USD"


class Memory(_Part):
    """What an agent is told of the thread's earlier turns."""

    turns: int = Field(default=6, ge=0, le=100, description="how many turns it is told word for word")
    summary: bool = Field(default=True, description="whether what a long thread began with is told in a summary")


class AgentSpec(_Part):
    """An agent."""

    name: AgentName
    title: Line = ""
    description: Line = ""
    instructions: Text | dict[Language, Text] = Field(description="in one language, or by language")
    languages: tuple[Language, ...] = Field(default=("es", "en"), min_length=1, max_length=20)
    model: ModelName | None = Field(default=None, description="a litellm name; the deployment's own where left out")
    fallbacks: tuple[ModelName, ...] = Field(default=(), max_length=8, description="tried in turn where it fails")
    servers: tuple[Glob, ...] = Field(default=(), max_length=100, description="all tools of these; '!' takes away")
    tools: tuple[Glob, ...] = Field(default=(), max_length=200, description="addresses it may use; '!' takes away")
    scopes: tuple[str, ...] = Field(
        default=("tools:call", "tools:read"), max_length=64, description="what it is held to, whoever runs it"
    )
    tools_per_step: int = Field(default=12, ge=1, le=100, description="how many tools a step is shown, best first")
    handoffs: tuple[AgentName, ...] = Field(default=(), max_length=16, description="agents it may hand a run over to")
    escalates: bool = Field(default=True, description="whether it may hand its question to a person")
    approvals: tuple[ApprovalRule, ...] = Field(default=(), max_length=50)
    budget: Budget = Budget()
    monthly: Monthly = Field(default=Monthly(), description="what all its runs may use in a month, together")
    memory: Memory = Memory()
    output: dict[str, Any] | None = Field(default=None, description="a JSON Schema that the answer is to fit")

    @field_validator("scopes")
    @classmethod
    def _are_scopes(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        for scope in scopes:
            if not is_grantable(scope):
                raise ValueError(f"'{scope[:80]}' is no scope that an agent can be held to")
        return scopes

    @field_validator("output")
    @classmethod
    def _is_schema(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None and schema.get("type") != "object":
            raise ValueError("the schema has to be of an object: models answer with nothing else")
        return schema

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.name in self.handoffs:
            raise ValueError("handoffs: an agent can't hand over to itself")
        if isinstance(self.instructions, dict) and not self.instructions:
            raise ValueError("instructions: say something in at least one language")
        return self

    @property
    def seconds(self) -> float:
        """How long a run may take, waiting for people left out."""
        return self.budget.seconds or SECONDS

    def instructions_in(self, language: str) -> str:
        """Return the instructions in a language, else in the first that they are in."""
        if isinstance(self.instructions, str):
            return self.instructions
        return self.instructions.get(language) or next(iter(self.instructions.values()))

    def takes(self, address: str) -> bool:
        """Return whether the agent may use a tool: a pattern gives it, and none takes it away."""
        server = address.partition("/")[0]
        patterns = [*((server, each) for each in self.servers), *((address, each) for each in self.tools)]
        if any(each.startswith("!") and fnmatchcase(name, each[1:]) for name, each in patterns):
            return False
        return any(not each.startswith("!") and fnmatchcase(name, each) for name, each in patterns)

    def as_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON, without what it leaves as it is by itself."""
        return self.model_dump(mode="json", exclude_defaults=True)


def parse_spec(raw: Mapping[str, Any]) -> AgentSpec:
    """Return the agent that plain JSON describes, or raise `InvalidArguments` naming each field that is wrong."""
    if len(json.dumps(raw, ensure_ascii=False, default=str).encode()) > MAX_SPEC_BYTES:
        raise InvalidArguments(f"The agent is too large: {MAX_SPEC_BYTES // 1024} KiB as JSON are the most")
    try:
        spec = AgentSpec.model_validate(raw)
    except ValidationError as error:
        raise invalid("agent", error) from error
    # Not in the model itself: what was saved before goes on being read.
    if wrong := list(_never_matching(spec)):
        told = "; ".join(f"{each['path']}: {each['message']}" for each in wrong[:10])
        raise InvalidArguments(f"The agent is not right: {told}"[:1000], errors=wrong[:10])
    return spec


def _never_matching(spec: AgentSpec) -> Iterator[dict[str, str]]:
    """Yield the patterns that nothing can match, whatever is installed."""
    rules = [(f"approvals.{place}.tool", rule.tool) for place, rule in enumerate(spec.approvals) if rule.tool]
    rules += [(f"approvals.{place}.unless", each) for place, rule in enumerate(spec.approvals) for each in rule.unless]
    for path, pattern in [*((f"tools.{place}", each) for place, each in enumerate(spec.tools)), *rules]:
        if not set(pattern) & set("/*?["):
            name = pattern.removeprefix("!")
            yield {"path": path, "message": f"'{name[:40]}' is no address of a tool, which is server/tool: '{name}/*'?"}
    for place, pattern in enumerate(spec.servers):
        if "/" in pattern:
            message = f"'{pattern[:40]}' can't be a server's name: addresses of tools stand in 'tools'"
            yield {"path": f"servers.{place}", "message": message}


def invalid(what: str, error: ValidationError) -> InvalidArguments:
    """Return what a model finds wrong as an error that names the fields."""
    wrong = [{"path": _place(each["loc"]), "message": _message(each)} for each in error.errors()[:10]]
    told = "; ".join(f"{each['path']}: {each['message']}" if each["path"] else each["message"] for each in wrong)
    return InvalidArguments(f"The {what} is not right: {told}"[:1000], errors=wrong)


def _place(location: Sequence[str | int]) -> str:
    # pydantic names the branches of a union as well, which are no fields.
    return ".".join(str(step) for step in location if "[" not in str(step) and step != "str")


def _message(error: Any) -> str:
    context = as_object(error.get("ctx")) or {}
    text = str(context["error"]) if error["type"] == "value_error" and "error" in context else str(error["msg"])
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    return "it is missing" if error["type"] == "missing" else text
