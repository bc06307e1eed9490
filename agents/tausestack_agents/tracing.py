"""One trace a run: each of its claims a span, with what its agents ask of models and tools below it."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from pydantic_ai.messages import ModelResponse

from tausestack.database import Row
from tausestack.raw import as_object
from tausestack.tracing import Span, Tracing
from tausestack_agents.store import TRACE


def of_request(tracing: Tracing | None, model: str) -> AbstractContextManager[Span | None]:
    """Open the span of one request to a model; what is journaled already is asked of none, and has none."""
    return nullcontext() if tracing is None else _chat(tracing, model)


@contextmanager
def _chat(tracing: Tracing, model: str) -> Generator[Span]:
    with tracing.span(f"chat {model}", "client") as span:
        span.set(gen__ai_operation_name="chat", gen__ai_request_model=model)
        yield span


def used(span: Span | None, response: ModelResponse) -> None:
    """Say what a request used."""
    if span is not None:
        usage = response.usage
        span.set(
            gen__ai_response_model=response.model_name,
            gen__ai_usage_input__tokens=usage.input_tokens,
            gen__ai_usage_output__tokens=usage.output_tokens,
        )


def of_run(tracing: Tracing | None, run: Row) -> AbstractContextManager[None]:
    """Open the span of a claim of a run, in the trace that the run was started in, or one of its own."""
    return nullcontext() if tracing is None else _span(tracing, run)


@contextmanager
def _span(tracing: Tracing, run: Row) -> Generator[None]:
    parent = (as_object(run.origin) or {}).get(TRACE) or _own(run.id)
    with tracing.span(f"invoke_agent {run.agent}", "internal", parent) as span:
        span.set(
            gen__ai_operation_name="invoke_agent",
            gen__ai_agent_name=run.agent,
            gen__ai_conversation_id=run.thread,
            tausestack_run=run.id,
            tausestack_claim=run.fence,
        )
        yield


def _own(run: str) -> str:
    """Return the context of a run that was started in no trace: the same one for each of its claims."""
    digest = hashlib.sha256(run.encode()).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"
