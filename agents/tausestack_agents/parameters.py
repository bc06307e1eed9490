"""What several of the agents' tools are asked with: one form for each."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

MAX_INPUT = 20_000
"""Characters of a request."""
MAX_THREAD = 120
# No NUL in what is kept: PostgreSQL's text can't hold one.
TEXT = r"^[^\x00]*$"
LINE = r"^[^\x00-\x1f]*$"

RunId = Annotated[str, Field(description="The run's id.", pattern=LINE, examples=["run_0a1b2c3d4e5f60718293"])]
Thread = Annotated[
    str | None,
    Field(description="A conversation to go on with; left out, a new one begins.", max_length=MAX_THREAD, pattern=LINE),
]
WAIT_SECONDS = 50.0
"""How long a call that starts a run or lets it go on waits by itself: chat clients give a call up after a minute."""
Wait = Annotated[
    float,
    Field(
        description="How many seconds (110 at most) to wait for the run to end or to need a person; 0: not at all. "
        "One that still goes on says by `next` how to come back to it.",
        ge=0,
    ),
]
Facts = Annotated[
    dict[str, Any] | None,
    Field(description="What is known already: told to the agent as facts, and nothing that is asked."),
]
