"""A language model through litellm, in the shape of a pydantic-ai model; its answers are streamed."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import anyio
import anyio.to_thread
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from tausestack_agents.models import wire
from tausestack_agents.models.failures import ModelFailed, failure
from tausestack_agents.models.gathering import Gathered, TooLong
from tausestack_agents.spending import Price

SECONDS = 120.0
"""How long one answer may take, from the request to its last piece; TAUSESTACK_MODEL_SECONDS says otherwise."""
MAX_OUTPUT = 16_000
"""Tokens of one answer, what the model thinks among them; fewer where it can't give as many."""
BYTES_A_TOKEN = 2
"""Of what is sent: so few that hardly a text has more tokens than its bytes say."""

OnText = Callable[[str], Awaitable[None]]


class LanguageModel(Model):
    """Any model that litellm knows, by litellm's name for it."""

    def __init__(self, name: str, at: Mapping[str, str] | None = None) -> None:
        """`at`: the `api_base` and `api_key` to ask it with; the environment's without."""
        super().__init__()
        self._name = name
        self._at = dict(at or {})
        self._seconds = float(os.environ.get("TAUSESTACK_MODEL_SECONDS") or SECONDS)

    @property
    def model_name(self) -> str:
        """litellm's name."""
        return self._name

    @property
    def system(self) -> str:
        """The provider."""
        return self._name.partition("/")[0] if "/" in self._name else "litellm"

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Ask the model; raises `ModelFailed`."""

        async def unheard(text: str) -> None:
            del text

        return await self.ask(messages, model_settings, model_request_parameters, unheard)

    async def ask(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        on_text: OnText,
    ) -> ModelResponse:
        """Ask the model, and hand on its text as it comes; raises `ModelFailed` with what it may have cost."""
        litellm: Any = await anyio.to_thread.run_sync(_litellm)
        asked = self._request(litellm, messages, model_settings, model_request_parameters)
        gathered = Gathered()
        try:
            try:
                with anyio.fail_after(self._seconds):
                    async with aclosing(self._pieces(litellm, asked, gathered)) as pieces:
                        async for text in pieces:
                            await on_text(text)
            except TimeoutError as error:
                raise ModelFailed(self._name, "timeout", f"It took more than {self._seconds:g} s") from error
            if gathered.empty():
                raise ModelFailed(self._name, "invalid_answer", "It gave an empty answer")
        except ModelFailed as failed:
            self._charge(litellm, failed, asked, gathered)
            raise
        response = gathered.response(self._name)
        if gathered.input_tokens is None:  # it does not tell: then what it was sent and has said is estimated
            response.usage.input_tokens = _tokens(asked)
            response.usage.output_tokens = gathered.bytes // BYTES_A_TOKEN
        response.provider_details = {
            "usd": self._cost(litellm, response.usage.input_tokens, response.usage.output_tokens)
        }
        offered = {tool["function"]["name"] for tool in asked.get("tools", ())}
        if (wrong := gathered.wrong(offered)) is not None:
            response.provider_details["wrong"] = wrong
        return response

    async def _pieces(self, litellm: Any, asked: dict[str, Any], gathered: Gathered) -> AsyncGenerator[str]:
        """Yield the pieces of an answer's text; raises `ModelFailed` where it breaks off, or is too long."""
        try:
            stream: Any = await litellm.acompletion(
                **asked, **self._at, stream=True, stream_options={"include_usage": True}, drop_params=True,
                timeout=self._seconds, num_retries=0, max_retries=0,
            )  # fmt: skip
            async with aclosing(stream):
                async for chunk in stream:
                    if text := gathered.add(chunk):
                        yield text
        except TooLong as error:
            raise ModelFailed(self._name, "too_long", str(error)) from error
        except Exception as error:
            raise failure(self._name, error) from error
        # litellm makes up the end of a stream that has none; this is what the vendor said.
        if stream.received_finish_reason is None:
            raise ModelFailed(self._name, "cut", "Its answer broke off")

    def _charge(self, litellm: Any, failed: ModelFailed, asked: dict[str, Any], gathered: Gathered) -> None:
        """Note what a failed attempt may have cost: nothing where it was refused, else what was sent and said."""
        if failed.kind == "timeout":
            failed.tokens = _tokens(asked) + self._longest(litellm)
            failed.usd = self._cost(litellm, _tokens(asked), self._longest(litellm))
        elif failed.kind in {"cut", "too_long", "invalid_answer"}:
            said = gathered.bytes // BYTES_A_TOKEN
            failed.tokens, failed.usd = _tokens(asked) + said, self._cost(litellm, _tokens(asked), said)

    async def price(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> Price:
        """Return what a request may use at most, and what its tokens cost where litellm knows the model."""
        litellm: Any = await anyio.to_thread.run_sync(_litellm)
        sent = _tokens(self._request(litellm, messages, model_settings, model_request_parameters))
        known = self._per_token(litellm, sent, 1000)
        longest = self._longest(litellm)
        if known is None:
            return Price(sent, longest, None, 0.0)
        return Price(sent, longest, known[0], known[1] / 1000)

    def _request(
        self,
        litellm: Any,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> dict[str, Any]:
        settings, parameters = self.prepare_request(model_settings, model_request_parameters)
        given = {name: value for name, value in (settings or {}).items() if name in {"temperature", "max_tokens"}}
        known = {"max_tokens": self._longest(litellm)} if _output_of(litellm, self._name) else {}
        said = {"model": self._name, "messages": wire.conversation(messages)}
        return {**said, **known, **given, **wire.tools(parameters)}

    def _longest(self, litellm: Any) -> int:
        return min(MAX_OUTPUT, _output_of(litellm, self._name) or MAX_OUTPUT)

    def _cost(self, litellm: Any, sent: int, said: int) -> float:
        """US dollars; 0 for a model that litellm doesn't know."""
        return sum(self._per_token(litellm, sent, said) or (0.0, 0.0))

    def _per_token(self, litellm: Any, sent: int, said: int) -> tuple[float, float] | None:
        try:
            prompt, completion = litellm.cost_per_token(model=self._name, prompt_tokens=sent, completion_tokens=said)
        except Exception:  # noqa: BLE001 an unlisted model raises a bare Exception, and has no price here
            return None
        return float(prompt), float(completion)


def _tokens(asked: Mapping[str, Any]) -> int:
    """How many tokens a request has at most."""
    return len(json.dumps(asked, ensure_ascii=False).encode()) // BYTES_A_TOKEN


def _litellm() -> Any:
    """Import litellm: it starts threads and takes seconds, so only a process that asks a model pays for it."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else the import fetches a price list
    litellm: Any = importlib.import_module("litellm")
    litellm.suppress_debug_info = True
    return litellm


def _output_of(litellm: Any, name: str) -> int | None:
    """Return how many tokens an answer of a model may have, where litellm knows it."""
    try:
        most = litellm.get_model_info(name).get("max_output_tokens")
    except Exception:  # noqa: BLE001 an unlisted model raises a bare Exception, and is asked without
        return None
    return int(most) if most else None
